"""cloaca: workflows of CPU-heavy tasks, truly in parallel on every core, with the same answer every time.

The names here are loaded when they are first used: importing cloaca costs next to nothing, and a worker process loads
no more than it needs.
"""

import gc
from importlib import import_module

TYPE_CHECKING = (
    False  # as every type checker knows it; the module that defines it takes longer to load than all of this
)
if TYPE_CHECKING:
    from cloaca import merge as merge
    from cloaca import testing as testing
    from cloaca.account.summary import Summary as Summary
    from cloaca.authoring.builder import WorkflowBuilder as WorkflowBuilder
    from cloaca.authoring.decorator import task as task
    from cloaca.authoring.registry import register_workflow_constructor as register_workflow_constructor
    from cloaca.compat.config import DefaultRunnerConfig as DefaultRunnerConfig
    from cloaca.compat.namespace import TaskNamespace as TaskNamespace
    from cloaca.compat.namespace import WorkflowContext as WorkflowContext
    from cloaca.dataflow.check import check as check
    from cloaca.dataflow.finding import Finding as Finding
    from cloaca.errors import CaptureError as CaptureError
    from cloaca.errors import CloacaError as CloacaError
    from cloaca.errors import ConditionError as ConditionError
    from cloaca.errors import DataflowWarning as DataflowWarning
    from cloaca.errors import DecodeError as DecodeError
    from cloaca.errors import EncodeError as EncodeError
    from cloaca.errors import ExecutionChangedError as ExecutionChangedError
    from cloaca.errors import ExecutionClaimedError as ExecutionClaimedError
    from cloaca.errors import FingerprintError as FingerprintError
    from cloaca.errors import InitializerError as InitializerError
    from cloaca.errors import InternalError as InternalError
    from cloaca.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from cloaca.errors import MergeConflict as MergeConflict
    from cloaca.errors import MissingKeyError as MissingKeyError
    from cloaca.errors import ModuleChangedError as ModuleChangedError
    from cloaca.errors import NestedExecutionError as NestedExecutionError
    from cloaca.errors import NoProfileError as NoProfileError
    from cloaca.errors import ParameterError as ParameterError
    from cloaca.errors import RemoteTraceback as RemoteTraceback
    from cloaca.errors import RunnerClosedError as RunnerClosedError
    from cloaca.errors import Skip as Skip
    from cloaca.errors import StorageFullError as StorageFullError
    from cloaca.errors import StoreError as StoreError
    from cloaca.errors import TaskError as TaskError
    from cloaca.errors import TaskTimeout as TaskTimeout
    from cloaca.errors import UndeclaredReadError as UndeclaredReadError
    from cloaca.errors import UndeclaredWriteError as UndeclaredWriteError
    from cloaca.errors import UnknownExecutionError as UnknownExecutionError
    from cloaca.errors import UnknownWorkflowError as UnknownWorkflowError
    from cloaca.errors import ValueLostError as ValueLostError
    from cloaca.errors import WorkerDied as WorkerDied
    from cloaca.errors import WorkersUnavailableError as WorkersUnavailableError
    from cloaca.errors import WorkflowError as WorkflowError
    from cloaca.errors import WorkflowFailedError as WorkflowFailedError
    from cloaca.past import PastExecution as PastExecution
    from cloaca.planned import PlannedTask as PlannedTask
    from cloaca.planned import RunPlan as RunPlan
    from cloaca.profiling.profile import Profile as Profile
    from cloaca.progress.progress import Progress as Progress
    from cloaca.results.explanation import Explanation as Explanation
    from cloaca.results.result import WorkflowResult as WorkflowResult
    from cloaca.results.task import TaskResult as TaskResult
    from cloaca.results.task_explanation import TaskExplanation as TaskExplanation
    from cloaca.results.tries import Try as Try
    from cloaca.retry import BackoffStrategy as BackoffStrategy
    from cloaca.retry import RetryCondition as RetryCondition
    from cloaca.retry import RetryPolicy as RetryPolicy
    from cloaca.retry import RetryPolicyBuilder as RetryPolicyBuilder
    from cloaca.runner import DefaultRunner as DefaultRunner
    from cloaca.running.future import Execution as Execution
    from cloaca.running.hooks import ExecutionEvent as ExecutionEvent
    from cloaca.running.hooks import Hook as Hook
    from cloaca.running.hooks import TaskEvent as TaskEvent
    from cloaca.running.hooks import on_run as on_run
    from cloaca.running.hooks import on_task as on_task
    from cloaca.tasks.context import Context as Context
    from cloaca.tasks.handle import TaskHandle as TaskHandle
    from cloaca.tasks.points import product as product
    from cloaca.tasks.points import zipped as zipped
    from cloaca.tasks.scratch import worker_state as worker_state
    from cloaca.triggers.condition import Condition as Condition
    from cloaca.triggers.condition import all_of as all_of
    from cloaca.triggers.condition import always as always
    from cloaca.triggers.condition import any_of as any_of
    from cloaca.triggers.condition import context_value as context_value
    from cloaca.triggers.condition import none_of as none_of
    from cloaca.triggers.condition import task_failed as task_failed
    from cloaca.triggers.condition import task_skipped as task_skipped
    from cloaca.triggers.condition import task_success as task_success
    from cloaca.warning import LostChangeWarning as LostChangeWarning
    from cloaca.workflows.workflow import Copy as Copy
    from cloaca.workflows.workflow import Task as Task
    from cloaca.workflows.workflow import Workflow as Workflow

