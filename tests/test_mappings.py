"""Mappings that the next reader takes over: exactly what a fresh one would be, and gone in time."""

import gc
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cloaca
from cloaca import Context, DefaultRunner, WorkflowBuilder
from cloaca.values import mappings
from cloaca.values.blobs import Blob, opened, write

SIZE = 2 * mappings.WORTH
LENGTH = SIZE // 8
PAGE = os.sysconf("SC_PAGE_SIZE")

needs_pages = pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="no kernel tells of pages here")


@pytest.fixture(autouse=True)
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a worker."""
    gc.collect()
    monkeypatch.setattr(mappings, "_keeps", True)
    yield
    mappings.drop_spare()


def stored(folder: Path, name: str = "value", size: int = SIZE) -> Blob:
    path, size = write([str(folder)], name, [bytes([7]) * size])
    return Blob(path, size, is_structure=False)


def begin_of(content: memoryview) -> int:
    return int(np.frombuffer(content, np.uint8).ctypes.data)


@needs_pages
@pytest.mark.parametrize("read", [0, 1, SIZE], ids=["not at all", "a page", "all"])
def test_what_was_only_read_is_taken_over(tmp_path: Path, read: int) -> None:
    blob = stored(tmp_path)
    content = opened(blob)
    begin, _ = begin_of(content), bytes(content[:read])
    del content
    assert mappings.is_spare()
    again, other = opened(blob), opened(blob)
    assert begin_of(again) == begin != begin_of(other)
    assert again == other == bytes([7]) * SIZE


@pytest.mark.parametrize("place", [0, PAGE, SIZE // 2 + 1, SIZE - 1])
def test_what_was_written_to_is_not(tmp_path: Path, place: int) -> None:
    blob = stored(tmp_path)
    content = opened(blob)
    content[place] = 1
    del content
    assert not mappings.is_spare()
    assert opened(blob) == bytes([7]) * SIZE


def test_what_was_written_to_from_outside_of_python_is_not(tmp_path: Path) -> None:
    blob = stored(tmp_path)
    content = opened(blob)
    with open("/dev/zero", "rb", buffering=0) as zeros:
        zeros.readinto(content[PAGE : PAGE + 1])
    del content
    assert not mappings.is_spare()


def test_what_somebody_still_uses_is_not(tmp_path: Path) -> None:
    blob = stored(tmp_path)
    array = np.frombuffer(opened(blob), np.uint8)
    assert not mappings.is_spare()
    other = opened(blob)
    assert begin_of(other) != array.ctypes.data


def test_there_is_one_at_most(tmp_path: Path) -> None:
    blobs = [stored(tmp_path, name) for name in "ab"]
    had = len(mappings._all)
    contents = [opened(blob) for blob in [*blobs, *blobs]]
    assert len(mappings._all) == had + 4
    del contents
    assert len(mappings._all) <= had + 1


@needs_pages
def test_it_is_dropped_where_it_is_not_needed(tmp_path: Path) -> None:
    blob, had = stored(tmp_path), len(mappings._all)
    opened(blob)
    mappings.drop_spare({blob.path})
    assert mappings.is_spare()
    mappings.drop_spare({"/another"})
    assert (mappings.is_spare(), len(mappings._all)) == (False, had)


@needs_pages
def test_a_forked_child_keeps_none(tmp_path: Path) -> None:
    blob = stored(tmp_path)
    opened(blob)
    child = os.fork()
    if not child:
        try:
            opened(blob)
            os._exit(mappings.is_spare())
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert mappings.is_spare()


def test_the_program_keeps_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    opened(stored(tmp_path))
    assert not mappings.is_spare()


def test_small_ones_go(tmp_path: Path) -> None:
    opened(stored(tmp_path, size=mappings.WORTH - 1))
    assert not mappings.is_spare()


# ---- in workers ----------------------------------------------------------------------------------------------------


def readers() -> WorkflowBuilder:
    """Tasks that read an array one after the other, in one worker. Those of odd numbers change what they have of it.

    Each tells what it has read, and how many pages the kernel had to find for it meanwhile.
    """
    with WorkflowBuilder("readers", outputs=["sums", "worker"]) as builder:

        @cloaca.task()
        def make(context: Context) -> None:
            context["array"] = np.ones(LENGTH)

        @cloaca.task(for_each="numbers", dependencies=["make"])
        def read(context: Context, item: int) -> None:
            array, before = context["array"], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            total = float(array.sum())
            context["sums"] = [total, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]
            if item % 2:
                array[item] = 1000.0

        @cloaca.task(dependencies=["read"])
        def end(context: Context) -> None:
            context["worker"] = os.getpid()

    return builder


@needs_pages
def test_no_task_sees_what_another_one_has_changed() -> None:
    with DefaultRunner(workers=1) as runner:
        result = runner.execute(readers(), {"numbers": [n // 3 for n in range(90)]})
        result.raise_for_status()
    sums, faults = zip(*result.final_context["sums"], strict=True)
    assert set(sums) == {float(LENGTH)}
    assert min(faults) < max(faults) / 4, "some took over the mapping of the one before"


def files_mapped(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if "/cloaca-" in line]


@needs_pages
def test_an_idle_worker_holds_no_value() -> None:
    with DefaultRunner(workers=1) as runner:
        context: Any = runner.execute(readers(), {"numbers": [0, 2]}).final_context
        give_up = time.monotonic() + 60
        while files_mapped(context["worker"]):
            assert time.monotonic() < give_up
            time.sleep(0.005)
