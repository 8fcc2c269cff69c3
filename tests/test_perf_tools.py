"""The arithmetic of the benchmarks, on fixed figures; and that contenders which go wrong are noticed."""

import re
import subprocess
import sys
from importlib import import_module
from itertools import count, islice
from pathlib import Path

import msgspec
import pytest
from perf import page, peers
from perf.contest import ROOT, Outcome, Round, clocked, compile_package, play_round, reported
from perf.record import Change, Record, changes, conditions, load, save
from perf.score import Duel, Figure, Must, Score, score
from perf.stopwatch import peak_memory, timed, timed_anew
from perf.table import change_table, score_table
from perf.workloads import Workload
from tests.support import run

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


def test_only_a_ratio_that_fell_by_more_than_15_percent_is_a_loss() -> None:
    pairs = [(1.0, 0.84), (1.0, 0.86), (1.0, 1.16), (1.0, None), (None, 1.0)]
    assert [Change("chain", old, new).is_loss for old, new in pairs] == [True, False, False, False, False]


def test_a_score_is_one_line_of_the_table() -> None:
    result = score("trivial", Duel("cloaca", "pool", Must("time", 35e-6)), rounds((20e-6, 60e-6), (40e-6, 80e-6)))
    _, line = score_table([result]).splitlines()
    assert re.split(r"\s{2,}", line) == [
        *("trivial", "cloaca", "30.0 us", "20.0-40.0 us", "pool", "70.0 us", "60.0-80.0 us", "2.50", "2.00-3.00"),
        *("-40.0 us", "time <= 35.0 us", "met", "100 MiB", "-", "2"),
    ]


def test_a_record_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    scores = [scored("chain", 2.0, Must("ratio", 1.95)), scored("cpu", 3.0)]
    record = Record(conditions(), scores, {"chain": "One after the other."}, {"ray": "not installed"})
    save(record, tmp_path / "run.json")
    assert load(tmp_path / "run.json") == record


def test_a_file_that_holds_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"benchmarks": []}')
    with pytest.raises(msgspec.ValidationError, match="conditions"):
        load(tmp_path / "run.json")


def test_a_run_is_compared_with_older_ones_that_tell_less(tmp_path: Path) -> None:
    stored = msgspec.to_builtins(Record(conditions(), [scored("chain", 2.0)]))
    (tmp_path / "run.json").write_bytes(msgspec.json.encode({name: stored[name] for name in ("conditions", "scores")}))
    assert load(tmp_path / "run.json").scores == [scored("chain", 2.0)]


# ---- the page ------------------------------------------------------------------------------------------------------


def section(text: str, title: str) -> list[str]:
    """The lines of a section of a page, without the empty ones."""
    return [line for line in text.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines() if line]


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of a section's table, without those of its head."""
    lines = [line for line in section(text, title) if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def a_page() -> str:
    seconds = rounds((20e-6, 60e-6), (40e-6, 80e-6))
    trivial = [
        score("trivial", Duel("cloaca", "pool", Must("ratio", 3)), seconds),
        score("trivial", Duel("cloaca", "cloaca"), seconds),
    ]
    record = Record(
        {"cores": "2", "ray": "not installed"},
        [*trivial, scored("import", 0.5, Must("time", 2.0))],
        {"trivial": "Many tasks. Time per task."},
        {"ray": "not installed"},
    )
    return page.page(record)


def test_a_page_tells_the_conditions_and_who_was_left_out() -> None:
    assert rows(a_page(), "Conditions") == [
        ["cores", "2"],
        ["ray", "not installed"],
        ["without ray", "not installed"],
    ]


def test_a_page_has_a_table_for_each_workload() -> None:
    text = a_page()
    assert section(text, "trivial")[0] == "Many tasks. Time per task. Rounds: 2."
    assert rows(text, "trivial") == [
        ["**cloaca**", "30.0 us", "20.0-40.0 us", "", "", "100 MiB"],
        ["pool", "70.0 us", "60.0-80.0 us", "2.50", "2.00-3.00", "-", "ratio >= 3: missed"],
        ["cloaca", "30.0 us", "20.0-40.0 us", "1.00", "1.00-1.00", "100 MiB"],
    ]
    assert len(rows(text, "import")) == 2


def test_a_page_begins_with_what_is_asked_for() -> None:
    assert rows(a_page(), "What cloaca is meant to reach") == [
        ["trivial", "pool", "ratio >= 3", "2.50", "missed"],
        ["import", "pool", "time <= 2.00 s", "1.00 s", "met"],
    ]


def test_a_stored_run_becomes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Record(conditions(), [scored("chain", 2.0)]), tmp_path / "run.json")
    monkeypatch.setattr(sys, "argv", ["perf.page", str(tmp_path / "run.json"), str(tmp_path / "page.md")])
    page.main()
    assert len(rows((tmp_path / "page.md").read_text(encoding="utf-8"), "chain")) == 2


# ---- peers ---------------------------------------------------------------------------------------------------------


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PEERS", {"Pool": None, "ray": "no-such-package-as-this"})
    assert peers.absent(["Pool", "ray"]) == {"ray": "not installed"}
    assert peers.versions() == {"no-such-package-as-this": "not installed"}


