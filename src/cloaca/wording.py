"""How things are told: an error by the names of its classes and its text on one line; and what is added to one."""

from contextlib import suppress

_LONGEST = 200  # of a text in a repr


def kinds_of(error_type: type[BaseException]) -> tuple[str, ...]:
    """The names of an exception's class and of those that it derives from: built-in ones plain, others in full.

    >>> kinds_of(ConnectionResetError)
    ('ConnectionResetError', 'ConnectionError', 'OSError', 'Exception', 'BaseException')
    """
    return tuple(map(kind_of, error_type.__mro__[:-1]))


def kind_of(kind: type) -> str:
    """The name of one class: plain where it is built in, else in full."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def summary(type_name: str, text: str) -> str:
    """An error on one line: "TypeName: text", or the name alone where there is no text."""
    return f"{type_name}: {text}" if text else type_name


def summary_of(error: BaseException) -> str:
    """The same of an error at hand."""
    return summary(type(error).__name__, str(error))


def a(kind: str) -> str:
    """A type's name with its article.

    >>> a("int"), a("str"), a("_io.TextIOWrapper"), a("UUID"), a("UnboundError"), a("Unit")
    ('an int', 'a str', 'an _io.TextIOWrapper', 'a UUID', 'an UnboundError', 'a Unit')
    """
    sound = kind.lstrip("_").lower()
    is_vowel = sound[:1] in set("aeio") or (sound.startswith("un") and not sound.startswith("uni"))
    return f"{'an' if is_vowel else 'a'} {kind}"


def counted(count: int, what: str) -> str:
    """So many of them.

    >>> counted(1, "task"), counted(2, "task")
    ('1 task', '2 tasks')
    """
    return f"{count} {what}{'' if count == 1 else 's'}"


def clipped(text: str, length: int) -> str:
    """The text, or its beginning where it is longer."""
    return text if len(text) <= length else f"{text[:length]}..."


def shortened(text: str) -> str:
    """The first line of a text, if it isn't too long."""
    line = text.partition("\n")[0]
    return line if line == text and len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def attach(error: BaseException, name: str, value: object) -> None:
    """Set an attribute of an exception that isn't ours, past a `__setattr__` of its own, as frozen dataclasses have.

    One that can't be changed all the same does without: what it tells must not be hidden by what there is to add.
    """
    with suppress(Exception):
        BaseException.__setattr__(error, name, value)


def add_note(error: BaseException, note: str) -> None:
    """The same for a note, whatever the exception has for its notes."""
    notes = getattr(error, "__notes__", None)
    attach(error, "__notes__", [*(notes if isinstance(notes, list | tuple) else ()), note])
