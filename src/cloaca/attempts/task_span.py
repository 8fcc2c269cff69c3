"""TaskSpan: what a task has in hand as the span of its try. What it is told is passed on to the program."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from time import time_ns
from typing import Any

from opentelemetry.trace import Span, SpanContext, Status, StatusCode, TraceFlags, TraceState

from cloaca.wire.messages import SpanNote, Trace
from cloaca.wire.text import encodable
from cloaca.wording import kind_of

_MOST = 128
"""How often it is told something at most: so many attributes and events a span of OpenTelemetry's SDK holds."""

_PLAIN = (bool, int, float, str, bytes)
_LARGEST = (1 << 63) - 1


class TaskSpan(Span):
    """The span with that id of the trace. It begins and ends with the try, whatever it is told of that."""

    def __init__(self, trace: Trace, id: bytes, attempt: int, note: Callable[[SpanNote], None]) -> None:
        state = TraceState.from_header([trace.state]) if trace.state else None
        self._context = SpanContext(
            int.from_bytes(trace.id),
            int.from_bytes(id),
            is_remote=True,
            trace_flags=TraceFlags(trace.flags),
            trace_state=state,
        )
        self._id = id
        self._attempt = attempt
        self._note = note
        self._left = _MOST if self._context.trace_flags.sampled else 0

    def get_span_context(self) -> SpanContext:
        """Its ids and flags."""
        return self._context

    def is_recording(self) -> bool:
        """Whether what it is told counts."""
        return self._left > 0

    def set_attribute(self, key: str, value: Any) -> None:
        """It has that attribute."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """It has these."""
        self._tell(attributes=_carried(attributes))

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """That has happened."""
        moment = time_ns() if timestamp is None else timestamp
        self._tell(attributes=_carried(attributes or {}), event=encodable(str(name)), moment=moment)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - as OpenTelemetry has it
    ) -> None:
        """An event tells of it, by the conventions."""
        told = {
            "exception.type": kind_of(type(exception)),
            "exception.message": str(exception),
            "exception.stacktrace": "".join(traceback.format_exception(exception)),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**told, **(attributes or {})}, timestamp)

    def update_name(self, name: str) -> None:
        """It is called so."""
        self._tell(name=encodable(str(name)))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """That is how it ends, in the task's opinion."""
        code, text = (status.status_code, status.description) if isinstance(status, Status) else (status, description)
        self._tell(status=(code.name, None if text is None else encodable(text)))

    def end(self, end_time: int | None = None) -> None:
        """It ends with the try."""

    def _tell(self, **told: Any) -> None:
        if self._left > 0:
            self._left -= 1
            self._note(SpanNote(self._attempt, self._id, **told))


def _carried(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that an attribute may be, as a message can carry them; others as text."""
    return {encodable(str(name)): _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_value(one) for one in value]
    if isinstance(value, str) or type(value) not in _PLAIN or (isinstance(value, int) and abs(value) > _LARGEST):
        return encodable(str(value))
    return value
