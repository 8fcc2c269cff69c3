"""Copied: what the tasks of a workflow that runs for each item see of their own copy.

Such a workflow is not copied into the plan. Each of its tasks is one mapped task, and the copy of an item is made of
the instances for that item, one of each. They follow each other as the tasks of the workflow do: an instance begins by
the rule of its task once those that it depends on have ended, in its copy. One more task, the *end*, stands for the
copies as wholes. Only what that gathers is seen from outside.

What an instance sees
    What the first task of the copy sees (its slice, the same for all), then its item, then what its ancestors in the
    copy have set. Where one of these came after all others that set a key, that is a look at them one by one. Where
    several stand side by side, a `History` of that copy and key alone tells them as any join is told, and is dropped:
    so a copy merges as the workflow does by itself. That costs what a join costs, and only at a join.

What a copy leaves
    When its last tasks have ended, the end of the copy keeps what they see, and all else that its instances have set is
    let go of: so the values of copies that are through don't pile up. No attempt is made for that, unless a key has
    several versions there: then one merges them. A key that a task has set to what was there before it counts for what
    is gathered, and for nothing else.

Roads not taken
    A run inside a task for each copy would cost a run, and lose limits, retries and deaths of the tasks inside. Adding
    each copy to the plan when its items are known would cost as much as its tasks' names, ranks and edges, times the
    items.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from cloaca.engine.fan import Fan
from cloaca.errors import MERGE, InternalError
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.history.telling import PlaceOf, Told
from cloaca.wire.messages import UNCHANGED, ItemsDone, Version


class CopyLeft(NamedTuple):
    """What a copy has left: the keys, and their payloads. `joined`: keys of which several versions stand there."""

    keys: tuple[str, ...]
    payloads: tuple[bytes | None, ...]
    joined: tuple[str, ...]


class Copied:
    """The copies that belong to one `head`. The run's history tells what stands `outside` of them.

    `ruled`: the keys that have merge rules; `place_of`: where the function of a task stands, by rank.
    """

    def __init__(self, head: Fan, outside: History, ruled: frozenset[str], place_of: PlaceOf) -> None:
        if head.inner is None:
            raise InternalError(f"Task {head.task!r} belongs to no workflow that runs for each item")
        self._rank, self._task = head.rank, head.task
        self._item = head.inner.item
        self._prefix = head.inner.prefix
        self._outside = outside
        self._ruled = ruled
        self._place_of = place_of

    def told(self, fan: Fan, index: int) -> dict[str, Told]:
        """What an instance sees on top of what all of its task see. Versions have the names of instances."""
        return self._seen(fan, index, lambda above: above.name(index))

    def told_by_task(self, fan: Fan, index: int) -> dict[str, Told]:
        """The same with the names of tasks, wherever the item stands."""
        return self._seen(fan, index, lambda above: above.task)

    def joined(self, fan: Fan, index: int) -> tuple[str, ...]:
        """The keys of which several versions stand at an instance."""
        return tuple([key for key, writers in self._standing(fan, index).items() if len(writers) > 1])

    def _seen(self, fan: Fan, index: int, name_of: Callable[[Fan], str]) -> dict[str, Told]:
        standing = self._standing(fan, index)
        found: dict[str, Told] = {}
        if self._item not in standing:
            found[self._item] = (Version(self._task, fan.item(index)[0]),)
        for key, writers in standing.items():
            if len(writers) > 1:
                found[key] = self._join(fan, index, key, name_of)
                continue
            payload = writers[0].wrote(index)[key]
            found[key] = () if payload is None else (Version(name_of(writers[0]), payload),)
        return found

    def _standing(self, fan: Fan, index: int) -> dict[str, list[Fan]]:
        """Whose writes stand before an instance, by key, in the order of the plan."""
        order = fan.above[::-1]
        writers: dict[str, list[Fan]] = {}
        for above in order:
            for key in above.wrote(index):
                if key.startswith(self._prefix):
                    writers.setdefault(key, []).append(above)
        several = {key: _standing_of(fans) for key, fans in writers.items() if len(fans) > 1}
        if not several:
            return writers
        standing = writers | several
        keys = dict.fromkeys(key for above in order for key in above.wrote(index) if above in standing.get(key, ()))
        return {key: standing[key] for key in keys}

    def _join(self, fan: Fan, index: int, key: str, name_of: Callable[[Fan], str]) -> Told:
        """What is told of a key that several have set side by side.

        Whoever merges them remembers what they come to by who wrote them: so each copy's need names of their own.
        """
        members = [*reversed(fan.above), fan]
        base = _as_one(key, self._outside.versions(self._rank, key))
        if key == self._item:
            base = (Version(self._task, fan.item(index)[0]),)
        history = History(
            _plan_of(members, tuple(map(name_of, members))),
            dict.fromkeys([key], *base) if base else {},
            ruled=self._ruled,
            place_of=lambda place: self._place_of(members[place].rank),
        )
        for place, member in enumerate(members[:-1]):
            wrote = member.wrote(index)
            history.record(place, {key: wrote[key]} if key in wrote else {})
        return history.versions(len(members) - 1, key)

    # ---- what it leaves --------------------------------------------------------------------------------------------

    def gathered(self, fan: Fan, index: int) -> CopyLeft:
        """What stands at the end of a copy, of the keys that any of it has set."""
        standing = self._standing(fan, index)
        found = {key: writers[0].wrote(index)[key] for key, writers in standing.items()}
        for key, payload in self._unchanged(fan, index):
            found.setdefault(key, payload)
        joined = tuple([key for key, writers in standing.items() if len(writers) > 1])
        return CopyLeft((*found,), (*found.values(),), joined)

    def _unchanged(self, fan: Fan, index: int) -> Iterator[tuple[str, bytes | None]]:
        for above in reversed(fan.above):
            for key, payload in above.wrote(index).items():
                if not key.startswith(self._prefix):
                    yield key.removeprefix(UNCHANGED), payload

    def ended_with(self, fan: Fan, index: int, event: ItemsDone) -> ItemsDone:
        """The ends of attempts that have merged what stands at the end of copies, with all that these have left."""
        told = zip(event.keys, event.written, strict=True)
        left = [self._left(fan, place, keys, payloads) for place, (keys, payloads) in enumerate(told, index)]
        return replace(event, keys=[(*one,) for one in left], written=[(*one.values(),) for one in left])

    def _left(
        self, fan: Fan, index: int, keys: tuple[str, ...], payloads: tuple[bytes | None, ...]
    ) -> dict[str, bytes | None]:
        gathered = self.gathered(fan, index)
        left = dict(zip(gathered.keys, gathered.payloads, strict=True)) | dict.fromkeys(gathered.joined)
        return left | dict(zip([key.removeprefix(UNCHANGED) for key in keys], payloads, strict=True))


def _standing_of(fans: Sequence[Fan]) -> list[Fan]:
    """Those after which none of the others comes."""
    superseded = {above.rank for fan in fans for above in fan.above}
    return [fan for fan in fans if fan.rank not in superseded]


def _as_one(key: str, told: Told) -> Told:
    """What stands outside as one version, if anything does."""
    if not told or (len(told) == 1 and (told[0].payload is not None or told[0].rivals)):
        return told
    return () if len(told) == 1 else (Version(MERGE, None, rivals=told, source=key),)


def _plan_of(members: Sequence[Fan], names: tuple[str, ...]) -> Plan:
    """The plan of a copy, as far as it comes before the last one of these."""
    places = {member.rank: place for place, member in enumerate(members)}
    predecessors = tuple([tuple([places[leader.rank] for leader in member.leaders]) for member in members])
    successors: list[list[int]] = [[] for _ in members]
    for place, above in enumerate(predecessors):
        for one in above:
            successors[one].append(place)
    ranks = range(len(members))
    return Plan(names, predecessors, tuple(map(tuple, successors)), ranks, dict(zip(names, ranks, strict=True)))
