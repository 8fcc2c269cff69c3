"""Does a merge rule keep what a workflow takes for granted? Tried on sample values."""

import reprlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from cloaca.merge import by_structure, by_task
from cloaca.merge.equality import equal
from cloaca.merge.given import Rule
from cloaca.values.codec import decode, encode
from cloaca.wording import summary_of

Samples = tuple[bytes, ...]

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = _SHORT.maxlong = 60


def check_merge_rule(function: Rule, values: Sequence[Any]) -> tuple[str, ...]:
    """Try a merge rule, and tell what was found: a sentence for each kind of finding, with a sample that shows it.

    A good rule leaves nothing to tell: it doesn't raise, doesn't change the base or the values, gives the same result
    for the same values, and doesn't depend on grouping (whether some values are merged first, and the rest later; this
    takes three values to show). That a rule depends on the order of the values is told for information: a workflow
    always gives them in the same order.

    The rule is tried without a base (`None`), and with the first value as base. Values are copied before each call, the
    way a run copies them.

    Args:
        function: a rule as workflows take it, `(base, values) -> value`.
        values: at least two samples of what tasks write, better three or more, and different ones.

    Raises:
        ValueError: there are fewer than two values.
        TypeError: the rule can't be called.

    >>> import cloaca
    >>> check_merge_rule(cloaca.merge.sum, [1, 2, 6])
    ()
    >>> for finding in check_merge_rule(lambda base, values: sum(values) / len(values), [1, 2, 6]):
    ...     print(finding)
    It depends on grouping: base None, values [1, 2, 6] gives 3.0, and base None, values [1.5, 6] gives 3.75, where the
    first 2 were merged before.
    """
    if not callable(function):
        raise TypeError(f"A merge rule is a function of the base and the values, not {function!r}.")
    if len(values) < 2:  # noqa: PLR2004 - nothing is merged below two
        raise ValueError(f"A merge rule is tried on at least two values, better three; here are {len(values)}.")
    if function is by_task:
        return ("by_task can't be tried on values: it keeps what each task wrote, by task, and combines nothing.",)
    if function is by_structure:
        return ("by_structure can't be tried on values: it says that a key has no rule.",)
    samples = tuple(map(encode, values))
    findings: dict[str, str] = {}
    for base in (encode(None), samples[0]):
        for kind, finding in _RuleTrial(function, base).findings(samples):
            findings.setdefault(kind, finding)
    return tuple(f"{kind}: {finding}." for kind, finding in findings.items())


class _Raised(Exception):  # noqa: N818 - ends a trial: its message is the finding
    """The rule raised, or returned what can't be sent."""


class _RuleTrial:
    """A rule, tried with one base. Samples and results are kept encoded, so that each call has copies of its own."""

    def __init__(self, function: Rule, base: bytes) -> None:
        self._function = function
        self._base = base

    def findings(self, samples: Samples) -> Iterator[tuple[str, str]]:
        """What there is to tell: kinds of findings, each with what shows it."""
        try:
            yield from self._arguments_changed(samples)
            whole = self._result(samples)
            again = self._result(samples)
            if _agree(whole, again):
                yield from self._grouping(samples, whole)
                yield from self._order(samples, whole)
            else:
                yield "It isn't repeatable", f"{self._told(samples, whole)}, and then {_shown(again)}"
        except _Raised as raised:
            yield "It raises", str(raised)

    def _arguments_changed(self, samples: Samples) -> Iterator[tuple[str, str]]:
        base, values = decode(self._base), list(map(decode, samples))
        self._called(base, values, samples)
        if not equal(base, decode(self._base)):
            yield "It changes the base", f"{self._shown(samples)} left the base as {_SHORT.repr(base)}"
        if not equal(values, list(map(decode, samples))):
            yield "It changes the values", f"{self._shown(samples)} left the values as {_SHORT.repr(values)}"

    def _grouping(self, samples: Samples, whole: bytes) -> Iterator[tuple[str, str]]:
        for size in range(2, len(samples)):
            for which, grouped in self._grouped(samples, size):
                result = self._result(grouped)
                if not _agree(whole, result):
                    told = f"{self._told(samples, whole)}, and {self._told(grouped, result)}"
                    yield "It depends on grouping", f"{told}, where the {which} {size} were merged before"
                    return

    def _grouped(self, samples: Samples, size: int) -> Iterator[tuple[str, Samples]]:
        yield "first", (self._result(samples[:size]), *samples[size:])
        yield "last", (*samples[:-size], self._result(samples[-size:]))

    def _order(self, samples: Samples, whole: bytes) -> Iterator[tuple[str, str]]:
        for reordered in _reordered(samples):
            result = self._result(reordered)
            if not _agree(whole, result):
                told = f"{self._told(samples, whole)}, and {self._told(reordered, result)}"
                yield "For information, it depends on the order", told
                return

    def _result(self, samples: Samples) -> bytes:
        return self._called(decode(self._base), list(map(decode, samples)), samples)

    def _called(self, base: Any, values: list[Any], samples: Samples) -> bytes:
        try:
            return encode(self._function(base, values))
        except Exception as error:
            raise _Raised(f"{self._shown(samples)} raised {summary_of(error).rstrip('.')}") from error

    def _told(self, samples: Samples, result: bytes) -> str:
        return f"{self._shown(samples)} gives {_shown(result)}"

    def _shown(self, samples: Samples) -> str:
        return f"base {_shown(self._base)}, values {_SHORT.repr(list(map(decode, samples)))}"


def _reordered(samples: Samples) -> Iterator[Samples]:
    yield samples[::-1]
    for place, (one, other) in enumerate(pairwise(samples)):
        yield (*samples[:place], other, one, *samples[place + 2 :])


def _agree(one: bytes, other: bytes) -> bool:
    return one == other or equal(decode(one), decode(other))


def _shown(payload: bytes) -> str:
    return _SHORT.repr(decode(payload))
