"""The leak check around every test finds what it is there to find, and the slow files are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import SLOW

CONFTEST = Path(__file__).with_name("conftest.py")

LEAKS = """
import os, socket, subprocess, sys, tempfile, threading
from pathlib import Path

import pytest

kept = []
never = threading.Event()

@pytest.fixture(scope="session")
def shared():
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

def test_clean(tmp_path):
    (tmp_path / "cloaca").touch()
    subprocess.run([sys.executable, "-c", ""], check=True)
    thread = threading.Thread(target=int)
    thread.start()

def test_shared(shared):
    assert shared.poll() is None

def test_process():
    kept.append(subprocess.Popen([sys.executable, "-c", "input('leaked')"], stdin=shared_input))

def test_grandchild():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
    kept.append(subprocess.Popen([sys.executable, "-c", child], stdin=shared_input, stdout=hello_output))
    os.read(hello_input, 1)  # the grandchild is there

def test_thread():
    threading.Thread(target=never.wait, name="forgotten", daemon=True).start()

def test_descriptor():
    kept.append(socket.socketpair())

def test_same_target_again():
    kept.append(os.dup(shared_input))

def test_cycle():
    cycle = [os.fdopen(os.dup(shared_input))]
    cycle[0].close()
    cycle.append(cycle)

def test_file():
    kept.append(tempfile.mkdtemp(prefix="cloaca-"))

def test_end(shared):
    shared.communicate(b"\\n")
    os.rmdir(kept[-1])

shared_input, _never_written = os.pipe()
hello_input, hello_output = os.pipe()
"""

EXPECTED = {
    "test_process": r"process \d+: \S+ -c input\('leaked'\)",
    "test_grandchild": r"process \d+: .*\n  process \d+: ",
    "test_thread": "thread forgotten",
    "test_descriptor": r"open descriptor: socket:.*\n  open descriptor: socket:",
    "test_same_target_again": "open descriptor: pipe:",
    "test_file": "file .*cloaca-",
}


def test_each_kind_of_leak_fails_its_test_and_nothing_else_does(tmp_path: Path) -> None:
    patient = CONFTEST.read_text()
    hasty = patient.replace("PATIENCE = 5.0", "PATIENCE = 0.5")
    assert hasty != patient
    (tmp_path / "conftest.py").write_text(hasty)
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tmp").mkdir()

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", tmp_path / "base", tmp_path],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )

    told = dict(re.findall(r"ERROR at teardown of (\w+) _+\nThe test left behind:\n((?:  .+\n)+)", run.stdout))
    assert set(told) == set(EXPECTED), run.stdout
    for test, pattern in EXPECTED.items():
        assert re.search(pattern, told[test]), told[test]
    assert "10 passed, 6 errors" in run.stdout


def test_every_file_that_is_slow_is_there() -> None:
    assert [name for name in SLOW.split() if not CONFTEST.with_name(f"{name}.py").exists()] == []
