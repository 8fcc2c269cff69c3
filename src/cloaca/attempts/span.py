"""Span: a task sees the one of its try as OpenTelemetry's current one, in the process that runs it.

It isn't made there: the program does that, once it is told how the try ended. What stands here has its ids and its
flags, so that spans which the task begins are its children, and what is logged can tell the trace; and it passes on
what the task has to tell of it.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context

from cloaca.wire.messages import Assignment, SpanNote, Traced

_ID = 8


def enter(assignment: Assignment, note: Callable[[SpanNote], None], place: int = 0) -> None:
    """Make the span of what stands at that place the current one, in the context variables that this is called in.

    These end with the try, so nothing is put back. A process that lacks OpenTelemetry does without.
    """
    if assignment.traced is not None:
        _enter(assignment.traced, assignment.attempt, note, place)


def within(traced: Traced, note: Callable[[SpanNote], None]) -> Context:
    """Context variables as they are here, in which that is current."""
    variables = copy_context()
    variables.run(_enter, traced, 0, note, 0)
    return variables


def _enter(traced: Traced, attempt: int, note: Callable[[SpanNote], None], place: int) -> None:
    with suppress(ImportError):
        from opentelemetry import baggage, context, trace

        from cloaca.attempts.task_span import TaskSpan

        span = TaskSpan(traced.trace, traced.spans[place * _ID : (place + 1) * _ID], attempt, note)
        found = trace.set_span_in_context(span)
        for name, value in traced.trace.baggage.items():
            found = baggage.set_baggage(name, value, found)
        context.attach(found)
