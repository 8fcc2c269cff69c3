"""Packages: which installed distributions modules belong to, and in which version.

Found out from what installers leave beside them: the names of folders, and lists of files. `importlib.metadata` tells
the same, but takes a tenth of a second to load and to look at each file by itself.
"""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache

OWN = __name__.partition(".")[0]

_FOLDER = re.compile(r"([^-]+)-(.+?)(?:-py\d[\d.]*)?\.(?:dist|egg)-info$")
"""What such a folder is called: by a distribution and its version."""

_LISTS = ("top_level.txt", "RECORD", "installed-files.txt")
_TOP = re.compile(rb"^(?:\.\./)?([^/,.\r\n]+)", re.MULTILINE)
"""What stands first in a line of such a list: a module, or the folder or file of one."""


def packages(tops: Iterable[str]) -> list[str]:
    """The distributions that modules of these top-level names are of, as in "numpy 2.1.0", each once, in order.

    Python's own library and this package aren't told of.
    """
    foreign = [top for top in tops if top not in sys.stdlib_module_names and top != OWN]
    known = _distributions(tuple(sys.path)) if foreign else {}
    return sorted({distribution for top in foreign for distribution in known.get(top.encode(), ())})


@lru_cache(maxsize=4)
def _distributions(path: tuple[str, ...]) -> Mapping[bytes, list[str]]:
    """What is installed, by the top-level names of its modules."""
    found: defaultdict[bytes, list[str]] = defaultdict(list)
    for place, distribution in _installed(path):
        for top in {*_TOP.findall(_listed(place))}:
            found[top].append(distribution)
    return found


def _installed(path: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The folders that tell of distributions, and what these are called. The first one of a name counts."""
    met: set[str] = set()
    for folder in path:
        with suppress(OSError):  # it isn't there, or is no folder
            for name in sorted(os.listdir(folder or ".")):
                parts = _FOLDER.match(name)
                known_as = parts[1].lower().replace("_", "-") if parts else ""
                if parts and known_as not in met:
                    met.add(known_as)
                    yield os.path.join(folder, name), f"{known_as} {parts[2]}"


def _listed(place: str) -> bytes:
    """The list of its modules or files. Without one, it is taken to be one module of its name."""
    for name in _LISTS:
        with suppress(OSError), open(os.path.join(place, name), "rb") as file:
            return file.read()
    return os.path.basename(place).partition("-")[0].encode()
