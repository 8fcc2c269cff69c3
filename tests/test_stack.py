"""Values that are nested deeply: how deep is up to pickle, and not to where on the stack they are sent or read."""

import bisect
import pickle
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal

import pytest

import cloaca
from cloaca.errors import EncodeError
from cloaca.values.codec import decode, encode

Wrap = Callable[[Any], Any]

ROOM = 60
"""Frames that are left to the caller where the stack is almost used up."""


class Link:
    def __init__(self, following: Any) -> None:
        self.following = following


NESTINGS: dict[str, Wrap] = {
    "lists": lambda inner: [inner],
    "dicts": lambda inner: {"a": inner},
    "tuples": lambda inner: (inner,),
    "links": Link,
}


def nested(depth: int, wrap: Wrap) -> Any:
    value: Any = None
    for _ in range(depth):
        value = wrap(value)
    return value


def levels(value: Any) -> int:
    count = 0
    while value is not None:
        count += 1
        match value:
            case Link():
                value = value.following
            case dict():
                value = value["a"]
            case _:
                value = value[0]
    return count


def deepest(wrap: Wrap) -> Any:
    """The deepest such value that pickle takes."""

    def is_too_deep(depth: int) -> bool:
        try:
            pickle.Pickler(BytesIO()).dump(nested(depth, wrap))
        except RecursionError:
            return True
        return False

    return nested(bisect.bisect(range(20_000), 0, key=is_too_deep) - 2, wrap)


def far_down(call: Callable[[], Any]) -> Any:
    """What the call gives where hardly any stack is left."""
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return _down(sys.getrecursionlimit() - depth - ROOM, call)


def _down(frames: int, call: Callable[[], Any]) -> Any:
    return call() if frames <= 0 else _down(frames - 1, call)


@pytest.mark.parametrize("wrap", NESTINGS.values(), ids=NESTINGS)
def test_values_may_be_as_deep_as_pickle_can_wherever_they_are_sent_and_read(wrap: Wrap) -> None:
    value = deepest(wrap)
    payload = far_down(lambda: encode(value))
    assert levels(far_down(lambda: decode(payload))) == levels(value) == levels(decode(encode(value)))


def test_what_is_too_deep_for_pickle_is_refused_and_the_limit_stays_what_it_is() -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(EncodeError, match=r"v: .*Link \(it is nested too deeply for pickle: a flat list of its parts"):
        encode(nested(100_000, Link), "v")
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("executor", ["processes", "serial"])
def test_deep_values_are_captured_set_returned_and_raised(executor: Literal["processes", "serial"]) -> None:
    value = nested(450, NESTINGS["lists"])

    with cloaca.WorkflowBuilder("deep"):

        @cloaca.task()
        def setting(context: cloaca.Context, *, given: Any, default: Any = value) -> None:
            context["set"] = default
            context["seen"] = levels(given), levels(value)

        @cloaca.task(dependencies=[setting])
        def returning(context: cloaca.Context) -> dict[str, Any]:
            return {"returned": [context["set"], value]}

        @cloaca.task(dependencies=[returning])
        def raising(context: cloaca.Context) -> None:
            raise ValueError(*context["returned"])

    with cloaca.DefaultRunner(executor=executor, workers=1) as runner:
        result = runner.execute("deep", cloaca.Context({"given": value}))
        found = result.final_context
        error = result.tasks["raising"].error
        assert error is not None
        assert found["seen"] == (450, 450)
        assert list(map(levels, [*found["returned"], *error.args, *runner.map(lambda one: one, [value])])) == [450] * 5
