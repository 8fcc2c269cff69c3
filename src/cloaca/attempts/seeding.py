"""Seeding: `random` and `numpy.random` draw the same numbers in an attempt, whichever process runs it.

What is loaded is seeded when an attempt begins, and what a task imports later right after its import: a process that
never draws pays nothing. This is about the functions of those modules; generators that a task makes without a seed,
`random.Random()` or `numpy.random.default_rng()`, draw theirs from the system.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from operator import length_hint
from threading import Lock, local
from typing import Any, TypeVar

from cloaca.attempts.nesting import runs_task
from cloaca.border.imports import when_imported

Item = TypeVar("Item")
SeedOrigin = tuple[int, str, int]
"""What all that is drawn in an attempt follows from: the run's seed, the task, and how many tries of it have ended."""


@cache
def of_process() -> "Seeding":
    """The one of this process: its watch of imports stays."""
    return Seeding()


class Unseeded(local):
    """Leaves the generators alone: where attempts share a process, seeding one would disturb the others.

    What it holds is that of the thread: of the attempt that runs on it.
    """

    origin: "SeedOrigin | None" = None
    inner = 0

    @property
    def has_drawn(self) -> bool:
        """Whether executions inside of the attempt were given seeds. Nothing else follows from one."""
        return self.inner > 0

    def begin(self, seed: int, task: str, ended: int) -> None:
        """From here on, seeds of executions inside follow from that."""
        self.origin, self.inner = (seed, task, ended), 0

    def each(self, items: Sequence[Item], first: int, seed: int, ended: int = 0) -> Iterator[Item]:  # noqa: ARG002
        """The items."""
        return iter(items)

    def done(self) -> None:
        """Nothing to do."""


@cache
def unseeded() -> Unseeded:
    """What seeds nothing."""
    return Unseeded()


def inner_seed() -> int | None:
    """The seed of an execution inside of the attempt that runs here, another one each time; `None`: none runs here."""
    if not runs_task():
        return None
    from cloaca.seed import derived

    seeding = unseeded() if unseeded().origin is not None else of_process()
    if seeding.origin is None:
        return None
    seeding.inner += 1
    return derived(derived(*seeding.origin), "inner", seeding.inner)


