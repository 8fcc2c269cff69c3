"""Roll: whether the functions of a whole workflow are as they were, asked of all at once.

To look at each function by itself takes longer than to run a trivial task. Most executions find nothing changed, and
for functions of a few kinds that shows by comparing columns: what all cells hold, what all functions have.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, is_
from types import FunctionType

from cloaca.pickling.kinds import CHANGEABLE, are_same, seen
from cloaca.pickling.watch import Watch

_KEPT = tuple(map(attrgetter, ("__code__", "__defaults__", "__name__", "__qualname__", "__module__", "__doc__")))
"""What doesn't change inside: the same object says the same."""

_EMPTY = tuple(map(attrgetter, ("__kwdefaults__", "__annotations__", "__dict__")))
"""What may change inside, and mostly is empty."""


class Roll:
    """Functions as they are now, all of a kind that others are of too; and watches over the rest."""

    def __init__(self, functions: Sequence[FunctionType], watches: Iterable[Watch]) -> None:
        self._functions = functions
        self._watches = list(watches)
        self._cells = list(chain.from_iterable(function.__closure__ or () for function in functions))
        self._contents = gc.get_referents(*self._cells)
        self._columns = [list(map(of, functions)) for of in _KEPT]
        held = chain(self._contents, *[function.__defaults__ or () for function in functions])
        self._changeable = [part for part in held if type(part) in CHANGEABLE]
        self._inner = seen(self._changeable)
        self._is_telling = len(self._contents) == len(self._cells) and self._are_bare()

    def unchanged(self) -> bool:
        """Whether all are sure to be as they were."""
        if not self._is_telling:
            return False
        contents = gc.get_referents(*self._cells)
        return (
            len(contents) == len(self._contents)
            and all(map(is_, contents, self._contents))
            and are_same(seen(self._changeable), self._inner)
            and all(self._kept())
            and self._are_bare()
            and all(watch.unchanged() for watch in self._watches)
        )

    def _kept(self) -> Iterator[bool]:
        for of, column in zip(_KEPT, self._columns, strict=True):
            yield all(map(is_, map(of, self._functions), column))

    def _are_bare(self) -> bool:
        return not any(any(map(of, self._functions)) for of in _EMPTY)
