"""Control groups: where the files stand that bound this process, in both versions of them."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def folders(controller: str, mount: Path = MOUNT, membership: Path = MEMBERSHIP) -> list[Path]:
    """The folders of every group around this process that may rule `controller` ("cpu", "memory"), the innermost first.

    `mount` is where control groups are mounted, `membership` the file that lists those of this process. A container
    sees only a part: folders that aren't there are left out.
    """
    groups = sorted(_groups(controller, membership), key=lambda group: len(group.parts), reverse=True)
    places = (place for group in groups for place in (mount / group, mount / controller / group))
    return [place for place in places if os.path.isdir(place)]  # noqa: PTH112 - `Path.is_dir` may raise, on Python 3.11


def text(path: Path) -> str:
    """What a file says; nothing where it can't be read."""
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def fields(path: Path) -> dict[str, int]:
    """What a file of lines `name number` says."""
    lines = (line.split() for line in text(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}  # noqa: PLR2004 - two words


def _groups(controller: str, membership: Path) -> set[PurePosixPath]:
    """The groups of this process and all that enclose them, as paths below the mount."""
    own = set(_own(controller, membership))
    return {PurePosixPath(), *own, *(parent for group in own for parent in group.parents)}


def _own(controller: str, membership: Path) -> Iterator[PurePosixPath]:
    """The groups of the entries `number:controllers:group` that are of version 2 (no controllers), or name this one."""
    for line in text(membership).splitlines():
        entry = line.split(":", 2)
        if len(entry) > 1 and controller in (entry[1] or controller).split(","):
            yield PurePosixPath(entry[-1].lstrip("/"))
