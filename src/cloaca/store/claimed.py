"""Claimed: what is known of an execution that this process writes to."""

from collections.abc import Iterable

from cloaca.store.packing import place_of
from cloaca.store.records import Header, Record
from cloaca.store.store import FINDABLE


class Claimed:
    """One execution: its number. `told`: the places in `found` that it has; `held`: the values that it has put."""

    def __init__(self, number: int, header: Header) -> None:
        self.number = number
        self.told: set[int] = set()
        self.held: set[bytes] = set()
        self._workflow = header.workflow
        self._tasks = [task.id for task in header.tasks]

    def new_places(self, records: Iterable[Record]) -> set[int]:
        """The places of these records that it hasn't told yet."""
        made = {(record.task, record.code) for record in records if record.code and record.state in FINDABLE}
        return {place_of(self._workflow, self._tasks[task], code) for task, code in made} - self.told
