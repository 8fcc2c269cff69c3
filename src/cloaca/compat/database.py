"""What `DefaultRunner` makes of its database URL. Runs are not recorded yet, so a file is accepted with a warning."""

from cloaca.warning import warn

_SUFFIXES = (".db", ".sqlite", ".sqlite3")


def check_url(url: str) -> None:
    """Accept `sqlite://...`, `file:...`, `:memory:` and paths; warn where a file is named.

    Raises:
        ValueError: the URL is empty, or names a database that cloaca doesn't know.
    """
    if not isinstance(url, str) or not url:
        meant = (
            f": how many workers there are is said by workers={url}"
            if isinstance(url, int) and not isinstance(url, bool)
            else ""
        )
        raise ValueError(f'database_url is a URL such as "sqlite://:memory:", not {url!r}{meant}')
    scheme, separator, _ = url.partition("://")
    if separator and scheme not in ("sqlite", "file"):
        raise ValueError(f'A database at {scheme}://... is not supported: use "sqlite://:memory:"')  # no password
    if _is_in_memory(url):
        return
    if not (separator or url.startswith("file:") or "/" in url or url.endswith(_SUFFIXES)):
        raise ValueError(f'{url!r} is no database URL: use "sqlite://:memory:", or a path that ends in .db')
    warn(f"Runs are not recorded yet: {url!r} stays untouched.")


def _is_in_memory(url: str) -> bool:
    return ":memory:" in url or "mode=memory" in url or url == "sqlite://"
