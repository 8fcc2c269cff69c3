"""Reports of workers, looked at before the program builds on them: a task may have written to what isn't its own."""

from collections.abc import Iterable
from math import inf
from time import monotonic

from msgspec.structs import replace

from cloaca.wire.blobs import is_sound
from cloaca.wire.frames import Garbled
from cloaca.wire.messages import Done, Failed, Skipped, Usage

Report = Done | Failed | Skipped


def checked(report: Report) -> Report:
    """The report, with figures that can be. Raises `Garbled` where what it has set isn't what it seems to be."""
    if isinstance(report, Done):
        _check(report.diff.items())
        if report.settled is not None:
            _check((key, version.payload) for key, version in report.settled.items())
    usage = report.usage
    if 0.0 <= usage.started <= usage.ended <= monotonic() and 0.0 <= usage.cpu < inf:
        return report
    return replace(report, usage=_timeless(usage))


def _check(values: Iterable[tuple[str, bytes | None]]) -> None:
    for key, payload in values:
        if payload is not None and not is_sound(payload):
            raise Garbled(f"a value of key {key!r} that begins with {payload[:24]!r}")


def _timeless(usage: Usage) -> Usage:
    """The same, as if it had taken no time: a task may have replaced the clocks of its worker."""
    now = monotonic()
    return replace(usage, started=now, ended=now, cpu=0.0)
