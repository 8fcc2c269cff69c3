"""Systems that lack what Linux has: macOS, old kernels, sandboxes. It is taken from the program and its workers."""

import signal
from pathlib import Path

import pytest
from tests.support import Program, environment, run, watched

from cloaca.values.storage import sweep

MACOS = """
import os, signal, sys
import psutil  # it looks at the platform, too
for name in ("waitid", "pidfd_open", "memfd_create", "sched_getaffinity", "sched_setaffinity", "P_PID", "WNOWAIT"):
    if hasattr(os, name):
        delattr(os, name)
sys.platform = "darwin"
"""

REFUSED = """
import errno, fcntl, os
def refuse(*_, **__):
    raise OSError(errno.ENOSYS, "not implemented")
os.pidfd_open = os.memfd_create = refuse
control = fcntl.fcntl
fcntl.fcntl = lambda descriptor, command, *given: refuse() if command == 10 else control(descriptor, command, *given)
"""

PROGRAM = """
import os, signal, sys, threading, time
import cloaca

with cloaca.WorkflowBuilder("w", check="off") as builder:
    @cloaca.task()
    def load(context):
        context["rows"] = list(range(5))
        context["blob"] = b"x" * 200_000

    for number in range(4):
        @cloaca.task(id=f"part {number}", dependencies=[load])
        def part(context, number=number):
            context[f"part {number}"] = sum(context["rows"]) + number + len(context["blob"])

    @cloaca.task(dependencies=[load])
    def die(context):
        os.kill(os.getpid(), signal.SIGKILL)

    @cloaca.task(dependencies=[load], timeout=0.5)
    def hang(context):
        time.sleep(600)

    @cloaca.task(dependencies=[load], retry_attempts=2, retry_delay_ms=0)
    def leave(context):
        os._exit(3)

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=2, grace_seconds=0.5) as runner:
        result = runner.execute(builder)
        print(sys.platform, [result.final_context[f"part {number}"] for number in range(4)])
        print(*(type(result.tasks[name].error).__name__ for name in ("die", "hang", "leave")))
        print(result.tasks["die"].error.signal, result.tasks["leave"].error.exit_code, result.tasks["leave"].attempts)
        print(list(runner.map(abs, range(-3, 0))))
        print("cloaca exit watch" in [thread.name for thread in threading.enumerate()])
    print("closed")
"""


ORPHANS = """
import os, time
import cloaca

with cloaca.WorkflowBuilder("w", check="off") as builder:
    @cloaca.task()
    def hang(context):
        print(os.getpid())
        time.sleep(600)

if __name__ == "__main__":
    with cloaca.DefaultRunner(workers=1) as runner:
        runner.execute(builder)
"""

LACKS = pytest.mark.parametrize("lack", [MACOS, REFUSED], ids=["macOS", "refused"])


def path_with(lack: str, folder: Path) -> str:
    """Where Python finds what takes it away, in each process that it starts in."""
    (folder / "sitecustomize.py").write_text(lack)
    return f"{folder}:{environment()['PYTHONPATH']}"


@LACKS
def test_workflows_run(lack: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = run("program.py", cwd=tmp_path, PYTHONPATH=path_with(lack, tmp_path))
    assert "Traceback" not in ended.stderr
    assert ended.stdout.splitlines() == [
        f"{'darwin' if lack is MACOS else 'linux'} [200010, 200011, 200012, 200013]",
        "WorkerDied TaskTimeout WorkerDied",
        "SIGKILL 3 2",
        "[3, 2, 1]",
        "True",
        "closed",
    ]


@LACKS
def test_workers_go_with_the_program(lack: str, tmp_path: Path) -> None:
    with Program(ORPHANS, tmp_path, PYTHONPATH=path_with(lack, tmp_path)) as program, watched([int(program.line())]):
        program.send(signal.SIGKILL)
    sweep()
