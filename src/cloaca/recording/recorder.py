"""Recorder: writes what happens in the executions of a runner to its store, on a thread of its own.

Purpose
    Dispatch never waits for a disk: whoever runs executions hands facts over, and goes on.

Guarantees
    - What has been handed over is in the store when `settle` returns, in the order in which it happened; or the store
      is broken, which is said once for each execution.
    - A large value is kept by its lease until it has been copied.
    - Many facts go into one commit: whoever waits hurries the thread, and else it lingers a moment for more.
    - The claim on an execution is renewed while it is under way.

Roads not taken
    - A commit for each task: a hundred times what a trivial task takes.
    - To write from the coordinator's thread: an fsync takes as long as a thousand trivial tasks.
"""

import atexit
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread, get_ident
from time import monotonic
from typing import Literal, TypeGuard

from msgspec import Struct

from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished, TaskRetried
from cloaca.errors import StoreError
from cloaca.recording.facts import Writing
from cloaca.running.latch import Latch
from cloaca.store.records import Code
from cloaca.store.store import Claim, Store
from cloaca.values.blobs import references_in
from cloaca.values.storage import Lease, Leases
from cloaca.wording import summary_of

LINGER_SECONDS = 0.05
"""How long facts wait for others to go with them into one commit, where nobody waits for them."""

BEAT_SECONDS = 5.0
"""How often a claim is renewed."""

MOST = 2000
"""How many records go into one commit."""

STOP_SECONDS = 10.0
"""How long the end of a runner waits at most for what is left to be written."""

_recorders: "weakref.WeakSet[Recorder]" = weakref.WeakSet()

Recordable = TaskFinished | TaskExpanded | TaskRetried

_Word = Literal["more", "hurry", "stop"]
_PICKLED = b"\xc1"


