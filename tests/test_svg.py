"""Pictures that Graphviz draws: by itself where it is installed, and by a program in its place everywhere."""

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import cloaca
from cloaca.workflows import svg


def workflow(tasks: int = 2) -> cloaca.Workflow:
    with cloaca.WorkflowBuilder("drawn") as builder:
        for number in range(tasks):
            above = [f"t<{number - 1}>"] if number else []
            cloaca.task(id=f"t<{number}>", dependencies=above)(lambda context: None)
    return builder.build()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(place: Path, script: str) -> None:
    """A program in the place of Graphviz's."""
    (place / "dot").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (place / "dot").chmod(0o755)


def test_graphviz_is_given_the_graph_and_its_picture_is_returned(place: Path) -> None:
    put(place, 'echo "<svg>$1 $2"; while read -r line; do echo "$line"; done')
    built = workflow()
    assert built.to_svg("LR").splitlines() == [
        "<svg>-Tsvg -Gbgcolor=transparent",
        *(line.strip().replace("\\n", "n") for line in built.to_dot("LR").splitlines()),
    ]


def test_without_graphviz_it_is_said_how_to_install_it(place: Path) -> None:
    assert not [*place.iterdir()]
    with pytest.raises(RuntimeError, match=r"program dot isn't on PATH\. Install it \(apt install graphviz"):
        workflow().to_svg()


def test_a_graphviz_that_fails_is_told_with_what_it_says(place: Path) -> None:
    put(place, "echo bad luck >&2; exit 3")
    with pytest.raises(RuntimeError, match="Graphviz failed to draw the graph: bad luck"):
        workflow().to_svg()


def test_a_graphviz_that_does_not_end_is_given_up(place: Path) -> None:
    put(place, "while :; do :; done")
    with pytest.raises(RuntimeError, match=r"within 0\.1 s: it is too large"):
        svg.drawn("digraph {}", 0.1)


def test_notebooks_show_the_picture_where_there_is_one(place: Path) -> None:
    built = workflow()
    plain = {"text/plain": "Workflow('drawn', 2 tasks)"}
    assert built._repr_mimebundle_() == {**plain, "text/vnd.mermaid": built.to_mermaid()}
    put(place, "exit 1")
    assert [*built._repr_mimebundle_()] == ["text/plain", "text/vnd.mermaid"]
    put(place, "echo '<svg/>'")
    assert built._repr_mimebundle_() == {**plain, "image/svg+xml": "<svg/>\n"}


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz isn't installed here")
def test_graphviz_draws_workflows_and_results() -> None:
    with cloaca.DefaultRunner(executor="serial") as runner:
        result = runner.execute(workflow())
    for text in (workflow().to_svg(), result.to_svg("LR")):
        labels = [label.text for label in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
        assert {"t<0>", "t<1>"} <= {*labels}
