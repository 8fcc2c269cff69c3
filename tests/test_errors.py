"""Every exception that users can meet: what it says, and that it says the same after a trip between processes."""

import inspect
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import pytest

from cloaca import errors
from cloaca.wording import add_note, attach, summary, summary_of

SAMPLES: dict[Any, Any] = {
    str: "some text",
    int: 137,
    float: 2.5,
    bool: True,
    NoneType: None,
    tuple[str, ...]: ("north", "south"),
    tuple[tuple[str, int], ...]: (("/dev/shm", 5),),
    tuple[tuple[str, str], ...]: (("/tmp", "gone"),),
}


def public_exceptions() -> list[type[Exception]]:
    return [
        value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and not name.startswith("_")
    ]


@dataclass(frozen=True)
class FrozenError(Exception):
    number: int


class FixedError(Exception):
    @property
    def __notes__(self) -> str:  # type: ignore[override]
        return "none can be added"


def test_exceptions_of_others_are_added_to_whatever_they_are() -> None:
    add_note(frozen := FrozenError(3), "first")
    add_note(frozen, "second")
    attach(frozen, "__cause__", cause := ValueError())
    assert (vars(frozen)["__notes__"], frozen.__cause__, frozen.number) == (["first", "second"], cause, 3)
    add_note(fixed := FixedError(), "that is let be")
    assert fixed.__notes__ == "none can be added"


def samples(exception: type[Exception]) -> Iterator[Exception]:
    """One of each kind that the types of the constructor's arguments allow."""
    if "__init__" not in vars(exception):
        yield exception("some text")
        return
    hints = get_type_hints(exception.__init__)
    parameters = list(inspect.signature(exception).parameters)
    for arguments in product(*(_values(hints[parameter]) for parameter in parameters)):
        yield exception(**dict(zip(parameters, arguments, strict=True)))


def _values(hint: Any) -> list[Any]:
    kinds = get_args(hint) if isinstance(hint, UnionType) else [hint]
    return [SAMPLES[kind] for kind in kinds]


@pytest.mark.parametrize("exception", public_exceptions())
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_exception_survives_pickling(exception: type[Exception], protocol: int) -> None:
    for original in samples(exception):
        original.add_note("seen in the north")
        copy = pickle.loads(pickle.dumps(original, protocol))
        assert type(copy) is exception
        assert str(copy) == str(original)
        assert copy.args == original.args
        assert vars(copy) == vars(original)
        assert copy.__notes__ == ["seen in the north"]


def test_all_but_the_traceback_can_be_caught_together() -> None:
    assert [kind for kind in public_exceptions() if not issubclass(kind, errors.CloacaError)] == [
        errors.RemoteTraceback
    ]


def test_no_exception_is_defined_anywhere_else() -> None:
    assert {kind for kind in _descendants(errors.CloacaError) if kind.__module__.startswith("cloaca.")} <= set(
        public_exceptions()
    )


# ---- what they say -------------------------------------------------------------------------------------------------

