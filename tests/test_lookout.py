"""The look-out before blocking: how often it looks, and when it leaves it. Time is a list of moments."""

from collections.abc import Callable
from itertools import count

import pytest

from cloaca.border import spin
from cloaca.border.spin import OMITTED, SPIN_SECONDS, TOLERATED, TRIES_AGAIN, Lookout


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often each look-out looked. Each look at the clock takes a tenth of the time that is spun."""
    moments = (SPIN_SECONDS / 10 * n for n in count())
    monkeypatch.setattr(spin, "monotonic", lambda: next(moments))
    return []


def look_out(lookout: Lookout, looks: list[int], answer: Callable[[int], bool] = lambda _: False) -> bool:
    """`answer` tells whether something is there at the n-th look."""
    looks.append(0)

    def look() -> bool:
        looks[-1] += 1
        return answer(looks[-1])

    return lookout.look(look)


def in_vain(lookout: Lookout, looks: list[int], times: int) -> list[bool]:
    """Whether each of so many waits, for nothing, was begun by a look-out."""
    del looks[:]
    for _ in range(times):
        look_out(lookout, looks)
    return [number > 1 for number in looks]


def test_it_looks_until_something_is_there(looks: list[int]) -> None:
    assert look_out(Lookout(), looks, lambda number: number == 3)
    assert looks == [3]


def test_it_gives_up_in_the_end(looks: list[int]) -> None:
    assert not look_out(Lookout(), looks)
    assert 5 < looks[0] < 15


def test_it_is_left_for_many_waits_after_it_was_in_vain_many_times(looks: list[int]) -> None:
    expected = [True] * TOLERATED + ([False] * OMITTED + [True] * TRIES_AGAIN) * 2
    assert in_vain(Lookout(), looks, len(expected)) == expected


def test_one_that_was_worth_it_makes_up_for_all_that_were_not(looks: list[int]) -> None:
    lookout = Lookout()
    in_vain(lookout, looks, TOLERATED - 1)
    assert look_out(lookout, looks, lambda number: number == 2)
    assert all(in_vain(lookout, looks, TOLERATED))


def test_two_sides_that_fail_at_the_same_time_try_again_at_the_same_time(looks: list[int]) -> None:
    one, other = Lookout(), Lookout()
    assert in_vain(one, looks, 2000) == in_vain(other, looks, 2000)
