"""What the engine should answer, said naively: no memory, no short cuts, names instead of ranks. Slow and plain.

`Model` is the merge rules of the design, read aloud. `graphs`, `inputs` and `diffs` draw what it is tried on.
"""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cloaca.wire.messages import Version

Graph = Sequence[tuple[str, Sequence[str]]]  # (task, dependencies as listed), by order of definition
Inputs = Mapping[str, tuple[Version, ...]]
Diff = Mapping[str, bytes | None]
Visible = dict[str, tuple[Version, ...]]

KEYS = "abc"


class Model:
    """The writes of a run. Tasks are recorded in any topological order."""

    def __init__(self, graph: Graph, inputs: Inputs) -> None:
        self.graph = graph
        self.inputs = inputs
        self.writes: dict[str, dict[str, Version]] = {task: {} for task, _ in graph}
        self.orders: dict[str, list[str]] = {}
        dependencies = dict(graph)
        for task in TopologicalSorter(dependencies).static_order():
            self.orders[task] = self._merge_order(dependencies[task])

    def _merge_order(self, dependencies: Sequence[str]) -> list[str]:
        """For each dependency as listed, first that dependency's own order, then itself; repeats dropped."""
        with_repeats = [task for listed in dependencies for task in (*self.orders[listed], listed)]
        return list(dict.fromkeys(with_repeats))

    def record(self, task: str, diff: Diff) -> None:
        """Writing the very bytes that the task saw is no write; nor is removing what isn't there."""
        for key, payload in diff.items():
            seen = {version.payload for version in self.candidates(task, key)} or {None}
            if seen != {payload}:
                self.writes[task][key] = Version(task, payload)

    def candidates(self, task: str, key: str) -> tuple[Version, ...]:
        return self._versions(self._unsuperseded(self._writers(self.orders[task], key)), key)

    def whole(self, task: str) -> Visible:
        return self._visible(lambda key: self.candidates(task, key))

    def final(self) -> Visible:
        """The end of the run: all tasks, by order of definition."""
        defined = [task for task, _ in self.graph]
        return self._visible(lambda key: self._versions(self._unsuperseded(self._writers(defined, key)), key))

    def base(self, task: str, key: str) -> tuple[Version, ...]:
        """What precedes all candidates of the key at the task."""
        standing = self._unsuperseded(self._writers(self.orders[task], key))
        if not standing:
            return ()
        before_all = [
            task for task in self._writers(self.orders[task], key) if all(task in self.orders[top] for top in standing)
        ]
        return self._versions(self._unsuperseded(before_all), key)

    def _writers(self, tasks: Sequence[str], key: str) -> list[str]:
        return [task for task in tasks if key in self.writes[task]]

    def _unsuperseded(self, writers: list[str]) -> list[str]:
        return [task for task in writers if not any(task in self.orders[later] for later in writers)]

    def _versions(self, writers: list[str], key: str) -> tuple[Version, ...]:
        return tuple(self.writes[task][key] for task in writers) or self.inputs.get(key, ())

    def _visible(self, candidates) -> Visible:
        keys = {*self.inputs, *(key for writes in self.writes.values() for key in writes)}
        return {key: versions for key in sorted(keys) if (versions := candidates(key))}


# ---- what to try it on ---------------------------------------------------------------------------------------------


deterministic = settings(
    derandomize=True, database=None, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)


@st.composite
def graphs(draw: st.DrawFn, *, most: int = 10) -> Graph:
    """Draw a DAG: several roots, redundant edges, dependencies in any order, dependents defined before dependencies."""
    order = draw(st.permutations(range(draw(st.integers(1, most)))))
    tasks = []
    for place, number in enumerate(order):
        earlier = draw(st.lists(st.sampled_from(order[:place]), unique=True, max_size=6)) if place else []
        tasks.append((f"t{number}", tuple(f"t{other}" for other in earlier)))
    return sorted(tasks) if draw(st.booleans()) else tasks


payloads = st.sampled_from([b"0", b"1", None])

diffs = st.dictionaries(st.sampled_from(KEYS), payloads, max_size=3)
"""What a task sets and removes: few keys and few values, so that they meet."""

inputs = st.dictionaries(
    st.sampled_from(KEYS),
    st.sampled_from(
        [
            (Version("the input", b"0"),),
            (Version("the input", b"1"),),
            (Version("one", b"0"), Version("other", b"1")),
            (Version("one", b"0"), Version("other", b"0")),
        ]
    ),
)
"""What a run is given. The final context of an earlier run may bring several versions of a key."""
