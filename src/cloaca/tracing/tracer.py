"""Tracer: what is asked of the user's, of OpenTelemetry, beside spans: ids that are known before, and no error.

By its interface, a tracer gives spans ids of its own. That of OpenTelemetry's SDK asks a generator for them, which
stands in a public attribute; so a copy of the tracer asks ours. Behind another tracer tasks see the span of the whole
execution in place of their own.
"""

import logging
from collections.abc import Callable
from copy import copy
from typing import Any

from opentelemetry import baggage
from opentelemetry.trace import Span, SpanContext, Status, StatusCode, Tracer

from cloaca.tasks.place import file_and_line_of, innermost
from cloaca.wire.messages import SpanNote, Trace

_logger = logging.getLogger("cloaca")

Attributes = dict[str, Any]

_FAILED = ("Failed", "Retried")


class Ids:
    """A generator of ids as the SDK's: what the next span has is said, all else is up to the one that was there."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self.next: bytes | None = None
        """The id of the next span; `None`: any."""

    def generate_span_id(self) -> int:
        """What was said."""
        return int.from_bytes(self.next) if self.next else self._theirs.generate_span_id()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)


def with_ids(tracer: Tracer) -> tuple[Tracer, Ids | None]:
    """One whose ids can be said, where it is the SDK's, also where it was got before there was a provider."""
    behind: Any = getattr(tracer, "_tracer", tracer)
    theirs = getattr(behind, "id_generator", None)
    if theirs is None:
        return tracer, None
    own, ids = copy(behind), Ids(theirs)
    own.id_generator = ids
    return own, ids


class Guard:
    """Stands between a user's tracer and something that is traced, which it costs nothing but spans.

    What samplers, processors and exporters raise is logged, the first time.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._has_complained = False

    def call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call it, whatever it raises."""
        try:
            function(*arguments)
        except Exception:
            if not self._has_complained:
                self._has_complained = True
                _logger.exception("Spans of %s are lost, as what makes them has raised.", self._what)


def trace_of(context: SpanContext, *, foresees: bool) -> Trace:
    """What is to be known in workers of the span that has this context, and of the baggage that is current."""
    return Trace(
        context.trace_id.to_bytes(16),
        context.span_id.to_bytes(8),
        int(context.trace_flags),
        context.trace_state.to_header(),
        {name: str(value) for name, value in baggage.get_all().items()},
        foresees,
    )


def code_of(function: Callable[..., Any]) -> Attributes:
    """Where a function stands, by the conventions for code."""
    file, line = file_and_line_of(function)
    code = innermost(function)
    name = f"{getattr(code, '__module__', '')}.{getattr(code, '__qualname__', '')}"
    return {"code.function.name": name, "code.file.path": file, "code.line.number": line}


def fail(span: Span, kind: str, text: str, traceback: str, at: int) -> None:
    """The span is of what raised this, at that moment: an event tells of it, by the conventions for exceptions."""
    span.set_attribute("error.type", kind)
    told = {"exception.type": kind, "exception.message": text, "exception.stacktrace": traceback}
    span.add_event("exception", told, at)


def close(span: Span, status: str, error: str | None, at: int) -> None:
    """The span ends so. As the conventions have it, only failures have a status of OpenTelemetry's own."""
    span.set_attribute("cloaca.status", status)
    if status in _FAILED:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(at)


def note(span: Span, noted: SpanNote) -> None:
    """The task has told that of its span."""
    if noted.event is not None:
        span.add_event(noted.event, noted.attributes, noted.moment)
    elif noted.attributes:
        span.set_attributes(noted.attributes)
    if noted.name is not None:
        span.update_name(noted.name)
    if noted.status is not None:
        code, description = noted.status
        span.set_status(Status(StatusCode[code], description))


def nanoseconds(seconds: float) -> int:
    """As OpenTelemetry counts time."""
    return round(seconds * 1e9)
