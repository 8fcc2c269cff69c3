"""Tripwire: a function of a module that notes that it was called, for whoever looks it up there.

What changes the process is found out so: to look at all that may have changed after each task would take longer than a
trivial task does.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from types import ModuleType
from typing import Any


def note_calls(homes: Sequence[ModuleType], name: str, noted: Callable[[], object]) -> None:
    """Replace the function of that name, wherever it stands in these modules; the first one defines it, if any does."""
    original: Callable[..., Any] | None = getattr(homes[0], name, None)
    if original is None:
        return

    @wraps(original)
    def noting(*arguments: Any, **named: Any) -> Any:
        noted()
        return original(*arguments, **named)

    for module in homes:
        if getattr(module, name, None) is original:
            setattr(module, name, noting)
