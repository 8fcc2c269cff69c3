"""Permits: however a worker and the coordinator take turns, each has what the other hasn't."""

import os
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloaca.execution.permits import Permits, take


@pytest.fixture
def permits() -> Iterator[Permits]:
    permits = Permits()
    yield permits
    permits.close()


def test_a_worker_takes_one_at_a_time(permits: Permits) -> None:
    permits.issue(2)
    assert [take(permits.reader) for _ in range(3)] == [True, True, False]


def test_what_was_taken_can_not_be_recalled(permits: Permits) -> None:
    permits.issue(5)
    assert take(permits.reader)
    assert permits.recall(9) == 4
    assert permits.recall(9) == 0
    assert not take(permits.reader)


def test_no_more_is_recalled_than_asked_for(permits: Permits) -> None:
    permits.issue(5)
    assert permits.recall(2) == 2
    assert [take(permits.reader) for _ in range(4)] == [True, True, True, False]


def test_permits_fill_no_pipe(permits: Permits) -> None:
    permits.issue(10_000)
    assert permits.recall(10_000) == 10_000


@given(st.lists(st.sampled_from(["give", "start", "recall", "hear"]), min_size=30, max_size=60))
def test_each_attempt_goes_to_one_of_the_two(moves: list[str]) -> None:
    """The protocol as events: the worker hears of assignments and recalls late, in the order of their sending."""
    permits = Permits()
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
                case "start" if queue and take(permits.reader):
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
