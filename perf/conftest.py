"""Options, the fixture that plays a workload, and the tables at the end."""

import faulthandler
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from perf import page
from perf.contest import Round, compile_package, play_round, weigh
from perf.peers import PEERS, absent, named
from perf.record import Record, changes, conditions, load, save
from perf.score import NOT_WEIGHED, score
from perf.table import change_table, score_table
from perf.workloads import Workload
from pytest_benchmark.fixture import BenchmarkFixture

import cloaca

RECORD = pytest.StashKey[Record]()
BEFORE = pytest.StashKey[Record]()
ABSENT = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("perf", "ratios of cloaca to its peers")
    group.addoption("--rounds", type=int, default=5, help="rounds of each workload; short ones play several for one")
    group.addoption("--peers", metavar="NAMES", help=f"only these peers, with commas between them: {','.join(PEERS)}")
    group.addoption("--store", type=Path, metavar="FILE", help="write the scores to FILE, for --compare")
    group.addoption("--markdown", type=Path, metavar="FILE", help="write a page of the scores to FILE")
    group.addoption("--compare", type=Path, metavar="FILE", help="show how ratios differ from those stored in FILE")
    group.addoption("--fail-if-slower", action="store_true", help="with --compare: end with 1 if a ratio got worse")


def pytest_configure(config: pytest.Config) -> None:
    compile_package(Path(cloaca.__file__).parent)
    config.stash[ABSENT] = absent(_asked(config))
    config.stash[RECORD] = Record(conditions(), [], left_out=config.stash[ABSENT].copy())
    path = config.getoption("compare")
    if path is not None:
        config.stash[BEFORE] = _stored(path)
    elif config.getoption("fail_if_slower"):
        raise pytest.UsageError("--fail-if-slower: slower than what? Give --compare FILE, too")


def _asked(config: pytest.Config) -> list[str]:
    text = config.getoption("peers")
    try:
        return list(PEERS) if text is None else named(text)
    except ValueError as error:
        raise pytest.UsageError(f"--peers: {error}") from error


def _stored(path: Path) -> Record:
    try:
        return load(path)
    except (OSError, msgspec.DecodeError) as error:
        raise pytest.UsageError(f"--compare: {path} holds no run that --store wrote: {error}") from error


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    record = config.stash[RECORD]
    if not record.scores:
        return
    if config.getoption("markdown") is not None:
        page.write(record, config.getoption("markdown"))
    if exitstatus == pytest.ExitCode.OK and config.getoption("fail_if_slower"):
        before = config.stash[BEFORE]
        if any(change.is_loss for change in changes(before.scores, record.scores)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


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


def _show(reporter: pytest.TerminalReporter, title: str, record: Record, table: str) -> None:
    reporter.section(title)
    reporter.write_line(", ".join(f"{name} {value}" for name, value in record.conditions.items()))
    if record.left_out:
        reporter.write_line("left out: " + ", ".join(f"{name} ({why})" for name, why in record.left_out.items()))
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
    faulthandler.cancel_dump_traceback_later()  # pyproject.toml has it end whatever takes as long as this does
    record, missing = pytestconfig.stash[RECORD], pytestconfig.stash[ABSENT]

    def play(given: Workload) -> None:
        if given.lacking:
            record.left_out[given.name] = given.lacking
            pytest.skip(given.lacking)
        workload = given.without(missing)
        if not workload.duels:
            pytest.skip("no peer of it plays")
        rounds: list[Round] = []

        def turn() -> None:
            rounds.append(play_round(workload.contenders, len(rounds)))
            clock.now += rounds[-1][workload.duels[0].contender].seconds

        benchmark.pedantic(turn, rounds=workload.pace * pytestconfig.getoption("rounds"))
        peaks = weigh(workload.contenders) if workload.is_weighed else NOT_WEIGHED
        scores = [score(workload.name, duel, rounds, peaks) for duel in workload.duels]
        benchmark.extra_info.update((scored.name, msgspec.to_builtins(scored)) for scored in scores)
        record.scores.extend(scores)
        record.workloads[workload.name] = workload.what
        if pytestconfig.getoption("store") is not None:  # after each one: a long run that is ended leaves what it has
            save(record, pytestconfig.getoption("store"))

    return play
