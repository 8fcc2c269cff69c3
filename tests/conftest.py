"""Around every test: nothing may be left behind. And the runner of those tests that hold with either executor.

What counts is what was not there before the test began: processes, threads, open descriptors, and files named
`cloaca*` where large values live. So a pool shared by many tests must have its workers running when its fixture hands
it out, and a test that kills workers uses a pool of its own. There is no way to opt out.
"""

import gc
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from hypothesis import settings
from tests.support import ready

from cloaca import Context, DefaultRunner
from cloaca.authoring import registry
from cloaca.pool import nursery
from cloaca.pool.pool import Pool
from cloaca.testing.desk import Desk, published

PATIENCE = 5.0  # seconds that processes and threads get to end by themselves
DESCRIPTORS = Path("/proc/self/fd")
SHARED = (Path("/dev/shm"), Path(tempfile.gettempdir()))

SLOW = """
    test_backlog test_callbacks test_codes test_coordinator test_copies test_costs test_crash_matrix test_crashes
    test_data test_depth_first test_docs test_elsewhere test_endings test_examples test_executor_conformance
    test_failures test_for_each test_forged_messages test_forked_children test_functions test_growth test_handle
    test_hooks test_initializer test_interruptions test_items test_kin test_large_values test_launch test_leak_check
    test_leftovers test_lifetimes test_limits test_map test_map_errors test_memory test_merge_properties
    test_merging test_modules test_nested_pools test_notices test_nursery test_outputs test_parameters test_pool
    test_portability test_profiling test_recording test_records test_registry test_resuming test_room test_run_model
    test_runner test_script_classes test_seeding test_shortage test_stalls test_storage test_store
    test_store_processes test_stress test_strikes test_variables test_warm test_watched
"""
"""Files with a program, a pool or much work for each test. `-m "not slow"` leaves them out, all tests that draw their
examples, and those that are marked where they stand."""

settings.register_profile("cloaca", deadline=None, derandomize=True)  # neither timing nor luck decides a test
settings.load_profile("cloaca")

for number in (signal.SIGINT, signal.SIGQUIT):  # ignored in what a shell starts in the background, as by nohup
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = set(SLOW.split())
    for item in items:
        if item.path.stem in slow or hasattr(getattr(item, "obj", None), "hypothesis"):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True, slots=True)
class Belongings:
    """What this process has at one moment."""

    processes: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    descriptors: Counter[str]
    files: frozenset[Path]

    @classmethod
    def now(cls) -> "Belongings":
        return cls(
            frozenset(_descendants()),
            frozenset(threading.enumerate()),
            Counter(_targets()),
            frozenset(path for folder in SHARED for path in folder.glob("cloaca*")),
        )

    def __sub__(self, before: "Belongings") -> "Belongings":
        return Belongings(
            self.processes - before.processes,
            self.threads - before.threads,
            self.descriptors - before.descriptors,
            frozenset(path for path in self.files - before.files if not _of_another_program(path)),
        )

    def __str__(self) -> str:
        lines = [_told(process) for process in sorted(self.processes, key=lambda process: process.pid)]
        lines += sorted(f"thread {thread.name}" for thread in self.threads)
        lines += sorted(f"open descriptor: {target}" for target in self.descriptors.elements())
        lines += sorted(f"file {path}" for path in self.files)
        return "".join(f"\n  {line}" for line in lines)


NOTHING = Belongings(frozenset(), frozenset(), Counter(), frozenset())


def _descendants() -> list[psutil.Process]:
    """All processes of the machine are looked through only if this one has a child, running or not yet waited for."""
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return psutil.Process().children(recursive=True)
    return []


def _targets() -> Iterator[str]:
    """Where each open descriptor leads. Importing a module may keep one of its files open: those don't count."""
    if not DESCRIPTORS.exists():
        return
    for descriptor in DESCRIPTORS.iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this very listing
            target = str(descriptor.readlink())
            if not target.startswith((sys.prefix, sys.base_prefix, "/dev/null", "/dev/urandom")):
                yield target


def _of_another_program(path: Path) -> bool:
    """Whether the name (`cloaca-<process id>-...`) says that a living process made it which is none of ours."""
    ours = {os.getpid(), *(process.pid for process in _descendants())}
    pids = {int(part) for part in path.name.split("-") if part.isdecimal()}
    return any(psutil.pid_exists(pid) for pid in pids - ours)


def _told(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return f"process {process.pid}: {' '.join(process.cmdline())}"
    return f"process {process.pid}"


def _left_since(before: Belongings) -> Belongings:
    """What is here and was not before, after the time that it takes to go."""
    left = Belongings.now() - before
    if left == NOTHING:
        return left
    deadline = time.monotonic() + PATIENCE
    psutil.wait_procs(list(left.processes), timeout=PATIENCE)
    for thread in left.threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    gc.collect()  # a reference cycle may hold a descriptor
    left = Belongings.now() - before
    while left.files and time.monotonic() < deadline:  # tests that run beside these sweep up after programs they kill
        time.sleep(0.05)
        left = Belongings.now() - before
    return left


def _end(processes: frozenset[psutil.Process]) -> None:
    """One leak fails one test, and doesn't outlive the session."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=PATIENCE)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = Belongings.now()
    yield
    left = _left_since(before)
    if left == NOTHING:
        return
    told = str(left)
    _end(left.processes)
    pytest.fail(f"The test left behind:{told}", pytrace=False)


@pytest.fixture(autouse=True)
def _workflows_of_others_are_forgotten(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may call their workflows alike: a name that is defined again elsewhere is warned of."""
    known = registry._entries
    own = {name: entry for name, entry in known.items() if entry.origin.module == request.module.__name__}
    monkeypatch.setattr(registry, "_entries", own)


@pytest.fixture(scope="module", params=["processes", "serial"])
def runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    """One that takes two tasks at a time, where it can. Its workers are there, and no test ends one.

    Modules that need another one define their own.
    """
    with ready(workers=2, executor=request.param) as runner:
        yield runner


@pytest.fixture(params=["processes", "serial"])
def own_runner(request: pytest.FixtureRequest) -> Iterator[DefaultRunner]:
    """The same for one test alone, which may end its workers."""
    with DefaultRunner(workers=2, executor=request.param) as runner:
        yield runner


@pytest.fixture(params=[1, sys.maxsize], ids=["forked", "fresh"])
def way_of_starting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers of runners that are made from here on are forked from a nursery, or none is."""
    monkeypatch.setattr(nursery, "LEAST_WORKERS", request.param)
    monkeypatch.setattr(nursery, "LOADING_SECONDS", 3600.0)  # however busy the machine is


@pytest.fixture
def make_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Makes a module of that name and source that can be imported from a file, as long as the test runs."""

    def make(name: str, source: str) -> ModuleType:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # what it undoes is that there is one
        del sys.modules[name]
        return importlib.import_module(name)

    return make


@pytest.fixture
def desk_of() -> Iterator[Callable[..., Desk]]:
    """Makes a desk at a pool of so many workers that knows the functions given, by their place."""
    with ExitStack() as stack:

        def make(size: int, *functions: Callable[[Context], Any]) -> Desk:
            pool = Pool(size, {})
            stack.callback(pool.close)
            pool.publish(published(*functions))
            return Desk(pool)

        yield make
