"""Nearest: the names that a name which isn't there was most likely meant to be."""

from collections.abc import Collection, Iterable

COMPARED = 300
"""How many names are compared letter by letter, which takes some 5 µs each."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` of the names that look like `name`, the best first.

    Among many, those count that begin or end like it, and of these the ones of the most similar length.

    >>> nearest("totl", ["total", "rows"])
    ['total']
    """
    alike: Collection[str] = list(iter(names))  # to ask a mapping how long it is may take as long
    if len(alike) > COMPARED:
        head, tail = name[:2], name[-2:]
        alike = [other for other in alike if other[:2] == head or other[-2:] == tail]
    if len(alike) > COMPARED:
        length = len(name)
        alike = sorted(alike, key=lambda other: abs(len(other) - length))[:COMPARED]
    from difflib import get_close_matches  # only where something is wrong

    return get_close_matches(name, alike, count)
