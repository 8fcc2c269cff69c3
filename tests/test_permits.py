"""Permits: however a worker and the coordinator take turns, each has what the other hasn't."""

import os
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.border.permits import SEVERAL, Permit, Permits


@pytest.fixture
def permits() -> Iterator[Permits]:
    permits = Permits()
    yield permits
    permits.close()


def test_a_worker_takes_one_at_a_time(permits: Permits) -> None:
    permits.issue(2)
    permit = Permit(permits.reader)
    assert [permit.is_for(attempt) for attempt in range(3)] == [True, True, False]


def test_a_permit_is_for_one_attempt_however_often_it_is_asked_about(permits: Permits) -> None:
    permits.issue(1)
    permit = Permit(permits.reader)
    assert [permit.is_for(attempt) for attempt in (7, 7, 8, 8, 7)] == [True, True, False, False, True]


def test_what_needs_no_permit_takes_none(permits: Permits) -> None:
    permits.issue(1)
    permit = Permit(permits.reader)
    permit.give(3)
    assert permit.is_for(3)
    assert permits.recall(9) == 1
    assert not permit.is_for(4)


def test_nobody_has_a_permit_of_a_pipe_that_is_closed() -> None:
    permits = Permits()
    reader = os.dup(permits.reader)
    permits.close()
    assert not Permit(reader).is_for(1)
    os.close(reader)


def test_what_was_taken_can_not_be_recalled(permits: Permits) -> None:
    permits.issue(5)
    permit = Permit(permits.reader)
    assert permit.is_for(1)
    assert permits.recall(9) == 4
    assert permits.recall(9) == 0
    assert not permit.is_for(2)


def test_of_short_items_a_worker_takes_several_at_once(permits: Permits) -> None:
    permits.issue(SEVERAL + 2)
    permit = Permit(permits.reader)
    assert permit.is_for(1, 0, are_short=True)
    assert permit.is_in_hand
    assert permits.recall(9) == 2
    assert all(permit.is_for(1, item, are_short=True) for item in range(1, SEVERAL))
    assert not permit.is_in_hand
    assert not permit.is_for(1, SEVERAL, are_short=True)


def test_no_more_is_recalled_than_asked_for(permits: Permits) -> None:
    permits.issue(5)
    assert permits.recall(2) == 2
    permit = Permit(permits.reader)
    assert [permit.is_for(attempt) for attempt in range(4)] == [True, True, True, False]


def test_permits_fill_no_pipe(permits: Permits) -> None:
    permits.issue(10_000)
    assert permits.recall(10_000) == 10_000


@given(st.lists(st.sampled_from(["give", "start", "recall", "hear"]), min_size=30, max_size=60))
def test_each_attempt_goes_to_one_of_the_two(moves: list[str]) -> None:
    """The protocol as events: the worker hears of assignments and recalls late, in the order of their sending."""
    permits = Permits()
    permit = Permit(permits.reader)
    numbers = iter(range(1000))
    told: deque[list[int] | int] = deque()  # on the way to the worker: assignments, or how many were recalled
    sent, queue, started, recalled = deque[int](), deque[int](), list[int](), list[int]()
    is_unheard = False
    try:
        for move in moves:
            match move:
                case "give" if not is_unheard:
                    batch = [next(numbers) for _ in range(3)]
                    permits.issue(len(batch))
                    told.append(batch)
                    sent.extend(batch)
                case "start" if queue and permit.is_for(queue[0]):
                    started.append(queue.popleft())
                    sent.popleft()
                case "recall":
                    count = permits.recall(len(sent))
                    recalled += [sent.pop() for _ in range(count)]
                    if count:
                        told.append(count)
                        is_unheard = True
                case "hear" if told:
                    match told.popleft():
                        case int(count):
                            for _ in range(count):
                                queue.pop()
                            is_unheard = False
                        case batch:
                            queue.extend(batch)
                case _:
                    pass
            assert not set(started) & set(recalled)
            assert started == sorted(started)
    finally:
        permits.close()


def test_nothing_waits(permits: Permits) -> None:
    assert not os.get_blocking(permits.reader)
    assert permits.recall(1) == 0
