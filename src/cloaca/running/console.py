"""Console: shows what tasks print, log and warn of, by the program's own means.

Through `sys.stdout` and `sys.stderr`, looked up each time: so pytest, notebooks and `contextlib.redirect_stdout` see
it. Through the handlers of the program's loggers, and through its filters of warnings.
"""

import logging
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from queue import Empty, SimpleQueue
from threading import Thread, get_ident
from time import monotonic
from typing import Any, TextIO, TypeAlias

from cloaca.border.mark import NONE
from cloaca.running.latch import Latch
from cloaca.running.lines import Lines
from cloaca.values.codec import decode
from cloaca.values.records import decode_record
from cloaca.wire.messages import Logged, Remark, Said, Warned
from cloaca.wording import add_note, summary, summary_of

PATIENCE_SECONDS = 1.0

_MOST = 1000  # things that are taken at once, before any is shown

_logger = logging.getLogger("cloaca")

Thing: TypeAlias = Remark | Callable[[], None] | None
"""What a console's thread has to do; `None`: that was all."""


class Console:
    """Shows each thing as it comes. None of it can break a run, whatever the program's streams and handlers do.

    `shown` is how many were.
    """

    def __init__(self) -> None:
        self.shown = 0
        self._broken: list[tuple[TextIO, Exception | None]] = []
        self._registries: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
        self._lines = Lines()
        self._has_complained = False

    def show(self, told: Remark, *more: Said) -> None:
        """Write, log or warn. `more` is what the same attempt has printed on the same stream right after that."""
        match told:
            case Said():
                self._write(told.stream, "".join([told.text, *(said.text for said in more)]), told.attempt)
            case Logged():
                self._log(told)
            case Warned():
                self._warn(told)
        self.shown += 1 + len(more)

    def end(self, attempt: int) -> None:
        """An attempt was lost: it will not go on with what it has begun to print."""
        for stream in ("stdout", "stderr"):
            self._write(stream, "", attempt)

    def _write(self, stream: str, text: str, writer: int = NONE) -> None:
        """Write `text` of that attempt to the stream named "stdout" or "stderr"; no text: the end of its line.

        A pipe that nobody reads any more is given up: a task's result doesn't depend on who reads its output. So is a
        stream that fails (a full disk) until whoever waits for a result has been told so.
        """
        target = sys.stdout if stream == "stdout" else sys.stderr
        if target is None or any(target is broken for broken, _ in self._broken):
            return
        try:
            _write(target, self._lines.fitted(writer, target, text))
            target.flush()
        except BrokenPipeError:
            self._broken.append((target, None))
        except Exception as error:  # noqa: BLE001 - the program's stream may be an object of any kind, and raise anything
            add_note(
                error, f"That is what writing to sys.{stream} raised: what tasks print there is lost from there on."
            )
            self._broken.append((target, error))

    def unwritten(self) -> Exception | None:
        """What writing has raised, said once: from then on, it is tried again."""
        errors = [error for _, error in self._broken if error is not None]
        if errors:
            self._broken = [(target, error) for target, error in self._broken if error is None]
        return errors[0] if errors else None

    def log(self, level: int, call: Callable[[], None]) -> None:
        """Have a record of that level logged by the logger "cloaca"."""
        self._make_way(_logger, level)
        self.do(call)

    def do(self, call: Callable[[], None]) -> None:
        """Have something done. That a handler of the program raises is told once; the next records follow."""
        try:
            call()
        except BaseException:  # noqa: BLE001 - also one that ends the program: this thread isn't the program's
            if not self._has_complained:
                self._has_complained = True
                self._write("stderr", f"A handler of the program raised at a task's record.\n{traceback.format_exc()}")

    def _make_way(self, logger: logging.Logger, level: int) -> None:
        """Let what its handlers are about to write begin on a line of its own."""
        streams = [getattr(handler, "stream", None) for handler in _handlers_of(logger) if handler.level <= level]
        for stream in filter(None, streams):
            for target, text in self._lines.parted(stream):
                self._put(target, text)

    def _put(self, target: TextIO, text: str) -> None:
        with suppress(Exception):  # the next text that is written there tells what is wrong with it
            target.write(text)
            target.flush()

    def _log(self, logged: Logged) -> None:
        """Give a task's record to the program's handlers."""
        try:
            record = decode_record(logged.record)
        except Exception as error:  # noqa: BLE001 - a task may have written to what isn't its own
            self._write("stderr", f"What a task logged can't be read in the program: {summary_of(error)}\n")
        else:
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                self._make_way(logger, record.levelno)
                self.do(partial(logger.handle, record))

    def _warn(self, warned: Warned) -> None:
        """Issue it as if the task's line had been run here. Where that raises, it is shown on standard error."""
        registry = self._registries[warned.file]
        try:
            warnings.warn_explicit(_warning(warned), Warning, warned.file, warned.line, warned.module, registry)
        except BaseException:  # noqa: BLE001 - the program may have made it an error since, or replaced what shows it
            self._write("stderr", f"{warned.file}:{warned.line}: {warned.category}: {warned.text}\n")


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    """Those that its records reach; where there are none, Python's own."""
    above: logging.Logger | None = logger
    has_any = False
    while above is not None:
        has_any |= bool(above.handlers)
        yield from above.handlers
        above = above.parent if above.propagate else None
    if not has_any and logging.lastResort is not None:
        yield logging.lastResort


