"""Files for large values: what is written, what is mapped, and what becomes of both when there is no room."""

import errno
import gc
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import deterministic
from tests.support import no_descriptors, run

from cloaca.errors import StorageFullError
from cloaca.values import mappings
from cloaca.values.blobs import (
    Blob,
    NoFolderError,
    blob_of,
    is_content,
    is_reference,
    opened,
    preserve,
    reference,
    same_bytes,
    secure,
    size_of,
    write,
)
from cloaca.values.codec import ALIGNMENT, PICKLED, decode, encode
from cloaca.wire import shortage

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def stored(folder: Path, *parts: bytes, name: str = "value") -> Blob:
    path, size = write([str(folder)], name, parts)
    return Blob(path, size, is_structure=False)


def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    return first, second


# ---- references ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "blob", [Blob("/a", 0, is_structure=False), Blob("/dev/shm/cloaca-1-é/7.1", 2**40, is_structure=True)]
)
def test_a_reference_says_what_it_was_made_of(blob: Blob) -> None:
    payload = reference(blob)
    assert is_reference(payload)
    assert is_reference(memoryview(payload))
    assert blob_of(payload) == blob_of(memoryview(payload)) == blob
    assert size_of(payload) == blob.size
    assert len(payload) < 100


@pytest.mark.parametrize("value", [None, 0, "", b"\xc1\0\0\0\0", [], (), {1}, np.zeros(0), np.zeros(3)], ids=repr)
def test_no_value_looks_like_a_reference(value: object) -> None:
    payload = encode(value)
    assert not is_reference(payload)
    assert size_of(payload) == len(payload)


def test_a_reference_begins_as_pickles_do() -> None:
    assert reference(Blob("/a", 1, is_structure=False))[0] == PICKLED


# ---- writing and reading -------------------------------------------------------------------------------------------

SIZES = [1, 2, 63, 64, 65, 4095, 4096, 4097, 100_001]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(tmp_path: Path, size: int) -> None:
    content = bytes(number % 251 for number in range(size))
    blob = stored(tmp_path, content)
    assert blob == Blob(str(tmp_path / "value"), size, is_structure=False)
    assert Path(blob.path).read_bytes() == content
    assert bytes(opened(blob)) == content
    assert not opened(blob).readonly


def test_nothing_at_all_is_an_empty_file(tmp_path: Path) -> None:
    assert stored(tmp_path).size == stored(tmp_path, b"", b"", name="parts").size == 0
    assert [path.stat().st_size for path in sorted(tmp_path.iterdir())] == [0, 0]


@deterministic
@given(st.lists(st.binary(max_size=200), min_size=1).filter(any))
def test_parts_follow_each_other(tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("parts")
    views = [memoryview(bytearray(part)) if number % 2 else part for number, part in enumerate(parts)]
    path, size = write([str(folder)], "value", views)
    blob = Blob(path, size, is_structure=False)
    assert bytes(opened(blob)) == b"".join(parts)
    assert is_content(blob, parts)
    assert is_content(blob, [b"".join(parts)])


def test_more_parts_than_one_call_takes(tmp_path: Path) -> None:
    parts = [number.to_bytes(3, "big") for number in range(2 * os.sysconf("SC_IOV_MAX") + 1)]
    assert bytes(opened(stored(tmp_path, *parts))) == b"".join(parts)


def test_a_call_that_writes_less_than_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"abc", b"", b"defgh", b"i"]
    monkeypatch.setattr(os, "writev", lambda descriptor, left: os.write(descriptor, b"".join(left)[:2]))
    assert bytes(opened(stored(tmp_path, *parts))) == b"abcdefghi"


