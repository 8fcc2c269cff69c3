"""Every script in docs/merging.md, saved as example.py and run by itself, prints what stands beneath it."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "merging.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```python\n(.*?)^```\n\n^```\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)

RUN_ALL = """
import contextlib, io, json, sys, traceback
printed = []
for script in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            exec(compile(script, "example.py", "exec"), {"__name__": "__main__"})
        except Exception:
            traceback.print_exc(file=output)
    printed.append(output.getvalue())
json.dump(printed, sys.stdout)
"""


@pytest.mark.parametrize("executor", ["processes", "serial"])
@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_a_script_prints_what_stands_beneath_it(number: int, executor: str) -> None:
    assert _printed(executor)[number] == SHOWN[number][1]


def test_there_are_ten_cases_each_with_one_script() -> None:
    _, *cases = re.split(r"^### ", TEXT.partition("\n## Which rule?")[0], flags=re.MULTILINE)
    assert [case.partition(".")[0] for case in cases] == [str(number) for number in range(1, 11)]
    assert [case.count("```python\n") for case in cases] == [1] * 10


def test_no_script_goes_without_its_output() -> None:
    assert len(SHOWN) == TEXT.count("```python") > 10


def test_the_picture_is_there() -> None:
    (picture,) = re.findall(r'<img src="([^"]+)"', TEXT)
    assert (ROOT / "docs" / picture).read_text(encoding="utf-8").startswith("<svg ")


@cache
def _printed(executor: str) -> list[str]:
    """What each of the scripts prints: all run in one process, one after the other."""
    run = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        env={**os.environ, "CLOACA_EXECUTOR": executor},
        input=json.dumps([script for script, _ in SHOWN]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    printed: list[str] = json.loads(run.stdout)
    return printed