_NAMES = {
    "": "merge testing",
    "account.summary": "Summary",
    "authoring.builder": "WorkflowBuilder",
    "authoring.decorator": "task",
    "authoring.registry": "register_workflow_constructor",
    "compat.config": "DefaultRunnerConfig",
    "compat.namespace": "TaskNamespace WorkflowContext",
    "dataflow.check": "check",
    "dataflow.finding": "Finding",
    "errors": """
        CaptureError CloacaError ConditionError DataflowWarning DecodeError EncodeError ExecutionChangedError
        ExecutionClaimedError FingerprintError InitializerError InternalError MemoryLimitExceeded MergeConflict
        MissingKeyError ModuleChangedError NestedExecutionError NoProfileError ParameterError RemoteTraceback
        RunnerClosedError Skip StorageFullError StoreError TaskError TaskTimeout UndeclaredReadError
        UndeclaredWriteError
        UnknownExecutionError UnknownWorkflowError ValueLostError WorkerDied WorkersUnavailableError WorkflowError
        WorkflowFailedError
    """,
    "past": "PastExecution",
    "planned": "PlannedTask RunPlan",
    "profiling.profile": "Profile",
    "progress.progress": "Progress",
    "retry": "BackoffStrategy RetryCondition RetryPolicy RetryPolicyBuilder",
    "runner": "DefaultRunner",
    "running.future": "Execution",
    "running.hooks": "ExecutionEvent Hook TaskEvent on_run on_task",
    "results.explanation": "Explanation",
    "results.task_explanation": "TaskExplanation",
    "results.result": "WorkflowResult",
    "results.task": "TaskResult",
    "results.tries": "Try",
    "tasks.context": "Context",
    "tasks.handle": "TaskHandle",
    "tasks.points": "product zipped",
    "tasks.scratch": "worker_state",
    "triggers.condition": """
        Condition all_of always any_of context_value none_of task_failed task_skipped task_success
    """,
    "warning": "LostChangeWarning",
    "workflows.workflow": "Copy Task Workflow",
}
"""What users import, by the module that defines it; modules stand for themselves."""

_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__version__ = "0.1.0"
# fmt: off
__all__ = [
    "BackoffStrategy", "CaptureError", "CloacaError", "Condition", "ConditionError", "Context", "Copy",
    "DataflowWarning", "DecodeError", "DefaultRunner", "DefaultRunnerConfig", "EncodeError", "Execution",
    "ExecutionChangedError", "ExecutionClaimedError", "ExecutionEvent", "Explanation", "Finding", "FingerprintError",
    "Hook", "InitializerError", "InternalError", "LostChangeWarning", "MemoryLimitExceeded", "MergeConflict",
    "MissingKeyError", "ModuleChangedError", "NestedExecutionError", "NoProfileError", "ParameterError",
    "PastExecution", "PlannedTask", "Profile", "Progress", "RemoteTraceback", "RetryCondition", "RetryPolicy",
    "RetryPolicyBuilder", "RunPlan", "RunnerClosedError", "Skip", "StorageFullError", "StoreError", "Summary", "Task",
    "TaskError", "TaskEvent", "TaskExplanation", "TaskHandle", "TaskNamespace", "TaskResult", "TaskTimeout", "Try",
    "UndeclaredReadError", "UndeclaredWriteError", "UnknownExecutionError", "UnknownWorkflowError", "ValueLostError",
    "WorkerDied", "WorkersUnavailableError", "Workflow", "WorkflowBuilder", "WorkflowContext", "WorkflowError",
    "WorkflowFailedError", "WorkflowResult", "all_of", "always", "any_of", "check", "context_value", "merge",
    "none_of", "on_run", "on_task", "product", "register_workflow_constructor", "task", "task_failed", "task_skipped",
    "task_success", "testing", "worker_state", "zipped",
]
# fmt: on


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cloaca' has no attribute {name!r}")
    home = _HOME[name]
    collects = gc.isenabled()
    gc.disable()  # what is loaded stays: looking for what nobody has any more finds nothing, for a tenth of the time
    try:
        value = getattr(import_module(f"cloaca.{home}"), name) if home else import_module(f"cloaca.{name}")
    finally:
        if collects:
            gc.enable()
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
