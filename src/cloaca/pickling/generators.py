"""The generators behind `random` and `numpy.random`: one for each process, so they travel by reference.

`from random import randint` gives a method of such a generator. By value, a function that captured it would bring the
state of the program's generator along, and draw from that copy.
"""

import sys
from typing import Any

_SHARED = {"random": "_inst", "numpy.random.mtrand": "_rand"}
"""Under which name a module keeps its generator, by the name of the module."""


def is_shared(value: object) -> bool:
    """Whether it is a generator that a module keeps for all."""
    module = type(value).__module__
    return module in _SHARED and value is getattr(sys.modules.get(module), _SHARED[module], None)


def reduce_shared(value: object) -> Any:
    """Rebuilds as the generator of the process that loads it."""
    module = type(value).__module__
    return getattr, (sys.modules[module], _SHARED[module])
