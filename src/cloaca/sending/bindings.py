"""Bindings: a workflow's parameters as they are pickled for workers, once. Tasks with the same ones share one."""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from cloaca.pickling.functions import capture
from cloaca.tasks.signature import Form
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
            if not (task.form.parameters or task.form.is_plain):
                continue
            place = known.setdefault(_comparable(task.form), len(self._made))
            if place == len(self._made) and (binding := binding_of(task)) is not None:
                self._made.append((task.id, binding))
            self._places[rank] = place

    @cached_property
    def published(self) -> list[Publish]:
        """The bindings. Raises `CaptureError` where an annotation can't be sent."""
        captured = [capture(task, binding) for task, binding in self._made]
        return [Publish(binding.number, binding.blob, ()) for binding in captured]

    def number(self, rank: int) -> int:
        """The number of the task's binding, 0 where it has none."""
        return self.published[self._places[rank]].function if rank in self._places else 0


def binding_of(task: Task) -> "Binding | None":
    """What gives the task's function the keys that it is called with, where it is called with some."""
    if task.form.is_plain:
        from cloaca.tasks.plain import PlainBinding

        return PlainBinding(task.form)
    if not task.form.parameters:
        return None
    from cloaca.tasks.binding import Binding  # most tasks take their context alone

    return Binding(task.form.parameters)


def _comparable(form: Form) -> object:
    """What says whether parameters are the same: they, or their identity where an annotation has no hash."""
    same = form.parameters, form.returns, form.item
    try:
        hash(same)
    except TypeError:
        return id(form)
    return same
