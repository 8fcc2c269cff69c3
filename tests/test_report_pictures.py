"""The pictures of a report: where the nodes of a graph stand, what they tell, and when a piece is seen."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloaca.account.account import Account
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import State
from cloaca.engine.work import Work
from cloaca.history.plan import plan
from cloaca.report.curves import WIDTH, filled, risen, spread
from cloaca.report.graph import GraphNode, workflow
from cloaca.report.lanes import chosen, lanes
from cloaca.report.layers import layout
from cloaca.report.times import what_ran_when
from cloaca.wire.messages import Phases, Usage

Edges = list[list[int]]


def graphs(most: int = 30) -> st.SearchStrategy[Edges]:
    """Of each node, those right before it."""
    rows = [
        st.lists(st.integers(0, node - 1), max_size=4, unique=True) if node else st.just([]) for node in range(most)
    ]
    return st.integers(1, most).flatmap(lambda size: st.tuples(*rows[:size]).map(list))


# ---- where nodes stand ---------------------------------------------------------------------------------------------


@given(graphs())
def test_arrows_lead_from_node_to_node_a_layer_at_a_time(before: Edges) -> None:
    found = layout(before)
    edges = Counter((above, node) for node, row in enumerate(before) for above in row)
    assert len(found.arrows) + found.left_out == edges.total()
    for places, is_back in found.arrows:
        assert [layer for layer, _ in places] == [*range(places[0][0], places[-1][0] + 1)]
        assert places[0] in found.places
        assert places[-1] in found.places
        assert not is_back


@given(graphs())
def test_no_two_nodes_of_a_layer_overlap(before: Edges) -> None:
    by_layer: defaultdict[int, list[float]] = defaultdict(list)
    for layer, down in layout(before).places:
        by_layer[layer].append(down)
    for downs in by_layer.values():
        assert all(after - one > 1 - 1e-9 for one, after in pairwise(sorted(downs)))


def test_a_chain_with_leaves_is_level() -> None:
    chain: Edges = [[]] + [[2 * (node // 2)] for node in range(20)]  # 0 -> 1, 2; 2 -> 3, 4; ...
    found = layout(chain)
    downs = [found.places[node][1] for node in range(0, 21, 2)]
    assert max(downs) - min(downs) < 1


def test_of_very_many_arrows_those_go_that_say_nothing_new() -> None:
    everything = [[*range(node)] for node in range(40)]
    found = layout(everything)
    assert len(found.arrows) == 39
    assert found.left_out == 40 * 39 // 2 - 39


def test_of_nodes_that_depend_on_each_other_one_arrow_points_back() -> None:
    found = layout([[1], [0]])
    assert [(places, is_back) for places, is_back in found.arrows] == [
        ([(0, 0), (1, 0)], True),
        ([(0, 0), (1, 0)], False),
    ]


# ---- how tasks ended -------------------------------------------------------------------------------------------


def test_a_node_tells_how_its_tasks_ended_by_the_worst() -> None:
    node = GraphNode("n", (0, 1, 2), (), {"Completed": 2, "Failed": 1}, 3.0, is_mapped=True, is_on_path=False)
    picture = "".join(workflow([node]))
    assert 'class="node failed"' in picture
    assert "3 instances, 1 failed" in picture
    assert picture.count('class="share') == 2


# ---- what ran when -------------------------------------------------------------------------------------------------


def account_of(
    times: Mapping[str, tuple[float, float]], phases: Phases | None = None, memory: Sequence[tuple[float, int]] = ()
) -> Account:
    """An execution of tasks that ran at these times, and depend on nothing."""
    compiled = plan("w", [(name, ()) for name in times])
    ledger = Ledger(compiled, [Work(rank, ()) for rank in range(len(times))])
    for rank, (began, ended) in enumerate(times.values()):
        ledger.states[rank], ledger.attempts[rank] = State.COMPLETED, 1
        ledger.ends[rank] = Usage(began, ended, 0.0, 1 << 20, (), 0, 0, 0, 1, phases)
    return Account(ledger, compiled, 0.0, max(ended for _, ended in times.values()), 1, memory=memory)


def test_what_is_too_short_to_be_seen_waits_until_one_looks_nearer() -> None:
    account = account_of({"long": (0.0, 1.0), "short": (1.0, 1.0001), "none": (1.5, 1.5), "last": (2.0, 3.0)})
    (lane,) = lanes(account, chosen(account))
    levels = re.findall(r'<g(?: data-level="(\d+)" class="near")?>(.*?)</g>', lane)
    assert [(level, re.findall(r'data-n="(\d)"', pieces)) for level, pieces in levels] == [
        ("", ["0", "3"]),
        ("3", ["1"]),
        ("8", ["2"]),
    ]


def test_a_curve_holds_what_was_read_last() -> None:
    cells = risen([(2.0, 50), (5.0, 100), (5.001, 75)], 10.0, 100)
    assert [cells[at] for at in (0, 199, 200, 499, 500, 501, 999)] == [0, 0, 0.5, 0.5, 1, 0.75, 0.75]


def test_a_stretch_of_time_counts_for_the_part_of_a_cell_that_it_covers() -> None:
    cells = [0.0] * WIDTH
    spread(cells, 0.5, 2.25, WIDTH, 2)
    assert cells[:4] == [1, 2, 0.5, 0]


def test_a_shape_has_a_step_only_where_something_changes() -> None:
    assert filled([0.5, 0.5, 1, 0], 20) == '<path class="much" d="M0 20V10H2V0H3V20H4V20z"/>'


def test_what_goes_by_beside_a_function_is_told_at_the_foot_of_a_piece() -> None:
    account = account_of({"load": (2.0, 10.0)}, Phases(1.0, 0.5, 2.0))
    (lane,) = lanes(account, chosen(account))
    parts = re.findall(r'class="part (\w+)" x="([\d.]+)" y="13" width="([\d.]+)"', lane)
    assert [(kind, float(x), float(width)) for kind, x, width in parts] == [
        ("loading", 200, 100),
        ("waiting", 300, 50),
        ("encoding", 800, 200),
    ]


def test_memory_is_told_as_it_was_read_or_else_by_its_peaks() -> None:
    times = {"load": (0.0, 1.0)}
    peaks, read = (account_of(times, memory=memory) for memory in ((), [(0.25, 3_000_000), (0.5, 2_000_000)]))
    assert "peaks of memory, up to 1.0 MB" in "".join(what_ran_when(peaks, chosen(peaks)))
    page = "".join(what_ran_when(read, chosen(read)))
    assert ">memory, up to 3.0 MB" in page
    assert "peaks" not in page
