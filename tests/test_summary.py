"""What a run comes to in figures: of made-up runs, whose times are given, and of real ones."""

import pickle
from collections.abc import Mapping
from itertools import pairwise
from random import Random
from typing import Any, Literal

import pytest
from tests.reference import Graph
from tests.runs import CHAIN, DIAMOND, a_run, assigned, found, tell

import cloaca
from cloaca.account.account import Account
from cloaca.account.cores import Idle
from cloaca.account.overhead import Overhead
from cloaca.account.summary import Summary
from cloaca.engine.events import Begin, Room, Tick
from cloaca.engine.pairing import paired
from cloaca.engine.run import Run
from cloaca.engine.seats import Seats
from cloaca.engine.work import Work
from cloaca.errors import INPUT
from cloaca.history.plan import plan
from cloaca.retry import RetryPolicy
from cloaca.values.codec import encode
from cloaca.wire.messages import FIGURES, Assignment, Done, Failed, ItemsDone, Phases, Usage, Version

Times = Mapping[str, tuple[float, float]]
"""When each task, or instance, began and ended, in seconds since its run began."""

BEGAN = 1000.0


def usage(
    times: Times, name: str, *, cpu: float | None = None, written: int = 0, phases: Phases | None = None
) -> Usage:
    started, ended = times.get(name, (0.0, 0.0))
    busy = ended - started if cpu is None else cpu
    return Usage(BEGAN + started, BEGAN + ended, busy, 1 << 20, ("key",), 10, 0, written, 1, phases)


def account_of(
    run: Run,
    times: Times,
    workers: int,
    *,
    cpu: float | None = None,
    failing: str = "",
    phases: Mapping[str, Phases] | None = None,
) -> Account:
    """The run, to its end: each task takes the time that it is given."""
    tell(run, Begin())
    while attempts := assigned(tell(run, Room(1, 0))):
        for attempt, name in attempts:
            own = (phases or {}).get(name)
            cost = usage(times, name, cpu=cpu, written=1 << 20 if name == "load" else 0, phases=own)
            if name == "each" and "each" not in times:
                tell(run, found(attempt, [*map(encode, range(3))]))
            elif name == failing:
                tell(run, Failed(attempt, "ValueError", "no", "", None, cost))
            else:
                tell(run, Done(attempt, {}, cost))
    return Account(run.ledger, run.plan, BEGAN, max(ended for _, ended in times.values()), workers, run.seats)


def summary_of(graph: Graph, times: Times, workers: int = 2, cpu: float | None = None) -> Summary:
    return Summary("w", "Completed", account_of(a_run(graph), times, workers, cpu=cpu))


def mapped() -> Run:
    """Two mapped tasks, of which one follows the other item by item, and one behind them."""
    compiled = plan("w", [("load", []), ("each", ["load"]), ("next", ["each"]), ("end", ["next"])])
    keys = [None, "items", "items", None]
    each = paired(compiled, keys, {1: 100, 2: 100}, {1: (), 2: ()})
    work = [Work(rank, (), each=each.get(rank)) for rank in range(4)]
    return Run(compiled, work, {"items": Version(INPUT, b"")}, numbers=iter(range(1000)), answers=True)


# ---- made-up runs --------------------------------------------------------------------------------------------------


def test_the_critical_path_goes_by_what_tasks_took_not_by_how_many_there_are() -> None:
    times = {"root": (0.0, 1.0), "left": (1.0, 2.0), "right": (1.0, 4.0), "join": (4.0, 5.0)}
    summary = summary_of(DIAMOND, times)
    assert summary.critical_path == ("root", "right", "join")
    assert (summary.critical_path_seconds, summary.work, summary.seconds) == (5.0, 6.0, 5.0)
    assert (summary.speed_up, summary.bound) == (1.2, 1.2)


