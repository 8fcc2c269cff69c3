"""What is told of a function holds for whatever it does when it runs: functions made by chance are read, and run."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from tests.support import defined

from cloaca.dataflow.touches import touches_of

KEYS = [*"abcde"]


class Recorder(dict[str, Any]):
    """Has the methods of a context that the functions use, and knows what was done with which key."""

    def __init__(self) -> None:
        super().__init__({key: [1, 2] for key in "abc"})
        self.read: set[str] = set()
        self.written: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __setitem__(self, key: str, value: Any) -> None:
        self.written.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self[key]
        self.remove(key)

    def keys(self) -> Any:
        self.read.update(self, ["another"])
        return super().keys()

    def update(self, key: str, value: Any) -> None:  # type: ignore[override]
        self[key]
        self[key] = value

    def remove(self, key: str) -> None:
        self.written.add(key)
        self.pop(key, None)

    def lazy(self, key: str) -> Any:
        return self[key]

    set = insert = __setitem__


class Author:
    """Writes functions by chance."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.depth = 0

    def function(self) -> str:
        return "def task(context):\n    v = w = x = None\n    C = KEY = None\n" + self.block(4)

    def block(self, most: int = 2) -> str:
        self.depth += 1
        lines = [self.statement() for _ in range(self.draw.randint(1, most))]
        self.depth -= 1
        return "\n".join(f"    {line}" for text in lines for line in text.splitlines())

    def key(self) -> str:
        one, other = self.draw.choices(KEYS, k=2)
        forms = [f"{one!r}"] * 8 + [f"({one!r} if luck() else {other!r})", "AROUND", 'f"{AROUND}"', "k", "(k := 'e')"]
        return self.draw.choice(forms)

    def context(self) -> str:
        return self.draw.choice(["context"] * 12 + ["v", "w", "(v or context)", "(v := context)"])

    def value(self) -> str:
        context, key = self.context(), self.key()
        forms = [
            "1",
            "[1, 2]",
            "luck()",
            f"{context}[{key}]",
            f"{context}.get({key})",
            f"{context}.get({key}, [])",
            f"len({context}.get({key}))",
            f"{context}.lazy({key})",
            f"[{context}[n] for n in ({key}, {key})]",
            f"[{context}[{key}] for n in (1, 2) if luck()]",
            f"({key} in {context})",
            f"({key} in {context} and {context}[{key}])",
            f"(lambda: {context}[{key}])()",
            f"(luck() or {context}[{key}])",
            f"({context}[{key}] if luck() else 3)",
            "context",
            "(context, 1)",
            "(context.set, 1)",
            "v",
            "v[0]",
            f"{{{key}: {context}.get({key})}}",
        ]
        return self.draw.choice(forms)

    def statement(self) -> str:
        context, key, value = self.context(), self.key(), self.value()
        simple = [
            f"{context}[{key}] = {value}",
            f"{context}.set({key}, {value})",
            f"{context}.set(value={value}, key={key})",
            f"{context}.update({key}, {value})",
            f"{context}.remove({key})",
            f"del {context}[{key}]",
            f"{context}[{key}] += [3]",
            f"v = {value}",
            f"v, w = {value}, {self.value()}",
            f"k = {key}",
            f"put = {context}.set\nput({key}, {value})",
            f"{value}",
            f"helper({value}, {key})",
            f"v[0].set({key}, 1)",
            f"v[0]({key}, 1)",
            f"v({key}, 1)",
            f"for w in v:\n    w.set({key}, 1)",
            f"v = [{value}]",
            f"v = {{{key}: {value}}}",
            f"class A:\n    held = {context}\nA.held[{key}] = 1",
            f"global SHARED\nSHARED = {context}\nshared({key})",
            "return",
            f"return {{{key}: {value}}}",
            f"x = {{{key}: 1}}\nreturn x",
            "return v",
            "return context",
            "raise ValueError",
        ]
        blocks = [
            lambda: f"if {value}:\n{self.block()}\nelse:\n{self.block()}",
            lambda: f"if {value}:\n{self.block()}",
            lambda: f"for k in ({key}, {self.key()}):\n{self.block()}",
            lambda: f"for k in ({key}, {self.key()}):\n{self.block()}\n    if luck():\n        break",
            lambda: f"for {context if '(' not in context else 'context'}[{key}] in (1, 2):\n{self.block()}",
            lambda: f"for n in (1, 2):\n{self.block()}\n    {self.draw.choice(['break', 'continue'])}",
            lambda: f"while luck():\n{self.block()}",
            lambda: f"try:\n{self.block()}\nexcept Exception:\n{self.block()}\nelse:\n{self.block()}",
            lambda: f"try:\n{self.block()}\nfinally:\n{self.block()}",
            lambda: f"with suppress(Exception):\n{self.block()}",
            lambda: f"match luck():\n    case True:\n{indented(self.block())}\n    case _:\n{indented(self.block())}",
            lambda: f"def inner(context=None):\n{self.block()}\ninner({self.draw.choice(['', 'context', 'v'])})",
            lambda: f"def inner():\n{self.block()}\nif luck():\n    inner()",
        ]
        if self.depth > 3 or self.draw.random() < 0.6:
            return self.draw.choice(simple)
        return self.draw.choice(blocks)()


def indented(block: str) -> str:
    return "\n".join(f"    {line}" for line in block.splitlines())


def ran(function: Callable[[Any], Any], recorder: Recorder) -> tuple[set[str], bool]:
    """What was returned to be set; and whether the function came to its end."""
    with suppress(Exception):
        returned = function(recorder)
        return set(returned) if isinstance(returned, Mapping) and returned is not recorder else set(), True
    return set(), False


def functions(seed: int) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    author, luck = Author(seed), random.Random(seed)
    budget = [0]

    def drawn() -> bool:
        budget[0] += 1
        return budget[0] % 50 != 0 and luck.random() < 0.5

    for _ in range(100):
        scope: dict[str, Any] = {"luck": drawn, "suppress": suppress, "AROUND": luck.choice(KEYS)}
        scope["helper"] = lambda value, key: value.set(key, 1) if isinstance(value, Recorder) else None
        source = "def shared(key):\n    SHARED.set(key, 1)\n\n" + author.function()
        with suppress(SyntaxError):
            yield source, defined(source, **scope)["task"]


@pytest.mark.parametrize("seed", range(8))
def test_what_a_function_does_is_told(seed: int) -> None:
    for source, function in functions(seed):
        told = touches_of(function)
        for _ in range(8):
            recorder = Recorder()
            returned, has_ended = ran(function, recorder)
            assert told.reads_more or recorder.read <= told.reads | told.asks | told.sets, source
            assert told.sets_more or recorder.written <= told.sets, source
            assert told.leaves_more or returned <= told.sets, source
            if has_ended:
                assert told.makes <= recorder.written | returned, source
                assert told.surely <= recorder.read, source