def test_peers_that_were_not_asked_for_are_left_out() -> None:
    absent = peers.absent(peers.named("processpool,POOL"))
    assert set(absent.values()) == {"not asked for"}
    assert {*peers.PEERS} - {*absent} == {"ProcessPool", "Pool"}


def test_a_peer_that_does_not_exist_is_told_apart() -> None:
    with pytest.raises(ValueError, match="no such peer: slurm; there are ProcessPool, Pool, "):
        peers.named("pool,slurm")


def test_all_contenders_of_a_peer_are_left_out_with_it() -> None:
    def play() -> Outcome:
        return Outcome(1.0)

    names = ["cloaca", "loop", "ray", "ray + imports", "Pool"]
    workload = Workload("w", "", dict.fromkeys(names, play), tuple(Duel("cloaca", name) for name in names[1:]))
    left = workload.without({"ray": "not installed"})
    assert list(left.contenders) == ["cloaca", "loop", "Pool"]
    assert [duel.peer for duel in left.duels] == ["loop", "Pool"]


@pytest.mark.parametrize("peer", peers.PEERS)
@pytest.mark.parametrize("module", ["trivial", "chain", "layers", "map", "cpu", "array", "records", "cold"])
def test_every_peer_does_every_workload_that_it_can(module: str, peer: str) -> None:
    is_there = hasattr(import_module(f"perf.contenders.{module}"), f"with_{peer.lower()}")
    assert is_there is ((module, peer) != ("chain", "joblib"))


# ---- contenders ----------------------------------------------------------------------------------------------------


def test_a_wrong_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="wrong answer: 41"):
        next(timed(lambda: 41, lambda answer: answer == 42))


def test_what_is_made_anew_is_made_off_the_clock_and_once_for_each_time() -> None:
    numbers = count()
    ran: list[int] = []
    seconds = list(islice(timed_anew(lambda: next(numbers), ran.append, lambda answer: answer is None), 3))
    assert ran == [0, 1, 2]
    assert len(seconds) == 3


def test_a_package_is_compiled_before_it_is_measured(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("number = 1\n")
    compile_package(tmp_path)
    assert [path.suffix for path in (tmp_path / "__pycache__").iterdir()] == [".pyc"]


def test_a_contender_that_breaks_tells_what_it_wrote() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 1, and wrote:\nno such luck"):
        clocked("-c", "import sys; sys.exit('no such luck')")()


def test_the_peak_counts_what_was_given_back() -> None:
    before = peak_memory()
    filled = bytearray(b"x") * (before + 64 * MIB)
    size = len(filled)
    del filled
    assert peak_memory() >= size


@pytest.mark.slow
@pytest.mark.parametrize("contender", ["with_cloaca", "with_processpool", "with_pool"])
@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        ("trivial", {"tasks": 4}),
        ("chain", {"tasks": 4}),
        ("layers", {"layers": 3, "width": 4}),
        ("records", {"tasks": 2, "size": 10}),
    ],
)
def test_a_contender_reports_seconds_per_task_and_its_peak(module: str, sizes: dict[str, int], contender: str) -> None:
    outcome = reported(module, contender, warmups=1, repeats=2, per=4, workers=1, **sizes)()
    assert 0 < outcome.seconds < 60
    assert outcome.peak is not None
    assert outcome.peak > MIB


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "status"), [(1000.0, 1), (0.0001, 0)])
def test_a_ratio_that_got_worse_ends_with_1_if_that_is_asked_for(old: float, status: int, tmp_path: Path) -> None:
    pytest.importorskip("pytest_benchmark")
    before = score("customers", Duel("cloaca", "bare"), [{"cloaca": Outcome(1.0), "bare": Outcome(old)}])
    save(Record(conditions(), [before]), tmp_path / "before.json")
    run = perf(
        *("-k", "customers", "--benchmark-disable", "--compare", str(tmp_path / "before.json"), "--fail-if-slower"),
        *("--store", str(tmp_path / "after.json"), "--markdown", str(tmp_path / "page.md")),
    )
    assert run.returncode == status, run.stdout + run.stderr
    assert ("<-- SLOWER" in run.stdout) is bool(status)
    assert [scored.name for scored in load(tmp_path / "after.json").scores] == ["customers: cloaca / bare"]
    assert section((tmp_path / "page.md").read_text(encoding="utf-8"), "customers")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fail-if-slower"], "slower than what?"),
        (["--peers", "slurm"], "no such peer: slurm"),
        (["--compare", "nowhere.json"], "nowhere.json holds no run"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: list[str], told: str) -> None:
    pytest.importorskip("pytest_benchmark")
    run = perf(*options)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert told in run.stderr


def perf(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "perf", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# ---- anatomy -------------------------------------------------------------------------------------------------------


def test_each_leg_of_a_task_s_way_can_be_measured() -> None:
    """In a process of its own: the worker in it takes over standard output and logging."""
    shown = run("-c", "from perf import anatomy; anatomy.ROUNDS = 1; anatomy.main()", cwd=ROOT)
    legs = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert legs[-1][1] == "all of it", shown.stderr
    assert all(float(microseconds) > 0 for microseconds, _ in legs)
    assert "worker: the task runs, with all that surrounds it" in [leg for _, leg in legs]
