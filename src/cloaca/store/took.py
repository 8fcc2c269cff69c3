"""Took: how long a task took in an execution that is on record, for those who want to know how long the next takes."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from cloaca.store.records import Header, Record, Timed


class Took(NamedTuple):
    """How many seconds, of an instance where it is mapped; and how many instances there were, 1 of any other task."""

    seconds: float
    size: int = 1


def took_in(header: Header, records: Iterable[Record | Timed]) -> dict[str, Took]:
    """What each task of an execution took that completed, by id."""
    whole: dict[int, float] = {}
    instances: defaultdict[int, list[float]] = defaultdict(list)
    for record in records:
        if record.state != "Completed" or record.figures is None:
            continue
        started, ended, *_ = record.figures
        if record.item is None:
            whole[record.task] = ended - started
        else:
            instances[record.task].append(ended - started)
    found = {place: Took(seconds) for place, seconds in whole.items()}
    found |= {place: Took(sum(each) / len(each), len(each)) for place, each in instances.items()}
    return {header.tasks[place].id: took for place, took in found.items()}
