"""Which file of records a database URL names."""

from pathlib import Path
from typing import Any

import pytest

from cloaca.store.url import path_of


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://:memory:",
        "sqlite:///:memory:",
        "sqlite://",
        ":memory:",
        "file::memory:?cache=shared",
        "file:name?mode=memory&cache=shared",
    ],
)
def test_memory_is_no_file(url: str) -> None:
    assert path_of(url) is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://runs.db", "runs.db"),
        ("sqlite:///runs.db", "runs.db"),
        ("sqlite:///var/lib/runs", "var/lib/runs"),
        ("sqlite:////var/lib/runs", "/var/lib/runs"),
        ("sqlite://./runs.db?mode=rwc", "./runs.db"),
        ("sqlite:///my%20runs.db", "my%20runs.db"),
        ("file:runs.db", "runs.db"),
        ("file:my%20runs.db?cache=shared", "my runs.db"),
        ("file:/tmp/runs", "/tmp/runs"),
        ("file:///tmp/runs", "/tmp/runs"),
        ("file://localhost/tmp/runs", "/tmp/runs"),
        ("./runs", "./runs"),
        ("/tmp/runs", "/tmp/runs"),
        ("/tmp/what?.db", "/tmp/what?.db"),
        ("runs.db", "runs.db"),
        ("runs.sqlite", "runs.sqlite"),
        ("runs.sqlite3", "runs.sqlite3"),
    ],
)
def test_a_file_is_named_by_its_path(url: str, path: str) -> None:
    assert path_of(url) == path


def test_home_is_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert path_of("~/runs.db") == "/home/ada/runs.db"
    assert path_of("sqlite:///~/runs.db") == "/home/ada/runs.db"


@pytest.mark.parametrize("url", ["postgres://u:p@host/db", "postgresql://host/db", "mysql://host/db", "http://x/y.db"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not supported"):
        path_of(url)


@pytest.mark.parametrize("url", ["", None, 5, Path("runs.db")])
def test_what_is_no_url_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match="database_url is a URL such as"):
        path_of(url)


def test_a_number_is_taken_for_one_of_workers() -> None:
    with pytest.raises(ValueError, match=r"workers=4$"):
        path_of(4)  # type: ignore[arg-type]


def test_a_bare_word_is_refused() -> None:
    with pytest.raises(ValueError, match="'sales' is no database URL"):
        path_of("sales")


@pytest.mark.parametrize("url", ["sqlite:///", "file:", "file:///", "sqlite:///runs/", "/tmp/", "a\0.db"])
def test_a_url_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        path_of(url)


def test_the_password_of_a_refused_database_is_not_told() -> None:
    with pytest.raises(ValueError, match="is not supported") as caught:
        path_of("postgres://ada:secret@host/db")
    assert "secret" not in str(caught.value)
