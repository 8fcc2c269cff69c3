"""Bindings: a workflow's parameters as they are pickled for workers, once. Tasks with the same ones share one."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from cloaca.pickling.functions import capture
from cloaca.tasks.signature import Parameter
from cloaca.wire.messages import Publish
from cloaca.workflows.workflow import Task

if TYPE_CHECKING:
    from cloaca.tasks.binding import Binding


class Bindings:
    """The bindings of tasks, which are given by rank."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._places: dict[int, int] = {}
        self._made: list[tuple[str, Binding]] = []
        known: dict[object, int] = {}
        for rank, task in enumerate(tasks):
            if task.form.parameters:
                place = known.setdefault(_comparable(task.form.parameters), len(self._made))
                if place == len(self._made):
                    self._made.append((task.id, _binding(task)))
                self._places[rank] = place

    @cached_property
    def published(self) -> list[Publish]:
        """The bindings. Raises `CaptureError` where an annotation can't be sent."""
        captured = [capture(task, binding) for task, binding in self._made]
        return [Publish(binding.number, binding.blob, ()) for binding in captured]

    def number(self, rank: int) -> int:
        """The number of the task's binding, 0 where it has none."""
        return self.published[self._places[rank]].function if rank in self._places else 0


def _binding(task: Task) -> "Binding":
    from cloaca.tasks.binding import Binding  # most tasks take their context alone

    return Binding(task.form.parameters)


def _comparable(parameters: tuple[Parameter, ...]) -> object:
    """What says whether parameters are the same: themselves, or their identity where an annotation has no hash."""
    try:
        hash(parameters)
    except TypeError:
        return id(parameters)
    return parameters
