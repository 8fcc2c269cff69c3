"""The look-out before blocking: how often it looks, and when it leaves it. Time is a list of moments."""

from collections.abc import Callable
from functools import partial
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


WAKING, ANSWERING = 0.000_13, 0.000_1
"""How long it takes to be woken, and to answer: as on virtual machines, with trivial tasks."""


class Clock:
    """It goes on by a millionth of a second each time that it is looked at."""

    now = 0.0

    def look(self) -> float:
        self.now += 0.000_001
        return self.now

    def has_come_to(self, moment: float) -> bool:
        return self.now >= moment


def test_two_sides_that_fell_asleep_out_of_step_stay_awake_again(
    looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the other's answer, and answers. Whoever looks out awaits one that has to be woken first."""
    sides = Lookout(), Lookout()
    for side, waits in zip(sides, (TOLERATED, TOLERATED + OMITTED // 2), strict=True):
        in_vain(side, looks, waits)
    clock, sent, woken = Clock(), [0.0, 0.0], []
    monkeypatch.setattr(spin, "monotonic", clock.look)
    for turn in range(4 * OMITTED):
        mine, answered = turn % 2, sent[1 - turn % 2]
        clock.now = sent[mine]
        has_found = sides[mine].look(partial(clock.has_come_to, answered))
        woken.append(not has_found)
        sent[mine] = max(clock.now, answered) + WAKING * (not has_found) + ANSWERING
    assert any(woken[:OMITTED])
    assert not any(woken[3 * OMITTED :])
