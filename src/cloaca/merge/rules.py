"""Rules: what a workflow says about merging, and what was merged by it so far in this process."""

import pickle
from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

from cloaca.merge.given import OnConflict, Rule

REMEMBERED = 1 << 26
"""How many bytes of merged values a process keeps for readers to come."""


class Home(NamedTuple):
    """A copy, for a key of its own that is kept by task: what the ids of its tasks begin with.

    `outside` are the names that other tasks get whose ids are those of its own tasks without the prefix.
    """

    prefix: str
    outside: Mapping[str, str]


_WHOLE = Home("", {})


class Rules:
    """The merge rules of one run, by key. `on_conflict`: what becomes of values that don't combine.

    `collected`: the keys whose values are kept by task, where even a single write is not yet the value. `homes`: the
    copies of those that are keys of a copy.
    What merging found out is remembered as long as the run goes on, up to `REMEMBERED` bytes: the latest.
    """

    def __init__(
        self,
        functions: Mapping[str, Rule] | None = None,
        on_conflict: OnConflict | None = None,
        homes: Mapping[str, Home] | None = None,
    ) -> None:
        self._functions: dict[str, Rule | bytes] = dict(functions or {})
        self.on_conflict: OnConflict | None = on_conflict
        self.collected = _by_task(self._functions) if functions else _NONE
        self.whole = self
        self._prefix = ""  # of the names of keys, for the tasks of a copy
        self._homes = dict(homes or {})
        self._within: dict[str, Rules] = {}
        self._settled: dict[Any, tuple[Any, int]] = {}
        self._size = 0

    def packed(self, blobs: Mapping[str, bytes]) -> "Rules":
        """The same rules as they are sent to workers: each is loaded there when it is first needed."""
        packed = Rules(None, self.on_conflict, self._homes)
        packed._functions.update(blobs)
        packed.collected = self.collected
        return packed

    def within(self, prefix: str) -> "Rules":
        """The same rules, by the names of keys without their `prefix`. What is merged is remembered with the rest."""
        rules = self._within.get(prefix)
        if rules is None:
            rules = self._within[prefix] = copy(self)
            rules._prefix = prefix
            rules.collected = frozenset(key.removeprefix(prefix) for key in self.collected if key.startswith(prefix))
        return rules

    def called(self, key: str, task: str) -> str:
        """What a task is called in the value of a key that is kept by task: in a copy, as in what it is a copy of."""
        home = self._homes.get(self._prefix + key, _WHOLE)
        return home.outside.get(task) or task.removeprefix(home.prefix)

    def has(self, key: str) -> bool:
        """Whether the key has a rule."""
        return self._prefix + key in self._functions

    def rule(self, key: str) -> Rule:
        """The rule of a key that has one. Raises whatever importing what the rule refers to raises."""
        rule = self._functions[self._prefix + key]
        if isinstance(rule, bytes):
            rule = self._functions[self._prefix + key] = pickle.loads(rule)
        return rule

    def remembered(self, name: object) -> Any:
        """What was remembered under that name, or `None`."""
        return self._settled.get((self._prefix, name), (None, 0))[0]

    def remember(self, name: object, settled: object, size: int) -> None:
        """Remember what merging came to, which takes `size` bytes; the oldest is forgotten where it is too much."""
        whole, self._settled[self._prefix, name] = self.whole, (settled, size)
        whole._size += size
        while whole._size > REMEMBERED and len(self._settled) > 1:
            _, forgotten = self._settled.pop(next(iter(self._settled)))
            whole._size -= forgotten


_NONE: frozenset[str] = frozenset()


def _by_task(functions: Mapping[str, Rule | bytes]) -> frozenset[str]:
    from cloaca.merge.named import by_task

    return frozenset(key for key, rule in functions.items() if rule is by_task)
