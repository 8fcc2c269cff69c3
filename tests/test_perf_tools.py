"""The arithmetic of the benchmarks, on fixed figures; and that contenders which go wrong are noticed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import count, islice, product
from pathlib import Path

import msgspec
import pytest
from perf import anatomy, contest, page, peers, picture, weight
from perf.catalogue import PROGRAMS, Program, takes
from perf.contest import ROOT, Contender, Outcome, Round, charged, clocked, compile_package, play_round, reported, weigh
from perf.record import Change, Record, changes, conditions, load, save
from perf.score import Duel, Figure, Must, Score, score
from perf.script import Script, fingerprint
from perf.script import run as run_script
from perf.stopwatch import timed, timed_anew
from perf.table import change_table, score_table
from perf.workloads import Workload, function_name
from tests.support import run

MIB = 2**20


def rounds(*seconds: tuple[float, float]) -> list[Round]:
    return [{"cloaca": Outcome(ours, cpu=2.0), "pool": Outcome(theirs)} for ours, theirs in seconds]


def scored(workload: str, ratio: float, *musts: Must, peer: str = "pool") -> Score:
    peaks = {"cloaca": 100 * MIB, peer: 50 * MIB}
    played = [{"cloaca": Outcome(1.0), peer: Outcome(ratio)}]
    return score(workload, Duel("cloaca", peer, musts), played, peaks)


def telling(outcome: Callable[[], Outcome]) -> Contender:
    """A process that does nothing, and what is told of it."""
    return Contender(("-c", "pass"), lambda _: outcome())


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


def test_what_was_not_weighed_has_no_memory() -> None:
    result = score("chain", Duel("cloaca", "pool", (Must("memory", 1.0),)), rounds((1.0, 2.0)), {"cloaca": 100 * MIB})
    assert (result.peak, result.peer_peak, result.memory) == (100 * MIB, None, None)
    assert result.meets(Must("memory", 1.0)) is None
    assert "not measured" in score_table([result])


def test_processor_time_is_told_where_it_was_measured() -> None:
    result = score("chain", Duel("cloaca", "pool"), rounds((1.0, 2.0), (1.0, 2.0)))
    assert (result.cpu, result.peer_cpu, result.cpu_ratio) == (2.0, None, None)


@pytest.mark.parametrize(
    ("must", "is_met"),
    [
        (Must("ratio", 3.0), True),
        (Must("ratio", 3.1), False),
        (Must("time", 1.0), True),
        (Must("time", 0.9), False),
        (Must("difference", -2.0), True),
        (Must("difference", -2.1), False),
        (Must("memory", 0.5), True),
        (Must("memory", 0.6), False),
        (Must("peak", 100 * MIB), True),
        (Must("peak", 99 * MIB), False),
    ],
)
def test_a_ratio_must_reach_its_bound_and_an_amount_must_keep_it(must: Must, is_met: object) -> None:
    assert scored("chain", 3.0, must).meets(must) is is_met


def test_contenders_take_turns_in_both_orders() -> None:
    played: list[str] = []

    def named(name: str) -> Outcome:
        played.append(name)
        return Outcome(1.0)

    contenders = {name: telling(partial(named, name)) for name in ("cloaca", "pool", "loop")}
    for turn in range(3):
        assert set(play_round(contenders, turn)) == set(contenders)
    assert played == ["cloaca", "pool", "loop", "loop", "pool", "cloaca", "cloaca", "pool", "loop"]


def test_contenders_must_come_to_the_same_answer() -> None:
    contenders = {
        name: telling(partial(Outcome, 1.0, answer=answer)) for name, answer in (("cloaca", "a"), ("ray", "b"))
    }
    with pytest.raises(ValueError, match=r"different answers: \{'cloaca': 'a', 'ray': 'b'\}"):
        play_round(contenders, 0)


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
    result = score("trivial", Duel("cloaca", "pool", (Must("time", 35e-6),)), rounds((20e-6, 60e-6), (40e-6, 80e-6)))
    _, line = score_table([result]).splitlines()
    assert re.split(r"\s{2,}", line) == [
        *("trivial", "cloaca", "30.0 us", "20.0-40.0 us", "pool", "70.0 us", "60.0-80.0 us", "2.50", "2.00-3.00"),
        *("-40.0 us", "time <= 35.0 us", "met", "-", "-", "2"),
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
    _, _, after = text.partition(f"# {title}\n")
    return [line for line in re.split(r"^##+ ", after, maxsplit=1, flags=re.MULTILINE)[0].splitlines() if line]


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of a section's table, without those of its head."""
    lines = [line for line in section(text, title) if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def a_record() -> Record:
    seconds = rounds((20e-6, 60e-6), (40e-6, 80e-6))
    trivial = [
        score("trivial", Duel("cloaca", "pool", (Must("ratio", 3),)), seconds),
        score("trivial", Duel("cloaca", "cloaca"), seconds, {"cloaca": 100 * MIB}),
    ]
    return Record(
        {"cores": "2", "ray": "not installed"},
        [*trivial, scored("import", 0.5, Must("time", 2.0)), scored("tiny", 0.5, takes(1, 2)[1], peer="Pool")],
        {"trivial": "Many tasks. Time per task."},
        {"ray": "not installed"},
    )


def a_page() -> str:
    return page.page(a_record(), "speed")


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
        ["**cloaca**", "30.0 us", "20.0-40.0 us", "", "", "2.00 s", "-"],
        ["pool", "70.0 us", "60.0-80.0 us", "2.50", "2.00-3.00", "-", "-", "ratio >= 3: missed"],
        ["cloaca", "30.0 us", "20.0-40.0 us", "1.00", "1.00-1.00", "2.00 s", "100 MiB"],
    ]
    assert len(rows(text, "import")) == 2


