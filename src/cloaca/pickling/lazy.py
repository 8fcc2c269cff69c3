"""Lazy imports (Python 3.15): what stands under a global name until it is first used.

A function that is sent to workers counts as used: there, nothing tells what its module has put off. Nor may it matter
to a workflow's version whether a name has been used before.
"""

import sys
import types
from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from typing import Any

LAZY: Any = getattr(types, "LazyImportType", None)


def settle(namespace: dict[str, Any], names: Collection[str]) -> None:
    """Import what the names stand for, as their first use would. What can't be imported stays as it is."""
    if LAZY is None:
        return
    resolve = LAZY.resolve
    for name in names:
        if type(namespace.get(name)) is LAZY:
            with suppress(ImportError):
                namespace[name] = resolve(namespace[name])
                _submodules(namespace[name], names)


def _submodules(package: Any, names: Collection[str]) -> None:
    """Import what was put off inside a package, as far as it is named: `lazy import package.part` binds `package`."""
    waiting: set[str] = vars(sys)["lazy_modules"].copy()
    for title in waiting:
        top, *path = title.split(".")
        if sys.modules.get(top) is package and path and all(part in names for part in path):
            import_module(title)
