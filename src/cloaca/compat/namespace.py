"""Where a task lives: tenant, package, workflow, task. Values that existing scripts take apart and compare."""

from dataclasses import dataclass

_SEPARATOR = "::"


@dataclass(frozen=True, slots=True)
class TaskNamespace:
    """The full name of a task; with an empty `task_id`, the full name of its workflow.

    >>> str(TaskNamespace.from_string("public::embedded::sales::load").parent())
    'public::embedded::sales::'
    """

    tenant_id: str
    package_name: str
    workflow_id: str
    task_id: str

    @classmethod
    def from_string(cls, text: str) -> "TaskNamespace":
        """Read "tenant::package::workflow::task"; raises `ValueError` on anything else."""
        return cls(*_parts(text, 4, "tenant::package::workflow::task"))

    def parent(self) -> "TaskNamespace":
        """Return the namespace of the task's workflow."""
        return TaskNamespace(self.tenant_id, self.package_name, self.workflow_id, "")

    def is_child_of(self, parent: "TaskNamespace") -> bool:
        """Tell whether `parent` is the namespace of this task's workflow."""
        return bool(self.task_id) and self.parent() == parent

    def is_sibling_of(self, other: "TaskNamespace") -> bool:
        """Tell whether both are different tasks of one workflow."""
        return self != other and other.is_child_of(self.parent()) and self.is_child_of(self.parent())

    def __str__(self) -> str:
        return _SEPARATOR.join((self.tenant_id, self.package_name, self.workflow_id, self.task_id))


@dataclass(frozen=True, slots=True)
class WorkflowContext:
    """Where a workflow's tasks live: what completes a task id to a `TaskNamespace`."""

    tenant_id: str
    package_name: str
    workflow_id: str

    @classmethod
    def from_string(cls, text: str) -> "WorkflowContext":
        """Read "tenant::package::workflow"; raises `ValueError` on anything else."""
        return cls(*_parts(text, 3, "tenant::package::workflow"))

    def task_namespace(self, task_id: str) -> TaskNamespace:
        """Return the full name of the workflow's task `task_id`."""
        return TaskNamespace(self.tenant_id, self.package_name, self.workflow_id, task_id)

    def resolve_dependency(self, name: str) -> TaskNamespace:
        """Return the full name of a dependency: `name` itself where it is a full name already."""
        return TaskNamespace.from_string(name) if _SEPARATOR in name else self.task_namespace(name)

    def workflow_namespace(self) -> TaskNamespace:
        """Return the full name of the workflow: the parent of all its tasks."""
        return self.task_namespace("")

    def contains_namespace(self, namespace: TaskNamespace) -> bool:
        """Tell whether `namespace` is a task of this workflow."""
        return namespace.is_child_of(self.workflow_namespace())

    def __str__(self) -> str:
        return _SEPARATOR.join((self.tenant_id, self.package_name, self.workflow_id))


def _parts(text: str, count: int, form: str) -> list[str]:
    parts = text.split(_SEPARATOR)
    if len(parts) != count or not all(parts[:3]):
        raise ValueError(f"A namespace has the form {form!r}, and {text!r} has not.")
    return parts
