"""Pictures of large workflows: what is alike stands as one node, and no more than that is asked for."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import Graph, deterministic, graphs

import cloaca
from cloaca.history.plan import Plan, plan
from cloaca.workflows.folding import outline_of
from cloaca.workflows.outline import Outline


def nothing(_context: cloaca.Context) -> None:
    """What tasks do here."""


def shown(outline: Outline) -> list[str]:
    """The titles of the nodes, and the arrows between them."""
    titles = [node.title for node in outline.nodes]
    return [*titles, *(f"{titles[above]} => {titles[beneath]}" for above, beneath in outline.edges)]


def folded(tasks: Iterable[tuple[str, Sequence[str]]], most: int = 100) -> list[str]:
    return shown(outline_of(plan("w", [*tasks]), (), most))


def test_a_fan_out_is_three_nodes() -> None:
    loads = [f"load_{number}" for number in range(998)]
    tasks = [("start", ()), *((load, ["start"]) for load in loads), ("total", loads)]
    assert folded(tasks) == [
        *("start", "load_0 ... load_997 (998 tasks)", "total"),
        "start => load_0 ... load_997 (998 tasks)",
        "load_0 ... load_997 (998 tasks) => total",
    ]


def test_parallel_rows_are_one_row() -> None:
    names = ("load", "clean", "save")
    lanes = [[f"{name}_{number}" for name in names] for number in range(50)]
    tasks = [(name, [before] if before else []) for lane in lanes for before, name in pairwise(["", *lane])]
    folds = [f"{name}_0 ... {name}_49 (50 tasks)" for name in names]
    assert folded(tasks) == [*folds, *(f"{one} => {other}" for one, other in pairwise(folds))]


def test_a_long_row_keeps_its_ends() -> None:
    names = [f"step_{number}" for number in range(202)]
    tasks = [("step_0", ()), *((name, [before]) for before, name in pairwise(names))]
    fold = "step_1 -> ... -> step_200 (200 tasks)"
    assert folded(tasks) == ["step_0", fold, "step_201", f"step_0 => {fold}", f"{fold} => step_201"]


def test_what_goes_on_from_the_same_and_leads_to_the_same_is_one_whatever_it_is_called() -> None:
    names = [a + b for a in "abcdefgh" for b in "klmnopqr"]
    tasks = [("start", ()), *((name, ["start"]) for name in names), ("other", ["start"]), ("total", names)]
    assert folded(tasks)[:4] == ["start", "ak ... hr (64 tasks)", "other", "total"]


def test_two_are_both_named() -> None:
    tasks = [("load_1", ()), ("load_2", ()), ("total", ["load_1", "load_2"])]
    assert folded(tasks, 2)[:2] == ["load_1, load_2 (2 tasks)", "total"]
    assert folded(tasks, 1) == ["load_1 -> ... -> total (3 tasks)"]


@pytest.mark.parametrize(("side_by_side", "nodes"), [(20, 21), (21, 2)])
def test_also_what_is_few_tasks_is_folded_where_too_many_stand_side_by_side(side_by_side: int, nodes: int) -> None:
    loads = [(f"load_{number}", ()) for number in range(side_by_side)]
    assert len(outline_of(plan("w", [*loads, ("total", ["load_1"])]), (), 100).nodes) == nodes


def dense(levels: int, width: int) -> Plan:
    names = [[f"{chr(97 + level)}{chr(97 + place)}" for place in range(width)] for level in range(levels)]
    tasks = [(name, above) for above, level in pairwise([[], *names]) for name in level]
    return plan("dense", tasks)


def test_few_nodes_with_too_many_arrows_are_folded() -> None:
    assert len(outline_of(dense(3, 12), (), 100).nodes) == 36
    assert shown(outline_of(dense(5, 12), (), 100))[:5] == [f"{one}a ... {one}l (12 tasks)" for one in "abcde"]


@given(graphs(most=14), st.integers(1, 12))
@settings(deterministic, max_examples=300)
def test_nodes_are_all_tasks_and_arrows_all_dependencies(graph: Graph, most: int) -> None:
    compiled = plan("w", [(name, above) for name, above in graph])
    outline = outline_of(compiled, (), most)
    assert len(outline.nodes) <= most
    assert sorted(rank for node in outline.nodes for rank in node.ranks) == [*range(len(compiled.names))]
    home = {rank: place for place, node in enumerate(outline.nodes) for rank in node.ranks}
    between = {(home[one], home[rank]) for rank, above in enumerate(compiled.predecessors) for one in above}
    assert {*outline.edges} == {(one, other) for one, other in between if one != other}
    assert shown(outline_of(compiled, (), most)) == shown(outline)
    assert len(outline_of(compiled, (), None).nodes) == len(compiled.names)


# ---- copies --------------------------------------------------------------------------------------------------------


def region(*names: str) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("region", check="off") as builder:
        for before, name in pairwise([None, *names]):
            cloaca.task(id=str(name), dependencies=[before] if before else [])(nothing)
    return builder


def with_copies(inner: Sequence[tuple[str, cloaca.WorkflowBuilder]]) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("whole", check="off") as builder:
        cloaca.task(id="start")(nothing)
        made = [builder.add_workflow(one, prefix=prefix, dependencies=["start"]) for prefix, one in inner]
        cloaca.task(id="total", dependencies=[leaf for copy in made for leaf in copy.leaves])(nothing)
    return builder.build()


def lines_of(workflow: cloaca.Workflow | cloaca.WorkflowResult, **options: Any) -> list[str]:
    return [line.strip() for line in workflow.to_dot(**options).splitlines()[1:-1]]


def test_alike_copies_are_one_box_whatever_they_are_called() -> None:
    alike = [(f"region_{a}{b}", region("load", "clean")) for a in "abcdef" for b in "ghijkl"]
    assert lines_of(with_copies(alike)) == [
        't0 [label="start"];',
        't73 [label="total"];',
        'subgraph cluster0 { label="region_ag ... region_fl (36 copies)";',
        't1 [label="region_ag.load ... region_fl.load (36 tasks)"];',
        't2 [label="region_ag.clean ... region_fl.clean (36 tasks)"];',
        "}",
        "t0 -> t1;",
        "t1 -> t2;",
        "t2 -> t73;",
    ]


def test_alike_copies_within_alike_copies() -> None:
    with cloaca.WorkflowBuilder("country", check="off") as country:
        for number in range(4):
            country.add_workflow(region("load"), prefix=f"region{number}")
        cloaca.task(id="sum", dependencies=[f"region{number}.load" for number in range(4)])(nothing)
    told = lines_of(with_copies([(f"c{number}", country) for number in range(30)]))
    assert told[2:8] == [
        'subgraph cluster0 { label="c0 ... c29 (30 copies)";',
        't5 [label="c0.sum ... c29.sum (30 tasks)"];',
        'subgraph cluster1 { label="c0.region0 ... c29.region3 (120 copies)";',
        't1 [label="c0.region0.load ... c29.region3.load (120 tasks)"];',
        "}",
        "}",
    ]


def test_copies_of_their_own_kind_are_a_node_each_before_they_are_one() -> None:
    letters = "abcdefghijklmnopqrst"
    different = [(f"of_{one}", region(*(f"{one}_{other}" for other in "uvwxyz"))) for one in letters]
    assert lines_of(with_copies(different))[:21] == [
        't0 [label="start"];',
        *(f't{1 + 6 * place} [label="of_{one} (6 tasks)"];' for place, one in enumerate(letters)),
    ]
    assert lines_of(with_copies(different), most=20)[1] == 't1 [label="of_a ... of_t (120 tasks)"];'


def test_what_is_folded_for_nothing_is_not() -> None:
    """Copies that are drawn in full are no reason to put theirs together: what is too wide stands elsewhere."""
    with cloaca.WorkflowBuilder("regions", check="off") as builder:
        cloaca.task(id="load")(nothing)
        for place in (a + b for a in "abcde" for b in "vwxyz"):
            cloaca.task(id=place, dependencies=["load"])(nothing)
        builder.add_workflow(region("clean", "sum"), prefix="north", dependencies=["load"])
        builder.add_workflow(region("clean", "sum"), prefix="south", dependencies=["load"])
    assert lines_of(builder.build())[:10] == [
        't0 [label="load"];',
        't1 [label="av ... ez (25 tasks)"];',
        'subgraph cluster0 { label="north";',
        't26 [label="north.clean"];',
        't27 [label="north.sum"];',
        "}",
        'subgraph cluster1 { label="south";',
        't28 [label="south.clean"];',
        't29 [label="south.sum"];',
        "}",
    ]


# ---- as users see them ---------------------------------------------------------------------------------------------


def wide(count: int) -> cloaca.WorkflowBuilder:
    with cloaca.WorkflowBuilder("wide", check="off") as builder:
        for number in range(count):

            @cloaca.task(id=f"load_{number}", trigger_rule="all_success")
            def load(_context: cloaca.Context, number: int = number) -> None:
                if number in (3, 5, 7, 9):
                    raise ValueError("no")

        cloaca.task(id="each", for_each="rows")(lambda _context, _row: None)
        cloaca.task(id="after", dependencies=["load_3", "load_5"])(nothing)
    return builder


def test_all_are_drawn_where_that_is_asked_for() -> None:
    workflow = wide(40).build()
    for text in (workflow.to_dot(most=None), workflow.to_mermaid(most=None), workflow.to_dot(most=1000)):
        assert len(re.findall(r"^ +t\d+\[?", text, re.MULTILINE)) == 44
    assert lines_of(workflow)[0] == 't0 [label="load_0 ... load_39 (40 tasks)\\nall_success"];'
    assert lines_of(workflow, most=1)[0] == 't0 [label="load_0 -> ... -> after (42 tasks)"];'


@pytest.mark.parametrize("most", [0, -1, 2.5, "many", True])
def test_how_many_nodes_there_are_at_most_is_a_whole_number(most: Any) -> None:
    with pytest.raises(ValueError, match="most is a whole number, 1 or more"):
        wide(6).build().to_mermaid(most=most)


def test_what_was_taken_over_is_told_in_pictures(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("taken") as builder:
        for number in range(30):
            cloaca.task(id=f"load_{number}", reuse=number > 0)(lambda context, n=number: context.set(f"k{n}", n))
        cloaca.task(id="total", dependencies=["load_0"])(nothing)
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", executor="serial") as runner:
        runner.execute(builder)
        result = runner.execute(builder, reuse=True)
    loads, total = lines_of(result)[:2]
    assert re.search(r'label="load_0 ... load_29 \(30 tasks\)\\n30 Completed, 29 reused, [^"]+ together"', loads)
    assert 'label="total\\nCompleted, reused, ' in total


def test_a_fold_of_a_result_tells_how_many_ended_how_and_which_failed() -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(wide(1000), {"rows": [1, 2, 3]})
    load, each, after, *_ = re.sub(r"[\d.]+ (us|ms|s)\b", "T", result.to_mermaid()).splitlines()[1:]
    assert load == (
        '    t0["load_0 ... load_999 (1,000 tasks)<br>4 Failed, 996 Completed, T together'
        '<br>Failed#58; load_3, load_5, load_7, ..."]'
    )
    assert (each, after) == ('    t1000[["each<br>Completed, 3 instances, T"]]', '    t1001["after<br>Skipped"]')
    assert "    class t0 failed" in result.to_mermaid().splitlines()
    assert len(result.to_dot(most=None).splitlines()) == len(wide(1000).build().to_dot(most=None).splitlines())
