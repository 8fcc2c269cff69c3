"""The workflows of this process, by name.

Every operation is one access to one dict, which Python makes atomic: threads see the old workflow of a name or the new
one, never a mixture, and no lock is needed.
"""

import os
from collections.abc import Callable
from contextvars import ContextVar
from types import CodeType
from typing import NamedTuple, Self

from msgspec import Struct

from cloaca.errors import UnknownWorkflowError
from cloaca.nearest import nearest
from cloaca.warning import users_frame, warn
from cloaca.workflows.workflow import Workflow


class Origin(Struct, frozen=True):
    """A line of the program that defines a workflow: tells a definition that is made again from another one.

    `module` is the name of its module, `code` what it belongs to.
    """

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


class _Registered(NamedTuple):
    name: str
    workflow: Workflow
    origin: Origin


_entries: dict[str, _Registered] = {}
_own: ContextVar[_Registered | None] = ContextVar("cloaca.defined_last", default=None)
"""What this thread, or asyncio task, has defined last."""


def register(workflow: Workflow, origin: Origin, name: str | None = None) -> None:
    """Make the workflow known under its name, or the one given, in place of an earlier one of that name.

    Warns where that one was defined at another place in the code: most likely neither place knows of the other.
    """
    name = workflow.name if name is None else name
    before = _entries.get(name)
    if before is not None and before.workflow is workflow:
        return
    if before is not None and not before.origin.is_same(origin):
        warn(
            f"Workflow {name!r} is defined again, at {origin}, and takes the place of the one defined at "
            f"{before.origin}. Give one of them another name, or execute the workflow itself: "
            "runner.execute(builder)."
        )
    _entries[name] = entry = _Registered(name, workflow, origin)
    _own.set(entry)


def find(name: str) -> Workflow:
    """Return the workflow registered under `name`.

    Where this thread has just defined it, and another thread has come by the same line since with one that differs,
    neither is to replace the other: this thread's own is returned, with a warning.

    Raises:
        UnknownWorkflowError: there is none; the message lists the nearest names.
    """
    try:
        found = _entries[name]
    except KeyError:
        raise UnknownWorkflowError(_unknown(name)) from None
    own = _own.get()
    if own is None or own is found or own.name != name or own.origin != found.origin:
        return found.workflow
    if own.workflow.version != found.workflow.version:
        warn(
            f"Several threads define workflow {name!r} at {own.origin}, each another one: this thread gets its own. "
            "What the name means to others is chance: execute the workflow itself, runner.execute(builder)."
        )
    return own.workflow


def register_workflow_constructor(name: str, constructor: Callable[[], Workflow]) -> None:
    """Call `constructor()` now, and register the `Workflow` that it returns under `name`.

    Raises `ValueError` where the constructor raises, or returns anything else.
    """
    try:
        workflow = constructor()
    except Exception as error:
        raise ValueError(f"Failed to call workflow constructor: {error}") from error
    if not isinstance(workflow, Workflow):
        returned = type(workflow).__name__
        raise ValueError(
            f"Failed to call workflow constructor: the constructor of {name!r} returned a {returned}; "
            "end it with `return builder.build()`."
        )
    register(workflow, Origin.of_caller(), name)


def _unknown(name: str) -> str:
    names = list(_entries)
    if not names:
        return f"Workflow not found in registry: {name}. None is defined yet: leave a WorkflowBuilder block first."
    matches = nearest(name, names)
    advice = f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""
    return f"Workflow not found in registry: {name}.{advice}"
