"""The mark: what a worker writes there, and what is read meanwhile."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from cloaca.border.mark import NONE, Mark, create


@pytest.fixture
def mark() -> Iterator[Mark]:
    descriptor = create()
    made = Mark(descriptor)
    os.close(descriptor)
    yield made
    made.close()


def test_what_was_written_is_read(mark: Mark) -> None:
    assert (mark.read(), mark.item) == ((NONE, 0.0), None)
    mark.write(7, 1.5, 3)
    assert (mark.read(), mark.item) == ((7, 1.5), 3)
    mark.write_item(4)
    mark.hold(back=True)
    assert (mark.read(), mark.item, mark.is_held) == ((7, 1.5), 4, True)
    mark.write(8, 2.5)
    assert (mark.read(), mark.item) == ((8, 2.5), None)


@pytest.mark.parametrize("written", [("no number", 2.5, 4), (8, "no moment", 4), (8, 2.5, "no number")])
def test_what_is_not_written_leaves_what_was_there(mark: Mark, written: Any) -> None:
    """Nothing is cleared before it is written: whoever reads meanwhile, or after a death there, takes it for true."""
    mark.write(7, 1.5, 3)
    with pytest.raises(TypeError):
        mark.write(*written)
    number, moment = mark.read()
    assert number == 7
    assert moment in (1.5, written[1])
    assert mark.item in (3, written[2])
