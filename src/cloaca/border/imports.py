"""Something to be done when a module gets imported, so that it needn't be imported for that.

It costs nothing where nobody imports the module: a worker doesn't load NumPy to seed it.
"""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec

OnImport = Callable[[ModuleType], object]


def when_imported(name: str, action: OnImport) -> None:
    """Call `action` with the module of that name: now if it is loaded, else right after each import and reload.

    What it raises is raised by the `import`, so it had better not.
    """
    module = sys.modules.get(name)
    if module is not None:
        action(module)
    else:
        sys.meta_path.insert(0, _ImportWatch(name, action))


class _ImportWatch:
    """A finder that finds nothing itself: what those behind it find gets a loader that tells of its work."""

    def __init__(self, name: str, action: OnImport) -> None:
        self._name = name
        self._action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> "ModuleSpec | None":
        if fullname != self._name or self not in sys.meta_path:
            return None
        spec = _found(sys.meta_path[sys.meta_path.index(self) + 1 :], fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = cast("Loader", _TellingLoader(spec.loader, self._action))
        return spec


class _TellingLoader:
    """Loads as another loader does, and calls an action then. The module never sees anything but the other one."""

    def __init__(self, loader: Any, action: OnImport) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: "ModuleSpec") -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _found(
    finders: Sequence[Any], name: str, path: Sequence[str] | None, target: ModuleType | None
) -> "ModuleSpec | None":
    for finder in finders:
        find_spec = getattr(finder, "find_spec", None)
        spec = find_spec and find_spec(name, path, target)
        if spec is not None:
            return cast("ModuleSpec", spec)
    return None
