"""Fan: a mapped task that was expanded, as the *instances* that it consists of, one for each item.

    expansion done                  all instances ended, and those of the leader
    ---------------> EXPANDED -----------------------------------------------> COMPLETED, FAILED, SKIPPED, CANCELLED

Instances are numbered on from the tasks of the plan (their *units*), so that states, tries, limits and backoffs of both
are kept alike. What an instance sees is what its task sees, and its item; what it sets stays here until all have ended:
then the task writes it, collected, as a task writes anything.

A mapped task that goes through the same items as one of its dependencies *follows* it, item by item: its instance
starts when its leader's has ended well, and sees what that one set on top of what the leader sees.

The tasks of a workflow that runs for each item are mapped tasks, too: they follow each other as in that workflow. So
one may follow several; or none, and still await the head, which tells the items (see `engine/copied`).
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from heapq import heappop, heappush
from math import inf
from typing import Protocol

from msgspec import Struct

from cloaca.engine.ends import End, cost_of
from cloaca.engine.state import State
from cloaca.values.blobs import is_reference, references_among
from cloaca.values.composite import collected
from cloaca.wire.messages import (
    FIGURES,
    Done,
    Items,
    ItemsDone,
    ItemsFound,
    Overlay,
    Slice,
    Usage,
    Version,
    figures_of,
)

MOST_PLACES = 1 << 24
"""How many places the lists and dicts may have that are collected of a task: a key for each item would be too much."""

RAMP = 4
"""An attempt is at a quarter at most of as many instances as were begun before: the first ones show what they take."""


class InCopy(Struct, frozen=True):
    """How a task is mapped that belongs to a workflow which runs for each item. All tasks are given by rank.

    `head` is the one that tells the items; `follows` are those of its dependencies that belong to the copy, as listed.
    Its instances see their item under the key `item`, and so they aren't called with it. `is_end`: it stands for the
    copies as wholes, and gathers what each has left under keys that begin with `prefix`.
    """

    head: int
    follows: tuple[int, ...]
    item: str
    prefix: str
    is_end: bool = False


class Each(Struct, frozen=True):
    """How a task is mapped.

    `key` is that of the items. `expansion` is the number of the published function that tells them one by one, 0 where
    the task `follows` another one, given by rank. `writes`: keys that it is known to set. `inner`: how it is one of a
    workflow that runs for each item; then that tells what it follows.
    """

    key: str
    expansion: int = 0
    follows: int | None = None
    writes: tuple[str, ...] = ()
    inner: InCopy | None = None

    @property
    def led_by(self) -> tuple[int, ...]:
        """The tasks that it goes after item by item."""
        if self.inner is not None:
            return self.inner.follows
        return () if self.follows is None else (self.follows,)

    def head(self, rank: int) -> int | None:
        """The task of which it awaits the items, other than itself."""
        if self.inner is None:
            return self.follows
        return None if self.inner.head == rank else self.inner.head


class OwnCopy(Protocol):
    """What instances of a workflow that runs for each item see of their copies (see `engine/copied`)."""

    def told(self, fan: "Fan", index: int) -> dict[str, tuple[Version, ...]]:
        """What an instance sees on top of what all of its task see."""
        ...

    def told_by_task(self, fan: "Fan", index: int) -> dict[str, tuple[Version, ...]]:
        """The same with the names of tasks, wherever the item stands."""
        ...

    def joined(self, fan: "Fan", index: int) -> tuple[str, ...]:
        """The keys of which several versions stand at an instance."""
        ...


class Fan:
    """The instances of one mapped task. `first` is the unit of the first one.

    `leaders` are the fans that it follows; they have the same `items`, and so has the `head`, where that isn't one of
    them: the fan whose task was expanded.
    """

    def __init__(
        self,
        task: str,
        rank: int,
        first: int,
        each: Each,
        items: ItemsFound,
        leaders: "tuple[Fan, ...]" = (),
        head: "Fan | None" = None,
    ) -> None:
        self.task = task
        self.rank = rank
        self.first = first
        self.leaders = leaders
        self.head: Fan = leaders[0].head if leaders else head or self
        """The fan whose task was expanded: where all that follow each other see the context from."""
        self.followers: list[Fan] = []
        self.members: list[Fan] = []
        """Of the head: all that are seen from it, by rank."""
        self.above = _above(leaders)
        """The fans that it follows, and those that they follow, the nearest first."""
        self.copied: OwnCopy | None = None
        """What its instances see of their copies, where it belongs to a workflow that runs for each item."""
        self.slice: Slice | None = None
        """What all instances see alike, once it was asked for."""
        self._each = each
        self.keys, self.size, self._labels = items.keys, len(items.payloads), items.labels
        self._items: list[bytes | None] = []
        self._needed = [0] * self.size if self.is_head else []  # of the head: by how many that haven't ended
        if self.is_head:
            self._items += items.payloads
        for leader in leaders:
            leader.followers.append(self)
        self.head.members.append(self)
        self.head._needed = [count + 1 for count in self.head._needed]
        self.unended = self.size
        self._awaited = array("I", [len(leaders)]) * self.size if len(leaders) > 1 else array("I")
        self._next = 0 if self.is_head else self.size  # from here on none was ever taken
        self._again: list[int] = []  # those that are ready beside these: a heap
        self._counts = dict.fromkeys(State, 0)
        self._first: dict[State, int] = {}  # that ended so, in the order of the items
        self.is_too_wide = False
        """Whether its instances set too many keys to be collected: most likely one for each item."""
        self.goes_one_by_one = False
        """Whether no attempt is at several of its instances."""
        self._keys_set: list[tuple[str, ...]] = [()] * self.size  # mostly the very ones that others have
        self._written_there: list[tuple[bytes | None, ...]] = [()] * self.size
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._taken = 0
        self.has_stored = False
        """Whether an instance that is seen from this head has set a large value."""
        self._started, self._ended, self._busy, self._cpu = inf, 0.0, 0.0, 0.0
        self._peak = self._read = self._mapped = self._written = 0
        self._open = 0  # of the head: how many of those that are seen from it haven't ended
        self.head._open += 1

    def name(self, index: int) -> str:
        """What an instance is called: `process[3]`, `process['north']`."""
        return f"{self.task}[{self.label(index)}]"

    def label(self, index: int) -> str:
        """What an item is called."""
        return str(index) if self._labels is None else self._labels[index]

    @property
    def beside(self) -> "list[Fan]":
        """Of the head of copies: those that begin a copy as it does. Their instances wait for its own to begin."""
        return [fan for fan in self.members if fan is not self and not fan.leaders]

    @property
    def is_head(self) -> bool:
        """Whether its task was expanded."""
        return self.head is self

    @property
    def leader(self) -> "Fan | None":
        """The last one of those that it follows, where it follows any."""
        return self.leaders[-1] if self.leaders else None

    @property
    def inner(self) -> InCopy | None:
        """How it belongs to a workflow that runs for each item, if it does."""
        return self._each.inner

    @property
    def is_end(self) -> bool:
        """Whether its instances stand for copies as wholes."""
        return self._each.inner is not None and self._each.inner.is_end

    @property
    def has_overlay(self) -> bool:
        """Whether an instance sees anything else than the others do, beside the item that it is called with."""
        return bool(self.leaders) or self.copied is not None

    def close(self) -> "list[Fan]":
        """One that is seen from this head has ended; when all have, returns them all."""
        self._open -= 1
        return [] if self._open else self.members

    # ---- which are ready -------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """How many instances could be submitted now."""
        return len(self._again) + self.size - self._next

    @property
    def has_returned(self) -> bool:
        """Whether one that was taken before could be submitted again, or follows one that has ended."""
        return bool(self._again)

    @property
    def ready_units(self) -> list[int]:
        """Which ones."""
        return [self.first + index for index in (*sorted(self._again), *range(self._next, self.size))]

    def take(self, most: int, attempts: Sequence[int]) -> range:
        """Take out the first one that is ready, and those beside it, up to so many; returns their units.

        One that was tried before, as `attempts` tells by unit, stays alone.
        """
        most = 1 if self.goes_one_by_one else max(1, min(most, self._taken // RAMP))
        start = heappop(self._again) if self._again else self._next
        stop = start + 1
        if start == self._next:
            stop = self._next = min(start + most, self.size)
        elif not attempts[self.first + start]:
            while stop - start < most and self._again[:1] == [stop] and not attempts[self.first + stop]:
                heappop(self._again)
                stop += 1
        self._taken += stop - start
        return range(self.first + start, self.first + stop)

    def offer(self, unit: int) -> None:
        """It is ready, again or at last."""
        heappush(self._again, unit - self.first)

    def led(self, index: int, count: int) -> list[int]:
        """One that it follows has ended, at so many places: returns those at which all have."""
        past = index + count
        if not self._awaited:
            return [*range(index, past)]
        self._awaited[index:past] = left = array("I", [number - 1 for number in self._awaited[index:past]])
        return [place for place, number in enumerate(left, index) if not number]

    def withdraw(self) -> None:
        """None is ready any more."""
        self._again.clear()
        self._next = self.size

    # ---- what an instance is given ---------------------------------------------------------------------------------

    def items(self, index: int, count: int, overlays: list[Overlay] | None = None) -> Items:
        """What so many instances are sent, from that one on."""
        past = index + count
        keys = None if self.keys is None else [*self.keys[index:past]]
        writers: tuple[str, ...] = (self.head.task,)
        labels = None if self._labels is None else [*self._labels[index:past]]
        if self.inner is not None:  # they stand in the context
            return Items([b""] * count, keys, self.inner.item, writers, self.task, index, labels, overlays, True)  # noqa: FBT003 - in their order
        payloads = [payload or b"" for payload in self.head._items[index:past]]
        if self.leaders:
            made = [self._item(place, own) for place, own in enumerate(payloads, index)]
            payloads, writers = [item for item, _ in made], tuple([writer for _, writer in made])
        if count == 1:
            return Items(payloads, keys, self._each.key, writers)
        return Items(payloads, keys, self._each.key, writers, self.task, index, labels, overlays)

    def _item(self, index: int, own: bytes) -> tuple[bytes, str]:
        """An instance's item, and who made it: what its leader's instance set in place of its own one, if it did."""
        for fan in () if self.inner is not None else self.above:
            payload = fan.wrote(index).get(self._each.key)
            if payload is not None:
                return payload, fan.name(index)
        return own, self.head.task

    def item(self, index: int) -> tuple[bytes, bytes | None]:
        """What an instance is for, and its key, if it has one."""
        payload, _ = self._item(index, self.head._items[index] or b"")
        return payload, None if self.keys is None else self.keys[index]

    def set_before(self, index: int) -> dict[str, tuple[Version, ...]]:
        """What an instance sees on top of the slice, each with the task whose instance has set it."""
        if self.copied is not None:
            return self.copied.told_by_task(self, index)
        return {
            key: () if payload is None else (Version(fan.task, payload),)
            for fan in reversed(self.above)
            for key, payload in fan.wrote(index).items()
        }

    def overlay(self, index: int) -> dict[str, tuple[Version, ...]]:
        """What an instance sees on top of the slice: what the instances before it wrote for the same item."""
        if self.copied is not None:
            return self.copied.told(self, index)
        return {
            key: () if payload is None else (Version(fan.name(index), payload),)
            for fan in reversed(self.above)
            for key, payload in fan.wrote(index).items()
        }

    def wrote(self, index: int) -> Mapping[str, bytes | None]:
        """What an instance has set and removed."""
        return dict(zip(self._keys_set[index], self._written_there[index], strict=True))

    def before(self, index: int, key: str) -> "tuple[Fan | None, bytes | None]":
        """What the instance would have found under a key that was set before it for the same item; and where."""
        return next(((fan, fan.wrote(index)[key]) for fan in self.above if key in fan.wrote(index)), (None, None))

    def spend(self, index: int, count: int) -> list[bytes | None]:
        """So many instances have ended, from that one on: returns their items, where nobody else will need them."""
        head, past = self.head, index + count
        head._needed[index:past] = needed = [number - 1 for number in head._needed[index:past]]
        if not any(needed):
            spent, head._items[index:past] = head._items[index:past], [None] * count
            return spent
        spent = []
        for place in [place for place, number in enumerate(needed, index) if not number]:
            spent.append(head._items[place])
            head._items[place] = None
        return spent

    # ---- what came of it -------------------------------------------------------------------------------------------

    def values(self) -> Iterator[tuple[str, int | None, bytes]]:
        """All that is held here: the key, which instance set it (`None`: it is an item), and the payload."""
        yield from ((self._each.key, None, payload) for payload in self._items if payload is not None)
        for index in range(len(self._keys_set)):
            yield from ((key, index, payload) for key, payload in self.wrote(index).items() if payload is not None)

    def keep(self, index: int, done: ItemsDone) -> None:
        """Instances have set and removed this, from that one on."""
        past = index + len(done.written)
        first, known = done.keys[0], self._names
        if done.keys.count(first) == len(done.keys):  # as mostly
            self._keys_set[index:past] = [known.setdefault(first, first) if first else ()] * len(done.keys)
        else:
            self._keys_set[index:past] = [known.setdefault(keys, keys) if keys else () for keys in done.keys]
        self._written_there[index:past] = done.written
        self.head.has_stored |= bool(done.stored)

    def keep_one(self, index: int, keys: tuple[str, ...], payloads: tuple[bytes | None, ...]) -> None:
        """An instance without an attempt has left this."""
        self._keys_set[index] = self._names.setdefault(keys, keys) if keys else ()
        self._written_there[index] = payloads

    def forget(self, index: int) -> list[bytes]:
        """Nobody will ask any more for what an instance has set: returns the large values among it."""
        large = [payload for payload in self._written_there[index] if payload is not None]
        self._keys_set[index] = self._written_there[index] = ()
        return references_among(large)

    def count(self, index: int, count: int, state: State) -> None:
        """So many instances have ended so, from that one on."""
        self.unended -= count
        self._counts[state] += count
        self._first[state] = min(index, self._first.get(state, index))

    def cost(self, end: End) -> None:
        """What the last attempt of an instance has cost that ended so."""
        usage = cost_of(end)
        if usage is not None:
            self.add(usage)

    def cost_of_all(self, figures: bytes) -> None:
        """What attempts have cost that have ended well, by their `FIGURES`."""
        view = memoryview(figures)
        seconds, whole = view.cast("d"), view.cast("q")
        started, ended, cpu = seconds[0::8], seconds[1::8], seconds[2::8]
        self._started = min(self._started, *started)
        self._ended = max(self._ended, *ended)
        self._busy += sum(ended) - sum(started)
        self._cpu += sum(cpu)
        self._peak = max(self._peak, *whole[3::8])
        self._read += sum(whole[4::8])
        self._mapped += sum(whole[5::8])
        self._written += sum(whole[6::8])

    def add(self, usage: Usage) -> None:
        """An attempt that ended has cost this."""
        self._started = min(self._started, usage.started)
        self._ended = max(self._ended, usage.ended)
        self._busy += usage.ended - usage.started
        self._peak = max(self._peak, usage.peak_memory)
        self._cpu += usage.cpu
        self._read += usage.bytes_read
        self._mapped += usage.bytes_mapped
        self._written += usage.bytes_written

    @property
    def usage(self) -> Usage:
        """What all attempts together have cost: from the first begin to the last end, and all else summed."""
        started = min(self._started, self._ended)
        return Usage(started, self._ended, self._cpu, self._peak, (), self._read, self._mapped, self._written)

    @property
    def seconds(self) -> float:
        """How long an attempt of an instance took, all in all."""
        return self._busy / max(1, self.size)

    def counted(self, state: State) -> int:
        """How many instances have ended so."""
        return self._counts[state]

    def first_that(self, state: State) -> int | None:
        """The first one, in the order of the items, of those that have ended so."""
        return self._first.get(state)

    @property
    def state(self) -> State:
        """How the task ends, when all instances have."""
        if self._counts[State.FAILED] or self.is_too_wide:
            return State.FAILED
        if self._counts[State.CANCELLED]:
            return State.CANCELLED
        return State.SKIPPED if self.size and self._counts[State.SKIPPED] == self.size else State.COMPLETED

    @property
    def has_succeeded(self) -> bool:
        """Whether the task counts as ended well at its dependents: an instance did, or there were none to fail."""
        return not self.is_too_wide and bool(self._counts[State.COMPLETED] or not self.size)

    def collect(self) -> dict[str, bytes | None]:
        """What the task writes: for each key that an instance set, the values of all, as a list or a dict.

        A key that some have removed, and none has set, is removed. Where no instance completed, as there are none or
        all failed, the places are empty of the keys that they are known to set. Nothing is written where that would
        take too many places.
        """
        has_completed = self._counts[State.COMPLETED]
        keys = self.keys_set if has_completed else dict.fromkeys(self._each.writes)
        self.is_too_wide = len(keys) > 1 and len(keys) * self.size > MOST_PLACES
        return {} if self.is_too_wide else {key: self.collected(key) for key in keys}

    def collected(self, key: str, *, without_large: bool = False) -> bytes | None:
        """The values of all instances under that key. Those in files may be left out: their places are empty then."""
        place = {keys: keys.index(key) for keys in self._names if key in keys}
        columns = zip(self._keys_set, self._written_there, strict=True)
        column = [values[place[keys]] if keys in place else None for keys, values in columns]
        if self._counts[State.COMPLETED] and all(payload is None for payload in column):
            return None
        if without_large:
            column = [None if payload is None or is_reference(payload) else payload for payload in column]
        return collected(column, self.keys)

    @property
    def keys_set(self) -> Mapping[str, None]:
        """The keys that instances have set or removed, in the order in which items did so first."""
        sets = dict.fromkeys(self._keys_set)
        return dict.fromkeys(key for keys in sets for key in keys)

    def let_go(self) -> None:
        """Nobody will ask any more for what instances were given and have set."""
        self._items, self._keys_set, self._written_there, self.slice = [], [], [], None


def _above(leaders: Sequence[Fan]) -> list[Fan]:
    found = {above.rank: above for leader in leaders for above in (leader, *leader.above)}
    return [found[rank] for rank in sorted(found, reverse=True)]


def together(ends: Sequence[Done]) -> ItemsDone:
    """The ends of instances that stand side by side, each told as that of a task, as those of several are told."""
    figures = b"".join([FIGURES.pack(*figures_of(done.usage)) for done in ends])
    written = [(*done.diff.values(),) for done in ends]
    stored = [payload for payloads in written for payload in references_among(payloads)]
    looked = [done.looked for done in ends] if ends[0].looked is not None else ()
    phases = [done.usage.phases for done in ends]
    return ItemsDone(
        ends[0].attempt,
        figures,
        written,
        [(*done.diff,) for done in ends],
        [done.usage.read for done in ends],
        stored,
        looked,
        phases if any(phases) else (),
    )
