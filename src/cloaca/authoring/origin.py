"""Where in the program's code a workflow is defined, to tell a definition that is made again from another one."""

import os
from types import CodeType
from typing import Self

from msgspec import Struct

from cloaca.warning import users_frame


class Origin(Struct, frozen=True):
    """A line of the program that defines a workflow. `module` is the name of its module, `code` what it belongs to."""

    module: str
    code: CodeType
    line: int

    @classmethod
    def of_caller(cls) -> Self:
        """The innermost line that is not cloaca's own."""
        frame = users_frame()
        return cls(frame.f_globals.get("__name__", ""), frame.f_code, frame.f_lineno)

    def is_same(self, other: "Origin") -> bool:
        """Whether both are one place: a loop, a function that is called again, a module or a cell that is run again.

        What is run again may have been edited in between. Its code is another object then, and its lines have moved.
        """
        if (self._source, self.code.co_qualname) != (other._source, other.code.co_qualname):
            return False
        return self.line == other.line or self.code != other.code

    @property
    def _source(self) -> str:
        """The file; the module where there is none: the cells of a notebook have other names each time."""
        file = self.code.co_filename
        return file if os.path.exists(file) else self.module

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line}"
