"""Lifetimes: which large values no task can read any more, while the run goes on.

A value that stands is kept to the end, as a part of the final context, unless the workflow says that nobody asks for
its key there (see `unwanted`). One that was superseded is kept as long as somebody may still need it; who that is
depends on what it is.

- *Opaque*: no list or dict, its key has no rule, and no writer saw it beside others. It matters only as long as it
  stands somewhere: for a task that comes after its writer and after no write that supersedes it. Such a task is its
  *witness*. When the witness has ended the search for another goes on where it was left; no task is looked at twice, so
  a value costs at most the tasks after its writer.
- All others: what each write changed may matter wherever branches meet later. They are kept until a write came after
  them that stands apart, as all other writes so far came before or after it, and every task that hasn't ended comes
  after that one. It is enough to look at the tasks that could run now: all others come after one of them. Here too a
  single witness against is looked at until it ends.

All answers err on the safe side: where it isn't known whether a task comes after another, the value is kept. That is
so only where their ranks are far apart.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from msgspec import Struct

from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.unwanted import Demand, Unwanted
from cloaca.history.write import INPUT_RANK, Write
from cloaca.values.blobs import MARK, blob_of, is_reference
from cloaca.values.composite import is_composite

_LOOKED_AT = 64
"""How many of the writes that supersede one are looked at."""


class _WatchedWrite(Struct, eq=False):
    """A superseded opaque value, who superseded it, and the tasks that may see it, one after the other."""

    write: Write
    superseded_by: list[Write]
    witnesses: Iterator[int] | None = None
    witness: int | None = None


class Lifetimes:
    """Watches the large values of one run.

    `ruled`: the keys that have merge rules; `collected`: those whose values are kept by task. `demand`: what is asked
    for, where the workflow says so.
    """

    def __init__(
        self,
        plan: Plan,
        history: History,
        *,
        ruled: AbstractSet[str],
        collected: AbstractSet[str],
        demand: Demand | None = None,
    ) -> None:
        self._plan = plan
        self._history = history
        self._ruled = ruled
        self._collected = collected
        self._has_ended = bytearray(len(plan.names))
        self._watched: dict[Write, _WatchedWrite] = {}
        self._by_witness: dict[int, list[tuple[str, _WatchedWrite]]] = {}
        self._structures: dict[str, dict[Write, None]] = {}
        self._apart: dict[str, deque[Write]] = {}
        self._keys_by_witness: dict[int, list[str]] = {}
        self._waiting: set[str] = set()  # the keys that are there
        self._due: list[tuple[str, _WatchedWrite]] = []
        self._due_keys: set[str] = set()
        self._released: set[Write] = set()  # as unwanted
        self._unwanted = unwanted = None if demand is None else Unwanted(plan, history.ancestry, demand)
        if unwanted is not None:
            for key, writes in history.standing().items():
                for write in writes:
                    _note_unwanted(key, write, unwanted)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is watched: then there is nothing to be told."""
        return not self._watched and not self._structures and (self._unwanted is None or self._unwanted.is_idle)

    def written(self, key: str, write: Write) -> None:
        """A write was recorded: it supersedes all that its writer saw of the key."""
        if self._unwanted is not None:
            _note_unwanted(key, write, self._unwanted)
        if key in self._collected:  # every task's value stays part of the key's
            return
        for seen in write.seen:
            payload = seen.version.payload
            if payload is None or not _is_large(payload):
                continue
            is_kept = seen in self._structures.get(key, ())
            if is_kept or key in self._ruled or len(write.seen) > 1 or _is_structure(payload):
                self._watched.pop(seen, None)
                self._structures.setdefault(key, {})[seen] = None
                continue
            watched = self._watched.get(seen)
            if watched is None:
                watched = self._watched[seen] = _WatchedWrite(seen, [])
                watched.witnesses = self._witnesses(key, watched)
            if len(watched.superseded_by) < _LOOKED_AT:
                watched.superseded_by.append(write)
                self._due.append((key, watched))
        if key in self._structures:
            self._due_keys.add(key)
            self._note_apart(key, write)

    def _note_apart(self, key: str, write: Write) -> None:
        """Keep those writes of the key that all others so far came before or after, in their order."""
        apart = self._apart.setdefault(key, deque())
        while apart and not self._history.ancestry.is_known_above(apart[-1].rank, write.rank):
            apart.pop()
        if self._history.stands_alone(key, write):
            apart.append(write)

    def ended(self, rank: int) -> None:
        """A task has ended."""
        self._has_ended[rank] = True
        if self._unwanted is not None:
            self._unwanted.ended(rank)
        if rank in self._by_witness:
            self._due += [entry for entry in self._by_witness.pop(rank) if entry[1].witness == rank]
        if rank in self._keys_by_witness:
            keys = self._keys_by_witness.pop(rank)
            self._waiting.difference_update(keys)
            self._due_keys.update(keys)

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
            elif witness != watched.witness:
                watched.witness = witness
                self._by_witness.setdefault(witness, []).append((key, watched))
        for key in sorted(self._due_keys - self._waiting):  # a key is due with each of its writes
            found += self._released_structures(key, current)
        self._due_keys.clear()
        if found and self._history.shared:
            found = [write for write in found if write.version.payload not in self._history.shared]
        return found if self._unwanted is None else self._with_unwanted(found, self._unwanted)

    def _with_unwanted(self, superseded: list[Write], unwanted: Unwanted) -> list[Write]:
        found = [write for write in superseded if write not in self._released]
        unwanted.forget(found)
        further = unwanted.released()
        self._released.update(further)
        return [*found, *further]

    def _witnesses(self, key: str, watched: _WatchedWrite) -> Iterator[int]:
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
        return any(self._history.ancestry.is_known_above(write.rank, task) for write in writes)

    def _released_structures(self, key: str, current: Callable[[], Iterable[int]]) -> list[Write]:
        kept, apart = self._structures[key], self._apart[key]
        floor, witness = INPUT_RANK, None
        while apart and (witness := self._witness_against(apart[0], current())) is None:
            floor = apart.popleft().rank
        released = [write for write in kept if write.rank < floor]
        for write in released:
            del kept[write]
        if not kept:
            del self._structures[key], self._apart[key]
        elif witness is not None:
            self._keys_by_witness.setdefault(witness, []).append(key)
            self._waiting.add(key)
        return released

    def _witness_against(self, write: Write, current: Iterable[int]) -> int | None:
        """A task that hasn't ended and isn't known to come after the write."""
        is_above = self._history.ancestry.is_known_above
        return next((task for task in current if not is_above(write.rank, task)), None)


def _note_unwanted(key: str, write: Write, unwanted: Unwanted) -> None:
    payload = write.version.payload
    if payload is not None and _is_large(payload):
        unwanted.written(key, write)


def _is_large(payload: bytes) -> bool:
    """Whether a value is in a file, or what mapped tasks have collected in several."""
    return payload[:1] == MARK[:1] and (is_reference(payload) or is_composite(payload))


def _is_structure(payload: bytes) -> bool:
    return is_composite(payload) or blob_of(payload).is_structure
