"""Network: whether a file lies on a drive of another machine.

There, SQLite must not keep a log beside the database of which processes tell each other by shared memory (WAL): those
of two machines have none in common, and would damage the file. It works with a journal instead, given that there are
locks.
"""

import os

_OF_OTHER_MACHINES = frozenset(
    """
    9p afs beegfs ceph cifs coda fuse.glusterfs fuse.sshfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 smb2
    smb3 smbfs virtiofs
    """.split()  # noqa: SIM905 - as a list, one string a line, it would fill a page
)
"""Kinds of file systems, as Linux calls them."""

_MOUNTS = "/proc/self/mountinfo"


def is_on_network(path: str) -> bool:
    """Whether it does, as far as this system tells."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            lines = [line.split() for line in mounts]
    except OSError:
        return False
    real = os.path.realpath(path)
    found = [(_unescaped(fields[4]), fields[fields.index("-") + 1]) for fields in lines]
    over = [(place, kind) for place, kind in found if f"{real}/".startswith(f"{place.rstrip('/')}/")]
    return bool(over) and max(reversed(over), key=lambda one: len(one[0]))[1] in _OF_OTHER_MACHINES


def _unescaped(place: str) -> str:
    """What the kernel has written of a folder, with its spaces."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        place = place.replace(code, letter)
    return place
