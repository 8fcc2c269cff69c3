"""The workflows of this process, by name.

Every operation is one access to one dict, which Python makes atomic: threads see the old workflow of a name or the new
one, never a mixture, and no lock is needed.
"""

from collections.abc import Callable
from difflib import get_close_matches

from cloaca.errors import UnknownWorkflowError
from cloaca.workflows.workflow import Workflow

_workflows: dict[str, Workflow] = {}


def register(workflow: Workflow) -> None:
    """Make the workflow known under its name, in place of an earlier one of that name."""
    _workflows[workflow.name] = workflow


def find(name: str) -> Workflow:
    """Return the workflow registered under `name`.

    Raises:
        UnknownWorkflowError: there is none; the message lists the nearest names.
        TypeError: `name` is no string.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"execute takes the name of a workflow, e.g. runner.execute(workflow.name), not a {type(name).__name__}"
        )
    try:
        return _workflows[name]
    except KeyError:
        raise UnknownWorkflowError(_unknown(name)) from None


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
    _workflows[name] = workflow


def _unknown(name: str) -> str:
    names = list(_workflows)
    if not names:
        return f"Workflow not found in registry: {name}. None is defined yet: leave a WorkflowBuilder block first."
    matches = get_close_matches(name, names)
    advice = f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""
    return f"Workflow not found in registry: {name}.{advice}"
