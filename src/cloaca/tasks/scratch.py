"""worker_state: what a runner's initializer has left for the tasks that run in the same process.

    initializer --sets attributes--> space <--read attributes-- tasks, functions of map

A worker has one space, that of its process. With the serial executor a runner with an initializer has one of its own,
and its tasks run inside it: so two such runners in one program don't disturb each other. Threads that a task has
started find the space that was entered last.
"""

from collections.abc import Generator
from contextlib import contextmanager
from threading import local
from typing import Any

from cloaca.lasting import lasting


class Space:
    """Attributes by name, equal to itself alone."""


class _Thread(local):
    space: Space | None = None


_process = Space()
_entered: list[Space] = []
_thread = _Thread()


@contextmanager
def inside(space: Space) -> Generator[None, None, None]:
    """On this thread, `worker_state` has the attributes of that space."""
    before, _thread.space = _thread.space, space
    _entered.append(space)
    try:
        yield
    finally:
        _thread.space = before
        _entered.remove(space)


def _attributes() -> dict[str, Any]:
    return vars(_thread.space or next(reversed(_entered), _process))


class WorkerState:
    """The scratch of a worker: attributes that the runner's `initializer` sets, for tasks to read.

    Nothing of it is sent anywhere. What a task changes here stays in its worker, where the next task may find it or
    not: results must not depend on it. An attribute that nobody has set raises an `AttributeError` that says so.

    >>> import cloaca
    >>> def load():
    ...     cloaca.worker_state.rates = {"EUR": 1.1}
    >>> with cloaca.DefaultRunner(workers=1, initializer=load) as runner:
    ...     list(runner.map(lambda euros: cloaca.worker_state.rates["EUR"] * euros, [10, 20]))
    [11.0, 22.0]
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        attributes = _attributes()
        if name in attributes:
            return attributes[name]
        raise AttributeError(_missing(name, sorted(attributes)), name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        _attributes()[name] = value

    def __delattr__(self, name: str) -> None:
        attributes = _attributes()
        if name not in attributes:
            raise AttributeError(_missing(name, sorted(attributes)), name=name)
        del attributes[name]

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *_attributes()})

    def __repr__(self) -> str:
        return f"<cloaca.worker_state with {_listed(sorted(_attributes()))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return of_this_process, ()


def _missing(name: str, names: list[str]) -> str:
    return (
        f"cloaca.worker_state has no attribute {name!r} (it has {_listed(names)}). Let the runner's initializer set "
        f"it: DefaultRunner(initializer=...) with a function that does cloaca.worker_state.{name} = ..."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


@lasting
def of_this_process() -> WorkerState:
    """A function that captured the object means that of the process that it runs in."""
    return worker_state


worker_state = WorkerState()
