"""The names by which pickles call what reads them.

A value that one version of cloaca has stored is read by the next ones. So its pickle mentions nothing of cloaca but
what stands here, and public names: neither this module's name nor these names change, wherever what they call moves.
"""

from importlib import import_module
from typing import Any, TypeVar

HOMES = {
    "Empty": "pickling.loading",
    "Loader": "pickling.definitions",
    "context_of": "tasks.context",
    "fresh_class": "pickling.definitions",
    "known_class": "pickling.definitions",
    "load_code": "pickling.loading",
    "make_alias": "pickling.reductions",
    "make_cached": "pickling.reductions",
    "make_class": "pickling.layouts",
    "make_enum": "pickling.enums",
    "make_error": "errors",
    "make_function": "pickling.loading",
    "make_native": "pickling.bare",
    "make_type_parameter": "pickling.reductions",
    "make_variables": "pickling.loading",
    "marker": "pickling.markers",
    "of_this_process": "tasks.scratch",
    "tell_alias": "pickling.reductions",
    "tell_dispatcher": "pickling.reductions",
    "tell_exception": "pickling.reductions",
    "tell_function": "pickling.loading",
}
"""Where each of them is defined today."""

_Named = TypeVar("_Named")


def lasting(thing: _Named) -> _Named:
    """Let pickles call it by its name here."""
    thing.__module__ = __name__
    return thing


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    found = globals()[name] = getattr(import_module(f"cloaca.{HOMES[name]}"), name)
    return found
