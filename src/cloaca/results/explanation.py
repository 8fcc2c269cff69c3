"""Explanations: what the value of a key in the end is made of."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cloaca.errors import INPUT
from cloaca.history.pedigree import Forebear
from cloaca.merge.lineage import Lineage, members
from cloaca.merge.settled import Conflict
from cloaca.merge.shown import REMOVED, shown
from cloaca.nearest import nearest
from cloaca.tasks.contents import Contents
from cloaca.values.blobs import LARGE, size_of
from cloaca.wire.messages import Version
from cloaca.wording import counted

_LISTED = 20

IN_CONFLICT = "values in conflict"


class Written(NamedTuple):
    """One write: by which `task`, where its function stands, and what it wrote, in short.

    "the input" stands for what the run, or a copy, was given. Of a value that the result doesn't hold any more, its
    size is told. `saw`: the tasks whose writes it saw. `stands`:
    no later writer has seen it, so it counts by itself.
    """

    task: str
    place: str
    value: str
    saw: tuple[str, ...]
    stands: bool

    def __str__(self) -> str:
        place = f" ({self.place})" if self.place else ""
        wrote = "removed it" if self.value == REMOVED else f"set {self.value}"
        saw = f", having seen {_listed(self.saw)}" if self.saw else ""
        return f"{_named(self.task)}{place} {wrote}{saw}"


class Explanation(NamedTuple):
    """What `result.explain(key)` tells: how the `value` of the key, in short, came to be.

    `how`: "given" (the input's, no task has set it), "set" (by the last task that did), "merged", "conflict", or
    "absent". `writes`: all there were, also those that a later writer has seen and replaced: first the ones that came
    before all that stand side by side, then the others, in the order in which they are merged. `rule`: what merged them
    ("list", "dict" for values merged by their structure, or the name of the merge rule). `why`: why the key is absent,
    or what is in conflict.
    """

    key: str
    how: str
    value: str
    writes: tuple[Written, ...] = ()
    rule: str = ""
    why: str = ""

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _lines(self) -> Iterator[str]:
        if self.how == "absent":
            yield f"{self.key!r} is absent. {self.why}".rstrip()
        elif self.how == "conflict":
            yield self.why
        elif self.how == "given":
            yield f"{self.key!r} is {self.value}, as the input gave it: no task has set it."
        elif self.how == "set":
            yield f"{self.key!r} is {self.value}: {self._standing()[0]}."
        else:
            yield from self._told_merged()

    def _standing(self) -> list[Written]:
        return [written for written in self.writes if written.stands]

    def _told_merged(self) -> Iterator[str]:
        by = f" by {self.rule}" if self.rule else ""
        beside = self._standing()
        before = [written for written in self.writes if not written.stands]
        if len(beside) == 1:
            yield f"{self.key!r} is {self.value}, made{by} of all that was written:"
            yield from _rows(self.writes)
            return
        many = counted(len(beside), "task")
        yield f"{self.key!r} is {self.value}, merged{by} of what {many} left side by side, in this order:"
        yield from _rows(beside)
        if before:
            yield "What these went on from:"
            yield from _rows(before)


def _rows(writes: Sequence[Written]) -> Iterator[str]:
    yield from [f"  {written}" for written in writes[:_LISTED]]
    if len(writes) > _LISTED:
        yield f"  ... and {len(writes) - _LISTED} more"


def _named(task: str) -> str:
    return task if task == INPUT else f"task {task!r}"


def explanation_of(
    key: str,
    contents: Contents,
    pedigree: Sequence[Forebear],
    why_absent: Callable[[str], str],
    rule: Callable[[], str],
) -> Explanation:
    """Of a key of the contents in the end. `rule` tells by which rule it was merged: that is found out by merging."""
    told = contents.given.versions.get(key, ())
    writes = tuple(_writes_of(told, pedigree))
    held = contents.held(key)
    if held is None:
        why = _removal(writes) or why_absent(key) or "No task of this execution has set it."
        near = nearest(key, list(contents.present()), 1)
        why += f" Did you mean {near[0]!r}?" if near and not told else ""
        return Explanation(key, "absent", "", writes, why=why)
    if isinstance(held, Conflict):
        return Explanation(key, "conflict", "", writes, why=str(held.error))
    return _of_value(key, writes, held, rule())


def _removal(writes: Sequence[Written]) -> str:
    """Who removed the key, where that is why it is absent; else ""."""
    standing = [str(written) for written in writes if written.stands and written.value == REMOVED]
    return "".join(f"{text[0].upper()}{text[1:]}." for text in standing[:1])


def _of_value(key: str, writes: tuple[Written, ...], held: bytes, rule: str) -> Explanation:
    """Of a key that is there: of its writes, and of the value that they come to, encoded."""
    beside = [written for written in writes if written.stands]
    is_merged = bool(rule) or len(beside) > 1
    how = "merged" if is_merged else "given" if beside[0].task == INPUT else "set"
    return Explanation(key, how, _value(held), writes, rule)


def _writes_of(told: Sequence[Version], pedigree: Sequence[Forebear]) -> Iterator[Written]:
    """All writes of a key, in their order: of what is told at the end, and of its pedigree, if it has one."""
    if not pedigree:
        yield from [Written(one.writer, one.place, _value(one.payload), (), stands=True) for one in told]
        return
    seen = {place for one in pedigree for place in one.saw}
    payloads = {version.writer: version.payload for version in told if not version.is_milestone}
    for place in _as_merged(pedigree):
        one = pedigree[place]
        saw = tuple([pedigree[number].task for number in one.saw])
        yield Written(one.task, one.place, _value_of(one, payloads.get(one.task)), saw, place not in seen)


def _as_merged(pedigree: Sequence[Forebear]) -> list[int]:
    """Their places: first those that came before all that stand side by side, which are the base, then the others."""
    lineage = Lineage([one.saw for one in pedigree])
    everything = lineage.everything
    before = lineage.before_all(lineage.tops(everything), everything)
    return [lineage.places[number] for number in (*members(before), *members(everything & ~before))]


def _value_of(one: Forebear, payload: bytes | None) -> str:
    """What it wrote. Where merging doesn't need a value, something small is told in its place."""
    if payload is not None and size_of(payload) == one.size:
        return _value(payload)
    if one.size is not None:
        return _sized(one.size)
    return IN_CONFLICT if one.task == INPUT else REMOVED


def _value(payload: bytes | None) -> str:
    if payload is None or size_of(payload) < LARGE:
        return shown(payload)
    return _sized(size_of(payload))


def _sized(size: int) -> str:
    return f"a value of {size:,} byte{'' if size == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    told = [name if name == INPUT else repr(name) for name in names[:_LISTED]]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(told) + more
