"""The worker's side: reads assignments, runs them one by one, reports each.

msgspec asks `typing_extensions`, where that is installed, for what `typing` has as well. It would be loaded before the
first task, and `inspect` and `ast` with it, which takes an eighth of a worker's start. So it is out of sight as long as
msgspec is loaded: nothing else runs in a worker yet.
"""

import sys
from importlib import import_module

if sys.modules.keys().isdisjoint({"msgspec", "typing_extensions"}):
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]  # importing it raises
    try:
        import_module("msgspec")
    finally:
        del sys.modules["typing_extensions"]