def test_a_file_is_for_its_user_alone_and_is_never_written_over(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    assert Path(blob.path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(NoFolderError, match="File exists"):
        stored(tmp_path, b"xyz")
    assert bytes(opened(blob)) == b"abc"


# ---- the reader's own ----------------------------------------------------------------------------------------------


def test_who_writes_to_a_mapping_is_the_only_one_to_see_it(tmp_path: Path) -> None:
    array = np.arange(10_000.0)
    blob = stored(tmp_path, encode(array))
    payload = reference(blob)
    mine, other = decode(payload), decode(payload)
    mine[:] = 7
    assert (mine == 7).all()
    assert (other == array).all()
    assert (decode(payload) == array).all()
    assert Path(blob.path).read_bytes() == encode(array)


def test_a_mapping_outlives_its_file(tmp_path: Path) -> None:
    array = np.arange(10_000)
    blob = stored(tmp_path, encode(array))
    mapped = decode(reference(blob))
    Path(blob.path).unlink()
    assert (mapped == array).all()
    mapped += 1
    assert (mapped == array + 1).all()
    with pytest.raises(FileNotFoundError):
        opened(blob)


def test_a_part_of_a_value_keeps_the_mapping(tmp_path: Path) -> None:
    blob = stored(tmp_path, encode([np.arange(10_000), np.arange(5)]))
    row = decode(reference(blob))[0][5:8]
    gc.collect()
    assert row.tolist() == [5, 6, 7]


def test_a_mapping_goes_when_nobody_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = stored(tmp_path, bytes(100_000))
    undone: list[int] = []
    libc = mappings.libc()

    class Watched:
        mmap, memcmp = libc.mmap, libc.memcmp

        @staticmethod
        def munmap(address: int, size: int) -> int:
            undone.append(size)
            return int(libc.munmap(address, size))

    monkeypatch.setattr(mappings, "libc", Watched)
    content = opened(blob)
    part = content[:10]
    del content
    assert undone == []
    del part
    assert undone == [100_000]


@pytest.mark.parametrize("alone", [True, False])
def test_arrays_are_aligned(tmp_path: Path, *, alone: bool) -> None:
    arrays = [np.arange(size, dtype="u1") for size in (1, 1000, 63, 64, 65, 4097)]
    for number, array in enumerate(arrays):
        blob = stored(tmp_path, encode(array if alone else ["x" * number, *arrays]), name=str(number))
        read = decode(reference(blob))
        found = [read] if alone else read[1:]
        assert [part.ctypes.data % ALIGNMENT for part in found] == [0] * len(found)
        assert all(part.flags.writeable for part in found)


MANY = """
import resource, sys
import numpy as np
from cloaca.values.blobs import Blob, reference, write
from cloaca.values.codec import decode, encode

resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
kept = []
for number in range(2_000):
    path, size = write([sys.argv[1]], str(number), [encode(np.full(10, number))])
    kept.append(decode(reference(Blob(path, size, False))))
print(sum(int(array[0]) for array in kept))
"""


@pytest.mark.slow
def test_a_mapping_holds_no_descriptor(tmp_path: Path) -> None:
    ended = run("-c", MANY, str(tmp_path), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, f"{sum(range(2_000))}\n"), ended.stderr


# ---- preserved -----------------------------------------------------------------------------------------------------


def test_what_is_preserved_stays_readable_as_long_as_it_is_kept(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc" * 1000)
    kept = preserve(blob)
    Path(blob.path).unlink()
    assert bytes(opened(blob)) == b"abc" * 1000
    del kept
    with pytest.raises(FileNotFoundError):
        opened(blob)


def test_each_reader_of_what_is_preserved_has_its_own(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    kept = preserve(blob)
    opened(blob)[0] = 0
    Path(blob.path).unlink()
    mine = opened(blob)
    mine[0] = 0
    assert bytes(opened(blob)) == b"abc"
    assert kept is not None


def test_preserving_again_keeps_what_was_preserved(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    first = preserve(blob)
    Path(blob.path).unlink()
    second = preserve(blob)
    del first
    assert bytes(opened(blob)) == b"abc"
    del second
    with pytest.raises(FileNotFoundError):
        opened(blob)


def test_letting_go_of_one_of_two_keeps_the_other(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    first, second = preserve(blob), preserve(blob)
    Path(blob.path).unlink()
    del second
    assert bytes(opened(blob)) == b"abc"
    del first


# ---- the same bytes ------------------------------------------------------------------------------------------------


@deterministic
@given(st.binary(min_size=1, max_size=300), st.data())
def test_one_different_byte_is_seen(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(content) - 1))
    cut = data.draw(st.integers(0, len(content)))
    other = bytearray(content)
    other[place] ^= 1 << data.draw(st.integers(0, 7))
    blob = stored(tmp_path_factory.mktemp("bytes"), content)
    assert is_content(blob, [content[:cut], content[cut:]])
    assert not is_content(blob, [bytes(other[:cut]), bytes(other[cut:])])
    assert same_bytes(content, memoryview(bytearray(content)))
    assert not same_bytes(memoryview(content), memoryview(other))


def test_content_that_is_longer_or_shorter_is_another(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    assert not is_content(blob, [b"ab"])
    assert not is_content(blob, [b"abc", b"d"])
    assert not is_content(blob, [])


@pytest.mark.parametrize("part", [b"", memoryview(b""), memoryview(bytearray())], ids=["bytes", "fixed", "writable"])
def test_a_part_may_be_empty(tmp_path: Path, part: bytes | memoryview) -> None:
    blob = stored(tmp_path, b"abc")
    assert is_content(blob, [b"ab", part, b"c"])
    assert same_bytes(part, b"")


# ---- no room -------------------------------------------------------------------------------------------------------


@contextmanager
def at_most_10_000() -> Iterator[None]:
    """No file can be longer: the kernel takes the bytes up to there, and then refuses, as a full folder does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_write_that_the_system_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    folders = two_folders(tmp_path)
    with at_most_10_000(), pytest.raises(NoFolderError, match="File too large"):
        write([str(folder) for folder in folders], "value", [bytes(6_000), bytes(6_000)])
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def filling(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Half a write succeeds there, and the next one doesn't."""
    writev = os.writev
    begun: set[int] = set()

    def some(descriptor: int, parts: list[memoryview]) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().parent != folder:
            return writev(descriptor, parts)
        if descriptor in begun:
            raise OSError(number, os.strerror(number))
        begun.add(descriptor)
        return os.write(descriptor, parts[0][:3])

    monkeypatch.setattr(os, "writev", some)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc where a descriptor leads")
@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
def test_a_folder_that_refuses_half_way_gives_way_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    first, second = two_folders(tmp_path)
    filling(monkeypatch, first, number)
    path, size = write([str(first), str(second)], "value", [b"abc", b"defgh"])
    assert (path, size) == (str(second / "value"), 8)
    assert Path(path).read_bytes() == b"abcdefgh"
    assert list(first.iterdir()) == []


class Room:
    """What `os.statvfs` tells of a folder with so many bytes free to this user."""

    f_frsize = 1000

    def __init__(self, size: int) -> None:
        self.f_bavail = size // 1000
        self.f_bfree = self.f_bavail + 1_000_000


@pytest.mark.parametrize(("room", "chosen"), [(7_000, "second"), (8_000, "second"), (9_000, "first")])
def test_a_folder_that_is_too_full_is_not_even_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, chosen: str
) -> None:
    first, second = two_folders(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda folder: Room(room if folder == str(first) else 9_000))
    path, _ = write([str(first), str(second)], "value", [bytes(8_000)])
    assert path == str(tmp_path / chosen / "value")


def test_without_room_anywhere_the_error_tells_how_much_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two_folders(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda folder: Room(3_000 if folder == str(first) else 5_000))
    with pytest.raises(StorageFullError, match="takes 8,000 bytes") as caught:
        write([str(first), str(second)], "value", [bytes(8_000)])
    assert caught.value.folders == ((str(first), 3_000), (str(second), 5_000))
    assert (caught.value.task, caught.value.key) == (None, None)
    assert [list(folder.iterdir()) for folder in (first, second)] == [[], []]


def test_a_folder_that_is_gone_gives_way_to_the_next(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    path, _ = write([str(gone), str(tmp_path)], "value", [b"abc"])
    assert path == str(tmp_path / "value")
    with pytest.raises(NoFolderError, match=f"gone.*{os.strerror(errno.ENOENT)}"):
        write([str(gone)], "value", [b"abc"])


def test_what_no_message_can_carry_needs_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloaca.values.blobs.MOST_SENT", 2)
    with pytest.raises(StorageFullError, match=r"takes 3 bytes, .*gone can't be used"):
        write([str(tmp_path / "gone")], "value", [b"abc"])


def test_the_error_tells_a_folder_without_room_from_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, (full, _) = str(tmp_path / "gone"), two_folders(tmp_path)
    monkeypatch.setattr(os, "statvfs", having(2_000, str(full)))
    with pytest.raises(StorageFullError) as caught:
        write([gone, str(full)], "value", [bytes(8_000)])
    assert caught.value.folders == ((str(full), 2_000),)
    assert caught.value.unusable == ((gone, os.strerror(errno.ENOENT)),)
    assert f"{full} has 2,000 free, {gone} can't be used (No such file or directory)" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).unusable == caught.value.unusable


def having(room: int, folder: str) -> Callable[[str], object]:
    """So much room in that folder, and what there is in others."""
    statvfs = os.statvfs
    return lambda path: Room(room) if path == folder else statvfs(path)


# ---- what can't be read --------------------------------------------------------------------------------------------


@pytest.fixture
def unmappable(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file can be mapped, as `vm.max_map_count` has been reached, or the file system can't."""
    monkeypatch.setattr(mappings.libc(), "mmap", lambda *_: mappings._FAILED)


@pytest.mark.usefixtures("unmappable")
def test_what_cannot_be_mapped_is_read(tmp_path: Path) -> None:
    content = opened(stored(tmp_path, b"abc" * 100_000))
    assert content == b"abc" * 100_000
    content[0] = 0


def test_a_process_maps_some_files_and_reads_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(mappings, "MOST_MAPPINGS", len(mappings._all) + 2)
    content = [opened(stored(tmp_path, bytes([n]) * 5000, name=str(n))) for n in range(4)]
    assert len(mappings._all) == mappings.MOST_MAPPINGS
    assert [bytes(one[:1]) for one in content] == [b"\0", b"\1", b"\2", b"\3"]
    del content[:2]
    content.append(opened(stored(tmp_path, b"last", name="last")))
    assert len(mappings._all) == mappings.MOST_MAPPINGS - 1
    assert bytes(content[-1]) == b"last"


@pytest.mark.parametrize("size", [0, 10_000, 200_000])
def test_a_file_of_another_size_is_not_what_was_written(tmp_path: Path, size: int) -> None:
    """Who looked at a mapping of what isn't there would be killed."""
    blob = stored(tmp_path, bytes(100_000))
    os.truncate(blob.path, size)
    with pytest.raises(OSError, match=f"{size:,} bytes, of 100,000"):
        opened(blob)
    kept = preserve(blob)
    Path(blob.path).unlink()
    with pytest.raises(FileNotFoundError):
        opened(blob)
    assert kept


def test_bytes_of_a_file_that_is_gone_are_no_content(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    Path(blob.path).unlink()
    assert not is_content(blob, [b"abc"])


@pytest.mark.usefixtures("unmappable")
def test_what_cannot_be_mapped_is_read_when_its_folder_goes_and_its_file_with_it(tmp_path: Path) -> None:
    blob, other = stored(tmp_path, b"abc"), stored(tmp_path, b"def", name="other")
    kept = preserve(blob)
    secure(str(tmp_path / "elsewhere"))
    assert Path(blob.path).exists()
    secure(str(tmp_path))
    assert not Path(blob.path).exists()
    assert bytes(opened(blob)) == b"abc"
    assert bytes(opened(other)) == b"def"
    del kept
    with pytest.raises(FileNotFoundError):
        opened(blob)


def test_without_a_descriptor_a_preserved_file_is_read_from_its_mapping(tmp_path: Path) -> None:
    blob = stored(tmp_path, b"abc")
    kept = preserve(blob)
    with no_descriptors():
        assert bytes(opened(blob)) == b"abc"
    del kept


def test_a_descriptor_that_lacks_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = stored(tmp_path, b"abc")
    with no_descriptors() as release:
        monkeypatch.setattr(time, "sleep", lambda _: release())
        assert bytes(opened(blob)) == b"abc"


def test_a_descriptor_that_lacks_for_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = stored(tmp_path, b"abc")
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 0.0)
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        opened(blob)
    with no_descriptors():
        kept = preserve(blob)
    secure(str(tmp_path))
    assert not Path(blob.path).exists()
    assert bytes(opened(blob)) == b"abc"
    del kept
