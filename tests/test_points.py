"""Sweeps: the points of axes, and the mapped tasks that run for them."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cloaca
from cloaca import product, zipped


def test_the_last_axis_changes_first() -> None:
    assert [*product(a=[1, 2], b=("x", None), c=range(2)).values()] == [
        {"a": a, "b": b, "c": c} for a in (1, 2) for b in ("x", None) for c in (0, 1)
    ]


def test_zipped_axes_change_together_and_are_combined_with_others() -> None:
    assert product(zipped(w=[1, 2], h=[3, 4]), seed=[7, 8]) == {
        "w=1, h=3, seed=7": {"w": 1, "h": 3, "seed": 7},
        "w=1, h=3, seed=8": {"w": 1, "h": 3, "seed": 8},
        "w=2, h=4, seed=7": {"w": 2, "h": 4, "seed": 7},
        "w=2, h=4, seed=8": {"w": 2, "h": 4, "seed": 8},
    }


def test_points_of_ones_own_may_differ_in_their_axes() -> None:
    models = {"ridge": {"alpha": 1}, "tree": {"depth": 2}}
    assert product(models, seed=[1]) == {
        "ridge, seed=1": {"alpha": 1, "seed": 1},
        "tree, seed=1": {"depth": 2, "seed": 1},
    }


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.linspace(0, 1, 3), ["a=0.0", "a=0.5", "a=1.0"]),
        (np.arange(2), ["a=0", "a=1"]),
        ([np.float64(0.1), np.bool_(True)], ["a=0.1", "a=True"]),
        (["1", 1], ["a='1'", "a=1"]),
        ([[64], [64, 32]], ["a=[64]", "a=[64, 32]"]),
        ([object(), lambda: 0], ["a=object 0", "a=function 1"]),
        ([{"x", "y"}], ["a=set 0"]),
        ([1, 1, 1], ["a=1", "a=1, 1", "a=1, 2"]),
    ],
)
def test_points_are_called_by_what_their_values_print(values: Any, names: list[str]) -> None:
    points = product(a=values)
    assert [*points] == names
    assert [id(point["a"]) for point in points.values()] == [*map(id, values)] or isinstance(values, np.ndarray)


def test_an_axis_without_values_leaves_no_points() -> None:
    assert product(a=[1, 2], b=[]) == {}
    assert zipped(a=[], b=[]) == {}


@pytest.mark.parametrize(
    "axis", ["abc", b"abc", 3, None, {1, 2}, frozenset(), {"x": 1}, iter([1]), np.array(1), pd.DataFrame({"x": [1]})]
)
@pytest.mark.parametrize("made", [product, zipped])
def test_an_axis_is_a_list(made: Callable[..., Any], axis: Any) -> None:
    with pytest.raises(
        TypeError, match=rf"{made.__name__} takes a list of values for the axis 'alpha', not an? .*alpha="
    ):
        made(alpha=axis)


@pytest.mark.parametrize("points", [[1], [{"a": 1}], {"a": 1}, {1: {"a": 1}}, "abc"])
def test_points_are_a_dict_of_dicts(points: Any) -> None:
    with pytest.raises(TypeError, match="The argument 1 of product isn't a dict of points"):
        product({}, points)


def test_an_axis_is_there_once() -> None:
    with pytest.raises(ValueError, match=r"the axis 'b' twice, by its argument 0 and by its argument 1: rename one"):
        product(zipped(a=[1], b=[1]), product(b=[1]))
    with pytest.raises(ValueError, match=r"the axis 'a' twice, by its argument 0 and by a=: rename one of them"):
        product(product(a=[1]), a=[1])


def test_there_are_axes() -> None:
    with pytest.raises(ValueError, match="product takes axes, as in"):
        product()
    with pytest.raises(ValueError, match="zipped takes axes, as in"):
        zipped()


def test_zipped_axes_are_of_one_length() -> None:
    with pytest.raises(ValueError, match=r"as many values each, but a has 1, b has 2\."):
        zipped(a=[1], b=[1, 2])


def test_a_million_points_are_the_most() -> None:
    with pytest.raises(ValueError, match=r"1,001,000 points \(1,001 by a=, 1,000 by b=\), and may come to 1,000,000"):
        product(a=range(1001), b=range(1000))
    with pytest.raises(ValueError, match=r"zipped comes to 1,000,000,000 points"):
        zipped(a=range(10**9))


def test_names_are_the_same_with_each_hash_seed() -> None:
    code = "import cloaca; print([*cloaca.product(a=[frozenset('abcdef'), ('x', frozenset('uvw')), {1, 2}], b=['y'])])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


def sweep() -> cloaca.WorkflowBuilder:
    def points(alphas: list[float]) -> dict[str, dict[str, Any]]:
        return product(alpha=alphas, depth=[1, 2])

    def train(point: dict[str, Any], scale: int) -> float:
        return float(point["alpha"] * point["depth"] * scale)

    def judge(context: cloaca.Context, point: dict[str, Any]) -> None:
        context["good"] = context["score"] > point["alpha"]

    def table(context: cloaca.Context) -> None:
        scores, good = context["score"], context["good"]
        points = context["points"]
        context["table"] = [point | {"score": scores[name]} for name, point in points.items() if good[name]]

    with cloaca.WorkflowBuilder("sweep") as builder:
        builder.add_task(cloaca.task(points, returns="points"))
        builder.add_task(cloaca.task(train, returns="score", for_each="points", dependencies=["points"]))
        builder.add_task(cloaca.task(judge, for_each="points", dependencies=["train"]))
        builder.add_task(cloaca.task(table, dependencies=["judge"]))
    return builder


@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_a_sweep_runs_once_for_each_point(executor: Any) -> None:
    with cloaca.DefaultRunner(workers=2, executor=executor) as runner:
        result = runner.execute(sweep(), {"alphas": [0.5, 0.25], "scale": 4}).raise_for_status()
    assert result["table"] == [
        {"alpha": 0.5, "depth": 1, "score": 2.0},
        {"alpha": 0.5, "depth": 2, "score": 4.0},
        {"alpha": 0.25, "depth": 1, "score": 1.0},
        {"alpha": 0.25, "depth": 2, "score": 2.0},
    ]  # all are good
    assert [*result["good"]] == [
        "alpha=0.5, depth=1",
        "alpha=0.5, depth=2",
        "alpha=0.25, depth=1",
        "alpha=0.25, depth=2",
    ]
    assert result.tasks["train['alpha=0.25, depth=2']"].status == "Completed"
    assert result.tasks["judge['alpha=0.25, depth=2']"].status == "Completed"


def test_only_new_points_run_wherever_they_stand(tmp_path: Path) -> None:
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=2) as runner:
        runner.execute(sweep(), {"alphas": [0.5, 0.25], "scale": 4}, reuse=True).raise_for_status()
        again = runner.execute(sweep(), {"alphas": [0.75, 0.25, 0.5], "scale": 4}, reuse=True).raise_for_status()
    ran = [id for id, task in again.tasks.items() if id.startswith("train[") and not task.reused]
    assert ran == ["train['alpha=0.75, depth=1']", "train['alpha=0.75, depth=2']"]
    assert [row["score"] for row in again["table"]] == [3.0, 6.0, 1.0, 2.0, 2.0, 4.0]


def draw(context: cloaca.Context, point: dict[str, Any]) -> None:
    context["drawn"] = point["a"] + random.random()


def test_points_that_draw_keep_their_seeds_where_the_first_axis_grows_at_its_end(tmp_path: Path) -> None:
    with cloaca.WorkflowBuilder("drawing") as builder:
        builder.add_task(cloaca.task(draw, for_each="points"))
    with cloaca.DefaultRunner(f"sqlite:///{tmp_path}/runs.db", workers=2) as runner:
        before = runner.execute(builder, {"points": product(a=[1, 2], b=[3, 4])}, seed=5, reuse=True)
        again = runner.execute(builder, {"points": product(a=[1, 2, 0], b=[3, 4])}, seed=5, reuse=True)
    ran = [id for id, task in again.tasks.items() if id.startswith("draw[") and not task.reused]
    assert ran == ["draw['a=0, b=3']", "draw['a=0, b=4']"]
    assert before["drawn"].items() <= again["drawn"].items()


def test_the_check_knows_what_a_sweep_reads() -> None:
    workflow = sweep().build()
    assert not cloaca.check(workflow, ["alphas", "scale"])
    assert [(one.kind, one.key) for one in cloaca.check(workflow, ["scale"])] == [("missing", "alphas")]
