"""Places: where the tasks stand of which a finding speaks, so that who reads it needn't search."""

import re
from collections.abc import Iterable, Iterator

from cloaca.tasks.place import working_directory
from cloaca.workflows.workflow import Task

_NAMES = re.compile(r"'([^']+)'|(?<=next: )(\S+)|(?<=-> )(\S+)")
_LISTED = 5


def places_of(findings: Iterable[str], tasks: Iterable[Task]) -> tuple[str, ...]:
    """For each finding the tasks that it names, each with file and line: "load at sales.py:3"; "" where there are none.

    A finding is a sentence. It names a task in quotes, or those of a cycle between arrows.
    """
    directory = working_directory()
    places: dict[str, list[str]] = {}
    for task in tasks:
        if place := task.place(directory):
            places.setdefault(task.id, []).append(place)
    return tuple("; ".join(_told(finding, places)) for finding in findings)


def _told(finding: str, places: dict[str, list[str]]) -> Iterator[str]:
    names = ("".join(groups) for groups in _NAMES.findall(finding))
    for name in [name for name in dict.fromkeys(names) if name in places][:_LISTED]:
        more = ", ..." if len(places[name]) > _LISTED else ""
        yield f"{name} at {', '.join(dict.fromkeys(places[name][:_LISTED]))}{more}"
