"""Which file of records a database URL names."""

import os
from urllib.parse import unquote

_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def path_of(url: str) -> str | None:
    """The path of the store's file; `None`: nothing is recorded.

    >>> path_of("sqlite://:memory:")
    >>> path_of("sqlite:///runs.db"), path_of("sqlite://runs.db"), path_of("file:runs.db"), path_of("runs.db")
    ('runs.db', 'runs.db', 'runs.db', 'runs.db')
    >>> path_of("sqlite:////var/lib/runs.db"), path_of("file:///var/lib/runs.db"), path_of("/var/lib/runs.db")
    ('/var/lib/runs.db', '/var/lib/runs.db', '/var/lib/runs.db')

    Raises:
        ValueError: the URL is empty, or names a database that cloaca doesn't know.
    """
    if not isinstance(url, str) or not url:
        is_number = isinstance(url, int) and not isinstance(url, bool)
        meant = f": how many workers there are is said by workers={url}" if is_number else ""
        raise ValueError(f'database_url is a URL such as "sqlite:///runs.db", not {url!r}{meant}')
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in ("sqlite", "file"):  # the rest may hold a password
        raise ValueError(f'A database at {scheme}://... is not supported: use a file, as "sqlite:///runs.db"')
    if ":memory:" in url or "mode=memory" in url or url == "sqlite://":
        return None
    if not (separator or url.startswith("file:") or "/" in url or url.endswith(_SUFFIXES)):
        raise ValueError(f'{url!r} is no database URL: use "sqlite:///runs.db", or a path that ends in .db')
    path = _path_in(url)
    if not path or path.endswith("/") or "\0" in path:
        raise ValueError(f'{url!r} names no file: use "sqlite:///runs.db", or a path that ends in .db')
    return os.path.expanduser(path)


def _path_in(url: str) -> str:
    scheme, _, rest = url.partition(":")
    if scheme == "file":
        path = unquote(rest.partition("?")[0])
        return path.removeprefix("//localhost").removeprefix("//") if path.startswith("//") else path
    if url.startswith("sqlite://"):
        return url.removeprefix("sqlite://").removeprefix("/").partition("?")[0]
    return url
