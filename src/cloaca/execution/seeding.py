"""Seeding: `random` and `numpy.random` draw the same numbers in an attempt, whichever process runs it.

What is loaded is seeded when an attempt begins, and what a task imports later right after its import: a process that
never draws pays nothing. This is about the functions of those modules; generators that a task makes without a seed,
`random.Random()` or `numpy.random.default_rng()`, draw theirs from the system.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from threading import Lock
from typing import Any

from cloaca.execution.imports import when_imported
from cloaca.wire.messages import Assignment


@cache
def of_process() -> "Seeding":
    """The one of this process: its watch of imports stays."""
    return Seeding()


class Seeding:
    """Seeds the generators of a process for one attempt after another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0
        self._before: dict[str, Any] = {}
        self._assignment: Assignment | None = None
        self._modules: dict[str, Any] = {}
        for name in _SEED:
            when_imported(name, partial(self._found, name))

    def begin(self, assignment: Assignment) -> None:
        """From here on, what is drawn follows from the attempt's seed."""
        self._assignment = assignment
        if self._modules:
            self._seed(list(self._modules), assignment)

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """What is drawn inside changes nothing outside. With several threads inside, the first and the last count."""
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

    def _go_on(self) -> None:
        """Let what was loaded before go on from where it was, and the rest start from the system's chance."""
        self._assignment = None
        for name, module in self._modules.items():
            if name in self._before:
                getattr(module, _SET[name])(self._before[name])
            else:
                module.seed()

    def _found(self, name: str, module: Any) -> None:
        self._modules[name] = module
        if self._assignment is not None:
            self._seed([name], self._assignment)

    def _seed(self, names: list[str], assignment: Assignment) -> None:
        from cloaca.seed import derived

        seed = derived(assignment.seed, assignment.task, assignment.ended)
        for name in names:
            _SEED[name](self._modules[name], seed)


# Both modules make the same numbers of the same words of 32 bits, and so does `random.Random(context.seed)`: a third
# word keeps them apart.


def _seed_random(module: Any, seed: int) -> None:
    module.seed(1 << 64 | seed)


def _seed_numpy(module: Any, seed: int) -> None:
    module.seed([seed & 0xFFFF_FFFF, seed >> 32, 2])


_SEED: Mapping[str, Callable[[Any, int], None]] = {"random": _seed_random, "numpy.random.mtrand": _seed_numpy}
_GET = {"random": "getstate", "numpy.random.mtrand": "get_state"}
_SET = {"random": "setstate", "numpy.random.mtrand": "set_state"}
