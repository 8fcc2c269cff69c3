"""Merge rules: how the values that concurrent tasks wrote to one key combine.

Give a workflow rules by key:

    WorkflowBuilder("sales", merge={"total": cloaca.merge.sum, "seen": cloaca.merge.union, "best": best_model})

A rule is a function `(base, values) -> value`: `base` is the value before the branches, `None` where there was none,
and `values` are what the branches wrote, at least one, in the merge order. It must not depend on anything else. Here
are the ones that are needed most.

`sum`, `concat` and `union` count what every write *changed*, once, also where writes build on each other: two branches
that each add one to a count of five come to seven.
"""

from importlib import import_module

TYPE_CHECKING = False  # as every type checker knows it
if TYPE_CHECKING:
    from cloaca.merge.named import by_structure, by_task, concat, first, last, max, min, sum, union  # noqa: A004 - cloaca.merge.sum it is

__all__ = ["by_structure", "by_task", "concat", "first", "last", "max", "min", "sum", "union"]


def __getattr__(name: str) -> object:
    """The rules are loaded when the first one is named: most runs have none, and need other modules of this package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    rule = globals()[name] = getattr(import_module("cloaca.merge.named"), name)
    return rule


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
