"""A store that an earlier version of cloaca has written is one of this version, as soon as it is opened."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.stores.make import HERE, VALUE

from cloaca import StoreError
from cloaca.store import schema
from cloaca.store.records import Code
from cloaca.store.schema import VERSION
from cloaca.store.sqlite import SqliteStore
from cloaca.testing.stores import header, record


def test_there_is_a_store_of_each_version() -> None:
    assert {path.name for path in HERE.glob("version_*")} == {f"version_{n}" for n in range(1, VERSION + 1)}


@pytest.mark.parametrize("version", range(1, VERSION + 1))
def test_a_store_of_an_earlier_version_is_read_and_gone_on_with(version: int, tmp_path: Path) -> None:
    shutil.copytree(HERE / f"version_{version}", tmp_path, dirs_exist_ok=True)
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        assert [(one.id, one.status, one.ended) for one in store.entries()] == [
            ("interrupted", "Interrupted", None),
            ("ended", "Failed", 2.0),
        ]
        assert store.header("ended") == header("ended", 1.0)
        written = [record("load", b"load" * 3), record("clean", b"clean" * 3)]
        assert [*store.records("ended")] == written
        code = Code(b"load" * 3, {"function 'load' in steps.py": b"part" * 4})
        assert store.codes([code.digest]) == {code.digest: code}
        ((_, found),) = store.holding("sales", {"load": code.digest})
        assert found == {"load": written[:1]}
        assert Path(store.path(b"digest" * 3)).read_bytes() == VALUE
        claim = store.claim("interrupted")
        store.append(claim, [record("clean")])
        store.end(claim, "Completed", 9.0)
        assert [*store.records("interrupted")] == [record("load"), record("clean")]
        store.remove(["ended"])
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_store_grows_by_the_steps_between_its_version_and_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(HERE / f"version_{VERSION}", tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, "CREATE TABLE notes (text TEXT)"))
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    for _ in range(2):
        with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
            assert [one.id for one in store.entries()] == ["interrupted", "ended"]
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
        database.execute("SELECT * FROM notes")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="by a later version of cloaca"):
        SqliteStore(str(tmp_path / "runs.db"))


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HERE / f"version_{VERSION}", tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, "CREATE TABLE notes (text TEXT); CREATE TABLE holds (a)"))
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    with pytest.raises(StoreError, match="already exists"):
        SqliteStore(str(tmp_path / "runs.db"))
    monkeypatch.undo()
    with closing(SqliteStore(str(tmp_path / "runs.db"))) as store:
        assert [one.id for one in store.entries()] == ["interrupted", "ended"]
    with closing(sqlite3.connect(tmp_path / "runs.db")) as database, pytest.raises(sqlite3.OperationalError):
        database.execute("SELECT * FROM notes")


def test_an_earlier_version_that_can_only_be_read_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(HERE / f"version_{VERSION}", tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(schema, "VERSION", VERSION + 1)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(StoreError, match=r"earlier version of cloaca \(1, not 2\).* Give this user the right"):
        SqliteStore(str(tmp_path / "runs.db"))
