"""Text that messages carry: UTF-8 does so with all but lone surrogates, which file names may hold."""


def encodable(text: str) -> str:
    """The text with what UTF-8 can't carry (lone surrogates, from file names mostly) written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def raw(text: str) -> bytes:
    """The text as bytes that UTF-8 can't always carry: paths of the system may hold lone surrogates."""
    return text.encode(errors="surrogatepass")


def text_of(given: bytes) -> str:
    """The text that `raw` made bytes of."""
    return given.decode(errors="surrogatepass")


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can carry the text: without lone surrogates. No key, name or message has any."""
    return text.isascii() or text == text.encode(errors="replace").decode()
