"""Rules: what a workflow says about merging, and what was merged by it so far in this process."""

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Literal

from cloaca.merge.named import by_task

Rule = Callable[[Any, list[Any]], Any]
"""From the base and the candidates' values to the value."""

REMEMBERED = 1 << 26
"""How many bytes of merged values a process keeps for readers to come."""

OnConflict = Literal["first", "last", "fail"]


class Rules:
    """The merge rules of one run, by key. `on_conflict`: what becomes of values that don't combine.

    `collected`: the keys whose values are kept by task, where even a single write is not yet the value.
    What merging found out is remembered as long as the run goes on, up to `REMEMBERED` bytes: the latest.
    """

    def __init__(self, functions: Mapping[str, Rule] | None = None, on_conflict: OnConflict | None = None) -> None:
        self._functions: dict[str, Rule | bytes] = dict(functions or {})
        self.on_conflict: OnConflict | None = on_conflict
        self.collected = frozenset(key for key, rule in self._functions.items() if rule is by_task)
        self._settled: dict[Any, tuple[Any, int]] = {}
        self._size = 0

    def packed(self, blobs: Mapping[str, bytes]) -> "Rules":
        """The same rules as they are sent to workers: each is loaded there when it is first needed."""
        packed = Rules(None, self.on_conflict)
        packed._functions.update(blobs)
        packed.collected = self.collected
        return packed

    def has(self, key: str) -> bool:
        """Whether the key has a rule."""
        return key in self._functions

    def rule(self, key: str) -> Rule:
        """The rule of a key that has one. Raises whatever importing what the rule refers to raises."""
        rule = self._functions[key]
        if isinstance(rule, bytes):
            rule = self._functions[key] = pickle.loads(rule)
        return rule

    def remembered(self, name: object) -> Any:
        """What was remembered under that name, or `None`."""
        return self._settled.get(name, (None, 0))[0]

    def remember(self, name: object, settled: object, size: int) -> None:
        """Remember what merging came to, which takes `size` bytes; the oldest is forgotten where it is too much."""
        self._settled[name] = settled, size
        self._size += size
        while self._size > REMEMBERED and len(self._settled) > 1:
            _, forgotten = self._settled.pop(next(iter(self._settled)))
            self._size -= forgotten
