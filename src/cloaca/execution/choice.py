"""Which executor a runner has: by name, or one of `concurrent.futures` that it is given. What is made is made here."""

from concurrent.futures import Executor as Futures
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from cloaca.attempts.initializer import Equipment
from cloaca.attempts.workroom import Workroom
from cloaca.errors import WorkersUnavailableError
from cloaca.execution.executor import Executor
from cloaca.machine import cores
from cloaca.tasks.context import Context
from cloaca.values.holder import Holder, Nowhere
from cloaca.wording import a

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from cloaca.execution.serial import SerialExecutor

ExecutorName = Literal["processes", "threads", "serial"]
Chosen = ExecutorName | Futures

HASH_SEED = "0"
"""All workers hash alike, so that the order of a set of strings can't depend on which of them ran a task."""

_NAMES: "Mapping[str, ExecutorName]" = {name: name for name in ("processes", "threads", "serial")}


def checked(executor: object) -> Chosen:
    """What a runner may run on. `ValueError` where it is nothing that runs tasks."""
    if isinstance(executor, str) and executor in _NAMES:
        return _NAMES[executor]
    if isinstance(executor, Futures):
        return executor
    raise ValueError(
        'executor (or CLOACA_EXECUTOR) is "processes", "threads" or "serial", or an executor of concurrent.futures '
        f"that runs what it is given on threads of this process, not {executor!r}"
    )


def workers_of(chosen: Chosen) -> int:
    """How many attempts run at once where nobody has said."""
    most = getattr(chosen, "_max_workers", None)  # executors don't tell otherwise
    return most if isinstance(most, int) and most > 0 else cores.usable()


def on_processes(workers: int, memory_limit: int | None, equipment: Equipment | None) -> tuple[Executor, Holder]:
    """Worker processes, and where large values lie that they share. Where something lacks for it, nothing is left."""
    from cloaca.pool.pool import Pool  # what follows takes long to load, and other executors do without
    from cloaca.values.storage import Storage

    environment = {"PYTHONHASHSEED": HASH_SEED, **cores.thread_bounds(workers)}
    pool = Pool(workers, environment, cores.usable(), memory_limit, equipment)
    try:
        return pool, Storage()
    except BaseException:
        pool.close()
        raise


def on_threads(
    chosen: Chosen, workers: int, objects: "Mapping[int, Any]", workroom: Workroom, kind: type[Context]
) -> tuple[Executor, Holder]:
    """Threads of the program: those of the executor that was given, or new ones. Values stay where they are."""
    from cloaca.execution.futures import FuturesExecutor

    close: Callable[[], None] = lambda: None  # noqa: E731 - what was given isn't ours to end
    if isinstance(chosen, str):
        from concurrent.futures import ThreadPoolExecutor

        chosen = ThreadPoolExecutor(workers, "cloaca worker")
        close = partial(chosen.shutdown, wait=False, cancel_futures=True)
    elif not _has_threads_here(chosen):
        raise WorkersUnavailableError(
            f"The executor that the runner was given, {a(type(chosen).__name__)}, doesn't run what it is given on "
            'threads of this process. Give it a ThreadPoolExecutor, or use executor="processes": then cloaca has '
            "workers of its own."
        )
    return FuturesExecutor(chosen, workers, objects, workroom, kind, close), Nowhere()


def _has_threads_here(executor: Futures) -> bool:
    """Whether it hands objects over as they are. Others can't take this function, or bring back a copy."""
    token = object()
    try:
        return executor.submit(lambda: token).result() is token
    except RuntimeError:
        return True  # it was shut down, as will be said when it is to run something
    except Exception:  # noqa: BLE001 - whatever it raises where it can't
        return False


def in_place(
    objects: "Mapping[int, Any]",
    workroom: Workroom,
    gates: "Mapping[int, AbstractContextManager[object]]",
    kind: type[Context],
) -> "SerialExecutor":
    """The thread that calls."""
    from cloaca.execution.serial import SerialExecutor

    return SerialExecutor(objects, workroom, gates, kind)