SAYS: list[tuple[Exception, list[str]]] = [
    (errors.WorkflowError("sales", ("no tasks",)), ["Workflow 'sales' can't be built: no tasks"]),
    (errors.WorkflowError("sales", ("a cycle", "no task x")), ["Workflow 'sales'", "\n  - a cycle", "\n  - no task x"]),
    (
        errors.CaptureError("load", "lock", "_thread.lock", "why"),
        ["'load'", "lock (a _thread.lock)", "why", "Create it"],
    ),
    (
        errors.EncodeError("model", "model.lock", "_thread.lock", "why"),
        ["key 'model'", "model.lock: _thread.lock", "why"],
    ),
    (
        errors.CaptureError(None, "lock", "_thread.lock", "why", initializer="load"),
        ["The runner's initializer 'load'", "uses lock (a _thread.lock)", "(why). Create it inside the function."],
    ),
    (
        errors.InitializerError("load", "raised OSError: no model"),
        ["initializer 'load' raised OSError: no model", "the next execution tries it anew"],
    ),
    (errors.EncodeError(None, "value.lock", "_thread.lock", "why"), ["The value can't be sent: value.lock"]),
    (errors.DecodeError("model", "train", "why"), ["key 'model'", "written by task 'train'", "why", "Check that"]),
    (
        errors.MergeConflict("total", ("north", "south"), ("1", "2")),
        [
            "Key 'total' has 2 concurrent values",
            "task 'north' wrote 1",
            "task 'south' wrote 2",
            "context.set('total', ...)",
        ],
    ),
    (
        errors.ConditionError("pay", "context_value('score', 'greater_than', 10)", "score", "TypeError: no"),
        ["'pay'", "context_value('score', 'greater_than', 10)", "key 'score'", "TypeError: no", "Let the tasks before"],
    ),
    (
        errors.FingerprintError("load", "FileNotFoundError: prices.csv"),
        ["Task 'load' can't begin", "its fingerprint raised FileNotFoundError: prices.csv", "task(fingerprint=...)"],
    ),
    (
        errors.MissingKeyError("total", "rovs", ("rows",)),
        ["Task 'total' takes key 'rovs', which isn't there. The nearest names are 'rows'.", "Set it in a task before"],
    ),
    (
        errors.ParameterError("total", "n", "n: expected int, got str"),
        ["Task 'total'", "n: expected int", "Set key 'n'"],
    ),
    (
        errors.UndeclaredReadError("total", "rowz", ("rows",)),
        ["Task 'total' looks at key 'rowz'", "reads=", "Did it mean 'rows'?", "Add 'rowz'", "outputs="],
    ),
    (
        errors.UndeclaredWriteError("total", "totl", ("total",)),
        ["Task 'total' sets or removes key 'totl'", "writes=", "Did it mean 'total'?", "Add 'totl'"],
    ),
    (
        errors.ParameterError("total", "n", "n: expected Row, got another", "Run it again."),
        ["n: expected Row, got another. Run it again."],
    ),
    (errors.TaskError("shop.Sold", "out"), ["shop.Sold: out"]),
    (errors.WorkerDied("load", None, "SIGKILL"), ["'load' (try 1) died: killed by SIGKILL", "memory"]),
    (errors.WorkerDied("load", None, "SIGSEGV"), ["SIGSEGV", "PYTHONFAULTHANDLER"]),
    (errors.WorkerDied("load", None, "SIGTERM"), ["SIGTERM", "told it to end"]),
    (errors.WorkerDied("load", 3, None), ["'load'", "exited with code 3", "os._exit"]),
    (
        errors.WorkerDied("load", None, "SIGKILL", attempt=2, seconds=1.25, memory=5 * 10**9, available=0, is_oom=True),
        ["(try 2) died after 1.25 s", "5,000 MB for itself", "had 0 MB left", "killer struck", "memory_limit="],
    ),
    (
        errors.TaskTimeout("load", 30.0, attempt=3, seconds=30.1),
        ["'load' (try 3)", "limit of 30 s", "30.1 s", "timeout="],
    ),
    (
        errors.MemoryLimitExceeded("load", 3_000_000_000, 2_000_000_000, seconds=7.0),
        ["'load' (try 1) was stopped after 7 s", "3,000 MB", "limit of 2,000 MB", "memory_limit="],
    ),
]


@pytest.mark.parametrize(("error", "parts"), SAYS, ids=lambda value: type(value).__name__)
def test_an_exception_tells_what_happened_to_what(error: Exception, parts: list[str]) -> None:
    assert [part for part in parts if part not in str(error)] == []


def test_one_conflict_may_tell_of_several() -> None:
    first = errors.MergeConflict("total", ("north", "south"), ("1", "2"))
    second = errors.MergeConflict("mean", ("east", "west"), ("3", "4"))
    both = errors.MergeConflict.of([first, second])
    assert vars(both) == vars(first)
    assert str(both) == f"{first}\n{second}"
    assert str(pickle.loads(pickle.dumps(both))) == str(both)


def test_a_workers_traceback_stands_below_a_blank_line() -> None:
    assert str(errors.RemoteTraceback("Traceback ...")) == "\n\nTraceback ..."


CAUGHT_AS: list[tuple[type[Exception], type[Exception]]] = [
    (errors.WorkflowError, ValueError),
    (errors.UnknownWorkflowError, ValueError),
    (errors.RunnerClosedError, ValueError),
    (errors.NestedExecutionError, RuntimeError),
    (errors.NoProfileError, LookupError),
    (errors.CaptureError, TypeError),
    (errors.InitializerError, errors.WorkersUnavailableError),
    (errors.EncodeError, TypeError),
    (errors.MissingKeyError, KeyError),
    (errors.ParameterError, TypeError),
    (errors.UndeclaredReadError, ValueError),
    (errors.UndeclaredWriteError, ValueError),
    (errors.TaskTimeout, TimeoutError),
    (errors.MemoryLimitExceeded, MemoryError),
]


@pytest.mark.parametrize(("exception", "builtin"), CAUGHT_AS)
def test_what_a_caller_would_reach_for_catches_it(exception: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(exception, builtin)


def _descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("no"), "ValueError: no"), (KeyboardInterrupt(), "KeyboardInterrupt")]
)
def test_an_error_on_one_line(error: BaseException, line: str) -> None:
    assert summary_of(error) == summary(type(error).__name__, str(error)) == line
    assert str(errors.TaskError(type(error).__name__, str(error))) == line
