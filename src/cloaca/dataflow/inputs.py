"""Inputs: whether what an execution is given is as tasks are annotated that surely read it, told before any runs."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from cloaca.dataflow.check import is_exceptional, touches
from cloaca.errors import ParameterError
from cloaca.tasks.contents import Contents
from cloaca.tasks.place import working_directory
from cloaca.tasks.signature import UNSAID
from cloaca.values.blobs import size_of
from cloaca.wire.strike import is_strike
from cloaca.workflows.passed import passed_in, source_of
from cloaca.workflows.workflow import Task, Workflow, by_rank

if TYPE_CHECKING:
    from cloaca.tasks.conversion import Conversion

_MOST: Final = 1 << 20
"""How many bytes a value takes at most to be looked at here: its readers share the time of rebuilding a larger one."""


class _Expected(NamedTuple):
    """A parameter of a task, with the key of the input that it is given."""

    task: Task
    name: str
    key: str
    conversion: "Conversion"


_expected: "WeakKeyDictionary[Workflow, tuple[_Expected, ...]]" = WeakKeyDictionary()


def check_types(workflow: Workflow, given: Contents) -> None:
    """Raise `ParameterError` where the input isn't what a parameter is annotated with."""
    expected = _expected.get(workflow)
    if expected is None:
        expected = _expected[workflow] = tuple(_found(workflow))
    values: dict[str, Any] = {}
    for one in expected:
        payload = given.payload(one.key)
        if payload is None or size_of(payload) > _MOST:
            continue
        if one.key not in values:
            values[one.key] = _value_of(given, one.key, payload)
        if values[one.key] is not _UNKNOWN:
            _check(one, values[one.key])


_UNKNOWN: Final = object()


def _value_of(given: Contents, key: str, payload: bytes) -> Any:
    """The value; `_UNKNOWN` where it can't be rebuilt: whoever reads it tells why."""
    try:
        return given.read(key, payload)
    except Exception as error:
        if is_strike(error, partial(given.read, key, payload)):
            raise
        return _UNKNOWN


def _check(expected: _Expected, value: Any) -> None:
    from cloaca.tasks.mismatch import Mismatch

    try:
        expected.conversion(value)
    except Mismatch as found:
        task, key = expected.task, expected.key
        place = task.place(working_directory())
        where = f" ({task.id} at {place})" if place else ""
        advice = found.advice or f"Give key {key!r} so in the input, or annotate the parameter with what it holds."
        fault = f"{expected.name}{found.path}: {found.fault}"
        raise ParameterError(task.id, key, fault, f"{advice.removesuffix('.')}{where}.") from None


def _found(workflow: Workflow) -> Iterator[_Expected]:
    """The annotated parameters of tasks that surely run where all goes well, and read what the input has."""
    tasks = by_rank(workflow)
    if not any(task.form.parameters for task in tasks):
        return
    from cloaca.tasks.conversion import conversion_of  # most workflows do without

    known, passed = touches(workflow), passed_in(workflow)
    setters: dict[str, set[int]] = defaultdict(set)
    for rank, touched in enumerate(known):
        for key in touched.sets:
            setters[key].add(rank)
    unclear = [touched.leaves_more or is_exceptional(task) for task, touched in zip(tasks, known, strict=True)]
    beneath = workflow.plan.beneath(unclear.__getitem__)
    for rank, task in enumerate(tasks):
        if beneath[rank] or is_exceptional(task):
            continue
        for parameter in task.form.parameters:
            inner = task.prefix + parameter.key
            key = source_of(inner, passed)
            if parameter.annotation is not UNSAID and (setters[key] | setters[inner]) <= {rank}:
                yield _Expected(task, parameter.name, key, conversion_of(parameter.annotation))
