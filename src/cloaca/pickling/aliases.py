"""Aliases of types that a `type` statement has made: `type Json = dict[str, Json] | list[Json] | str`.

What such an alias stands for is asked when somebody reads it, as it may lead to the alias itself. So it is made first,
by a `type` statement, and then told what it stands for.
"""

import typing
from typing import Any

_PREFIXES: dict[type, str] = {typing.TypeVarTuple: "*", typing.ParamSpec: "**"}


class _Meaning:
    """What an alias stands for. It is given in terms of `parameters`; the alias has others of the same names."""

    def __init__(self) -> None:
        self.value: Any = None
        self.parameters: tuple[Any, ...] = ()

    def __call__(self, *own: Any) -> Any:
        own_of = dict(zip(self.parameters, own, strict=True))
        used = getattr(self.value, "__parameters__", ())
        return self.value[tuple(own_of[one] for one in used)] if used else own_of.get(self.value, self.value)


def reduce_alias(alias: Any) -> Any:
    """Rebuilds as an alias of the same name, parameters and meaning."""
    meaning, parameters = _Meaning(), alias.__type_params__
    names = [_PREFIXES.get(type(one), "") + one.__name__ for one in parameters]
    arguments = alias.__name__, alias.__module__, names, meaning
    return _alias, arguments, (meaning, alias.__value__, parameters), None, None, _tell


def _alias(name: str, module: str, parameters: list[str], meaning: _Meaning) -> Any:
    names: dict[str, Any] = {"__name__": module, "__meaning__": meaning}
    head = f"{name}[{', '.join(parameters)}]" if parameters else name
    exec(f"type {head} = __meaning__({', '.join(parameters).replace('**', '')})", names)  # noqa: S102 - of names
    return names[name]


def _tell(_: Any, state: tuple[_Meaning, Any, tuple[Any, ...]]) -> None:
    meaning, value, parameters = state
    meaning.value, meaning.parameters = value, parameters
