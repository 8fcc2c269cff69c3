"""Traces that viewers open: checked against the rules of their format, which say what these make of them."""

import json
import os
import pickle
import signal
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

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
        track.sort(key=_began)
        assert all(one["ts"] + one["dur"] <= other["ts"] for one, other in pairwise(track)), "slices on a track overlap"
    for start, end in flows.values():
        assert (start["ph"], end["ph"], end["bp"]) == ("s", "f", "e")
        assert start["ts"] <= end["ts"]
        assert all(any(_covers(one, event) for one in slices[event["tid"]]) for event in (start, end))
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert named == {*slices}
    return events


def _began(event: Event) -> tuple[float, float]:
    return event["ts"], event["dur"]


def _covers(slice_: Event, event: Event) -> bool:
    return bool(slice_["ts"] <= event["ts"] <= slice_["ts"] + slice_["dur"])


def slices_in(events: list[Event]) -> dict[str, Event]:
    return {event["name"]: event for event in events if event["ph"] == "X"}


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
    told = [event for event in events("w", account, lambda _: None) if event["name"] == "memory of the workers"]
    assert [(event["ph"], event["ts"], event["args"]) for event in told] == [
        ("C", 500_000, {"bytes": 7}),
        ("C", 750_000, {"bytes": 9}),
    ]
