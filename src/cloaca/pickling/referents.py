"""What values refer to, as the garbage collector tells: level by level, which is the work of C.

Since Python 3.13 it says of a dict that holds the attributes of an object (`vars(thing)`) that it refers to nothing, as
the object has the values. They are told here all the same.
"""

import gc
import sys
from itertools import filterfalse
from typing import Any

_EMBEDS = sys.version_info >= (3, 13)


def referents(*holders: object) -> list[Any]:
    """What these refer to; of a dict whose keys are texts that is its values alone.

    >>> from types import SimpleNamespace
    >>> referents(vars(SimpleNamespace(size=(3, 4))))
    [(3, 4)]
    """
    found = gc.get_referents(*holders)
    if _EMBEDS:
        for one in filterfalse(gc.get_referents, [holder for holder in holders if type(holder) is dict]):
            found += one.values()
    return found
