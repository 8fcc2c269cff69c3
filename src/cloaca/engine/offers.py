"""Offers: what is ready is first offered to attempts of other executions, each once, as soon as it is.

What goes to a worker in a chain, before it is ready, is that for which there is no attempt at all.

An attempt may stand for another one where all that it has looked at is the same now as it was there: then its end is
taken over, and what becomes ready by that is offered in turn. A value that was taken over counts as written by its
task. So does one that was made anew: where it is what it was, nothing changes for those that come after.

What a task's fingerprint comes to only an attempt can tell. Where all else is the same, it is told what that would have
to be, and runs the task's function if it is another thing (`Assignment.unless`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from msgspec import Struct
from msgspec.structs import replace

from cloaca.engine.ledger import Ledger
from cloaca.engine.looking import Looking
from cloaca.engine.looks import Looks
from cloaca.engine.reuse import Candidate, Reuse
from cloaca.engine.tries import Tries
from cloaca.engine.work import Work
from cloaca.wire.messages import Done

FINGERPRINT = "its fingerprint differs"


class Takeover(Struct, frozen=True, gc=False):
    """An attempt that stands for another one, and what it has ended with."""

    candidate: Candidate
    report: Done


class Reasons(Mapping[tuple[str, int | None], str]):
    """Why tasks and instances run all the same, by id and number of the item, in words."""

    def __init__(self, reuse: Reuse) -> None:
        self._reuse = reuse
        self._known: dict[tuple[str, int | None], str | None] = {}  # None: as there was none to ask

    def note(self, place: tuple[str, int | None], reason: str | None) -> None:
        """It runs for that reason; without one, there was no attempt that could have stood for it."""
        self._known[place] = reason

    def forget(self, place: tuple[str, int | None]) -> None:
        """It doesn't run."""
        self._known.pop(place, None)

    def __getitem__(self, place: tuple[str, int | None]) -> str:
        reason = self._known[place]
        return self._reuse.why_none(*place) if reason is None else reason

    def __iter__(self) -> Iterator[tuple[str, int | None]]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Offers:
    """Those of one run. `pending`: the tasks and instances that are ready, and have still to be offered."""

    def __init__(self, reuse: Reuse, looking: Looking, ledger: Ledger, tries: Tries, work: Sequence[Work]) -> None:
        self.pending: deque[int] = deque()
        self.reasons = Reasons(reuse)
        self._reuse = reuse
        self._looking = looking
        self._ledger = ledger
        self._tries = tries
        self._work = work
        self._unless: dict[int, Takeover] = {}

    def takeover(self, unit: int) -> Takeover | None:
        """What stands for the next attempt of a task or an instance, if anything does."""
        task, item = place = self._ledger.place(unit)
        digest, reason = b"" if item is None else self._looking.item(unit), None
        for candidate in self._reuse.candidates(task, item, digest):
            looks = candidate.looks
            difference = "its item differs" if looks.item != digest else self._difference(unit, candidate)
            if difference is None:
                report = candidate.report()
                if report is None:
                    difference = "what its attempt has left is gone"
                elif not looks.fingerprint or not self._has_fingerprint(unit):
                    return Takeover(candidate, _as_seen(report, looks))
                else:
                    self._unless.setdefault(unit, Takeover(candidate, _as_seen(report, looks)))
                    difference = FINGERPRINT
            reason = reason or difference
        self.reasons.note(place, reason)
        return None

    def that_may_go_ahead(self, head: int, behind: Iterable[int]) -> list[int]:
        """Those of a chain that need no offer, as nothing can stand for them, whatever they will find.

        Nothing goes ahead behind a task for which an attempt may stand.
        """
        return [] if head in self._unless else [*takewhile(self._has_none, behind)]

    def _has_none(self, rank: int) -> bool:
        task = self._ledger.names[rank]
        if any(True for _ in self._reuse.candidates(task, None, b"")):
            return False
        self.reasons.note((task, None), None)
        return True

    def unless(self, unit: int) -> bytes:
        """What the fingerprint would have to come to for another attempt to stand for this one; nothing: none would."""
        takeover = self._unless.get(unit)
        return b"" if takeover is None else takeover.candidate.looks.fingerprint

    def held(self, unit: int) -> Takeover:
        """What stands for the attempt, whose fingerprint has come to that."""
        self.reasons.forget(self._ledger.place(unit))
        return self._unless.pop(unit)

    def _has_fingerprint(self, unit: int) -> bool:
        """Whether its attempts have one. What tells the items of a mapped task has none."""
        work = self._work[unit]
        return work.fingerprint != 0 and (work.each is None or unit >= len(self._ledger.names))

    def _difference(self, unit: int, candidate: Candidate) -> str | None:
        looks = candidate.looks
        if looks.seed is not None and candidate.ended != self._tries.failures[unit]:
            return "the seed differs, by which try it is"
        return self._looking.difference(unit, looks)


def _as_seen(report: Done, looks: Looks) -> Done:
    """What it has found out of keys of several versions counts where it has looked at their values."""
    if not report.settled:
        return report
    return replace(report, settled={key: one for key, one in report.settled.items() if looks.values.get(key)})