class ExecutionRecording:
    """What is recorded of one execution. `follow` and `end` are for the thread that runs it, `settle` for every one.

    `fault` is what the store has failed with the first time: from then on, nothing is recorded. `kept`: how many tries
    of tasks and instances have been.
    """

    fault: Exception | None
    kept: int

    def __init__(
        self,
        recorder: "Recorder",
        claim: Claim,
        writing: Writing,
        codes: Sequence[Code],
    ) -> None:
        self.claim = claim
        self.fault = None
        self.kept = 0
        self._recorder = recorder
        self._writing = writing
        self._codes = codes
        self._on_fault: Callable[[Exception], None] = _ignore
        self._is_over = Latch()

    def call_on_fault(self, call: Callable[[Exception], None]) -> None:
        """Call this with the fault, on the recorder's thread, when there is one."""
        self._on_fault = call

    def follow(self, facts: Iterable[Fact], leases: Leases) -> None:
        """These have happened. The large values in them are held by `leases` at this moment."""
        if self.fault is not None:
            return
        told = [_News(self, fact, _held(fact, leases)) for fact in facts if self._is_news(fact)]
        if told:
            self._recorder.take(told)

    def keep(self, payloads: Sequence[bytes], leases: Leases) -> None:
        """These are to be in the store as well: what the execution was given."""
        if payloads:
            self._recorder.take([_Given(self, payloads, [*leases.values()])])

    def end(self, status: str, at: float) -> None:
        """The execution has ended so. Nothing more comes."""
        self._recorder.take([_Closing(self, status, at)])

    def settle(self, until: float | None = None) -> bool:
        """Wait until all is in the store, or that moment has come; returns whether it is."""
        self._recorder.hurry()
        return self._is_over.wait(None if until is None else max(0.0, until - monotonic()))

    def _is_news(self, fact: Fact) -> TypeGuard[Recordable]:
        """Whether it tells of something that isn't recorded already, of this very execution."""
        if isinstance(fact, TaskFinished | TaskExpanded):
            return not fact.reused or fact.origin not in ("", self.claim.execution)
        return isinstance(fact, TaskRetried)

    # ---- on the recorder's thread ----------------------------------------------------------------------------------

    def write(self, facts: Sequence[Recordable], store: Store) -> None:
        """Write what has become of some attempts."""
        if self.fault is not None:
            return
        try:
            records = [self._writing.record(fact) for fact in facts]
            codes, self._codes = self._codes, ()
            store.append(self.claim, records, codes)
            self.kept += len(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on, and is told
            self.break_off(error)

    def write_given(self, payloads: Iterable[bytes]) -> None:
        """Write large values that it was given."""
        try:
            if self.fault is None:
                for payload in payloads:
                    self._writing.shelving.stored(payload)
        except Exception as error:  # noqa: BLE001 - as above
            self.break_off(error)

    def close(self, status: str, at: float, store: Store) -> None:
        """Write how it ended; whoever waits for that waits no more.

        Where something of it couldn't be written, it was interrupted for those who look at it: it can be gone on with.
        """
        try:
            if self.fault is None:
                store.end(self.claim, status, at)
            else:
                with suppress(StoreError):  # that has been told
                    store.end(self.claim, "Interrupted", at)
        except Exception as error:  # noqa: BLE001 - as above
            self.break_off(error)
        finally:
            self._on_fault = _ignore  # it leads to the execution, and so back here
            self._is_over.open()

    def renew(self, store: Store) -> None:
        """Tell that it is still under way."""
        try:
            store.beat(self.claim)
        except Exception as error:  # noqa: BLE001 - as above
            self.break_off(error)

    def break_off(self, error: Exception) -> None:
        """The store can't be written to: from here on nothing is recorded."""
        if self.fault is None:
            self.fault = (
                error if isinstance(error, StoreError) else StoreError(f"It can't be written: {summary_of(error)}")
            )
            self._on_fault(self.fault)

    def give_up(self) -> None:
        """The thread has ended: whoever waits waits no more."""
        self.break_off(StoreError("The runner was shut down before all was recorded."))
        self._is_over.open()


def _ignore(_: Exception) -> None:
    """Nobody wants to be told."""


class _News(Struct, frozen=True):
    recording: ExecutionRecording
    fact: Recordable
    held: Sequence[Lease]


class _Given(Struct, frozen=True):
    recording: ExecutionRecording
    payloads: Sequence[bytes]
    held: Sequence[Lease]


class _Closing(Struct, frozen=True):
    recording: ExecutionRecording
    status: str
    at: float


class Recorder:
    """The thread of one store. It starts with the first execution that is recorded."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._left: deque[_News | _Given | _Closing] = deque()
        self._bell: SimpleQueue[_Word] = SimpleQueue()
        self._open: dict[ExecutionRecording, None] = {}
        self._is_rung = False
        self._is_over = Latch()
        self._process = os.getpid()
        self._thread = Thread(target=self._work, name="cloaca recorder", daemon=True)
        self._thread.start()
        _recorders.add(self)

    def record(self, claim: Claim, writing: Writing, codes: Sequence[Code]) -> ExecutionRecording:
        """Begin to record an execution that was created, or is gone on with."""
        recording = ExecutionRecording(self, claim, writing, codes)
        self._open[recording] = None
        return recording

    def take(self, things: Iterable[_News | _Given | _Closing]) -> None:
        """These are to be written, some time soon."""
        self._left += things
        if not self._is_rung:
            self._is_rung = True
            self._bell.put("more")

    def hurry(self) -> None:
        """Somebody waits."""
        self._bell.put("hurry")

    def let_go(self) -> None:
        """Tell the thread to end when all executions have. It is waited for at the program's end."""
        self._bell.put("stop")

    def close(self) -> None:
        """Write what is left, and close the store. In a forked child of the program, nothing is. Idempotent."""
        if self._process == os.getpid():
            self.let_go()
            if self._thread.ident != get_ident():
                self._is_over.wait(STOP_SECONDS)

    # ---- the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while self._listen() != "stop":
                self._write_all()
            self._write_all()
            until = monotonic() + STOP_SECONDS
            while self._open and (left := until - monotonic()) > 0:
                self._heard(left)
                self._write_all()
        finally:
            for recording in [*self._open]:
                recording.give_up()
            try:
                self.store.close()
            finally:
                self._is_over.open()

    def _listen(self) -> _Word:
        """Wait for something to do: until somebody waits for it, or it has lingered for more to come."""
        word = self._heard(BEAT_SECONDS if self._open else None)
        if word == "more":
            until = monotonic() + LINGER_SECONDS
            while word == "more" and (left := until - monotonic()) > 0 and len(self._left) < MOST:
                word = self._heard(left) or "hurry"
        elif word is None:
            for recording in [*self._open]:
                recording.renew(self.store)
        return word or "more"

    def _heard(self, seconds: float | None) -> _Word | None:
        try:
            return self._bell.get(timeout=seconds)
        except Empty:
            return None

    def _write_all(self) -> None:
        self._is_rung = False
        while self._left:
            told = self._taken()
            for recording in dict.fromkeys([one.recording for one in told]):
                recording.write([one.fact for one in told if one.recording is recording], self.store)
            match self._left.popleft() if self._left and not isinstance(self._left[0], _News) else None:
                case _Given() as given:
                    given.recording.write_given(given.payloads)
                case _Closing() as over:
                    over.recording.close(over.status, over.at, self.store)
                    self._open.pop(over.recording, None)
                case _:
                    pass

    def _taken(self) -> list[_News]:
        """The next facts, up to what isn't one."""
        told: list[_News] = []
        while self._left and len(told) < MOST:
            one = self._left[0]
            if not isinstance(one, _News):
                break
            told.append(one)
            self._left.popleft()
        return told


def _held(fact: Recordable, leases: Leases) -> list[Lease]:
    """What keeps the large values that are told of."""
    if isinstance(fact, TaskRetried) or not leases:
        return []
    payloads: Iterable[bytes | None] = fact.diff.values() if isinstance(fact, TaskFinished) else ()
    if isinstance(fact, TaskExpanded) and fact.items is not None:
        payloads = fact.items.payloads
    large = [payload for payload in payloads if payload is not None and payload[:1] == _PICKLED]
    return [leases[held] for payload in large for held in references_in(payload) if held in leases]


def _outlast() -> None:
    """As the program ends: wait for those that were let go."""
    for recorder in list(_recorders):
        recorder.close()


atexit.register(_outlast)
