"""Options, the fixture that plays a workload, and the tables at the end."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from perf.contest import Round, play_round
from perf.record import Record, changes, conditions, load, save
from perf.score import score
from perf.table import change_table, score_table
from perf.workloads import Workload
from pytest_benchmark.fixture import BenchmarkFixture

RECORD = pytest.StashKey[Record]()
BEFORE = pytest.StashKey[Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perf", "ratios of cloaca to its peers")
    group.addoption("--rounds", type=int, default=5, help="rounds of each workload; short ones play several for one")
    group.addoption("--store", type=Path, metavar="FILE", help="write the scores to FILE, for --compare")
    group.addoption("--compare", type=Path, metavar="FILE", help="show how ratios differ from those stored in FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RECORD] = Record(conditions(), [])
    path = config.getoption("compare")
    if path is None:
        return
    try:
        config.stash[BEFORE] = load(path)
    except (OSError, msgspec.DecodeError) as error:
        raise pytest.UsageError(f"--compare: {path} holds no run that --store wrote: {error}") from error


@pytest.hookimpl(trylast=True)  # below pytest-benchmark's own table
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    record = config.stash[RECORD]
    if not record.scores:
        return
    _show(terminalreporter, "cloaca and its peers", record, score_table(record.scores))
    if BEFORE in config.stash:
        before = config.stash[BEFORE]
        told = change_table(changes(before.scores, record.scores))
        _show(terminalreporter, f"compared with {config.getoption('compare')}", before, told)
    if config.getoption("store") is not None:
        save(record, config.getoption("store"))


def _show(reporter: pytest.TerminalReporter, title: str, record: Record, table: str) -> None:
    reporter.section(title)
    reporter.write_line(", ".join(f"{name} {value}" for name, value in record.conditions.items()))
    reporter.write_line("")
    reporter.write_line(table)


class ReportedTime:
    """A clock that shows the time which contenders reported: the benchmark's own statistics then are about that."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> ReportedTime:
    """The clock of the `benchmark` fixture, which must be asked for later."""
    clock = ReportedTime()
    request.node.add_marker(pytest.mark.benchmark(timer=clock))
    return clock


@pytest.fixture
def play(clock: ReportedTime, benchmark: BenchmarkFixture, pytestconfig: pytest.Config) -> Callable[[Workload], None]:
    """Plays a workload. Speed fails nothing; a contender that breaks, or comes to a wrong answer, does."""

    def play(workload: Workload) -> None:
        rounds: list[Round] = []

        def turn() -> None:
            rounds.append(play_round(workload.contenders, len(rounds)))
            clock.now += rounds[-1]["cloaca"].seconds

        benchmark.pedantic(turn, rounds=workload.pace * pytestconfig.getoption("rounds"))
        scores = [score(workload.name, duel, rounds) for duel in workload.duels]
        benchmark.extra_info.update((scored.name, msgspec.to_builtins(scored)) for scored in scores)
        pytestconfig.stash[RECORD].scores.extend(scores)

    return play
