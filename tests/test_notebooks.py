"""What notebooks show of workflows and results: in a real one, and what becomes of names that look like markup."""

import asyncio
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import cloaca

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

MADE = """
import cloaca
with cloaca.WorkflowBuilder("two") as builder:
    cloaca.task(id="load", for_each="rows")(lambda context, row: None)
    cloaca.task(id="bad", dependencies=["load"])(lambda context: 1 / 0)
workflow = builder.build()
"""
RUN = """
with cloaca.DefaultRunner(executor="serial") as runner:
    result = runner.execute(builder, {"rows": [1, 2, 3]})
result
"""


@pytest.fixture
def with_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of Graphviz's."""
    (tmp_path / "dot").write_text("#!/bin/sh\necho '<?xml?><svg>drawn</svg>'\n", encoding="utf-8")
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def without_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def in_notebook(*cells: str) -> list[dict[str, str]]:
    """What each cell shows at its end, by MIME type."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    asyncio.run(nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").async_execute())
    return [output.data for cell in notebook.cells for output in cell.outputs if output.output_type == "execute_result"]


@pytest.mark.usefixtures("with_dot")
def test_a_notebook_shows_pictures_and_the_summary() -> None:
    workflow, result, summary = in_notebook(MADE, "workflow", RUN, "result.summary()")
    assert workflow == {"text/plain": "Workflow('two', 2 tasks)", "image/svg+xml": "<?xml?><svg>drawn</svg>\n"}
    assert {*result} == {"text/html", "text/plain"}
    assert result["text/html"].startswith("<div><div><p>two: Failed, 4 tasks (1 failed) in ")
    assert "ZeroDivisionError: division by zero" in result["text/html"]
    assert '<div style="overflow-x:auto"><svg>drawn</svg>\n</div>' in result["text/html"]
    assert "<td>load[2]</td><td>Completed</td><td>1</td>" in result["text/html"]
    assert result["text/plain"].startswith("WorkflowResult('two', 'Failed', 5 tasks, ")
    assert summary["text/html"] in result["text/html"]


@pytest.mark.usefixtures("without_dot")
def test_a_notebook_without_graphviz_draws_by_mermaid() -> None:
    workflow, result = in_notebook(MADE, "workflow", RUN)
    assert workflow["text/vnd.mermaid"].startswith('flowchart TD\n    t0[["load"]]\n')
    assert {*result} == {"text/markdown", "text/plain"}
    assert '\n\n```mermaid\nflowchart TD\n    t0[["load<br>Completed, 3 instances' in result["text/markdown"]


def failed(name: str, message: str) -> cloaca.WorkflowResult:
    def fail(_context: cloaca.Context) -> None:
        raise ValueError(message)

    with cloaca.WorkflowBuilder("<b>bold</b>") as builder:
        cloaca.task(id=name)(fail)
        cloaca.task(id="report", dependencies=[name])(lambda _: None)
    with cloaca.DefaultRunner(executor="serial") as runner:
        return runner.execute(builder)


@pytest.mark.usefixtures("without_dot")
def test_names_and_messages_are_never_markup() -> None:
    result = failed("<i>load</i>\n\n```\n# two", "one\n\n```\n<script>alert('\ud800')</script>\n\n# two")
    shown = result._repr_mimebundle_(include=None, exclude=None)["text/markdown"]
    for mark in ("<b>", "<i>", "<script"):
        assert mark not in shown
    lines = shown.splitlines()
    assert (lines[1], lines[2], lines[-3], lines[-2]) == ("", "```mermaid", "```", "")
    assert [line for line in lines if line.startswith(("#", "```"))] == ["```mermaid", "```"]
    assert "<pre>Task &#x27;&lt;i&gt;load&lt;/i&gt;" in lines[0]
    assert "<td>&lt;i&gt;load&lt;/i&gt;&#10;&#10;```&#10;# two</td><td>Failed</td><td>1</td>" in shown
    assert "<td>report</td><td>Skipped</td><td>0</td><td></td><td>none of its dependencies ended well" in shown
    json.dumps(shown).encode()


@pytest.mark.usefixtures("with_dot")
@pytest.mark.parametrize(("items", "is_summed_up"), [(19_999, True), (20_000, False)])
def test_what_takes_long_to_sum_up_is_told_in_short(items: int, is_summed_up: bool) -> None:  # noqa: FBT001
    with cloaca.WorkflowBuilder("many") as builder:
        cloaca.task(id="each", for_each="items")(lambda _context, _item: None)
    with cloaca.DefaultRunner(workers=1) as runner:
        shown = runner.execute(builder, {"items": list(range(items))})._repr_mimebundle_()
    assert ("<th>critical path</th>" in shown["text/html"]) == is_summed_up
    assert ("<p>WorkflowResult(&#x27;many&#x27;, " in shown["text/html"]) != is_summed_up


@pytest.mark.usefixtures("with_dot")
def test_a_table_of_many_tasks_is_short() -> None:
    with cloaca.WorkflowBuilder("many") as builder:
        cloaca.task(id="each", for_each="items")(lambda _context, _item: None)
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(builder, {"items": list(range(1000))})
    shown: dict[str, Any] = result._repr_mimebundle_()
    table = shown["text/html"].partition("<details>")[2]
    assert (table.count("<tr>"), "1,001 tasks, of which the first 50 stand here" in table) == (51, True)
    assert pickle.loads(pickle.dumps(result))._repr_mimebundle_() == shown


@pytest.mark.usefixtures("with_dot")
@pytest.mark.parametrize(("side_by_side", "way"), [(2, "TB"), (5, "LR")])
def test_what_is_wide_goes_from_left_to_right(
    side_by_side: int, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dot").write_text("#!/bin/sh\nwhile read -r line; do echo $line; done\n", encoding="utf-8")
    with cloaca.WorkflowBuilder("wide") as builder:
        names = [f"t{number}" for number in range(side_by_side)]
        for name in names:
            cloaca.task(id=name)(lambda _: None)
        cloaca.task(id="after", dependencies=names)(lambda _: None)
    assert ("rankdir=LR" in builder.build()._repr_mimebundle_()["image/svg+xml"]) == (way == "LR")
