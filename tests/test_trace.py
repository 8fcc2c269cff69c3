"""Traces that viewers open: checked against the rules of their format, which say what these make of them."""

import json
import os
import pickle
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec.structs import replace

import cloaca
from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.tracks import tracks_of
from cloaca.engine.ledger import Ledger
from cloaca.history.plan import plan
from cloaca.tracing.chrome import events

Event = dict[str, Any]
PHASES = {"M": ("process_name", "thread_name", "thread_sort_index"), "X": None, "s": None, "f": None, "C": None}


def checked(path: Path) -> list[Event]:
    """The events of a trace, if it keeps to the rules of the format."""
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = told["traceEvents"]
    slices, flows = defaultdict[int, list[Event]](list), defaultdict[int, list[Event]](list)
    for event in events:
        names = PHASES[event["ph"]]
        assert names is None or event["name"] in names
        assert isinstance(event["name"], str)
        assert {type(event["pid"]), type(event["tid"])} == {int}
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices[event["tid"]].append(event)
        if event["ph"] in "sf":
            flows[event["id"]].append(event)
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())
    for track in slices.values():
        _check_nesting(track)
    for start, end in flows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]
        assert all(any(_covers(one, event) for one in slices[event["tid"]]) for event in (start, end))
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert named == {*slices}
    return events


def _check_nesting(track: list[Event]) -> None:
    """As viewers stack them: by when they begin, the longest first; each ends within the one that it stands in."""
    stack: list[Event] = []
    for event in sorted(track, key=lambda event: (event["ts"], -event["dur"])):
        while stack and stack[-1]["ts"] + stack[-1]["dur"] <= event["ts"]:
            stack.pop()
        assert not stack or _covers(stack[-1], {"ts": event["ts"] + event["dur"]}), "slices on a track overlap"
        assert not stack or event["cat"] == "phase" != stack[-1]["cat"], (
            "what stands in a task's slice is a phase of it"
        )
        if event["dur"]:
            stack.append(event)


def _covers(slice_: Event, event: Event) -> bool:
    return bool(slice_["ts"] <= event["ts"] <= slice_["ts"] + slice_["dur"])


def slices_in(events: list[Event]) -> dict[str, Event]:
    return {event["name"]: event for event in events if event["ph"] == "X" and event["cat"] != "phase"}


def steps(width: int = 6) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder('a "workflow"\n</script>') as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            context["rows"] = [*range(width)]

        @cloaca.task(dependencies=[load], for_each="rows")
        def clean(context: cloaca.Context, row: int) -> None:
            context["cleaned"] = bytes(100_000) if row == 3 else row

        @cloaca.task(dependencies=[clean], for_each="rows")
        def check(context: cloaca.Context, row: int) -> None:
            if row == 2:
                raise ValueError("row 2")
            context["checked"] = row

        @cloaca.task(dependencies=[check], trigger_rule="all_done")
        def total(context: cloaca.Context) -> None:
            context["total"] = len(context["cleaned"])

    return builder.build()


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_a_trace_keeps_to_the_rules_of_its_format(
    tmp_path: Path, executor: Literal["processes", "threads", "serial"]
) -> None:
    with cloaca.DefaultRunner(workers=2, executor=executor) as runner:
        result = runner.execute(steps())
    result.save_trace(tmp_path / "run.json")
    events = checked(tmp_path / "run.json")
    slices = slices_in(events)
    assert {*slices} == {name for name in result.tasks if name not in ("clean", "check")}
    assert slices["check[2]"]["args"]["error"] == "ValueError: row 2"
    assert slices["total"]["args"]["keys read"] == ["cleaned"]
    assert slices["clean[3]"]["args"]["bytes written"] >= 100_000
    for name, event in slices.items():
        assert event["dur"] == pytest.approx(1e6 * (result.tasks[name].duration or 0), abs=2)
    starts = sum(event["ph"] == "s" for event in events)
    assert starts == 6 + 6 + 1, "load to each item, each item to its own, the last one to the total"


