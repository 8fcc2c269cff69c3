"""Control groups: where the files stand that bound this process, in both versions of them."""

from collections.abc import Iterator
from os import PathLike
from os.path import isdir, join

AnyPath = str | PathLike[str]

MOUNT = "/sys/fs/cgroup"
MEMBERSHIP = "/proc/self/cgroup"


def folders(controller: str, mount: AnyPath = MOUNT, membership: AnyPath = MEMBERSHIP) -> list[str]:
    """The folders of every group around this process that may rule `controller` ("cpu", "memory"), the innermost first.

    `mount` is where control groups are mounted, `membership` the file that lists those of this process. A container
    sees only a part: folders that aren't there are left out.
    """
    groups = sorted(_groups(controller, membership), key=lambda group: group.count("/"), reverse=True)
    places = (join(*place, group).rstrip("/") for group in groups for place in ((mount,), (mount, controller)))
    return [place for place in places if isdir(place)]


def text(path: AnyPath) -> str:
    """What a file says; nothing where it can't be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def fields(path: AnyPath) -> dict[str, int]:
    """What a file of lines `name number` says."""
    lines = (line.split() for line in text(path).splitlines())
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}  # noqa: PLR2004 - two words


def _groups(controller: str, membership: AnyPath) -> set[str]:
    """The groups of this process and all that enclose them, as paths below the mount: "", "a/", "a/b/"."""
    parts = [group.split("/") for group in _own(controller, membership)]
    return {"", *("/".join([*names[:count], ""]) for names in parts for count in range(1, len(names) + 1))}


def _own(controller: str, membership: AnyPath) -> Iterator[str]:
    """The groups of the entries `number:controllers:group` that are of version 2 (no controllers), or name this one."""
    for line in text(membership).splitlines():
        entry = line.split(":", 2)
        if len(entry) > 1 and controller in (entry[1] or controller).split(","):
            yield entry[-1].strip("/")
