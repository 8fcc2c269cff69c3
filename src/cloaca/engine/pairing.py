"""Pairing: which mapped tasks go item by item after one of their dependencies, and what stands in their way.

A mapped task *follows* the dependency that is mapped over the same key; of several, the last by rank. So that what its
instances see is well defined, all its other dependencies must come before that one.

The tasks of a workflow that runs for each item follow each other as that says (see `engine/copied`). Here they count as
tasks that aren't mapped.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from cloaca.engine.fan import Each, InCopy
from cloaca.history.plan import Plan


def leader(plan: Plan, keys: Sequence[str | None], rank: int) -> int | None:
    """The mapped task that the task of that rank follows, if any. `keys` tells over which key tasks are mapped.

    >>> from cloaca.history.plan import plan
    >>> compiled = plan("demo", [("clean", []), ("score", ["clean"]), ("report", ["score"])])
    >>> leader(compiled, ["rows", "rows", None], 1)
    0
    """
    key = keys[rank]
    if key is None:
        return None
    return max((task for task in plan.predecessors[rank] if keys[task] == key), default=None)


def paired(
    plan: Plan, keys: Sequence[str | None], expansions: Mapping[int, int], writes: Mapping[int, tuple[str, ...]]
) -> dict[int, Each]:
    """How tasks are mapped, by rank. `expansions`: the functions that expand them; `writes`: keys that they set."""
    return {
        rank: Each(key, expansions[rank], leader(plan, keys, rank), writes[rank])
        for rank, key in enumerate(keys)
        if key is not None
    }


def in_copies(plan: Plan, prefixes: Sequence[str | None], items: Sequence[str]) -> dict[int, InCopy]:
    """How tasks belong to workflows that run for each item, by rank.

    `prefixes` tell to which, `None`: to none, and `items` under which key each sees its item. The end has the name that
    the prefix begins with.

    >>> from cloaca.history.plan import plan
    >>> compiled = plan("demo", [("load", []), ("r.one", ["load"]), ("r.two", ["load"]), ("r", ["r.one", "r.two"])])
    >>> found = in_copies(compiled, [None, "r.", "r.", "r."], ["", "r.item", "r.item", "r.item"])
    >>> [(one.head, one.follows, one.is_end) for one in found.values()]
    [(1, (), False), (1, (), False), (1, (1, 2), True)]
    """
    groups: dict[str, list[int]] = {}
    for rank, prefix in enumerate(prefixes):
        if prefix is not None:
            groups.setdefault(prefix, []).append(rank)
    return {
        rank: InCopy(
            group[0],
            tuple([above for above in plan.predecessors[rank] if prefixes[above] == prefix]),
            items[rank],
            prefix,
            plan.names[rank] == prefix[:-1],
        )
        for prefix, group in groups.items()
        for rank in group
    }


def findings(plan: Plan, keys: Sequence[str | None], ruled: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with mapped tasks: dependencies or rules that don't fit, and ids that an instance could have.

    `ruled` are the ids of the tasks that say by which rule they start.
    """
    for rank, key in enumerate(keys):
        if key is not None:
            followed = leader(plan, keys, rank)
            yield from _misplaced(plan, rank, key, followed)
            if followed is not None and plan.names[rank] in ruled:
                yield (
                    f"Task {plan.names[rank]!r} goes item by item after {plan.names[followed]!r}: an instance starts "
                    "when the one before it has ended well, by no other rule. Leave out its trigger rule."
                )
    mapped = {plan.names[rank] for rank, key in enumerate(keys) if key is not None}
    if mapped:
        yield from (
            f"Task {name!r} is called like an instance of the mapped task {name.partition('[')[0]!r}: rename it."
            for name in plan.names
            if name.endswith("]") and name.partition("[")[0] in mapped
        )


def _misplaced(plan: Plan, rank: int, key: str, followed: int | None) -> Iterator[str]:
    if followed is None or len(plan.predecessors[rank]) == 1:
        return
    before = _ancestors(plan, followed)
    task, first = plan.names[rank], plan.names[followed]
    for other in plan.predecessors[rank]:
        if other in before or other == followed:
            continue
        name = plan.names[other]
        lead = (
            f"Task {task!r} goes item by item after {first!r}, over the same key {key!r}, and depends on {name!r} too"
        )
        if followed in _ancestors(plan, other):
            yield f"{lead}, which comes after all of {first!r}: let {task!r} depend on {name!r} without {first!r}."
        else:
            yield f"{lead}, which must come before both: let {first!r} depend on {name!r}."


def _ancestors(plan: Plan, rank: int) -> set[int]:
    found: set[int] = set()
    ahead = [rank]
    while ahead:
        fresh = [task for task in plan.predecessors[ahead.pop()] if task not in found]
        found.update(fresh)
        ahead += fresh
    return found