def test_the_critical_path_follows_a_mapped_task_item_by_item() -> None:
    times = {"load": (0.0, 1.0), "each[0]": (1.0, 5.0), "next[0]": (5.0, 6.0), "each[1]": (1.0, 3.0)}
    times |= {"next[1]": (3.0, 7.0), "each[2]": (5.0, 6.0), "next[2]": (6.0, 7.0), "end": (7.0, 8.0)}
    account = account_of(mapped(), times, 2)
    assert [span.name for span in account.critical_path.spans] == ["load", "each[1]", "next[1]", "end"]
    assert account.critical_path.seconds == 8.0
    assert account.counts == {"Completed": 8}
    edges = {(_name(account, before), _name(account, after)) for before, after in account.edges}
    assert ("load", "each[2]") in edges
    assert ("each[1]", "next[1]") in edges
    assert ("each[0]", "next[1]") not in edges
    assert [before for before, after in edges if after == "end"] in (["next[1]"], ["next[2]"])


def _name(account: Account, unit: int) -> str:
    return next(span.name for span in account.spans if span.unit == unit)


def test_idle_time_is_told_by_what_it_was_spent_on() -> None:
    times = {"a": (1.0, 2.0), "b": (2.5, 4.0), "c": (4.0, 5.0)}
    account = account_of(a_run(CHAIN), times, 2)
    account.seconds = 6.0
    idle = account.idle
    assert (idle.starting, idle.ending) == (2.0, 2.0)
    assert (idle.handing_over, idle.nothing_ready) == (0.5, 1.0 + 0.5 + 1.5 + 1.0)
    assert idle.seconds == 2 * 6.0 - account.work


def retried(delay: float = 1.0) -> Account:
    """A task that fails from 1 to 2 and ends well from 3.5 to 4, on the first of two workers."""
    policy = RetryPolicy(max_attempts=3, initial_delay=delay, max_delay=delay, with_jitter=False)
    run = Run(plan("w", [("load", [])]), [Work(0, (), retry=policy)], {}, numbers=iter(range(9)), answers=True)
    tell(run, Begin())
    ((number, _),) = assigned(tell(run, Room(1, 0)))
    run.handle(Failed(number, "ConnectionError", "no", "", None, usage({"load": (1.0, 2.0)}, "load")), BEGAN + 2.0)
    ((number, _),) = assigned([*run.handle(Tick(), BEGAN + 2.0 + delay), *run.handle(Room(1, 0), BEGAN + 2.0 + delay)])
    tell(run, Done(number, {}, usage({"load": (3.5, 4.0)}, "load")))
    return Account(run.ledger, run.plan, BEGAN, 4.0, 2)


def test_tries_that_failed_count_as_work_and_the_time_after_them_as_backoff() -> None:
    account = retried()
    assert [(span.status, span.nth, span.seconds, span.delay) for span in account.failed_spans] == [
        ("Retried", 1, 1.0, 1.0)
    ]
    assert account.work == 1.5
    assert account.idle == Idle(starting=2.0, backing_off=1.0, handing_over=0.5, nothing_ready=1.0 + 1.0 + 0.5 + 0.5)
    summary = Summary("w", "Completed", account)
    assert summary.retried == (("load", 1),)
    assert "  tries          1 failed after 1.00 s and was made again: load 1" in str(summary).splitlines()
    assert "12 % a task was to be tried again" in str(summary)


def test_waiting_for_a_limit_is_told_apart() -> None:
    work = [Work(0, (), share=(("db", 1),)), Work(1, (), share=(("db", 1),)), Work(2, ())]
    compiled = plan("w", [("a", []), ("b", []), ("c", [])])
    run = Run(compiled, work, {}, numbers=iter(range(9)), answers=True, seats=Seats({"db": 1}))
    account = account_of(run, {"a": (0.0, 1.0), "b": (1.0, 3.0), "c": (0.0, 0.5)}, 2)
    assert account.idle == Idle(limited=0.5, nothing_ready=2.0)


