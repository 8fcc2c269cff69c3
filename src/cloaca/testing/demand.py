"""Demand: an `assert` that also holds under `python -O`, and that says what is wrong without the help of pytest."""


def demand(condition: object, otherwise: str) -> None:
    """Raise `AssertionError` with that text, unless the condition is true."""
    if not condition:
        raise AssertionError(otherwise)


def same(found: object, expected: object, what: str = "what came out") -> None:
    """Raise `AssertionError`, unless both are equal."""
    demand(found == expected, f"{what} is {found!r}, and should be {expected!r}")
