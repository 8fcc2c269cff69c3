"""Foresight: which modules the first workers will load, told from what they will run.

A module is worth loading before workers are forked if it takes long, and leaves neither threads nor files behind. What
the user's own modules do on import nobody knows: they are looked into here, where they are loaded, and load there.
"""

import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType

from cloaca.pickling.modules import is_installed

PRELOADED = frozenset({"numpy", "scipy", "pandas"})
"""They start no threads where native thread pools have one thread."""


def preloadable(blobs: Iterable[bytes]) -> set[str]:
    """Those modules that the program has loaded, and that these pickles mention, or the user's modules that they do."""
    if not any(name in sys.modules for name in PRELOADED):
        return set()
    looked_through = list(blobs)
    mentioned = [name for name in list(sys.modules) if any(name.encode() in blob for blob in looked_through)]
    return _reached(mentioned) & PRELOADED


def _reached(mentioned: Iterable[str]) -> set[str]:
    """The names of these modules, and of those that stand in the user's modules among them, and so on."""
    reached, pending = set[str](), list(mentioned)
    while pending:
        name = pending.pop()
        module = sys.modules.get(name)
        if name not in reached and module is not None:
            reached.add(name)
            if not is_installed(module):
                pending += map(_home, list(vars(module).values()))
    return reached


def _home(value: object) -> str:
    """The name of a module, or of that of a function or a class. Nothing else is asked: it might answer."""
    kind = type(value)
    name: object = None
    if issubclass(kind, ModuleType):
        name = vars(value).get("__name__")
    elif issubclass(kind, type):
        name = vars(value).get("__module__")
    elif isinstance(value, FunctionType) and kind is FunctionType:
        name = value.__module__
    return name if isinstance(name, str) else ""
