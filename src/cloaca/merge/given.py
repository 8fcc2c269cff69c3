"""What users give as merge rules, checked where they give it."""

import builtins
from collections.abc import Callable, Mapping
from typing import Any, Literal

Rule = Callable[[Any, list[Any]], Any]
"""From the base and the candidates' values to the value."""

OnConflict = Literal["first", "last", "fail"]

_BUILTINS = {getattr(builtins, name): name for name in ("sum", "max", "min")}
_ON_CONFLICT: dict[Any, OnConflict] = {"first": "first", "last": "last", "fail": "fail"}


def checked_rules(merge: Any) -> dict[str, Rule]:
    """The rules by key. Raises `ValueError`, telling which key's rule makes no sense, and what would."""
    if merge is None:
        return {}
    if not isinstance(merge, Mapping):
        raise ValueError(f"merge= maps keys to rules, as in {{'total': cloaca.merge.sum}}; it is no {_kind(merge)}.")
    for key, rule in merge.items():
        if not isinstance(key, str):
            raise ValueError(f"merge= maps keys, which are strings, to rules; {key!r} is no string.")
        _check_rule(f"The merge rule of key {key!r}", rule)
    return {str.__str__(key): rule for key, rule in merge.items()}


def structured(rules: Mapping[str, Rule]) -> frozenset[str]:
    """The keys that merge by structure on purpose."""
    if not rules:
        return frozenset()
    from cloaca.merge.named import by_structure

    return frozenset(key for key, rule in rules.items() if rule is by_structure)


def checked_on_conflict(on_conflict: Any) -> OnConflict | None:
    """What to do on conflicts. Raises `ValueError` where it is none of what there is."""
    if on_conflict is None:
        return None
    try:
        return _ON_CONFLICT[on_conflict]
    except (KeyError, TypeError):
        raise ValueError(f'on_conflict= is "first", "last", "fail" or None, not {on_conflict!r}.') from None


def _check_rule(which: str, rule: Any) -> None:
    if not callable(rule):
        advice = f": write cloaca.merge.{rule}, without quotes" if isinstance(rule, str) else ""
        raise ValueError(f"{which} is a function of the base and the values, not {rule!r}{advice}.")
    for builtin, name in _BUILTINS.items():
        if rule is builtin:
            raise ValueError(f"{which} is Python's own {name}: write cloaca.merge.{name}.")
    from cloaca.argument import misfit_of  # workers take rules as they are

    if misfit_of(rule, None, ()):
        raise ValueError(f"{which} is called with the base and the values: {rule!r} doesn't take two arguments.")


def _kind(value: object) -> str:
    return type(value).__name__
