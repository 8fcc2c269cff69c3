"""Rules: what a workflow says about merging, and what was merged by it so far in this process."""

import pickle
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from cloaca.merge.named import by_task

Rule = Callable[[Any, list[Any]], Any]
"""From the base and the candidates' values to the value."""

REMEMBERED = 1 << 26
"""How many bytes of merged values a process keeps for readers to come."""

OnConflict = Literal["first", "last", "fail"]


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
        """The same rules, by the names of keys without their `prefix`: for the tasks of a copy."""
        rules = self._within.get(prefix)
        if rules is None:
            rules = self._within[prefix] = _RulesWithin(self, prefix)
        return rules

    def called(self, key: str, task: str) -> str:
        """What a task is called in the value of a key that is kept by task: in a copy, as in what it is a copy of."""
        home = self._homes.get(key, _WHOLE)
        return home.outside.get(task) or task.removeprefix(home.prefix)

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


_NONE: frozenset[str] = frozenset()


def _by_task(functions: Mapping[str, Rule | bytes]) -> frozenset[str]:
    return frozenset(key for key, rule in functions.items() if rule is by_task)


class _RulesWithin(Rules):
    """The rules of a run as the tasks of a copy see them. What is merged is remembered with the rest."""

    def __init__(self, whole: Rules, prefix: str) -> None:
        super().__init__(None, whole.on_conflict)
        self.whole = whole
        self._prefix = prefix
        self.collected = frozenset(key.removeprefix(prefix) for key in whole.collected if key.startswith(prefix))

    def called(self, key: str, task: str) -> str:
        return self.whole.called(self._prefix + key, task)

    def has(self, key: str) -> bool:
        return self.whole.has(self._prefix + key)

    def rule(self, key: str) -> Rule:
        return self.whole.rule(self._prefix + key)

    def remembered(self, name: object) -> Any:
        return self.whole.remembered((self._prefix, name))

    def remember(self, name: object, settled: object, size: int) -> None:
        self.whole.remember((self._prefix, name), settled, size)
