"""Profile: how a task, or several, spent their time, or what their memory was made of. What users get."""

import os
from collections.abc import Sequence
from typing import Any

from cloaca.profiling.profiles import Gathered
from cloaca.profiling.tool import ProfilerName, checked_profiler, tool_of
from cloaca.wording import counted


class Profile:
    """What a profiler has recorded of tasks, put together from all workers, tries and items.

    `profiler` is its name, `tasks` the ids of the tasks, and `calls` how often their functions were called under it.
    `notes` say what is missing. Of memory, it is a profile of the one call that had most of it.

    Printed, it is a table of what took most.
    """

    def __init__(self, profiler: ProfilerName, tasks: tuple[str, ...], gathered: Sequence[Gathered]) -> None:
        self.profiler: ProfilerName = profiler
        self.tasks = tasks
        self.calls = sum(one.calls for one in gathered)
        self.notes = tuple(dict.fromkeys(note for one in gathered for note in one.notes))
        self._recorded = tool_of(profiler).combined([part for one in gathered for part in one.parts])

    def save(self, path: "str | os.PathLike[str]") -> None:
        """Write it to a file, in the format that the name ends with.

        - cprofile: `.prof` or `.pstats`, for `pstats`, snakeviz and others.
        - pyinstrument: `.json` for https://www.speedscope.app, `.html` to be opened as it is, `.pyisession` for
          `pyinstrument --load`.
        - memray: `.html`, a flame graph, or `.bin` for the commands of memray.
        - All: `.txt`, which is what is printed.

        Raises `ValueError` for any other name, `ModuleNotFoundError` where the profiler isn't installed (any more), and
        `OSError` where the file can't be written.
        """
        name = os.fspath(path)
        suffix = os.path.splitext(name)[1].lower()
        writers = tool_of(self.profiler).writers
        if suffix == ".txt":
            with open(name, "w", encoding="utf-8") as file:
                file.write(f"{self}\n")
        elif suffix in writers:
            writers[suffix](self._recorded, name)
        else:
            known = ", ".join([*writers, ".txt"])
            raise ValueError(f"A profile by {self.profiler} is saved to a file that ends with {known}, not {name!r}.")

    def opened(self) -> Any:
        """The same as the profiler has it: a `pstats.Stats`, a `Session` of pyinstrument, or a `memray.FileReader`."""
        checked_profiler("To open this profile", self.profiler)
        return tool_of(self.profiler).opened(self._recorded)

    def __str__(self) -> str:
        lines = [*self.notes, tool_of(self.profiler).text(self._recorded)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.tasks))
        return f"<Profile of {shown} by {self.profiler}: {counted(self.calls, 'call')}>"
