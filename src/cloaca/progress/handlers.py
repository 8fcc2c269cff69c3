"""Handlers: those of `logging` that hold one of the program's streams, as `logging.basicConfig` makes them.

They would write past what stands in for the stream while a display is shown, into the middle of that.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TextIO


def redirect(stream: TextIO, other: Any) -> None:
    """Let those that write to the stream write to the other one."""
    for handler in _handlers():
        if handler.stream is stream:
            with suppress(Exception):  # it may be of a class of the program's own, and go on as it was then
                handler.setStream(other)


def _handlers() -> Iterator["logging.StreamHandler[Any]"]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            yield from [handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler)]
