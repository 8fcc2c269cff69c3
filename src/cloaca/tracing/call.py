"""Call: a call of `map` has one span of OpenTelemetry, which all calls of its function see as the current one."""

import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import Context
from functools import partial
from time import time
from typing import Any

from opentelemetry.trace import Span, Tracer

from cloaca.attempts.span import within
from cloaca.tracing.tracer import Guard, close, code_of, fail, nanoseconds, note, trace_of
from cloaca.wire.messages import SpanNote, Traced
from cloaca.wording import kind_of, summary_of


class CallSpan:
    """The span of one call, which begins now, beneath what is current here.

    `apart` has something done by another thread: a generator that nobody holds may be closed in the middle of anything.
    """

    def __init__(
        self, tracer: Tracer, function: Callable[..., Any], name: str, apart: Callable[[Callable[[], None]], None]
    ) -> None:
        self._guard = Guard(f"map({name})")
        self._apart = apart
        self._span: Span | None = None
        self._come = 0
        self.traced: Traced | None = None
        """What calls of the function are to be told; `None`: it isn't traced."""
        self._guard.call(self._begin, tracer, function, name)

    def through(self, lists: Generator[list[Any], None, None]) -> Generator[list[Any], None, None]:
        """The same lists of results. Who stops asking has ended the call."""
        try:
            with closing(lists):
                for results in lists:
                    self._come += len(results)
                    yield results
        except GeneratorExit:
            at = time()
            self._apart(lambda: self._guard.call(self._end, "Cancelled", None, at))
            raise
        except BaseException as error:
            self._guard.call(self._end, "Failed", error, time())
            raise
        self._guard.call(self._end, "Completed", None, time())

    def variables(self) -> Callable[[], Context] | None:
        """What makes context variables in which it is current, where the function is called here."""
        return None if self.traced is None else partial(within, self.traced, self._note)

    def note(self, noted: SpanNote) -> None:
        """The function has told that of the span, in another thread or process."""
        self._apart(partial(self._note, noted))

    def _note(self, noted: SpanNote) -> None:
        if self._span is not None:
            self._guard.call(note, self._span, noted)

    def _begin(self, tracer: Tracer, function: Callable[..., Any], name: str) -> None:
        span = tracer.start_span(f"map {name}", attributes=code_of(function))
        context = span.get_span_context()
        if context.is_valid:
            trace = trace_of(context, foresees=False)
            self._span, self.traced = span, Traced(trace, trace.root)

    def _end(self, status: str, error: BaseException | None, at: float) -> None:
        if self._span is None:
            return
        moment = nanoseconds(at)
        self._span.set_attribute("cloaca.map.results", self._come)
        if error is not None:
            told = "".join(traceback.format_exception(error))
            fail(self._span, kind_of(type(error)), str(error), told, moment)
        close(self._span, status, None if error is None else summary_of(error), moment)
