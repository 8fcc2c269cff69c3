"""cloaca: workflows of CPU-heavy tasks, truly in parallel on every core, with the same answer every time.

The names here are loaded when they are first used: importing cloaca costs next to nothing, and a worker process loads
no more than it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloaca.builder import WorkflowBuilder as WorkflowBuilder

_HOME = {
    "CaptureError": "errors",
    "CloacaError": "errors",
    "Context": "context",
    "DecodeError": "errors",
    "DefaultRunner": "runner",
    "DefaultRunnerConfig": "config",
    "EncodeError": "errors",
    "Execution": "runner",
    "InternalError": "errors",
    "MergeConflict": "errors",
    "NestedExecutionError": "errors",
    "NotSupportedYetError": "errors",
    "RemoteTraceback": "errors",
    "RunnerClosedError": "errors",
    "Task": "workflow",
    "TaskError": "errors",
    "TaskNamespace": "namespace",
    "TaskResult": "result",
    "UnknownWorkflowError": "errors",
    "WorkerDied": "errors",
    "WorkersUnavailableError": "errors",
    "Workflow": "workflow",
    "WorkflowBuilder": "builder",
    "WorkflowContext": "namespace",
    "WorkflowError": "errors",
    "WorkflowFailedError": "errors",
    "WorkflowResult": "result",
    "register_workflow_constructor": "registry",
    "task": "decorator",
}

__version__ = "0.1.0"
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cloaca' has no attribute {name!r}")
    value = getattr(import_module(f"cloaca.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
