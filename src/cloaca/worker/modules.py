"""The user's own modules in a worker: imported as the code that the program has loaded, wherever it had that from."""

import marshal
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from cloaca.errors import ModuleChangedError
from cloaca.values.blobs import content_of

if TYPE_CHECKING:
    from cloaca.pickling.modules import LoadedModule


class ProgramFinder:
    """A finder that goes before all others, and finds what the program has loaded.

    `on_import` is called when a module was imported so, with all that it imports itself.
    """

    def __init__(self, on_import: Callable[[], object]) -> None:
        self._on_import = on_import
        self._importing: list[str] = []
        self._payload = b""
        self._given: Mapping[str, LoadedModule] = {}

    def take(self, payload: bytes) -> None:
        """From here on, this is what the program has loaded."""
        if payload == self._payload:
            return
        found = content_of(payload)
        self._given = pickle.loads(found) if found else {}
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        self._payload = payload  # last: by that it is seen that all this was done

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Find a module by its name. Raises `ModuleChangedError` where the program's code can't be had."""
        given = self._given.get(fullname)
        if given is None:
            return None
        if given.code is None:
            raise ModuleChangedError(fullname, given.file)
        loader = _ProgramLoader(fullname, given.file, given.code, self) if given.code else None
        spec = ModuleSpec(fullname, loader, origin=given.file, is_package=given.path is not None)
        spec.has_location = given.file is not None
        if given.path is not None:
            spec.submodule_search_locations = list(given.path)
        return spec

    def execute(self, module: ModuleType, load: Callable[[ModuleType], object]) -> None:
        """Let a module be loaded. Only the outermost one is through when it is."""
        self._importing.append(module.__name__)
        try:
            load(module)
        finally:
            self._importing.remove(module.__name__)
        if not self._importing:
            self._on_import()


class _ProgramLoader(SourceFileLoader):
    """Loads as if from the file, but for the code."""

    def __init__(self, name: str, file: str | None, code: bytes, finder: ProgramFinder) -> None:
        super().__init__(name, file or f"<{name}>")
        self._code = code
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - there is one
        code: CodeType = marshal.loads(self._code)  # noqa: S302 - from the program itself, which sends functions too
        return code

    def exec_module(self, module: ModuleType) -> None:
        self._finder.execute(module, super().exec_module)
