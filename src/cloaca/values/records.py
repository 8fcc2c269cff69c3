"""Log records as payloads, and back: the message ready to be read, and attributes of plain data.

Arguments, exceptions and whatever else a record refers to stay where it was made: there they are turned into text.
"""

import logging
from collections.abc import Callable
from typing import Any

from cloaca.values.codec import decode, encode, is_plain

_EXACT: dict[type, Callable[[Any], Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}
_formatter = logging.Formatter()


def encode_record(record: logging.LogRecord, **more: object) -> bytes:
    """The payload of a record. `more` is what it gets beside its own attributes.

    Raises whatever putting its arguments into its message raises.
    """
    fields = {**more, **record.__dict__, "msg": record.getMessage(), "args": None, "exc_info": None}
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _formatter.formatException(record.exc_info)
    if not is_plain(fields):
        fields = {name: _plain(value) for name, value in fields.items()}
    return encode(fields)


def encode_notice(text: str) -> bytes:
    """The payload of a warning by the logger "cloaca"."""
    return encode_record(logging.LogRecord("cloaca", logging.WARNING, __file__, 0, text, None, None))


def decode_record(payload: bytes) -> logging.LogRecord:
    """A record as this process makes them, with the attributes of the other one; its clock began with this process."""
    record = logging.makeLogRecord({})
    now, begun = record.created, record.relativeCreated
    record.__dict__.update(decode(payload))
    record.relativeCreated = begun - (now - record.created) * 1000
    return record


def _plain(value: Any) -> Any:
    """The value as it is, if it is plain; otherwise what it is a kind of, or its text."""
    if is_plain(value):
        return value
    for kind, exactly in _EXACT.items():
        if isinstance(value, kind):
            return exactly(value)
    try:
        return str.__str__(repr(value))
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not hide the record
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
