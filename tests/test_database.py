"""Which database URLs a runner takes."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloaca import DefaultRunner, DefaultRunnerConfig
from cloaca.compat.database import check_url

IN_MEMORY = [
    "sqlite://:memory:",
    "sqlite:///:memory:",
    "sqlite://",
    ":memory:",
    "file::memory:?cache=shared",
    "file:name?mode=memory&cache=shared",
]
FILES = [
    "sqlite://runs.db",
    "sqlite:///var/lib/runs",
    "sqlite://./runs.db?mode=rwc",
    "file:runs.db",
    "file:///tmp/runs",
    "./runs",
    "/tmp/runs",
    "runs.db",
    "runs.sqlite",
    "runs.sqlite3",
]


@pytest.mark.parametrize("url", IN_MEMORY)
def test_memory_is_taken_in_silence(url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_url(url)


@pytest.mark.parametrize("url", FILES)
def test_a_file_is_taken_with_a_warning(url: str) -> None:
    with pytest.warns(UserWarning, match="Runs are not recorded yet") as caught:
        check_url(url)
    assert repr(url) in str(caught[0].message)


@pytest.mark.parametrize("url", ["postgres://u:p@host/db", "postgresql://host/db", "mysql://host/db", "http://x/y.db"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        check_url(url)


@pytest.mark.parametrize("url", ["", None, 5, Path("runs.db")])
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="database_url is a URL such as"):
        check_url(url)


def test_a_number_is_taken_for_one_of_workers() -> None:
    with pytest.raises(ValueError, match=r"workers=4$"):
        check_url(4)  # type: ignore[arg-type]


def test_a_bare_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'sales' is no database URL"):
        check_url("sales")


def test_the_password_of_a_refused_database_is_not_told() -> None:
    with pytest.raises(ValueError, match="is not supported") as caught:
        check_url("postgres://ada:secret@host/db")
    assert "secret" not in str(caught.value)


def with_config(url: str) -> DefaultRunner:
    return DefaultRunner.with_config(url, DefaultRunnerConfig())


class OwnRunner(DefaultRunner):
    pass


@pytest.mark.parametrize("make", [DefaultRunner, with_config, OwnRunner])
def test_the_warning_points_to_the_program_and_no_file_is_made(
    make: Callable[[str], DefaultRunner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match="stays untouched") as caught:
        make("sqlite://runs.db").shutdown()
    assert caught[0].filename == __file__
    assert list(tmp_path.iterdir()) == []


def test_the_warning_names_the_line_that_made_the_runner() -> None:
    with pytest.warns(UserWarning, match="stays untouched") as caught:
        with_config("runs.db").shutdown()
    assert caught[0].lineno == with_config.__code__.co_firstlineno + 1
