"""Lazy imports of the script (Python 3.15): in workers, too, a name stands for what it is imported from."""

import sys
from pathlib import Path

import pytest
from tests.support import run

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="since Python 3.15")

SCRIPT = """
import cloaca
lazy import json
lazy import xml.dom
lazy import concurrent.futures as futures
lazy from decimal import Decimal
lazy from {module} import thing

def helper(): return futures.Future.__name__

with cloaca.WorkflowBuilder("w", check="off") as builder:
    for number in range(3):
        @cloaca.task(id=f"t{{number}}")
        def task(context, number=number):
            context[f"t{{number}}"] = json.dumps(number), xml.dom.Node.TEXT_NODE, helper(), Decimal(number)
    @cloaca.task(dependencies=["t0"])
    def other(context) -> Decimal:
        context["other"] = {used}

if __name__ == "__main__":
    workflow = builder.build()
    version = workflow.version
    for executor in ("processes", "serial"):
        with cloaca.DefaultRunner(executor=executor, workers=2) as runner:
            for _ in range(2):
                result = runner.execute("w", cloaca.Context())
                print([result.final_context[key] for key in ("t0", "t1", "t2", "other")])
    assert workflow.version == version
"""


def test_what_is_imported_lazily_is_there(tmp_path: Path) -> None:
    ended = run("-c", SCRIPT.format(module="fractions", used="1"), cwd=tmp_path)
    row = "[('0', 3, 'Future', Decimal('0')), ('1', 3, 'Future', Decimal('1')), ('2', 3, 'Future', Decimal('2')), 1]"
    assert (ended.stdout.splitlines(), ended.stderr) == ([row] * 4, "")


def test_what_cannot_be_imported_is_named_before_anything_runs(tmp_path: Path) -> None:
    ended = run("-c", SCRIPT.format(module="nowhere_to_be_found", used="thing"), cwd=tmp_path)
    assert "CaptureError: The function of task 'other' can't be sent to a worker: it uses thing" in ended.stderr
    assert "No module named 'nowhere_to_be_found'" in ended.stderr
