"""Peers: the tools that cloaca is measured beside, and which of them play."""

from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version

PEERS: Mapping[str, str | None] = {
    "ProcessPool": None,
    "Pool": None,
    "loky": "loky",
    "joblib": "joblib",
    "mpire": "mpire",
    "pebble": "pebble",
    "dask": "distributed",
    "ray": "ray",
}
"""Names in tables, and the package that brings each; `None`: Python does. "Pool" is that of multiprocessing."""

NOT_INSTALLED = "not installed"


def absent(asked: Collection[str] = PEERS) -> dict[str, str]:
    """The peers that don't play, and why: they weren't asked for, or are not installed."""
    return {name: why for name, package in PEERS.items() if (why := _why_not(name, package, asked))}


def named(text: str) -> list[str]:
    """The peers of a list with commas, in upper or lower case. Raises `ValueError` where one is unknown.

    >>> named("pool,Dask")
    ['Pool', 'dask']
    """
    known = {name.lower(): name for name in PEERS}
    wanted = text.lower().split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return [known[name] for name in wanted]


def peer_of(contender: str) -> str:
    """The peer that a contender is of: its name's first word.

    >>> peer_of("ProcessPool fork + imports")
    'ProcessPool'
    """
    return contender.partition(" ")[0]


def versions() -> dict[str, str]:
    """The version of each peer that Python doesn't bring."""
    return {package: version_of(package) for package in PEERS.values() if package is not None}


def version_of(package: str) -> str:
    """The version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return NOT_INSTALLED


def _why_not(name: str, package: str | None, asked: Collection[str]) -> str:
    if name not in asked:
        return "not asked for"
    if package is not None and version_of(package) == NOT_INSTALLED:
        return NOT_INSTALLED
    return ""