def test_what_is_kept_for_a_large_one_counts_as_taken() -> None:
    compiled = plan("w", [("a", []), ("large", []), ("small", []), ("other", [])])
    shares = [(("gb", 3),), (("gb", 3), ("gpu", 1)), (("gb", 1),), (("gpu", 1),)]
    work = [Work(rank, (), share=share) for rank, share in enumerate(shares)]
    run = Run(compiled, work, {}, numbers=iter(range(9)), answers=True, seats=Seats({"gb": 4, "gpu": 2}))
    times = {"a": (0.0, 2.0), "large": (2.0, 3.0), "small": (2.0, 3.0), "other": (0.5, 1.0)}
    account = account_of(run, times, 3)
    assert account.idle == Idle(limited=3.0, handing_over=0.5, nothing_ready=1.0)
    waiting = [(moment.at, moment.ready, moment.limited) for moment in account.moments]
    assert waiting == [(0.0, 3, 2), (0.5, 2, 2), (1.0, 2, 2), (2.0, 0, 0), (3.0, 0, 0)]


@pytest.mark.parametrize("seed", range(20))
def test_work_and_idle_time_come_to_that_of_all_workers(seed: int) -> None:
    """Whatever the graph: each of them begins when all before it has ended and a worker is free, or later."""
    chance, workers = Random(seed), 3
    names = [f"t{number}" for number in range(30)]
    graph = [(name, chance.sample(names[:place], min(place, chance.randrange(4)))) for place, name in enumerate(names)]
    times: dict[str, tuple[float, float]] = {}
    free = [0.1] * workers
    for name, above in graph:
        worker = min(range(workers), key=free.__getitem__)
        started = max([free[worker], *(times[one][1] for one in above)]) + chance.choice([0.0, 0.25])
        times[name] = started, started + chance.randrange(1, 9) / 8
        free[worker] = times[name][1]
    account = account_of(a_run(graph), times, workers)
    assert account.idle.seconds + account.work == pytest.approx(workers * account.seconds)
    assert account.critical_path.seconds <= account.seconds
    assert account.most_at_once <= workers
    for one, then in pairwise(account.critical_path.spans):
        assert one.name in dict(graph)[then.name]


def test_what_never_ran_or_was_taken_over_has_no_span() -> None:
    times = {"a": (-5.0, -4.0), "b": (0.0, 1.0), "c": (0.0, 0.0)}
    account = account_of(a_run(CHAIN), times, 1, failing="b")
    assert [(span.name, span.status) for span in account.spans] == [("b", "Failed")]
    assert account.counts == {"Completed": 1, "Failed": 1, "Skipped": 1}


def test_a_run_without_times_says_so() -> None:
    summary = summary_of([("a", [])], {"a": (-1.0, 0.0)})
    assert str(summary) == "w: Completed, 1 task in 0 us\n  times  no task of this execution has reported any"
    assert (summary.speed_up, summary.critical_path, summary.slowest, summary.advice) == (0.0, (), (), ())


def test_a_summary_is_told_on_a_few_lines() -> None:
    times = {"load": (1.0, 3.0), "total": (3.0, 3.5)}
    summary = summary_of([("load", []), ("total", ["load"])], times, workers=4)
    assert str(summary).splitlines()[:6] == [
        "w: Completed, 2 tasks in 3.50 s",
        "  speed-up       0.71 on 4 workers, of 1.00 that is possible: 2.50 s of work, 2.50 s of it computing",
        "  critical path  2.50 s: load -> total",
        "  idle           82 % of the workers' time: 54 % nothing was ready, 29 % before the first task",
        "  slowest        load 2.00 s, total 0.50 s",
        "  set most       load 1.0 MB",
    ]
    assert (
        '<tr><th>critical path</th><td style="text-align:left">2.50 s: load -&gt; total</td></tr>' in summary.to_html()
    )
    assert summary._repr_html_() == summary.to_html()


# ---- advice --------------------------------------------------------------------------------------------------------


def apart(count: int, seconds: float) -> tuple[Graph, Times]:
    """So many tasks, one after the other, that depend on nothing."""
    return [(f"t{n}", []) for n in range(count)], {f"t{n}": (n * seconds, (n + 1) * seconds) for n in range(count)}