def test_programs_come_first() -> None:
    titles = re.findall(r"^##+ (.+)$", a_page(), flags=re.MULTILINE)
    assert titles[1:6] == ["Programs", "tiny", "Workloads", "trivial", "import"]


def test_a_page_tells_where_a_peer_is_ahead_and_why() -> None:
    told = [line for line in section(a_page(), "Programs") if line.startswith("- ")]
    assert told == [
        (
            "- **tiny**: Pool is 2.0 times as fast as cloaca (2.0-2.0). It sends items in chunks and knows nothing of "
            "a single one; cloaca records how each one ended. Less memory: Pool 0.50 of cloaca's."
        )
    ]
    assert "is 2.0 times as fast" not in "".join(section(a_page(), "Workloads")), "pool is no tool that people use"


def test_a_page_tells_what_must_be_reached() -> None:
    assert rows(a_page(), "What cloaca is meant to reach") == [
        ["tiny", "cloaca", "Pool", "memory >= 0.5", "0.50", "met"],
        ["trivial", "cloaca", "pool", "ratio >= 3", "2.50", "missed"],
        ["import", "cloaca", "pool", "time <= 2.00 s", "1.00 s", "met"],
    ]


def test_a_page_tells_the_command_that_makes_it_anew() -> None:
    """And `docs/performance.md` is such a page."""
    command = re.compile(r"python -m pytest perf --rounds \d+ --store \S+ --markdown docs/performance.md")
    assert command.search(a_page())
    assert command.search((ROOT / "docs" / "performance.md").read_text(encoding="utf-8"))


def test_a_picture_has_a_row_for_each_form_and_a_dot_for_each_peer() -> None:
    beside = {"cloaca map": Outcome(1.0), "cloaca": Outcome(2.0), "Pool by fork": Outcome(1.0), "loop": Outcome(9.0)}
    duels = [Duel("cloaca", "Pool by fork"), Duel("cloaca", "loop"), Duel("cloaca map", "Pool by fork")]
    scores = [score("tiny", duel, [beside], {"cloaca": 2, "Pool by fork": 1}) for duel in duels]
    half, one = picture.Dot("Pool", Figure.of([0.5])), picture.Dot("Pool", Figure.of([1.0]))
    assert picture.rows(scores, "time") == [picture.Row("tiny", (half,)), picture.Row("tiny · map", (one,))]
    assert picture.rows(scores, "memory") == [picture.Row("tiny", (half,))]


def test_a_stored_run_becomes_a_page_with_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    save(a_record(), tmp_path / "run.json")
    monkeypatch.setattr(sys, "argv", ["perf.page", str(tmp_path / "run.json"), str(tmp_path / "page.md")])
    page.main()
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="(page-[a-z-]+\.svg)"', text)
    assert {*shown} == {path.name for path in tmp_path.glob("*.svg")}
    assert all((tmp_path / name).read_text(encoding="utf-8").startswith("<svg ") for name in shown)


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
    nothing = telling(lambda: Outcome(1.0))
    names = ["cloaca", "loop", "ray", "ray + imports", "Pool"]
    workload = Workload("w", "", dict.fromkeys(names, nothing), tuple(Duel("cloaca", name) for name in names[1:]))
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
        clocked("-c", "import sys; sys.exit('no such luck')").play()


