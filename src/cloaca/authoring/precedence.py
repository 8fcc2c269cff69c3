"""Precedence: whether the tasks that conditions name come before the task that has the condition.

Otherwise they might or might not have ended when it is asked, and the answer would depend on timing.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from cloaca.history.ancestry import Ancestry
from cloaca.history.plan import Plan
from cloaca.nearest import nearest
from cloaca.triggers.condition import Condition

_LISTED = 20  # findings of one kind

Conditions = Sequence[tuple[str, Condition]]
"""The tasks that have conditions, each with its own."""


def unknown(conditions: Conditions, tasks: Sequence[str]) -> Iterator[str]:
    """One finding for each task that a condition names and that doesn't exist."""
    known = set(tasks)
    missing = ((owner, name) for owner, name in _named(conditions) if name not in known)
    for owner, name in islice(missing, _LISTED):
        matches = nearest(name, tasks)
        advice = f": did you mean {' or '.join(map(repr, matches))}?" if matches else "."
        yield f"The rule of task {owner!r} names {name!r}, which is no task of this workflow{advice}"


def unordered(conditions: Conditions, plan: Plan) -> Iterator[str]:
    """One finding for each task that a condition names and that needn't have ended when it is asked."""
    ancestry = Ancestry(plan)
    faulty = (
        (owner, name) for owner, name in _named(conditions) if not ancestry.is_above(plan.rank[name], plan.rank[owner])
    )
    for owner, name in islice(faulty, _LISTED):
        if owner == name:
            yield f"The rule of task {owner!r} names the task itself, which can't have ended before it starts."
        else:
            yield (
                f"The rule of task {owner!r} names {name!r}, which needn't have ended when it is asked: "
                f"add {name!r} to the dependencies of {owner!r}."
            )


def _named(conditions: Conditions) -> Iterator[tuple[str, str]]:
    return ((owner, name) for owner, rule in conditions for name in rule.tasks if isinstance(name, str))
