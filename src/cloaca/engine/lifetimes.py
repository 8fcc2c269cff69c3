"""Lifetimes: which large values no task can read any more, while the run goes on.

A value that stands is kept to the end: it may be part of the final context. One that was superseded is kept as long as
somebody may still need it; who that is depends on what it is.

- *Opaque*: no list or dict, its key has no rule, and no writer saw it beside others. It matters only as long as it
  stands somewhere: for a task that comes after its writer and after no write that supersedes it. Such a task is its
  *witness*. When the witness has ended the search for another goes on where it was left; no task is looked at twice, so
  a value costs at most the tasks after its writer.
- All others: what each write changed may matter wherever branches meet later. They are kept until one write came after
  them and before all others, and every task that hasn't ended comes after it. It is enough to look at the tasks that
  could run now: all others come after one of them. Here too a single witness against is looked at until it ends.

All answers err on the safe side: where it isn't known at once whether a task comes after another, the value is kept.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from cloaca.engine.ancestry import FEW
from cloaca.engine.history import History
from cloaca.engine.plan import Plan
from cloaca.engine.write import INPUT_RANK, Write
from cloaca.wire.blobs import blob_of, is_reference


@dataclass(eq=False, slots=True)
class _Watched:
    """A superseded opaque value, who superseded it, and the tasks that may see it, one after the other."""

    write: Write
    superseded_by: list[Write]
    witnesses: Iterator[int] | None = None


class Lifetimes:
    """Watches the large values of one run.

    `ruled`: the keys that have merge rules; `collected`: those whose values are kept by task.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        *,
        ruled: AbstractSet[str],
        collected: AbstractSet[str],
    ) -> None:
        self._plan = plan
        self._history = history
        self._ruled = ruled
        self._collected = collected
        self._has_ended = bytearray(len(plan.names))
        self._watched: dict[Write, _Watched] = {}
        self._by_witness: dict[int, list[tuple[str, _Watched]]] = {}
        self._structures: dict[str, dict[Write, None]] = {}
        self._keys_by_witness: dict[int, set[str]] = {}
        self._due: list[tuple[str, _Watched]] = []
        self._due_keys: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is watched: then there is nothing to be told."""
        return not self._watched and not self._structures

    def superseded(self, key: str, by: Write) -> None:
        """A write superseded all that its writer saw of the key."""
        if key in self._collected:  # every task's value stays part of the key's
            return
        for write in by.seen:
            payload = write.version.payload
            if payload is None or not is_reference(payload):
                continue
            is_kept = write in self._structures.get(key, ())
            if is_kept or key in self._ruled or len(by.seen) > 1 or blob_of(payload).is_structure:
                self._watched.pop(write, None)
                self._structures.setdefault(key, {})[write] = None
                self._due_keys.add(key)
                continue
            watched = self._watched.get(write)
            if watched is None:
                watched = self._watched[write] = _Watched(write, [])
                watched.witnesses = self._witnesses(key, watched)
                self._due.append((key, watched))
            if len(watched.superseded_by) < FEW:
                watched.superseded_by.append(by)
        if key in self._structures:
            self._due_keys.add(key)

    def ended(self, rank: int) -> None:
        """A task has ended."""
        self._has_ended[rank] = True
        self._due += self._by_witness.pop(rank, ())
        self._due_keys |= self._keys_by_witness.pop(rank, set())

    def released(self, current: Callable[[], Iterable[int]]) -> list[Write]:
        """The writes whose values nobody can read any more; each is told once.

        `current` gives the tasks that run or could run now.
        """
        found: list[Write] = []
        while self._due:
            key, watched = self._due.pop()
            if watched.write not in self._watched:
                continue  # it was seen beside others since
            witness = next(watched.witnesses or iter(()), None)
            if witness is None:
                found.append(watched.write)
                del self._watched[watched.write]
            else:
                self._by_witness.setdefault(witness, []).append((key, watched))
        for key in sorted(self._due_keys):
            found += self._released_structures(key, current())
        self._due_keys.clear()
        return found

    def _witnesses(self, key: str, watched: _Watched) -> Iterator[int]:
        """The tasks that may see the value and haven't ended; asked for the next one when the last one has."""
        visited: set[int] = set()
        ahead = list(self._after(watched.write.rank))
        while ahead:
            task = ahead.pop()
            if task in visited:
                continue
            visited.add(task)
            while not self._has_ended[task] and not self._is_after(watched.superseded_by, task):
                yield task
            passes = self._has_ended[task] and not self._history.has_written(task, key)
            if passes and not self._is_after(watched.superseded_by, task):
                ahead += self._plan.successors[task]

    def _after(self, rank: int) -> Iterable[int]:
        if rank != INPUT_RANK:
            return self._plan.successors[rank]
        return (task for task, dependencies in enumerate(self._plan.predecessors) if not dependencies)

    def _is_after(self, writes: Iterable[Write], task: int) -> bool:
        return any(self._history.ancestry.is_surely_above(write.rank, task) for write in writes)

    def _released_structures(self, key: str, current: Iterable[int]) -> list[Write]:
        kept = self._structures.get(key)
        alone = self._history.last_alone(key) if kept else None
        if not kept or alone is None:
            return []  # the next write of the key is the next chance
        for task in current:
            if not self._history.ancestry.is_surely_above(alone.rank, task):
                self._keys_by_witness.setdefault(task, set()).add(key)
                return []
        released = [write for write in kept if write.rank < alone.rank]
        for write in released:
            del kept[write]
        if not kept:
            del self._structures[key]
        return released
