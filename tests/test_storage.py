"""The folders of large values: who may look into them, and that nothing is left of them, however a program ends."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.support import Program, no_descriptors, run

from cloaca.values import folder as folder_module
from cloaca.values import mappings, storage
from cloaca.values.blobs import Blob, blob_of, opened, preserve, reference
from cloaca.values.codec import decode, encode
from cloaca.values.folder import LOCK, PREFIX, system
from cloaca.values.storage import Lease, Storage, sweep

VALUE = bytes(100_000)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Shared memory and temporary folder of each test's own."""
    shared, temporary = tmp_path / "shared", tmp_path / "temporary"
    shared.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(storage, "SHARED_MEMORY", shared)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return shared, temporary


@pytest.fixture
def opened_storage() -> Iterator[Storage]:
    here = Storage()
    yield here
    here.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def all_folders(places: tuple[Path, Path]) -> list[Path]:
    return [folder for place in places for folder in place.iterdir()]


# ---- one storage ---------------------------------------------------------------------------------------------------


def test_folders_and_files_are_for_this_user_alone(opened_storage: Storage) -> None:
    payload, lease = opened_storage.put(VALUE)
    folders = [Path(folder) for folder in opened_storage.folders]
    assert [mode(folder) for folder in folders] == [0o700, 0o700]
    files = [path for folder in folders for path in folder.iterdir()]
    assert len(files) == 3  # a lock each, and the value
    assert {mode(path) for path in files} == {0o600}
    assert Path(blob_of(payload).path) in files
    del lease


def test_shared_memory_comes_first_and_names_tell_the_owner(opened_storage: Storage, places: tuple[Path, Path]) -> None:
    folders = [Path(folder) for folder in opened_storage.folders]
    assert [folder.parent for folder in folders] == list(places)
    assert all(folder.name.startswith(f"{PREFIX}{os.getpid()}-") for folder in folders)


