"""Reports of workers, looked at before the program builds on them: a task may have written to what isn't its own."""

from math import inf
from time import monotonic

from msgspec.structs import replace

from cloaca.values.blobs import is_sound
from cloaca.wire.frames import Garbled
from cloaca.wire.messages import Done, Failed, Skipped, Usage

WorkerReport = Done | Failed | Skipped


_LATEST = 1e10
"""Seconds on a clock that began when the machine did: three hundred years."""


def checked(report: WorkerReport) -> WorkerReport:
    """The report, with figures that can be. Raises `Garbled` where what it has set isn't what it seems to be."""
    if isinstance(report, Done):
        for key, payload in report.diff.items():
            if payload is not None and not is_sound(payload):
                raise _unsound(key, payload)
        if report.settled is not None:
            for key, version in report.settled.items():
                if version.payload is not None and not is_sound(version.payload):
                    raise _unsound(key, version.payload)
    usage = report.usage
    if 0.0 <= usage.started <= usage.ended < _LATEST and 0.0 <= usage.cpu < inf:
        return report
    return replace(report, usage=_timeless(usage))


def _unsound(key: str, payload: bytes) -> Garbled:
    return Garbled(f"a value of key {key!r} that begins with {payload[:24]!r}")


def _timeless(usage: Usage) -> Usage:
    """The same, as if it had taken no time: a task may have replaced the clocks of its worker."""
    now = monotonic()
    return replace(usage, started=now, ended=now, cpu=0.0)
