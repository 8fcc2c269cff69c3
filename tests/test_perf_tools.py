"""The arithmetic of the benchmarks, on fixed figures; and that contenders which go wrong are noticed."""

import re
from pathlib import Path

import msgspec
import pytest
from perf.contest import Outcome, Round, clocked, play_round, reported
from perf.record import Change, Record, changes, conditions, load, save
from perf.score import Duel, Figure, Must, Score, score
from perf.stopwatch import peak_memory, timed
from perf.table import change_table, score_table

MIB = 2**20


def rounds(*seconds: tuple[float, float]) -> list[Round]:
    return [{"cloaca": Outcome(ours, 100 * MIB), "pool": Outcome(theirs)} for ours, theirs in seconds]


def scored(workload: str, ratio: float, must: Must | None = None) -> Score:
    return score(workload, Duel("cloaca", "pool", must), rounds((1.0, ratio)))


def test_ratios_and_differences_are_taken_round_by_round() -> None:
    """The medians of the times (2 and 3) would give a ratio of 1.5."""
    result = score("chain", Duel("cloaca", "pool"), rounds((1.0, 3.0), (2.0, 2.0), (10.0, 40.0)))
    assert result.time == Figure(2.0, 1.0, 10.0)
    assert result.peer_time == Figure(3.0, 2.0, 40.0)
    assert result.ratio == Figure(3.0, 1.0, 4.0)
    assert result.difference == Figure(-2.0, -30.0, 0.0)
    assert result.rounds == 3


def test_an_even_number_of_rounds_has_the_middle_as_median() -> None:
    assert Figure.of([4.0, 1.0, 2.0, 10.0]) == Figure(3.0, 1.0, 10.0)


def test_memory_is_the_median_of_the_peaks_that_are_known() -> None:
    result = scored("chain", 2.0)
    assert (result.peak, result.peer_peak) == (100 * MIB, None)


@pytest.mark.parametrize(
    ("must", "is_met"),
    [
        (None, None),
        (Must("ratio", 3.0), True),
        (Must("ratio", 3.1), False),
        (Must("time", 1.0), True),
        (Must("time", 0.9), False),
        (Must("difference", -2.0), True),
        (Must("difference", -2.1), False),
    ],
)
def test_a_ratio_must_reach_its_bound_and_a_time_must_keep_it(must: Must | None, is_met: object) -> None:
    assert scored("chain", 3.0, must).is_met is is_met


def test_contenders_take_turns_in_both_orders() -> None:
    played: list[str] = []

    def named(name: str) -> Outcome:
        played.append(name)
        return Outcome(1.0)

    contenders = {"cloaca": lambda: named("cloaca"), "pool": lambda: named("pool"), "loop": lambda: named("loop")}
    for turn in range(3):
        assert set(play_round(contenders, turn)) == set(contenders)
    assert played == ["cloaca", "pool", "loop", "loop", "pool", "cloaca", "cloaca", "pool", "loop"]


def test_changes_are_relative_to_the_old_ratio() -> None:
    old = [scored("chain", 2.0), scored("gone", 1.0)]
    new = [scored("new", 1.0), scored("chain", 2.5)]
    found = changes(old, new)
    assert found == [
        Change("new: cloaca / pool", None, 1.0),
        Change("chain: cloaca / pool", 2.0, 2.5),
        Change("gone: cloaca / pool", 1.0, None),
    ]
    assert [change.relative for change in found] == [None, 0.25, None]


def test_only_changes_of_more_than_15_percent_are_marked() -> None:
    pairs = {"same": (1.0, 1.0), "up": (1.0, 1.14), "down": (1.0, 0.86), "faster": (1.0, 1.16), "slower": (1.0, 0.84)}
    table = change_table(Change(name, old, new) for name, (old, new) in pairs.items()).splitlines()[1:]
    assert [line.split()[3:] for line in table] == [
        ["+0%"],
        ["+14%"],
        ["-14%"],
        ["+16%", "<--", "faster"],
        ["-16%", "<--", "SLOWER"],
    ]


def test_a_score_is_one_line_of_the_table() -> None:
    result = score("trivial", Duel("cloaca", "pool", Must("time", 35e-6)), rounds((20e-6, 60e-6), (40e-6, 80e-6)))
    _, line = score_table([result]).splitlines()
    assert re.split(r"\s{2,}", line) == [
        *("trivial", "cloaca", "30.0 us", "20.0-40.0 us", "pool", "70.0 us", "60.0-80.0 us", "2.50", "2.00-3.00"),
        *("-40.0 us", "time <= 35.0 us", "met", "100 MiB", "-", "2"),
    ]


def test_a_record_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    record = Record(conditions(), [scored("chain", 2.0, Must("ratio", 1.95)), scored("cpu", 3.0)])
    save(record, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == record


def test_a_file_that_holds_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"benchmarks": []}')
    with pytest.raises(msgspec.ValidationError, match="conditions"):
        load(tmp_path / "run.json")


def test_a_wrong_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="wrong answer: 41"):
        next(timed(lambda: 41, lambda answer: answer == 42))


def test_a_contender_that_breaks_tells_what_it_wrote() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1, and wrote:\nno such luck"):
        clocked("import sys; sys.exit('no such luck')")()


def test_the_peak_counts_what_was_given_back() -> None:
    before = peak_memory()
    filled = bytearray(b"x") * (before + 64 * MIB)
    size = len(filled)
    del filled
    assert peak_memory() >= size


@pytest.mark.parametrize("contender", ["with_cloaca", "with_pool"])
@pytest.mark.parametrize("module", ["trivial", "chain"])
def test_a_contender_reports_seconds_per_task_and_its_peak(module: str, contender: str) -> None:
    outcome = reported(module, contender, warmups=1, repeats=2, per=4, tasks=4, workers=1)()
    assert 0 < outcome.seconds < 60
    assert outcome.peak is not None
    assert outcome.peak > MIB
