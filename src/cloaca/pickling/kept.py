"""Kept: the definitions of the program's own classes, pickled again only if something in them may have changed.

    rows = [Row(1), Row(2)]      # class Row stands in the script

Each value that holds an instance travels with the definition, which takes ten times as long to pickle as the instance.
"""

from collections.abc import Callable
from weakref import WeakSet

from msgspec import Struct

from cloaca.pickling.definitions import Definition
from cloaca.pickling.identity import is_at_home
from cloaca.pickling.watch import Watch, is_watched

MOST = 256
"""Of how many classes definitions are kept. Each keeps its class."""

MOST_MISSES = 16
"""How often a class may have changed to be worth looking at: one that counts its instances changes with each."""

Definitions = dict[type, Definition]


class _KeptDefinitions(Struct):
    """The definitions of a class and of those that it leads to; and how often it had changed."""

    watch: Watch
    definitions: Definitions
    misses: int


_kept: dict[type, _KeptDefinitions] = {}
_changing: WeakSet[type] = WeakSet()
"""Classes of which it can't be told whether they have changed, or that do so all the time."""


def definitions_of(cls: type, define: Callable[[type], Definitions]) -> Definitions:
    """The definition of a class, with those of others that it leads to, as `define` makes them."""
    last = _kept.get(cls)
    if last is not None and last.watch.unchanged():
        return last.definitions
    if cls in _changing or not is_at_home(cls):
        return define(cls)
    watch, misses = Watch(), 0 if last is None else last.misses + 1
    is_seen = misses <= MOST_MISSES and is_watched(cls, watch)
    definitions = define(cls)
    if not is_seen:
        _kept.pop(cls, None)
        _changing.add(cls)
        return definitions
    if len(_kept) >= MOST:
        _kept.clear()
    _kept[cls] = _KeptDefinitions(watch, definitions, misses)
    return definitions