def test_what_was_cut_off_stands_in_a_trace_from_its_beginning_on(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("cut") as builder:

        @cloaca.task(for_each="rows")
        def dies(context: cloaca.Context, row: int) -> None:
            if row == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        cloaca.task(id="slow", timeout=0.05)(lambda context: signal.pause())

    with cloaca.DefaultRunner(workers=1, grace_seconds=0) as runner:
        result = runner.execute(builder, {"rows": [*range(5)]})
    result.save_trace(tmp_path / "run.json")
    slices = slices_in(checked(tmp_path / "run.json"))
    assert {*slices} == {*(f"dies[{row}]" for row in range(5)), "slow"}
    assert slices["slow"]["dur"] >= 50_000
    for name in ("slow", "dies[2]"):
        assert slices[name]["args"]["status"] == "Failed"
        assert slices[name]["args"]["error"] == result.tasks[name].error_message


def test_the_trace_of_a_loaded_result_is_the_same(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(f"{tmp_path}/runs.db", workers=1) as runner:
        result = runner.execute(steps())
        past = runner.execution(result.execution_id).result
    for number, one in enumerate((result, pickle.loads(pickle.dumps(result)), past)):
        one.save_trace(tmp_path / f"{number}.json")
    first, second, third = (slices_in(checked(tmp_path / f"{number}.json")) for number in range(3))
    assert first == second
    assert {*first} == {*third}


def test_what_overlaps_in_the_program_stands_on_tracks_of_its_own() -> None:
    def span(unit: int, worker: int, started: float, ended: float) -> Span:
        return Span(unit, "t", None, "t", 1, worker, started, ended, 0.0, "Completed", (), 0, 0, 0, 0)

    spans = [span(0, 0, 0, 2), span(1, 0, 1, 3), span(2, 0, 2, 4), span(3, 7, 0, 9), span(4, 0, 2.5, 3)]
    assert tracks_of(spans) == [0, -1, 0, 7, -2]


def test_tries_that_failed_are_slices_with_arrows_between_them(tmp_path: Path) -> None:
    tries: list[int] = []
    with cloaca.WorkflowBuilder("tried") as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            context["rows"] = 1

        @cloaca.task(dependencies=[load], retry_attempts=3, retry_delay_ms=1)
        def often(context: cloaca.Context) -> None:
            tries.append(1)
            if len(tries) < 3:
                raise ValueError(f"try {len(tries)}")

        cloaca.task(id="end", dependencies=[often])(lambda context: None)

    with cloaca.DefaultRunner(executor="serial") as runner:
        runner.execute(builder).save_trace(tmp_path / "run.json")
    events = checked(tmp_path / "run.json")
    slices = [event for event in events if event["ph"] == "X" and event["name"] == "often"]
    slices.sort(key=lambda event: event["ts"])
    assert [(one["args"]["try"], one["args"]["status"], one["args"].get("error")) for one in slices] == [
        (1, "Retried", "ValueError: try 1"),
        (2, "Retried", "ValueError: try 2"),
        (3, "Completed", None),
    ]
    arrows = {event["id"]: event for event in events if event["ph"] == "f"}
    assert sorted((one["name"], one["ts"]) for one in arrows.values() if one["name"] == "retry") == [
        ("retry", slices[1]["ts"]),
        ("retry", slices[2]["ts"]),
    ]
    assert [one["ts"] for one in arrows.values() if one["name"] == "dependency"][:1] == [slices[0]["ts"]]


def drawn(*spans: Span) -> list[Event]:
    """A trace of these alone."""
    compiled = plan("w", [("t", [])])
    account = Account(Ledger(compiled, []), compiled, 0.0, 1.0, 0)
    account.spans, account.failed_spans, account.moments = spans, (), ()
    return [*events("w", account, lambda _: None)]


def test_what_went_by_beside_a_function_stands_in_its_slice() -> None:
    span = Span(0, "t", None, "t", 1, 3, 1.0, 2.0, 0.0, "Completed", (), 0, 0, 0, 5)
    phased = replace(span, loading=0.2, waiting=0.1, encoding=0.3, imported=("pandas",))
    slices = [event for event in drawn(phased) if event["ph"] == "X"]
    _check_nesting(slices)
    assert [(event["name"], event["ts"], event["dur"]) for event in slices] == [
        ("t", 1_000_000, 1_000_000),
        ("loading", 1_000_000, 200_000),
        ("waiting for values", 1_200_000, 100_000),
        ("encoding", 1_700_000, 300_000),
    ]
    assert slices[0]["args"]["packages imported"] == ["pandas"]


@pytest.mark.parametrize(
    "phases", [(0.7, 0.7, 0.7), (0.0, 2.0, 0.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.5, 0.5, 1e-9)]
)
def test_no_phase_sticks_out_of_its_slice(phases: tuple[float, float, float]) -> None:
    loading, waiting, encoding = phases
    span = Span(0, "t", None, "t", 1, 3, 1.0, 2.0, 0.0, "Completed", (), 0, 0, 0, 5)
    found = drawn(replace(span, loading=loading, waiting=waiting, encoding=encoding))
    _check_nesting([event for event in found if event["ph"] == "X"])


def test_a_counter_tells_what_was_written() -> None:
    one = Span(0, "t", None, "t", 1, 3, 1.0, 2.0, 0.0, "Completed", (), 0, 0, 7, 100)
    counters = [event for event in drawn(one, replace(one, unit=1, worker=4, ended=3.0)) if event["ph"] == "C"]
    assert [(event["name"], event["ts"], event["args"]) for event in counters] == [
        ("bytes", 2_000_000, {"written": 7}),
        ("bytes", 3_000_000, {"written": 14}),
    ]


def test_where_nothing_ran_there_is_nothing_to_trace(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("once") as builder:
        cloaca.task(id="one")(lambda context: context.set("one", 1))
    with cloaca.DefaultRunner(f"{tmp_path}/runs.db", workers=1) as runner:
        runner.execute(builder)
        again = runner.execute(builder, reuse=True)
    with pytest.raises(ValueError, match="nothing to trace: no task of this execution of 'once' ran in it"):
        again.save_trace(tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(steps())
    with pytest.raises(IsADirectoryError):
        result.save_trace(tmp_path)
    with pytest.raises(FileNotFoundError):
        result.save_trace(tmp_path / "none" / "run.json")


def test_an_account_of_nothing_is_empty() -> None:
    compiled = plan("w", [("a", [])])
    account = Account(Ledger(compiled, []), compiled, 0.0, 1.0, 0)
    assert (account.spans, account.moments, account.edges, account.workers) == ([], [], [], 1)


def test_memory_is_a_counter_where_it_was_read() -> None:
    compiled = plan("w", [("a", [])])
    account = Account(Ledger(compiled, []), compiled, 10.0, 1.0, 0, memory=[(10.5, 7), (10.75, 9)])
    told = [event for event in events("w", account, lambda _: None) if event["name"] == "memory"]
    assert [(event["ph"], event["ts"], event["args"]) for event in told] == [
        ("C", 500_000, {"of workers": 7}),
        ("C", 750_000, {"of workers": 9}),
    ]
