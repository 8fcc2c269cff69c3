"""Labels: what the items of a dict, and the values of an axis, are called by: the same text in each process."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from types import FunctionType, ModuleType
from typing import Any

from cloaca.pickling.referents import referents
from cloaca.values.canonical import LEAVES
from cloaca.wire.text import encodable
from cloaca.wording import clipped

_LONGEST = 80
_NO_PARTS = (type, ModuleType, FunctionType)


def labels(keys: Iterable[Any]) -> Iterator[str]:
    """What instances are called by: the keys as they print, shortened, each one different."""
    taken: set[str] = set()
    for number, key in enumerate(keys):
        yield untaken(label(key, number), number, taken)


def untaken(text: str, number: int, taken: set[str]) -> str:
    """The text, with the number where it is taken; it is from then on."""
    while text in taken:
        text = f"{text}, {number}"
    taken.add(text)
    return text


def label(key: Any, number: int) -> str:
    """What one key is called by: as it prints, where that is the same in each process, or by its class and number."""
    text = encodable(_text(key))
    if not text or " at 0x" in text:  # an address: another one in each process
        return f"{type(key).__name__} {number}"
    return clipped(text, _LONGEST)


def _text(key: Any) -> str:
    """A key as it prints, but with sets sorted; nothing where an object holds one, as nobody knows how that prints."""
    kind = type(key)
    if kind not in (tuple, frozenset) or not key:
        return "" if _holds_a_set(key) else repr(key)
    parts = list(map(_text, key))
    if not all(parts):
        return ""
    if kind is tuple:
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    return f"frozenset({{{', '.join(sorted(parts))}}})"


def _holds_a_set(key: Any) -> bool:
    """Whether a set is a part of it, which prints in another order with each hash seed."""
    ahead, seen = [key] if type(key) not in LEAVES else [], set()
    while ahead:
        part = ahead.pop()
        if isinstance(part, AbstractSet) and part:
            return True
        if id(part) not in seen and not isinstance(part, _NO_PARTS):
            seen.add(id(part))
            ahead += referents(part)
    return False