def test_without_shared_memory_there_is_the_temporary_folder(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SHARED_MEMORY", places[0] / "missing")
    here = Storage()
    assert [Path(folder).parent for folder in here.folders] == [places[1]]
    here.close()


def test_a_payload_of_the_program_is_stored_as_it_is(opened_storage: Storage) -> None:
    value = {"rows": [1, 2], "more": "x" * 100_000}
    payload, lease = opened_storage.put(encode(value))
    assert decode(payload) == value
    assert blob_of(payload).is_structure
    assert opened_storage.has(payload)
    del lease


def test_a_storage_has_its_own_files_as_long_as_they_are_there(opened_storage: Storage) -> None:
    payload, lease = opened_storage.put(VALUE)
    another = Storage()
    theirs, their_lease = another.put(VALUE)
    assert opened_storage.has(payload)
    assert not opened_storage.has(theirs)
    assert not opened_storage.has(encode([1]))
    del lease, their_lease
    assert not opened_storage.has(payload)
    another.close()


def test_a_file_goes_with_the_last_lease(opened_storage: Storage) -> None:
    payload, lease = opened_storage.put(VALUE)
    path = Path(blob_of(payload).path)
    twin = lease
    del lease
    assert path.exists()
    del twin
    assert not path.exists()


def test_a_lease_on_what_is_gone_is_no_error(opened_storage: Storage) -> None:
    payload, lease = opened_storage.put(VALUE)
    Path(blob_of(payload).path).unlink()
    del lease
    assert not opened_storage.has(payload)


def test_what_a_dead_attempt_wrote_is_removed_and_nothing_else(opened_storage: Storage) -> None:
    names = ["1.1", "1.2", "11.1", "21.1", "program.1"]
    for folder in opened_storage.folders:
        for name in names:
            Path(folder, name).touch()
    opened_storage.discard(1)
    for folder in opened_storage.folders:
        assert sorted(path.name for path in Path(folder).iterdir()) == ["11.1", "21.1", LOCK, "program.1"]


def test_a_file_that_goes_while_an_attempt_is_discarded_keeps_no_other(
    opened_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(opened_storage.folders[0])
    for name in ("1.2", "1.3"):
        (folder / name).touch()
    monkeypatch.setattr(os, "listdir", lambda _: ["1.1", "1.2", "1.3"])
    opened_storage.discard(1)
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == [LOCK]


def test_what_a_thread_writes_while_all_is_removed_is_removed_too(
    opened_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, remove = opened_storage.folders, os.rmdir
    late = [Path(folder, "late") for folder in folders]

    def remove_late(path: str) -> None:
        if late:
            late.pop(0).touch()
        remove(path)

    monkeypatch.setattr(os, "rmdir", remove_late)
    opened_storage.close()
    assert (len(folders), late) == (2, [])
    assert not any(map(os.path.exists, folders))
    assert opened_storage.put(b"x" * 100_000) == (b"x" * 100_000, None)


@pytest.mark.parametrize(("name", "expected"), [("1.1", True), ("1.20", True), ("11.1", False), ("program.1", False)])
def test_the_name_tells_which_attempt_wrote_it(opened_storage: Storage, name: str, *, expected: bool) -> None:
    for folder in opened_storage.folders:
        found = opened_storage.take_over(1, reference(Blob(f"{folder}/{name}", 5, is_structure=False)))
        assert (found is not None) is expected


@pytest.mark.parametrize("path", ["/etc/1.1", "{}/../1.1", "{}/below/1.1", "1.1"])
def test_no_file_elsewhere_was_written_here(opened_storage: Storage, path: str) -> None:
    """Whatever a report says: a lease on it would remove it."""
    folder = opened_storage.folders[0]
    assert opened_storage.take_over(1, reference(Blob(path.format(folder), 5, is_structure=False))) is None


def test_what_was_sent_was_not_stored(opened_storage: Storage) -> None:
    assert opened_storage.take_over(1, encode("1.1")) is None


# ---- the end of a storage ------------------------------------------------------------------------------------------


def test_closing_removes_everything_and_may_be_repeated(places: tuple[Path, Path]) -> None:
    here = Storage()
    payload, lease = here.put(VALUE)
    kept = preserve(blob_of(payload))
    before = descriptors()
    here.close()
    assert all_folders(places) == []
    assert here.folders == ()
    assert descriptors() == before - 2
    assert opened(blob_of(payload)) == VALUE
    here.close()
    assert descriptors() == before - 2
    del lease, kept


def test_closing_one_leaves_the_others(places: tuple[Path, Path]) -> None:
    one, other = Storage(), Storage()
    payload, lease = other.put(VALUE)
    one.close()
    assert decode_content(payload) == VALUE
    assert len(all_folders(places)) == 2
    del lease
    other.close()


def decode_content(payload: bytes) -> bytes:
    return bytes(opened(blob_of(payload)))


def test_a_forked_child_removes_nothing(opened_storage: Storage) -> None:
    payload, lease = opened_storage.put(VALUE)
    child = os.fork()
    if child == 0:
        try:
            del lease
            opened_storage.close()
            sweep()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert decode_content(payload) == VALUE
    assert all(Path(folder, LOCK).exists() for folder in opened_storage.folders)
    del lease


# ---- sweeping ------------------------------------------------------------------------------------------------------

OWNER = """
    import signal, sys, tempfile
    from pathlib import Path
    from cloaca.values import storage
    storage.SHARED_MEMORY = Path("shared")
    tempfile.tempdir = "temporary"
    here = storage.Storage()
    kept = here.put(bytes(100_000))
    print("ready", flush=True)
    signal.pause()
"""


def test_what_a_killed_program_left_is_swept_and_not_before(places: tuple[Path, Path], tmp_path: Path) -> None:
    with Program(dedent(OWNER), tmp_path) as program:
        assert program.line() == "ready"
        sweep()
        here = Storage()
        assert len(all_folders(places)) == 4
        program.send(signal.SIGKILL)
        program.end()
        assert len(all_folders(places)) == 4
        sweep()
        assert {str(folder) for folder in all_folders(places)} == set(here.folders)
        here.close()


def test_opening_a_storage_sweeps(places: tuple[Path, Path]) -> None:
    left = [abandoned(place) for place in places]
    here = Storage()
    assert not any(folder.exists() for folder in left)
    here.close()


def abandoned(place: Path, name: str = f"{PREFIX}1-x") -> Path:
    """A folder whose owner is gone."""
    folder = place / name
    folder.mkdir(mode=0o700)
    (folder / LOCK).touch()
    (folder / "1.1").write_bytes(VALUE)
    return folder


def test_only_folders_of_that_name_are_swept(places: tuple[Path, Path]) -> None:
    other, gone = abandoned(places[1], "other-1-x"), abandoned(places[1])
    sweep()
    assert (other.exists(), gone.exists()) == (True, False)


def test_a_folder_that_somebody_else_made_is_never_swept(places: tuple[Path, Path], tmp_path: Path) -> None:
    """Whatever the user keeps under such a name: open to others, another name, or a link to a folder elsewhere."""
    own = [abandoned(places[0], f"{PREFIX}{name}") for name in ("experiments", "2026-results", "7-open")]
    own[1].joinpath(LOCK).rename(own[1] / "lock")
    own[2].chmod(0o755)
    elsewhere = abandoned(tmp_path, "elsewhere")
    (places[0] / f"{PREFIX}8-link").symlink_to(elsewhere)
    sweep()
    assert all((folder / "1.1").exists() for folder in (*own, elsewhere))


def test_a_folder_of_another_user_is_never_swept(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = abandoned(places[0])
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    sweep()
    assert folder.exists()


def test_a_folder_without_a_lock_may_just_be_in_the_making(places: tuple[Path, Path]) -> None:
    folder = abandoned(places[0], f"{PREFIX}{os.getpid()}-{system()}-x")
    (folder / LOCK).rename(folder / f"{LOCK}.draft")
    sweep()
    assert sorted(path.name for path in folder.iterdir()) == ["1.1", f"{LOCK}.draft"]


def test_a_lock_that_is_held_keeps_the_folder(places: tuple[Path, Path]) -> None:
    folder = abandoned(places[0])
    with (folder / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep()
        assert (folder / "1.1").exists()
    sweep()
    assert not folder.exists()


def test_sweeping_keeps_no_descriptor(places: tuple[Path, Path], opened_storage: Storage) -> None:
    before = descriptors()
    abandoned(places[0])
    sweep()
    assert descriptors() == before
    assert opened_storage.folders


def dead() -> int:
    """The number of a process that there was."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


@pytest.mark.parametrize("lock", [None, f"{LOCK}.draft"])
def test_a_folder_without_a_lock_goes_with_its_process(places: tuple[Path, Path], lock: str | None) -> None:
    """It was killed in the middle of making or removing it."""
    folder = abandoned(places[0], f"{PREFIX}{dead()}-{system()}-x")
    (folder / LOCK).unlink()
    if lock is not None:
        (folder / lock).touch()
    sweep()
    assert not folder.exists()


@pytest.mark.parametrize("system", ["01234567-", "00000000-", ""])
def test_a_folder_without_a_lock_may_belong_to_a_process_of_another_system(
    places: tuple[Path, Path], system: str
) -> None:
    """A container that shares the folder has processes of its own, and so has another machine."""
    folder = abandoned(places[0], f"{PREFIX}{dead()}-{system}x")
    (folder / LOCK).unlink()
    sweep()
    assert folder.exists()


def test_where_there_is_no_proc_nobody_knows_the_system(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "_BOOT", places[0] / "missing")
    here = Storage()
    assert all(f"-{'0' * 8}-" in folder for folder in here.folders)
    folder = abandoned(places[0], f"{PREFIX}{dead()}-{'0' * 8}-x")
    (folder / LOCK).unlink()
    sweep()
    assert folder.exists()
    here.close()
    assert all_folders(places) == [folder]


def refuse_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_file_system_without_locks_will_do(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch)
    before = descriptors()
    here = Storage()
    sweep()
    payload, lease = here.put(VALUE)
    assert decode_content(payload) == VALUE
    assert [path.name for folder in here.folders for path in Path(folder).iterdir()] == ["program.0"]
    assert descriptors() == before
    left = [abandoned(places[0], f"{PREFIX}{pid}-{system()}-x") for pid in (dead(), os.getpid())]
    sweep()
    assert [folder.exists() for folder in left] == [False, True]
    del lease
    here.close()
    assert all_folders(places) == left[1:]


@pytest.mark.parametrize("mode", [0o2700, 0o1700, 0o3700, 0o500])
def test_a_folder_that_is_closed_to_others_is_swept_whatever_its_mode(places: tuple[Path, Path], mode: int) -> None:
    folder = abandoned(places[0])
    folder.chmod(mode)
    sweep()
    assert not folder.exists()


def test_a_place_gives_its_folders_nothing_but_their_own_mode(places: tuple[Path, Path]) -> None:
    for place in places:
        place.chmod(0o2777)
    umask = os.umask(0o277)
    try:
        here = Storage()
    finally:
        os.umask(umask)
    assert {stat.S_IMODE(Path(folder).stat().st_mode) for folder in here.folders} == {0o700}
    here.close()


CLOSING = """
    import os, sys, tempfile
    from pathlib import Path
    from cloaca.values import storage
    storage.SHARED_MEMORY = Path("shared")
    tempfile.tempdir = "temporary"
    here = storage.Storage()
    kept = [here.put(bytes(100_000)) for _ in range(3)]
    steps = iter(range(int(sys.argv[1])))

    def count(event, _):
        if event in ("os.remove", "os.rmdir", "open", "os.listdir") and next(steps, None) is None:
            os.kill(os.getpid(), 9)

    sys.addaudithook(count)
    here.close()
    os._exit(0)
"""


def test_what_was_removed_half_way_is_swept(places: tuple[Path, Path], tmp_path: Path) -> None:
    """Killed before each of the steps of closing."""
    (tmp_path / "closing.py").write_text(dedent(CLOSING))
    for step in range(100):
        ended = run("closing.py", str(step), cwd=tmp_path)
        left = len(all_folders(places))
        sweep()
        assert all_folders(places) == [], f"{left} folders, killed before step {step}"
        if ended.returncode == 0:
            assert (left, step > 8) == (0, True)
            return
    raise AssertionError("it was never through")


def test_sweeping_ends_well_where_nothing_can_be_opened(places: tuple[Path, Path]) -> None:
    folder = abandoned(places[0])
    with no_descriptors():
        sweep()
    assert folder.exists()
    sweep()
    assert not folder.exists()


def test_a_storage_closes_without_a_descriptor_to_spare(places: tuple[Path, Path]) -> None:
    here = Storage()
    kept = here.put(VALUE)
    with no_descriptors():
        here.discard(1)
        here.close()
    assert all_folders(places) == []
    assert kept


# ---- places that can't be used -------------------------------------------------------------------------------------


def no_place(*_: object, **__: object) -> str:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")


@pytest.mark.parametrize("place", [0, 1])
def test_a_place_that_cannot_be_used_is_left_out_until_it_can(
    places: tuple[Path, Path], place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdtemp = tempfile.mkdtemp

    def refuse(**where: Any) -> Any:
        if where["dir"] == str(places[place]):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return mkdtemp(**where)

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkdtemp", refuse)
        here = Storage()
        assert [Path(folder).parent for folder in here.folders] == [places[1 - place]]
    assert [Path(folder).parent for folder in here.renew()] == list(places)
    here.close()
    assert all_folders(places) == []


def test_without_any_place_values_stay_what_they_are(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "SHARED_MEMORY", places[0] / "missing")
    monkeypatch.setattr(tempfile, "gettempdir", no_place)
    here = Storage()
    assert here.folders == ()
    assert here.put(VALUE) == (VALUE, None)
    here.close()


def test_a_folder_that_cannot_be_locked_for_want_of_a_descriptor_leaves_nothing(places: tuple[Path, Path]) -> None:
    before = descriptors()
    with no_descriptors():
        here = Storage()
        assert here.folders == ()
    assert all_folders(places) == []
    assert len(here.renew()) == 2
    here.close()
    assert (all_folders(places), descriptors()) == ([], before)


def test_a_folder_that_was_removed_is_made_anew(places: tuple[Path, Path]) -> None:
    before = descriptors()
    here = Storage()
    one, other = here.folders
    payload, lease = here.put(VALUE)
    shutil.rmtree(one)
    assert not here.has(payload)
    stored, second = here.put(VALUE)
    assert Path(blob_of(stored).path).parent == Path(other)
    anew, same = here.renew()
    assert (anew != one, same == other) == (True, True)
    assert here.has(stored)
    del lease, second
    here.close()
    assert here.renew() == ()
    assert (all_folders(places), descriptors()) == ([], before)


def test_what_cannot_be_mapped_outlives_its_storage(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", 0)
    here = Storage()
    payload, lease = here.put(VALUE)
    kept = preserve(blob_of(payload))
    here.close()
    assert all_folders(places) == []
    assert decode_content(payload) == VALUE
    del lease, kept


# ---- programs ------------------------------------------------------------------------------------------------------

ENDING = """
    import os, sys, tempfile
    from pathlib import Path
    import cloaca
    from cloaca.values import storage
    storage.SHARED_MEMORY = Path("shared").resolve()
    tempfile.tempdir = str(Path("temporary").resolve())

    with cloaca.WorkflowBuilder("large"):

        @cloaca.task()
        def make(context):
            context.set("made", context["given"] * 2)

    runner = cloaca.DefaultRunner(workers=2)
    result = runner.execute("large", cloaca.Context({{"given": bytes(100_000)}}))
    files = [path for path in storage.SHARED_MEMORY.rglob("*") if path.stat().st_size >= 100_000]
    print(result.status, len(result.final_context["made"]), len(files), flush=True)
    {end}
"""
ENDINGS = {
    "the last line": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('no')", 1),
    "shutdown": ("runner.shutdown()", 0),
    "shutdown and a result that is read": ("runner.shutdown(); assert len(result.final_context['made']) == 200_000", 0),
    "no runner any more": ("del runner, result", 0),
}


@pytest.mark.skipif(sys.platform != "linux", reason="workers elsewhere end a moment later")
@pytest.mark.parametrize(("end", "code"), ENDINGS.values(), ids=ENDINGS)
def test_a_program_that_ends_leaves_nothing(places: tuple[Path, Path], tmp_path: Path, end: str, code: int) -> None:
    ended = run("-c", dedent(ENDING).format(end=end), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (code, "Completed 200000 2\n"), ended.stderr
    assert all_folders(places) == []


def test_a_program_that_is_killed_leaves_what_the_next_one_sweeps(places: tuple[Path, Path], tmp_path: Path) -> None:
    killed = run("-c", dedent(ENDING).format(end="os.kill(os.getpid(), 9)"), cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert len(all_folders(places)) == 2
    following = run("-c", dedent(ENDING).format(end=""), cwd=tmp_path)
    assert (following.returncode, following.stdout) == (0, "Completed 200000 2\n"), following.stderr
    assert all_folders(places) == []


def test_a_lease_is_no_more_than_its_file() -> None:
    lease = Lease(reference(Blob("/nowhere/at/all", 1, is_structure=False)))
    del lease
