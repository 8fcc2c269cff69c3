"""Originals: values that a worker has decoded and nobody was given; who reads them next gets a copy.

Tasks that read one table of 200,000 rows would spend their time decoding it anew. Nobody can tell whether an object
that a task was given has changed. But what holds nothing but scalars and tuples of them, or rows of these, is copied in
a third of the time that decoding takes, or less: texts, numbers and such tuples can be shared. So the second reader in
a worker decodes the value as the first one did, and is given a copy already. An original goes when a task begins that
isn't sent the value, and when the worker has nothing to do, as spare mappings do (see `values/mappings`).

Roads not taken: to compare what a task was given with what it should be takes as long as copying it. To copy rows that
hold others takes longer than decoding them: Python does that step by step.
An original for the first reader would be kept for nothing where it is the only one.
"""

import os
from collections.abc import Container
from gc import is_tracked
from itertools import chain
from typing import Any

from cloaca.values.kinds import CONTAINERS, SCALARS, kinds_in

_DEEPEST = 10

MOST = 1 << 25
"""How many bytes the originals of a worker take at most, as they were encoded."""

noted: dict[str, int] = {}
"""The files of which a value was decoded, and how many bytes each has; 0, where it isn't one that is quickly copied."""

_originals: dict[str, Any] = {}
_keeps = False


def keep() -> None:
    """Keep some from here on. For a process that lets go of them in time."""
    global _keeps  # noqa: PLW0603 - a fact about this process
    _keeps = True


def drop(needed: Container[str] = ()) -> None:
    """Let go of all but those of these files."""
    for path in [path for path in noted if path not in needed]:
        noted.pop(path, None)
        _originals.pop(path, None)


def copy_of(path: str) -> Any:
    """A copy of the value in that file; `None` where there is no original."""
    original = _originals.get(path)
    return None if original is None else _copied(original)


def given(path: str, size: int, value: Any, *, is_plain: bool) -> Any:
    """What a reader is given of a value that it has decoded: a copy, if from here on this is the original.

    `is_plain`: it is plain data. In what was pickled there are other kinds, and two rows may be one.
    """
    if not _keeps or type(value) not in CONTAINERS:
        return value
    known = noted.get(path)
    if known is None:
        if sum(noted.values()) + size <= MOST:
            noted[path] = size
        return value
    if known and (_is_shallow(value) if is_plain else _is_shallow_tree(value)):
        _originals[path] = value
        return _copied(value)
    noted[path] = 0
    return value


def _is_shallow(value: Any) -> bool:
    """Whether it holds scalars alone, or rows of scalars. Dicts of scalars the garbage collector mostly leaves out."""
    rows: list[Any] = [*value.values()] if type(value) is dict else value
    kinds = set(map(type, rows))
    if not kinds <= CONTAINERS:
        return kinds <= SCALARS
    others = [row for row in rows if is_tracked(row)]
    held = chain.from_iterable([row.values() if type(row) is dict else row for row in others])
    return CONTAINERS.isdisjoint(map(type, held))


def _is_shallow_tree(value: Any) -> bool:
    """The same of what was pickled: whether it holds scalars and tuples of them alone, or rows of these, each once."""
    kinds = kinds_in(value, CONTAINERS | {tuple}, SCALARS, _DEEPEST)
    if kinds is None or not all(map(CONTAINERS.isdisjoint, kinds[2:])):
        return False
    return len(kinds) == 1 or kinds[1] <= CONTAINERS or kinds[1].isdisjoint(CONTAINERS)


def _copied(original: Any) -> Any:
    is_dict = type(original) is dict
    first = next(iter(original.values() if is_dict else original), None)
    if type(first) not in CONTAINERS:
        return original.copy()
    return {key: row.copy() for key, row in original.items()} if is_dict else [row.copy() for row in original]


def _forked() -> None:
    """A child of a task may live for long, and doesn't let go in time."""
    global _keeps  # noqa: PLW0603 - as above
    _keeps = False
    drop()


os.register_at_fork(after_in_child=_forked)