class Seeding:
    """Seeds the generators of a process for one attempt after another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._before: dict[str, Any] = {}
        self.origin: SeedOrigin | None = None
        self.inner = 0
        """So many executions inside of the attempt were given seeds."""
        self._modules: dict[str, Any] = {}
        self._seed_of_items: int | None = None
        self._rest: Iterator[Any] = iter(())
        self._left: tuple[Any, ...] = ()
        self._end = self._ended = 0
        for name in _SEED:
            when_imported(name, partial(self._found, name))
        os.register_at_fork(after_in_child=self._drop_rest)

    @property
    def has_drawn(self) -> bool:
        """Whether anything was drawn since a seed was set. Where the state was put back, that can't be told."""
        return self.inner > 0 or any(_IS_USED[name](module) for name, module in self._modules.items())

    def begin(self, seed: int, task: str, ended: int) -> None:
        """From here on, what is drawn follows from the run's seed, the task, and how many tries of it have ended."""
        self.origin, self.inner = (seed, task, ended), 0
        if self._modules:
            self._seed(list(self._modules), self.origin)

    def each(self, items: Sequence[Item], first: int, seed: int, ended: int = 0) -> Iterator[Item]:
        """The items, whose numbers count from `first` on; what is drawn for each follows from its number.

        `ended`: how many tries of them have ended before.

        As long as nothing is loaded that could be seeded, nothing is done; when it is, in the middle of an item, that
        one and the rest are seeded.
        """
        self._seed_of_items, self._ended = seed, ended
        self._rest, self._end = iter(items), first + len(items)
        return self._from_here(seed) if self._modules else chain(self._rest, self._seeded(seed))

    def done(self) -> None:
        """There are no more items."""
        self._seed_of_items = None
        self._rest, self._left = iter(()), ()

    def _drop_rest(self) -> None:
        """In a process that an item has forked: the items after it are the parent's."""
        deque(self._rest, maxlen=0)
        self._left = ()

    def _from_here(self, seed: int) -> Iterator[Any]:
        for item in self._rest:
            self._begin_item(seed)
            yield item

    def _seeded(self, seed: int) -> Iterator[Any]:
        """Those that were left when something was loaded."""
        self._rest, self._left = iter(self._left), ()
        yield from self._from_here(seed)

    def _begin_item(self, seed: int) -> None:
        number = self._end - length_hint(self._rest) - len(self._left) - 1
        self.begin(seed, f"item {number}", self._ended)

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """What is drawn inside changes nothing outside. With several threads inside, the first and the last count."""
        if runs_task():
            with self._apart():
                yield
            return
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._before = {name: getattr(module, _GET[name])() for name, module in self._modules.items()}
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._go_on()

    @contextmanager
    def _apart(self) -> Generator[None, None, None]:
        """The attempt that runs here runs others inside: afterwards it goes on as if it hadn't."""
        origin, inner = self.origin, self.inner
        items = self._seed_of_items, self._rest, self._left, self._end, self._ended
        before = {name: getattr(module, _GET[name])() for name, module in self._modules.items()}
        self.done()
        try:
            yield
        finally:
            self.origin, self.inner = origin, inner
            self._seed_of_items, self._rest, self._left, self._end, self._ended = items
            for name, module in self._modules.items():
                if name in before:
                    getattr(module, _SET[name])(before[name])
                elif origin is not None:
                    self._seed([name], origin)

    def _go_on(self) -> None:
        """Let what was loaded before go on from where it was, and the rest start from the system's chance."""
        self.origin = None
        for name, module in self._modules.items():
            if name in self._before:
                getattr(module, _SET[name])(self._before[name])
            else:
                module.seed()

    def _found(self, name: str, module: Any) -> None:
        is_first = not self._modules
        self._modules[name] = module
        if self._seed_of_items is not None:
            self._begin_item(self._seed_of_items)
            if is_first:
                self._left = tuple(self._rest)  # the quick iteration ends there
        elif self.origin is not None:
            self._seed([name], self.origin)

    def _seed(self, names: list[str], origin: SeedOrigin) -> None:
        from cloaca.seed import derived

        seed = derived(*origin)
        for name in names:
            _SEED[name](self._modules[name], seed)


# Both modules make the same numbers of the same words of 32 bits, and so does `random.Random(context.seed)`: a third
# word keeps them apart.


def _seed_random(module: Any, seed: int) -> None:
    module.seed(1 << 64 | seed)


def _seed_numpy(module: Any, seed: int) -> None:
    module.seed([seed & 0xFFFF_FFFF, seed >> 32, 2])


def _is_random_used(module: Any) -> bool:
    _, words, gauss = module.getstate()
    return (words[0], words[-1], gauss) != (_FIRST_WORD, _WORDS, None)


def _is_numpy_used(module: Any) -> bool:
    kind, words, place, has_gauss, _ = module.get_state()
    return (kind, int(words[0]), place, has_gauss) != ("MT19937", _FIRST_WORD, _WORDS, 0)


_FIRST_WORD, _WORDS = 0x8000_0000, 624
"""How a Mersenne twister begins that was given several words as a seed (Matsumoto, 2002), and where it stands then."""

_IS_USED: Mapping[str, Callable[[Any], bool]] = {"random": _is_random_used, "numpy.random.mtrand": _is_numpy_used}
_SEED: Mapping[str, Callable[[Any, int], None]] = {"random": _seed_random, "numpy.random.mtrand": _seed_numpy}
_GET = {"random": "getstate", "numpy.random.mtrand": "get_state"}
_SET = {"random": "setstate", "numpy.random.mtrand": "set_state"}
