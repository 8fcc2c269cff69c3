"""Every script in docs/, saved as example.py and run by itself, prints what stands beneath it; links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
SCRIPT = re.compile(r"^```python\n(.*?)^```\n\n^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = {name: SCRIPT.findall(text) for name, text in PAGES.items()}
NEEDS_WORKERS = {"failures.md"}
"""Pages whose scripts stop tasks, or kill their workers."""

RUNS = [
    (page, executor, number)
    for page, shown in SHOWN.items()
    for executor in ("processes", "serial")
    for number in range(len(shown))
    if executor == "processes" or page not in NEEDS_WORKERS
]

RUN_ALL = """
import contextlib, io, json, linecache, logging, sys, traceback
logging.getLogger("cloaca").addHandler(logging.NullHandler())  # a failed run is told of once, in failures.md
printed = []
for script in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
        linecache.cache["example.py"] = (len(script), None, script.splitlines(keepends=True), "example.py")
        try:
            exec(compile(script, "example.py", "exec"), {"__name__": "__main__"})
        except Exception:
            traceback.print_exc(file=output)
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""


@pytest.mark.parametrize(("page", "executor", "number"), RUNS)
def test_a_script_prints_what_stands_beneath_it(page: str, executor: str, number: int) -> None:
    assert _printed(page, executor)[number] == SHOWN[page][number][1]


@pytest.mark.parametrize("page", PAGES)
def test_no_script_goes_without_its_output(page: str) -> None:
    assert len(SHOWN[page]) == PAGES[page].count("```python")


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in PAGES if f"(docs/{name})" not in readme] == []


def test_merging_has_ten_cases_each_with_one_script() -> None:
    _, *cases = re.split(r"^### ", PAGES["merging.md"].partition("\n## Which rule?")[0], flags=re.MULTILINE)
    assert [case.partition(".")[0] for case in cases] == [str(number) for number in range(1, 11)]
    assert [case.count("```python\n") for case in cases] == [1] * 10


def test_pictures_are_there() -> None:
    pictures = [picture for text in PAGES.values() for picture in re.findall(r'<img src="([^"]+)"', text)]
    assert pictures
    assert all((ROOT / "docs" / picture).read_text(encoding="utf-8").startswith("<svg ") for picture in pictures)


@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```mermaid" in text])
def test_each_picture_is_that_of_the_workflow_of_the_script_before_it(page: str) -> None:
    before, *pictures = re.split(r"^```mermaid\n", PAGES[page], flags=re.MULTILINE)
    for picture in pictures:
        if not picture.startswith("flowchart TD"):
            continue  # drawn by hand
        *_, (script, output) = SCRIPT.findall(before)
        shown = _run_all([f"{script}\nprint(builder.build().to_mermaid(), end='')"], "serial")
        assert shown == [output + picture.partition("```\n")[0]]
        before += picture


@cache
def _printed(page: str, executor: str) -> list[str]:
    """What each of a page's scripts prints."""
    return _run_all([script for script, _ in SHOWN[page]], executor)


def _run_all(scripts: list[str], executor: str) -> list[str]:
    """What scripts print that are run in one process, one after the other."""
    with TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", RUN_ALL],
            cwd=folder,
            env={**os.environ, "CLOACA_EXECUTOR": executor},
            input=json.dumps(scripts),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (run.returncode, run.stderr) == (0, "")
    printed: list[str] = json.loads(run.stdout)
    return printed
