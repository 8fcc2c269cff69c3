"""Span: a task sees the one of its try as OpenTelemetry's current one, in the process that runs it.

It isn't made there: the program does that, once it is told how the try ended. What stands here has its ids and its
flags, so that spans which the task begins are its children, and what is logged can tell the trace. It records nothing.
"""

from contextlib import suppress
from contextvars import Context, copy_context

from cloaca.wire.messages import Traced

_ID = 8


def enter(traced: Traced, place: int = 0) -> None:
    """Make the span of what stands at that place the current one, in the context variables that this is called in.

    These end with the try, so nothing is put back. A process that lacks OpenTelemetry does without.
    """
    with suppress(ImportError):
        from opentelemetry import baggage, context, trace

        told = traced.trace
        state = trace.TraceState.from_header([told.state]) if told.state else None
        span = trace.SpanContext(
            int.from_bytes(told.id),
            int.from_bytes(traced.spans[place * _ID : (place + 1) * _ID]),
            is_remote=True,
            trace_flags=trace.TraceFlags(told.flags),
            trace_state=state,
        )
        found = trace.set_span_in_context(trace.NonRecordingSpan(span))
        for name, value in told.baggage.items():
            found = baggage.set_baggage(name, value, found)
        context.attach(found)


def within(traced: Traced) -> Context:
    """Context variables as they are here, in which that is current."""
    variables = copy_context()
    variables.run(enter, traced)
    return variables
