"""For what measures: a runner that is as quick as it gets from the first execution on."""

from cloaca import argument
from cloaca.authoring.builder import WorkflowBuilder, workflow_of
from cloaca.runner import DefaultRunner, runs_of
from cloaca.workflows.workflow import Workflow

PATIENCE = 60.0


def warm(runner: DefaultRunner, workflow: Workflow | WorkflowBuilder | str, timeout: float = PATIENCE) -> None:
    """Make a runner ready for a workflow, without running any of its tasks: for benchmarks, and before a first request.

    Afterwards all of its workers are up, the initializer has run in each, and each has loaded what the workflow's tasks
    call, with the modules that these import. What only running shows isn't known: how long tasks take, and which keys
    they read beyond those that their code names. So where that matters, run it once as well.

    Raises:
        TimeoutError: not all workers were there within `timeout` seconds, as others keep them busy, say.
        CaptureError, InitializerError: as `execute`.
        Whatever loading a task's function raises.

    >>> import cloaca
    >>> with cloaca.WorkflowBuilder("greeting") as builder:
    ...
    ...     @cloaca.task()
    ...     def greet(context):
    ...         context.set("greeting", "Hello")
    >>> with cloaca.DefaultRunner(workers=2) as runner:
    ...     cloaca.testing.warm(runner, builder)
    ...     runner.execute(builder).status
    'Completed'
    """
    from cloaca.warming import make_ready  # it loads all that runs workflows

    make_ready(runs_of(runner), workflow_of(workflow), argument.positive("timeout, in seconds,", timeout))
