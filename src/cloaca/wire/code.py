"""Which globals a function's code uses, class bodies inside it included.

cloudpickle looks for `LOAD_GLOBAL`; a class body loads its globals with `LOAD_NAME`, so that a class defined inside a
task would arrive without them (the annotations of its methods, for a start).
"""

import dis
from collections.abc import Iterator
from inspect import CO_OPTIMIZED
from types import CodeType

from cloudpickle import cloudpickle


def global_names(code: CodeType) -> tuple[str, ...]:
    """The names, in a fixed order. The dict that cloudpickle keeps for this code is completed, so it finds them too."""
    names: dict[str, None] = cloudpickle._extract_code_globals(code)
    names.update(dict.fromkeys(_names_in_class_bodies(code)))
    return tuple(names)


def _names_in_class_bodies(code: CodeType) -> Iterator[str]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if not constant.co_flags & CO_OPTIMIZED:
                yield from (step.argval for step in dis.get_instructions(constant) if step.opname == "LOAD_NAME")
            yield from _names_in_class_bodies(constant)
