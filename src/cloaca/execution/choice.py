"""Which executor a runner has: by name, one that it is given, or makes by a function. What is made is made here."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from cloaca.machine import cores

if TYPE_CHECKING:
    from concurrent.futures import Executor as Futures

    from cloaca.attempts.initializer import Equipment
    from cloaca.attempts.workroom import Workroom
    from cloaca.execution.executor import Executor
    from cloaca.pool.nursery import Nursery
    from cloaca.tasks.context import Context
    from cloaca.values.holder import Holder

ExecutorName = Literal["processes", "threads", "serial"]
Chosen: TypeAlias = "ExecutorName | Futures | Callable[[], Futures]"

HASH_SEED = "0"
"""All workers hash alike, so that the order of a set of strings can't depend on which of them ran a task."""


def checked(executor: object) -> Chosen:
    """What a runner may run on. `ValueError` where it is nothing that runs tasks."""
    is_name = isinstance(executor, str) and executor in get_args(ExecutorName)
    if is_name or callable(getattr(executor, "submit", None)) or callable(executor):
        supplied: Any = executor
        return cast("Chosen", supplied)
    raise ValueError(
        'executor (or CLOACA_EXECUTOR) is "processes", "threads" or "serial", an executor of concurrent.futures (or '
        f"whatever has `submit` as these do), or a function that makes one, not {executor!r}"
    )


def workers_of(chosen: Chosen) -> int:
    """How many attempts run at once where nobody has said."""
    most = getattr(chosen, "_max_workers", None)  # executors don't tell otherwise
    return most if isinstance(most, int) and most > 0 else cores.usable()


class Spare:
    """A nursery that is for whoever takes it out, once, on any thread or in a signal handler; if there is one."""

    def __init__(self, nursery: "Nursery | None" = None) -> None:
        self._held = [] if nursery is None else [nursery]

    def taken(self) -> "Nursery | None":
        """It, if nobody has taken it out."""
        try:
            return self._held.pop()
        except IndexError:
            return None

    def close(self) -> None:
        """Let it end, if nobody has taken it out."""
        if (nursery := self.taken()) is not None:
            nursery.close()


def nursery_for(workers: int) -> Spare:
    """What so many worker processes will be forked from, where that can be done; started now."""
    from cloaca.border.whereabouts import path_here, variables, widened
    from cloaca.pool.nursery import nursery_of

    return Spare(nursery_of(workers, widened(variables, _environment(workers)), path_here()))


def on_processes(
    workers: int, memory_limit: int | None, equipment: "Equipment | None", nursery: "Nursery | None"
) -> "tuple[Executor, Holder]":
    """Worker processes, and where large values lie that they share. Where something lacks for it, nothing is left."""
    from cloaca.pool.pool import Pool  # what follows takes long to load, and other executors do without
    from cloaca.values.storage import Storage

    with ExitStack() as undo:
        if nursery is not None:
            undo.callback(nursery.close)
        pool = Pool(workers, _environment(workers), cores.usable(), memory_limit, equipment, nursery)
        undo.callback(pool.close)
        storage = Storage()
        undo.pop_all()
    return pool, storage


def _environment(workers: int) -> dict[str, str]:
    """What that of workers has beyond the program's own."""
    return {"PYTHONHASHSEED": HASH_SEED, **cores.thread_bounds(workers)}


def on_provider(
    chosen: Chosen,
    workers: int,
    objects: Mapping[int, Any],
    workroom: "Workroom",
    kind: "type[Context]",
    equip: "Callable[[], Equipment | None]",
) -> "tuple[Executor, Holder]":
    """What others make of calls: threads of the program, or other processes. Values are sent along, or stay."""
    from concurrent.futures import ThreadPoolExecutor

    from cloaca.execution.provider import Provider
    from cloaca.values.holder import Nowhere

    own = partial(ThreadPoolExecutor, workers, "cloaca worker")
    provider = Provider(own if isinstance(chosen, str) else chosen)
    try:
        if provider.is_here():
            from cloaca.execution.threads import ThreadsExecutor

            return ThreadsExecutor(provider, workers, objects, workroom, kind), Nowhere()
        from cloaca.execution.elsewhere import ElsewhereExecutor

        return ElsewhereExecutor(provider, workers, equip()), Nowhere()
    except BaseException:
        provider.close()
        raise