@pytest.mark.parametrize(("count", "seconds", "said"), [(500, 4e-5, 1), (499, 4e-5, 0), (500, 3e-4, 0)])
def test_many_tiny_tasks_are_better_items(count: int, seconds: float, said: int) -> None:
    told = [one for one in summary_of(*apart(count, seconds), workers=1).advice if "for_each" in one]
    assert len(told) == said
    assert all(one.startswith("500 tasks take 40 us each, at the median: to hand one over costs about") for one in told)


def test_one_long_task_is_better_split() -> None:
    graph: Graph = [("long", []), ("short", [])]
    times = {"long": (0.0, 9.0), "short": (0.0, 2.0)}
    told = "Task 'long' takes 9.00 s of 9.00 s, and no number of workers makes that shorter: split it, as by for_each."
    assert summary_of(graph, times).advice == (told,)
    assert summary_of(graph, times, workers=1).advice == ()
    assert summary_of(graph, {**times, "short": (0.0, 5.0)}).advice == ()


def test_a_chain_that_bounds_the_run_is_named() -> None:
    times = {"a": (0.0, 1.0), "b": (1.0, 2.0), "c": (2.0, 3.0)}
    told = "3 tasks that wait for each other take 3.00 s of 3.00 s (a -> b -> c): more workers won't help."
    assert [one[: len(told)] for one in summary_of(CHAIN, times).advice] == [told]


def test_time_that_goes_by_before_the_first_task_is_told() -> None:
    (told,) = summary_of([("a", [])], {"a": (2.0, 3.0)}, workers=1).advice
    assert told.startswith("2.00 s of 3.00 s went by before the first task began: workers start once for a runner.")
    assert summary_of([("a", [])], {"a": (0.02, 0.03)}, workers=1).advice == ()


def test_tasks_that_wait_rather_than_compute_are_told() -> None:
    (told,) = summary_of([("a", [])], {"a": (0.0, 4.0)}, workers=1, cpu=0.5).advice
    assert told.startswith("Tasks computed for 12 % of the time that they took, and waited for the rest")
    assert summary_of([("a", [])], {"a": (0.0, 4.0)}, workers=1, cpu=1.0).advice == ()


def with_phases(**phases: Phases) -> Summary:
    """Two tasks that take two seconds each, side by side on two workers."""
    times = {"one": (0.0, 2.0), "other": (0.0, 2.0)}
    return Summary("w", "Completed", account_of(a_run([("one", []), ("other", [])]), times, 2, phases=phases))


def test_overhead_is_told_by_what_it_was() -> None:
    summary = with_phases(one=Phases(0.1, 0.2, 0.4), other=Phases(waiting=0.1))
    assert summary.overhead == pytest.approx(Overhead(0.1, 0.3, 0.4, 0.0))
    assert (
        "  overhead       0.80 s, 0.40 s a task: 0.10 s loading functions and values, 0.30 s waiting for values, "
        "0.40 s encoding values"
    ) in str(summary).splitlines()
    assert "overhead" not in str(with_phases(one=Phases(waiting=0.03)))


@pytest.mark.parametrize(("seconds", "said"), [(0.2, 1), (0.19, 0)])
def test_packages_that_workers_import_for_long_are_told(seconds: float, said: int) -> None:
    found = with_phases(one=Phases(seconds, imported=("pandas", "numpy")), other=Phases(seconds, imported=("pandas",)))
    told = [one for one in found.advice if "imported" in one]
    assert len(told) == said
    assert all(one.startswith("1 worker imported pandas, numpy with functions, for 0.40 s each:") for one in told)


