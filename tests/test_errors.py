"""Every exception that users can meet: what it says, and that it says the same after a trip between processes."""

import inspect
import pickle
from collections.abc import Iterator
from itertools import product
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import pytest

from cloaca import errors

SAMPLES: dict[Any, Any] = {str: "some text", int: 137, NoneType: None, tuple[str, ...]: ("north", "south")}


def public_exceptions() -> list[type[Exception]]:
    return [
        value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and not name.startswith("_")
    ]


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


def _descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)
