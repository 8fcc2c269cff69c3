"""Fingerprints: those of a workflow's tasks as they are pickled for workers, anew only where they may have changed."""

from collections.abc import Sequence

from cloaca.pickling.functions import Apart, Captured
from cloaca.pickling.kin import FunctionCache
from cloaca.wire.messages import Publish
from cloaca.workflows.workflow import Task


class Fingerprints:
    """The fingerprints of tasks, which are given by rank. `called` are they, and `ids` those of their tasks."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        found = [(rank, task.id, task.fingerprint) for rank, task in enumerate(tasks) if task.fingerprint is not None]
        self._ranks = [rank for rank, _, _ in found]
        self.ids = [task for _, task, _ in found]
        self.called = [function for _, _, function in found]
        self._functions = FunctionCache()
        self._captured: Sequence[Captured] = []

    def now(self, apart: Apart) -> Sequence[Captured]:
        """They as they stand now, and their heads; the very same object as before, where nothing has changed.

        Raises `CaptureError` where one can't be sent.
        """
        if self._ranks:
            captured = [*self._functions.capture_all(self.ids, self.called, apart), *self._functions.heads]
            if captured != self._captured:
                self._captured = captured
        return self._captured

    @property
    def published(self) -> list[Publish]:
        """They as workers are sent them, heads first."""
        heads = [Publish(head.number, head.blob, (), attached=head.attached) for head in self._functions.heads]
        own = self._captured[: len(self._ranks)]
        return heads + [Publish(one.number, one.blob, (), one.head, attached=one.attached) for one in own]

    @property
    def numbers(self) -> dict[int, int]:
        """Their numbers, by rank."""
        return dict(zip(self._ranks, [one.number for one in self._captured], strict=False))