def _write(target: TextIO, text: str) -> None:
    """Write `text`, with escapes for the characters that the stream's encoding lacks."""
    try:
        target.write(text)
    except UnicodeEncodeError as error:
        target.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))


def _warning(warned: Warned) -> Warning:
    """The warning itself, or one with its text where it can't be made here."""
    with suppress(Exception):
        found = None if warned.warning is None else decode(warned.warning)
        if isinstance(found, Warning):
            return found
    return UserWarning(summary(warned.category, warned.text))


class ConsoleThread:
    """A console that never keeps its caller waiting: a pipe that nobody reads must not stop the coordinator."""

    def __init__(self) -> None:
        self._console = Console()
        self._queue: SimpleQueue[Thing] = SimpleQueue()
        self._has_closed = False
        self._thread = Thread(target=self._work, name="cloaca console", daemon=True)
        self._thread.start()

    def show(self, told: Remark) -> None:
        """Have it shown, after all that came before."""
        self._queue.put(told)

    def end(self, attempt: int) -> None:
        """An attempt was lost, after all that came before."""
        self._queue.put(partial(self._console.end, attempt))

    def log(self, level: int, call: Callable[[], None]) -> None:
        """Have a record of that level logged, after all that came before."""
        self._queue.put(partial(self._console.log, level, call))

    def do(self, call: Callable[[], None]) -> None:
        """Have something done, after all that came before."""
        self._queue.put(partial(self._console.do, call))

    @property
    def shown(self) -> int:
        """How many things have been shown of those told."""
        return self._console.shown

    def unwritten(self) -> Exception | None:
        """What writing has raised until then, said once."""
        return self._console.unwritten()

    def settle(self, until: float | None = None) -> None:
        """Wait until everything so far has been shown, or that moment has come.

        Where a handler of the program asks, here on this thread, there is nothing to wait for.
        """
        is_settled = Latch()
        self._queue.put(is_settled.open)
        if not self._has_closed and get_ident() != self._thread.ident:
            is_settled.wait(None if until is None else max(0.0, until - monotonic()))

    def close(self) -> None:
        """Let the thread finish, unless it is stuck in a pipe that nobody reads."""
        self._queue.put(None)
        self._thread.join(PATIENCE_SECONDS)

    def _work(self) -> None:
        has_ended = False
        while not has_ended:
            things = [self._queue.get(), *islice(self._waiting(), _MOST)]
            self._do(things)
            has_ended = None in things
        error = self.unwritten()
        if error is not None:
            _logger.error("What tasks printed is lost in part: %s", summary_of(error))
        self._has_closed = True
        self._do(self._waiting())  # what came too late for the loop above, and too early to see that it has ended

    def _waiting(self) -> Iterator[Thing]:
        with suppress(Empty):
            while True:
                yield self._queue.get_nowait()

    def _do(self, things: Iterable[Thing]) -> None:
        """All of it. What an attempt has printed piece by piece is written at once: pieces may be tiny, and many."""
        for _, alike in groupby(things, _writer):
            pieces = []
            for thing in alike:
                if isinstance(thing, Said) and thing.text:
                    pieces.append(thing)
                elif callable(thing):
                    thing()
                elif thing is not None:
                    self._console.show(thing)
            if pieces:
                self._console.show(*pieces)


def _writer(thing: Thing) -> tuple[int, str] | None:
    """Who prints where, if it is text."""
    return (thing.attempt, thing.stream) if isinstance(thing, Said) and thing.text else None
