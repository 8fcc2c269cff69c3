"""Where runners record, as they are told by their argument or the environment (see `test_url.py` for URLs)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import cloaca
from cloaca import DefaultRunner, DefaultRunnerConfig


def test_a_number_is_taken_for_one_of_workers() -> None:
    with pytest.raises(ValueError, match=r"workers=4$"):
        DefaultRunner(4)  # type: ignore[arg-type]


def with_config(url: str) -> DefaultRunner:
    return DefaultRunner.with_config(url, DefaultRunnerConfig())


class OwnRunner(DefaultRunner):
    pass


def ids_in(url: str | None) -> list[str]:
    """Of the executions that are recorded there, after one more."""
    with cloaca.WorkflowBuilder("one") as builder:
        cloaca.task(id="only")(lambda context: None)
    with DefaultRunner(url, executor="serial") as runner:
        runner.execute(builder)
        return [execution.id for execution in runner.executions()]


@pytest.mark.parametrize("make", [DefaultRunner, with_config, OwnRunner])
def test_no_file_is_made_before_anything_is_recorded(
    make: Callable[[str], DefaultRunner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make("sqlite://runs.db").shutdown()
    assert list(tmp_path.iterdir()) == []


def test_a_runner_records_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOACA_STORE", f"sqlite:///{tmp_path}/runs.db")
    assert len(ids_in(None)) == 1
    assert len(ids_in(f"{tmp_path}/runs.db")) == 2


def test_what_the_program_says_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOACA_STORE", f"sqlite:///{tmp_path}/runs.db")
    with DefaultRunner("sqlite://:memory:") as runner, pytest.raises(cloaca.StoreError, match="a runner that records"):
        runner.executions()
    assert os.listdir(tmp_path) == []