def test_what_a_process_takes_of_the_processor_is_not_what_it_waits() -> None:
    waiting = "import time; time.sleep(1)"
    assert charged("-c", waiting).play().seconds < clocked("-c", waiting).play().seconds


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system doesn't tell")
def test_memory_is_looked_at_while_a_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has filled its memory before the first look, and ends after it."""
    filling = "import sys; held = bytearray(b'x') * (64 << 20); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", filling]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        end = process.stdin.close
        monkeypatch.setattr(weight, "sleep", lambda _: end())
        most = weight.peak(process)
    assert most is not None
    assert most >= 64 * MIB


def test_a_contender_is_weighed_in_a_process_of_its_own() -> None:
    (peak,) = weigh({"cloaca": clocked("-c", "import time; time.sleep(0.2)")}).values()
    assert (peak is None) is not Path("/proc/self/smaps_rollup").exists()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system doesn't tell")
def test_what_processes_share_is_counted_once() -> None:
    """A fork that has written nothing yet."""
    held = bytearray(b"x") * (64 * MIB)
    alone = weight.weight([os.getpid()], 0)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    both = weight.weight([os.getpid(), child], 0)
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)
    assert both - alone < len(held) / 2


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the system doesn't tell")
def test_files_in_shared_memory_count_where_nobody_has_mapped_them() -> None:
    assert weight.weight([], 5 * MIB) == 5 * MIB


# ---- programs ------------------------------------------------------------------------------------------------------


def test_a_script_begins_to_count_where_it_yields_and_returns_its_answer() -> None:
    seen: list[str] = []

    def script() -> Script:
        seen.append("before")
        yield
        seen.append("after")
        return 42

    assert run_script(script())[1] == 42
    assert seen == ["before", "after"]


def test_equal_answers_have_the_same_fingerprint() -> None:
    numpy = pytest.importorskip("numpy")
    assert fingerprint([1, "a"]) == fingerprint([1, "a"]) != fingerprint([1, "b"])
    assert fingerprint(numpy.arange(5000)) == fingerprint(numpy.arange(5000)) != fingerprint(numpy.zeros(5000))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.module)
def test_each_form_of_a_program_is_a_function_of_its_file(program: Program) -> None:
    pytest.importorskip(program.needs)
    module = import_module(f"perf.programs.{program.module}")
    forms = {name for name in vars(module) if name.startswith("with_") and name != "with_neighbours"}
    assert {function_name(name) for name in (*program.forms, *program.peers)} == forms
    assert {*program.musts} <= {*product(program.forms, program.peers)}


@pytest.mark.slow
def test_a_program_tells_its_answer_and_what_all_of_its_processes_took() -> None:
    pytest.importorskip("numpy")
    outcomes = play_round({name: contest.program("first", name) for name in ("with_cloaca", "with_processpool")}, 0)
    assert all(0 < outcome.seconds < 60 and (outcome.cpu or 0) > 0 for outcome in outcomes.values())
    assert None not in {outcome.answer for outcome in outcomes.values()}


@pytest.mark.slow
@pytest.mark.parametrize("contender", ["with_cloaca", "with_processpool", "with_pool"])
@pytest.mark.parametrize(
    ("module", "sizes"),
    [
        ("trivial", {"tasks": 4}),
        ("chain", {"tasks": 4}),
        ("layers", {"layers": 3, "width": 4}),
        ("records", {"tasks": 2, "size": 10}),
        ("sleepers", {"tasks": 4}),
    ],
)
def test_a_contender_reports_seconds_per_task(module: str, sizes: dict[str, int], contender: str) -> None:
    outcome = reported(module, contender, warmups=1, repeats=2, per=4, workers=1, **sizes).play()
    assert 0 < outcome.seconds < 60


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
    few = "anatomy.ROUNDS, anatomy.TASKS = 1, 300"
    lists = "[vars(anatomy).update({name: vars(anatomy)[name][:300]}) for name in anatomy.ONE_FOR_EACH_TASK]"
    shown = run("-c", f"from perf import anatomy; {few}; {lists}; anatomy.main()", cwd=ROOT)
    legs = {what: float(microseconds) for microseconds, what in map(split_once, shown.stdout.splitlines())}
    assert legs["all of it"] > legs["worker: the task runs, with all that surrounds it"] > 0, shown.stderr
    assert legs.keys() >= {what for what, _, _ in anatomy.PARTS}


def split_once(line: str) -> list[str]:
    return line.split(maxsplit=1)


def test_the_anatomy_is_written_into_its_page() -> None:
    text = (ROOT / "docs" / "profile.md").read_text(encoding="utf-8")
    for table in ("legs", "inside"):
        text = anatomy.with_table(text, table, [(f"a row of {table}", 1.0)])
    assert text.count("| a row of ") == 2
    assert anatomy.with_table(text, "legs", [("a row of legs", 1.0)]) == text
    with pytest.raises(ValueError, match="no '<!-- anatomy: bones -->'"):
        anatomy.with_table(text, "bones", [])
