"""Reports of workers, looked at before the program builds on them: a task may have written to what isn't its own."""

from math import inf
from operator import le
from time import monotonic
from typing import TypeVar

from msgspec import MsgspecError, msgpack
from msgspec.structs import replace

from cloaca.values.blobs import MARK as REFERRING
from cloaca.values.blobs import is_sound, references_among
from cloaca.values.composite import MARK
from cloaca.wire.frames import Garbled
from cloaca.wire.messages import FIGURES, Done, Entry, Failed, ItemsDone, ItemsFound, Phases, Skipped, Tallied, Usage

WorkerReport = Done | Failed | Skipped
One = TypeVar("One")

_LATEST = 1e10
"""Seconds on a clock that began when the machine did: three hundred years."""


def checked(report: WorkerReport) -> WorkerReport:
    """The report, with figures that can be. Raises `Garbled` where what it has set isn't what it seems to be."""
    if isinstance(report, Done):
        for key, payload in report.diff.items():
            if payload is not None and payload[:_LENGTH] in _SUSPECT and not is_sound(payload):
                raise _unsound(key, payload)
        if report.items is not None:
            _check(report.items)
        if report.settled is not None:
            for key, version in report.settled.items():
                if version.payload is not None and not is_sound(version.payload):
                    raise _unsound(key, version.payload)
    usage = report.usage
    is_timely = 0.0 <= usage.started <= usage.ended < _LATEST and 0.0 <= usage.cpu < inf
    if is_timely and (usage.phases is None or _may_be(usage.phases)):
        return report
    return replace(report, usage=_timeless(usage))


def _may_be(phases: Phases) -> bool:
    """Whether an attempt can have had these."""
    return all(0.0 <= one < inf for one in (phases.loading, phases.waiting, phases.encoding))


def _check(found: ItemsFound) -> None:
    size = len(found.payloads)
    for beside in (found.labels, found.keys):
        if beside is not None and len(beside) != size:
            raise Garbled(f"{len(beside)} names or keys of {size} items")
    for payload in found.payloads:
        if payload[:_LENGTH] in _SUSPECT and not is_sound(payload):
            raise Garbled(f"a value of an item that begins with {payload[:24]!r}")


_entries = msgpack.Decoder(list[Entry]).decode
_SUSPECT = frozenset({b"", MARK, REFERRING})
"""How payloads begin that only seem to be what they are, if anything is wrong. Both marks are of one length."""

_LENGTH = len(MARK)
_FIELDS = FIGURES.size // 8


def opened(tallied: Tallied, place: int) -> ItemsDone:
    """What was tallied from that place on, of the items of an attempt. Raises `Garbled`, as above."""
    try:
        entries = _entries(tallied.entries)
    except MsgspecError as error:
        raise Garbled(f"a tally that begins with {tallied.entries[:24]!r}: {error}") from error
    figures = _plausible(tallied.figures)
    if len(figures) != len(entries) * FIGURES.size:
        raise Garbled(f"figures of {len(figures)} bytes for {len(entries)} items")
    keys = _spelt_out([entry.keys for entry in entries], ())
    read = _spelt_out([entry.read for entry in entries], ())
    first = entries[0].looked if entries else None
    looked = [] if first is None else _spelt_out([entry.looked for entry in entries], first)
    phases = [entry.phases if entry.phases is not None and _may_be(entry.phases) else None for entry in entries]
    past = place - tallied.place
    written = [entry.payloads for entry in entries[past:]]
    if [*map(len, written)] != [*map(len, keys[past:])]:
        raise Garbled(f"as many values as keys are expected of an item, and not {written[:1]} of {keys[past:][:1]}")
    suspect = [value for values in written for value in values if value is not None and value[:_LENGTH] in _SUSPECT]
    for payload in suspect:
        if not is_sound(payload):
            raise _unsound(f"of an item of attempt {tallied.attempt}", payload)
    figures = figures[past * FIGURES.size :]
    stored = references_among(suspect)
    phases = phases[past:] if any(phases) else []
    return ItemsDone(tallied.attempt, figures, written, keys[past:], read[past:], stored, looked[past:], phases)


def _spelt_out(told: list[One | None], nothing: One) -> list[One]:
    """The same, with what was told last in the place of each `None`; before all, `nothing`."""
    if told[1:].count(None) == len(told) - 1:  # as mostly
        return [nothing if told[0] is None else told[0]] * len(told)
    found: list[One] = []
    last = nothing
    for one in told:
        last = last if one is None else one
        found.append(last)
    return found


def _plausible(figures: bytes) -> bytes:
    """The same, as if items had taken no time where the figures can't be."""
    values = memoryview(figures).cast("d") if len(figures) % FIGURES.size == 0 else ()
    begins, ends, cpu = [list(values[field::_FIELDS]) for field in range(3)]
    if not begins:
        return figures
    are_times = all(map(le, begins, ends)) and all(map(le, ends, begins[1:])) and 0.0 <= begins[0] <= ends[-1] < _LATEST
    if are_times and min(cpu) >= 0.0 and sum(cpu) < inf:
        return figures
    now = monotonic()
    return b"".join([FIGURES.pack(now, now, 0.0, *rest) for _, _, _, *rest in FIGURES.iter_unpack(figures)])


def _unsound(key: str, payload: bytes) -> Garbled:
    return Garbled(f"a value of key {key!r} that begins with {payload[:24]!r}")


def _timeless(usage: Usage) -> Usage:
    """The same, as if it had taken no time: a task may have replaced the clocks of its worker."""
    now = monotonic()
    return replace(usage, started=now, ended=now, cpu=0.0, phases=None)