@pytest.mark.parametrize(("seconds", "said"), [(1.0, 1), (0.99, 0)])
def test_values_that_take_long_to_be_made_bytes_are_told(seconds: float, said: int) -> None:
    summary = with_phases(one=Phases(loading=0.25), other=Phases(encoding=seconds - 0.25))
    told = [one for one in summary.advice if "bytes" in one]
    assert len(told) == said
    assert all(
        one.startswith("25 % of the tasks' time went into making values bytes, and back, most for 'other':")
        for one in told
    )
    loaded = with_phases(one=Phases(seconds, imported=("pandas",)))
    assert not any("bytes" in one for one in loaded.advice), "to import is something else"


@pytest.mark.parametrize(("number", "seconds", "said"), [(10_000, 1e-5, 1), (9_999, 1e-5, 0), (10_000, 1.1e-5, 0)])
def test_many_tiny_items_are_better_lists(number: int, seconds: float, said: int) -> None:
    compiled = plan("w", [("each", [])])
    each = paired(compiled, ["items"], {0: number}, {0: ()})
    work = [Work(0, (), each=each[0])]
    run = Run(compiled, work, {"items": Version(INPUT, b"")}, numbers=iter(range(99_999)), answers=True)
    tell(run, Begin())
    ((attempt, _),) = assigned(tell(run, Room(1, 0)))
    tell(run, found(attempt, [encode(0)] * number))
    began = BEGAN
    for whole in [one for one in tell(run, Room(number, 0, grain=number)) if isinstance(one, Assignment)]:
        begins = [began + place * 1e-4 for place in range(whole.size)]
        costs = [FIGURES.pack(one, one + seconds - 1e-9, seconds, 1 << 20, 8, 0, 0, 1) for one in begins]
        nothing: list[Any] = [()] * whole.size
        tell(run, ItemsDone(whole.attempt, b"".join(costs), nothing, nothing, nothing, []))
        began = begins[-1] + 1e-4
    told = [one for one in Summary("w", "", Account(run.ledger, compiled, BEGAN, 2.0, 1)).advice if "items" in one]
    assert len(told) == said
    assert all(one.startswith("10,000 items of task 'each' take 10 us each, at the median:") for one in told)


# ---- real runs -----------------------------------------------------------------------------------------------------


def sales() -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("sales") as builder:

        @cloaca.task()
        def load(context: cloaca.Context) -> None:
            context["rows"] = [1, 2, 3]

        @cloaca.task(dependencies=[load], for_each="rows")
        def clean(context: cloaca.Context, row: int) -> None:
            context["cleaned"] = row

        @cloaca.task(dependencies=[clean])
        def total(context: cloaca.Context) -> None:
            context["total"] = sum(context["cleaned"])

    return builder.build()


@pytest.mark.parametrize("executor", ["processes", "threads", "serial"])
def test_the_summary_of_a_real_run_holds_together(executor: Literal["processes", "threads", "serial"]) -> None:
    with cloaca.DefaultRunner(workers=2, executor=executor) as runner:
        result = runner.execute(sales())
    summary = result.summary()
    assert summary.counts == {"Completed": 5}
    assert summary.workers == (1 if executor == "serial" else 2)
    assert (summary.critical_path[0], summary.critical_path[-1]) == ("load", "total")
    assert 0 < summary.critical_path_seconds <= summary.seconds
    assert summary.idle.seconds == pytest.approx(summary.workers * summary.seconds - summary.work)
    loaded = pickle.loads(pickle.dumps(result)).summary()
    assert str(loaded) == str(summary)


def test_what_is_taken_over_is_counted_and_has_no_times(tmp_path: object) -> None:
    with cloaca.DefaultRunner(f"{tmp_path}/runs.db", workers=1) as runner:
        first = runner.execute(sales())
        again = runner.execute(sales(), reuse=True)
        past = runner.execution(first.execution_id).result
    assert (again.summary().reused, again.summary().work) == (5, 0.0)
    assert ", 5 tasks (5 taken over) in " in str(again.summary())
    assert past.summary().counts == first.summary().counts
    assert past.summary().critical_path[-1] == "total"
    assert past.summary().work == pytest.approx(first.summary().work, abs=0.001)
