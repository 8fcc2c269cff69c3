"""Executions survive `kill -9` of their program at any moment. `tests/lives.py` can be run by itself, for longer."""

from pathlib import Path

import pytest
from tests.support import run

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "kills"), [("serial", 20), ("processes", 12)])
def test_an_execution_killed_again_and_again_leaves_what_an_undisturbed_one_leaves(
    executor: str, kills: int, tmp_path: Path
) -> None:
    ended = run("-m", "tests.lives", str(tmp_path), executor, str(kills), "1", cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    completed, killed = map(int, ended.stdout.split())
    assert completed > 0
    assert killed >= kills
