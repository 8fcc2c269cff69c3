"""How many cores there are to use: affinity for real, control groups as trees of files."""

import os
from pathlib import Path

import pytest

from cloaca.machine import cores

PLENTY = 64


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of control groups without any limit, on a machine with plenty of cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(PLENTY), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def usable(group: Path, membership: str = "0::/\n") -> int:
    write(group / "membership", membership)
    return cores.usable(group, group / "membership")


def first_version(folder: Path, quota: str, period: str = "100000") -> None:
    write(folder / "cpu.cfs_quota_us", f"{quota}\n")
    write(folder / "cpu.cfs_period_us", f"{period}\n")


# ---- affinity ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_affinity_bounds_the_cores(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.usable(tmp_path, tmp_path / "nothing") == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores.usable(tmp_path, tmp_path / "nothing") == len(allowed)


def test_without_affinity_every_core_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores.usable(tmp_path, tmp_path / "nothing") == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.usable(tmp_path, tmp_path / "nothing") == 1


def test_this_machine_has_a_core() -> None:
    assert cores.usable() >= 1


# ---- quotas --------------------------------------------------------------------------------------------------------


def test_no_control_groups(group: Path) -> None:
    assert cores.usable(group, group / "nothing") == PLENTY


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", PLENTY),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("25000 50000", 1),
        ("1000 100000", 1),
        ("9900000 100000", PLENTY),
    ],
)
def test_the_quota_of_version_2(group: Path, limit: str, expected: int) -> None:
    write(group / "cpu.max", f"{limit}\n")
    assert usable(group) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("-1", PLENTY), ("300000", 3), ("250000", 3), ("50000", 1), ("9900000", PLENTY)]
)
def test_the_quota_of_version_1(group: Path, quota: str, expected: int) -> None:
    first_version(group / "cpu", quota)
    assert usable(group, "4:cpu,cpuacct:/\n") == expected


@pytest.mark.parametrize("text", ["", "max", "200000", "two 100000", "200000 0", "0 100000", "1 2 3"])
def test_a_file_that_makes_no_sense_bounds_nothing(group: Path, text: str) -> None:
    write(group / "cpu.max", text)
    assert usable(group) == PLENTY


@pytest.mark.parametrize(("quota", "period"), [("", ""), ("two", "100000"), ("200000", "0"), ("0", "100000")])
def test_files_that_make_no_sense_bound_nothing(group: Path, quota: str, period: str) -> None:
    first_version(group / "cpu", quota, period)
    assert usable(group) == PLENTY


@pytest.mark.parametrize("missing", ["cpu.cfs_quota_us", "cpu.cfs_period_us"])
def test_half_of_version_1_bounds_nothing(group: Path, missing: str) -> None:
    first_version(group / "cpu", "100000")
    (group / "cpu" / missing).unlink()
    assert usable(group) == PLENTY


def test_the_tightest_of_the_enclosing_groups_counts(group: Path) -> None:
    write(group / "cpu.max", "max 100000")
    write(group / "user.slice" / "cpu.max", "500000 100000")
    write(group / "user.slice" / "job" / "cpu.max", "800000 100000")
    write(group / "other.slice" / "cpu.max", "100000 100000")
    assert usable(group, "0::/user.slice/job\n") == 5


def test_the_groups_of_version_1_enclose_each_other_too(group: Path) -> None:
    first_version(group / "cpu", "-1")
    first_version(group / "cpu" / "batch", "200000")
    first_version(group / "cpu" / "batch" / "job", "300000")
    assert usable(group, "11:memory:/elsewhere\n4:cpu,cpuacct:/batch/job\n1:name=systemd:/x\n") == 2


def test_a_group_of_another_controller_does_not_count(group: Path) -> None:
    first_version(group / "cpu" / "other", "100000")
    assert usable(group, "3:cpuset:/other\n") == PLENTY


def test_a_container_sees_its_own_group_as_the_mount(group: Path) -> None:
    first_version(group / "cpu", "200000")
    assert usable(group, "4:cpu,cpuacct:/docker/0123456789ab\n") == 2


@pytest.mark.parametrize("membership", ["", "nonsense\n", "0::/../..\n", "0::/not/mounted:here\n"])
def test_an_odd_membership_leaves_the_mount(group: Path, membership: str) -> None:
    write(group / "cpu.max", "200000 100000")
    assert usable(group, membership) == 2


# ---- native threads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 1000])
def test_workers_times_threads_is_at_most_the_cores(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    share = int(cores.thread_bounds(workers)["OMP_NUM_THREADS"])
    assert share == 1 or share * workers <= cores.usable() < (share + 1) * workers


def test_what_the_program_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    bounds = cores.thread_bounds(1)
    assert "OMP_NUM_THREADS" not in bounds
    assert "MKL_NUM_THREADS" in bounds
