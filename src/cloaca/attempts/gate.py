"""Gate: asks a task's condition in its attempt, before the task begins.

Values are looked at here and not in the coordinator, as that is user code: a comparison that hangs, or kills its
process, costs this attempt and nothing else.
"""

from collections.abc import Mapping

from cloaca.errors import ConditionError
from cloaca.merge.settled import Conflict
from cloaca.merge.shown import short
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import over
from cloaca.triggers import verdict
from cloaca.triggers.comparison import compares, of_absent
from cloaca.triggers.condition import Condition, ContextValue
from cloaca.wire.messages import Assignment, Outcome
from cloaca.wording import summary_of


def refusal(assignment: Assignment, condition: Condition, contents: Contents) -> str | None:
    """Why the task isn't to begin; `None`: it is. Raises `ConditionError` where nobody can tell."""
    contents.cover(condition.keys)
    outcomes = assignment.slice.outcomes  # never asked whether it is empty: it may be a look at all that came before
    return verdict.refusal(condition, _AttemptFacts(assignment.task, contents, {} if outcomes is None else outcomes))


class _AttemptFacts:
    """What an attempt knows: its context, and how the tasks ended that its condition names."""

    def __init__(self, task: str, contents: Contents, outcomes: Mapping[str, Outcome]) -> None:
        self._task = task
        self._contents = contents
        self._context = over(contents)
        self._outcomes = outcomes

    def status(self, task: str) -> str:
        self._contents.note_outcome(task)
        return self._outcomes[task].status

    def holds(self, asked: ContextValue) -> bool:
        try:
            return self._compares(asked)
        except Exception as error:
            raise ConditionError(self._task, repr(asked), asked.key, summary_of(error)) from error

    def _compares(self, asked: ContextValue) -> bool:
        if asked.key not in self._context:
            return of_absent(asked.operator)
        if asked.payload is None:
            return compares(None, asked.operator, None)  # whether it is there, and not what
        return compares(self._context[asked.key], asked.operator, asked.value)

    def told(self, asked: ContextValue) -> str:
        if asked.key not in self._context:
            return f"{asked.key!r} is absent"
        if isinstance(self._contents.held(asked.key), Conflict):
            return f"{asked.key!r} is in conflict"
        return f"{asked.key!r} is {short(self._context[asked.key])}"
