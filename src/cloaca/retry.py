"""Retry policies: whether a task is tried again after a failed try, and how long to wait before that.

Pure values: no clock, no chance. Whoever runs a task brings the facts: which try has failed (`nth`, from 1), the names
of the exception's classes (`kinds`, see `wording.kinds_of`), its text ("TypeName: message"), and a random number.
So the decision needs no exception at hand, which the coordinator never opens.

What makes no sense raises `ValueError` where it is given: in the method of the builder, not in `build`.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final, Literal, TypeGuard

from msgspec import Struct, field
from msgspec.structs import asdict, force_setattr

from cloaca import argument, errors
from cloaca.wording import kind_of, kinds_of, summary

# ---- how long to wait ----------------------------------------------------------------------------------------------


class BackoffStrategy(Struct, frozen=True):
    """How the wait grows from one failed try to the next; made by `fixed`, `linear` or `exponential`.

    >>> BackoffStrategy.exponential(2)
    BackoffStrategy.exponential(2.0)
    """

    _form: Literal["fixed", "linear", "exponential"]
    _multiplier: float = 1.0
    _base: float = 1.0

    @classmethod
    def fixed(cls) -> "BackoffStrategy":
        """Always the initial delay."""
        return cls("fixed")

    @classmethod
    def linear(cls, multiplier: float = 1.0) -> "BackoffStrategy":
        """After failed try n: the initial delay, times n, times `multiplier`."""
        return cls("linear", argument.positive("The multiplier of a linear backoff", multiplier))

    @classmethod
    def exponential(cls, base: float, multiplier: float | None = None) -> "BackoffStrategy":
        """After failed try n: the initial delay, times `base` to the power of n - 1, times `multiplier` (or 1)."""
        times = 1.0 if multiplier is None else argument.positive("The multiplier of an exponential backoff", multiplier)
        return cls("exponential", times, argument.positive("The base of an exponential backoff", base))

    def growth(self, nth: int) -> float:
        """How many initial delays to wait after failed try `nth`: infinitely many where no float can tell."""
        try:
            return self._growth(nth)
        except OverflowError:
            return inf

    def _growth(self, nth: int) -> float:
        match self._form:
            case "fixed":
                return 1.0
            case "linear":
                return self._multiplier * nth
            case "exponential":
                return self._multiplier * self._base ** (nth - 1)

    def __repr__(self) -> str:
        match self._form:
            case "fixed":
                given = ""
            case "linear":
                given = f"{self._multiplier}"
            case "exponential":
                given = f"{self._base}" if self._multiplier == 1 else f"{self._base}, multiplier={self._multiplier}"
        return f"BackoffStrategy.{self._form}({given})"


# ---- which errors to retry -----------------------------------------------------------------------------------------

_TRANSIENT_KINDS: Final = frozenset(
    {"TimeoutError", "ConnectionError", "cloaca.errors.TaskTimeout", "cloaca.errors.WorkerDied"}
)
_TRANSIENT_WORDS: Final = ("timeout", "connection", "network", "temporary", "unavailable")


class RetryCondition(Struct, frozen=True):
    """Which errors are worth another try; made by `never`, `transient_only`, `all_errors` and so on.

    Some never are, whatever the condition, as the same values would meet again: `MergeConflict`, `ConditionError`,
    `MissingKeyError`, `ParameterError`, `UndeclaredReadError` and `UndeclaredWriteError`.

    >>> RetryCondition.error_pattern(["rate limit", "HTTPError"])
    RetryCondition.error_pattern(['rate limit', 'HTTPError'])
    """

    _rule: Literal["never", "transient_only", "all_errors", "error_pattern", "error_types"]
    _named: tuple[str, ...] = ()

    @classmethod
    def never(cls) -> "RetryCondition":
        """No error."""
        return cls("never")

    @classmethod
    def transient_only(cls) -> "RetryCondition":
        """Timeouts, lost connections and died workers.

        That is `TimeoutError`, `ConnectionError` and `WorkerDied` with all their subclasses, and errors whose message
        has one of the words timeout, connection, network, temporary or unavailable in it.
        """
        return cls("transient_only")

    @classmethod
    def all_errors(cls) -> "RetryCondition":
        """Every error."""
        return cls("all_errors")

    @classmethod
    def error_pattern(cls, patterns: Sequence[str]) -> "RetryCondition":
        """Errors with one of `patterns` in "TypeName: message", in any case, or that have a class of that name."""
        if not isinstance(patterns, list | tuple) or not patterns or not all(map(_is_pattern, patterns)):
            raise ValueError(
                f"error_pattern takes a list of texts, none of them empty, as in ['rate limit'], not {patterns!r}."
            )
        return cls("error_pattern", tuple(map(str, patterns)))

    @classmethod
    def error_types(cls, *types: type[BaseException]) -> "RetryCondition":
        """Errors of one of these classes, or of a subclass.

        >>> RetryCondition.error_types(ConnectionError, TimeoutError)
        RetryCondition.error_types(ConnectionError, TimeoutError)
        """
        if not types or not all(map(_is_error_type, types)):
            given = ", ".join(map(repr, types)) or "nothing"
            raise ValueError(f"error_types takes classes of exceptions, as in ConnectionError, not {given}.")
        return cls("error_types", tuple(map(kind_of, types)))

    def holds(self, kinds: Sequence[str], text: str) -> bool:
        """Tell whether the condition names an error with these kinds and this text."""
        match self._rule:
            case "never":
                return False
            case "transient_only":
                return _is_transient(kinds, text)
            case "all_errors":
                return True
            case "error_pattern":
                return any(_fits(pattern, kinds, text) for pattern in self._named)
            case "error_types":
                return not set(self._named).isdisjoint(kinds)

    def __repr__(self) -> str:
        given = repr(list(self._named)) if self._rule == "error_pattern" else ", ".join(self._named)
        return f"RetryCondition.{self._rule}({given})"


def _is_transient(kinds: Sequence[str], text: str) -> bool:
    """The name of the type isn't searched for words: `neural_network.ShapeError` is no matter of the network."""
    message = text.partition(": ")[2].lower()
    return not _TRANSIENT_KINDS.isdisjoint(kinds) or any(word in message for word in _TRANSIENT_WORDS)


def _fits(pattern: str, kinds: Sequence[str], text: str) -> bool:
    if pattern.casefold() in text.casefold():
        return True
    return any(pattern in (kind, kind.rpartition(".")[2]) for kind in kinds)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_error_type(value: object) -> TypeGuard[type[BaseException]]:
    return isinstance(value, type) and issubclass(value, BaseException)


# ---- the policy ----------------------------------------------------------------------------------------------------

_NEVER_RETRIED: Final = frozenset(
    map(
        kind_of,
        (
            errors.MergeConflict,
            errors.ConditionError,
            errors.MissingKeyError,
            errors.ParameterError,
            errors.UndeclaredReadError,
            errors.UndeclaredWriteError,
        ),
    )
)
_DOUBLING: Final = BackoffStrategy.exponential(2)
_ALL_ERRORS: Final = RetryCondition.all_errors()


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often a task is tried, which errors are worth another try, and how long to wait before it.

    `max_attempts` counts all tries, the first one included; 0 and 1 both mean one. Delays are in seconds, and none is
    longer than `max_delay`. With jitter, a wait is up to a quarter shorter or longer, so that tasks that failed
    together don't come back together. Without more, `default()`: 3 tries, 1 second doubled each time, at most 60,
    with jitter, for all errors.

    >>> policy = RetryPolicy.builder().max_attempts(5).initial_delay(0.5).with_jitter(False).build()
    >>> [policy.calculate_delay(attempt) for attempt in (1, 2, 3, 4)]
    [0.5, 1.0, 2.0, 4.0]
    >>> policy.should_retry(4, "TimeoutError"), policy.should_retry(5, "TimeoutError")
    (True, False)
    """

    max_attempts: int = 3
    initial_delay: float = 1.0
    max_delay: float = 60.0
    with_jitter: bool = True
    backoff_strategy: BackoffStrategy = _DOUBLING
    retry_condition: RetryCondition = _ALL_ERRORS

    def __post_init__(self) -> None:
        for name, checked in _CHECKED.items():
            force_setattr(self, name, checked(name, getattr(self, name)))

    @classmethod
    def default(cls) -> "RetryPolicy":
        """The policy in which nothing is set."""
        return cls()

    @classmethod
    def builder(cls) -> "RetryPolicyBuilder":
        """Start a policy from the default one."""
        return RetryPolicyBuilder()

    def should_retry(self, attempt: int, error_type: str | BaseException | type[BaseException]) -> bool:
        """Tell whether there is another try after failed try `attempt` (from 1).

        `error_type` is the error, its class or the name of that. A name alone knows its bases only where it is that of
        a built-in class, or of one of cloaca.
        """
        return self.retries(argument.whole("attempt", attempt, least=1), *_facts(error_type))

    def calculate_delay(self, attempt: int) -> float:
        """Return the seconds to wait after failed try `attempt` (from 1): with jitter, the middle of its range."""
        return self.delay(argument.whole("attempt", attempt, least=1), 0.5)

    def retries(self, nth: int, kinds: Sequence[str], text: str) -> bool:
        """Tell whether there is another try after failed try `nth` (from 1), given what is known of the error."""
        return nth < self.max_attempts and _NEVER_RETRIED.isdisjoint(kinds) and self.retry_condition.holds(kinds, text)

    def delay(self, nth: int, jitter: float) -> float:
        """Return the seconds to wait after failed try `nth` (from 1); `jitter`, in [0, 1), is the place in the range.

        >>> policy = RetryPolicy.default()
        >>> policy.delay(1, 0.0), policy.delay(1, 0.5), policy.delay(3, 0.5)
        (0.75, 1.0, 4.0)
        """
        if not self.initial_delay:  # 0 times infinity is no number
            return 0.0
        wait = min(self.initial_delay * self.backoff_strategy.growth(nth), self.max_delay)
        return min(wait * (0.75 + 0.5 * jitter), self.max_delay) if self.with_jitter else wait


class RetryPolicyBuilder(Struct, frozen=True):
    """A retry policy being written: each method returns a new builder, and leaves this one as it is.

    >>> patient = RetryPolicy.builder().max_attempts(10)
    >>> patient.retry_condition(RetryCondition.transient_only()).build().max_attempts
    10
    """

    _policy: RetryPolicy = field(default_factory=RetryPolicy)

    def max_attempts(self, attempts: int) -> "RetryPolicyBuilder":
        """Set how often the task is tried, the first try included."""
        return self._with(max_attempts=attempts)

    def initial_delay(self, seconds: float) -> "RetryPolicyBuilder":
        """Set the delay from which the backoff grows."""
        return self._with(initial_delay=seconds)

    def max_delay(self, seconds: float) -> "RetryPolicyBuilder":
        """Set the longest delay."""
        return self._with(max_delay=seconds)

    def backoff_strategy(self, strategy: BackoffStrategy) -> "RetryPolicyBuilder":
        """Set how the delay grows."""
        return self._with(backoff_strategy=strategy)

    def retry_condition(self, condition: RetryCondition) -> "RetryPolicyBuilder":
        """Set which errors are worth another try."""
        return self._with(retry_condition=condition)

    def with_jitter(self, jitter: bool) -> "RetryPolicyBuilder":  # noqa: FBT001 - as existing scripts call it
        """Set whether delays vary by up to a quarter."""
        return self._with(with_jitter=jitter)

    def build(self) -> RetryPolicy:
        """Return the policy."""
        return self._policy

    def _with(self, **changed: Any) -> "RetryPolicyBuilder":
        return RetryPolicyBuilder(RetryPolicy(**{**asdict(self._policy), **changed}))  # `replace` may leave out checks


def _facts(error: object) -> tuple[Sequence[str], str]:
    """The kinds and the text of an error that is given as itself, as its class, or by name."""
    if isinstance(error, BaseException):
        return kinds_of(type(error)), summary(type(error).__qualname__, str(error))
    if _is_error_type(error):
        return kinds_of(error), error.__qualname__
    if not isinstance(error, str):
        raise ValueError(f"error_type is an exception, its class or the name of that, not {error!r}.")
    name = error.partition(": ")[0]
    known = getattr(builtins, name, None) or getattr(errors, name.removeprefix("cloaca.errors."), None)
    return (kinds_of(known) if _is_error_type(known) else (name,)), error


def checked_policy(what: str, given: object) -> RetryPolicy:
    """A policy that a user has given. Raises `ValueError` where it is none."""
    return argument.instance(what, given, RetryPolicy, "RetryPolicy.builder().max_attempts(5).build()")


def _seconds(name: str, value: object) -> float:
    return argument.not_negative(f"{name}, in seconds,", value)


_CHECKED: Final[Mapping[str, Callable[[str, object], object]]] = {
    "max_attempts": argument.whole,
    "initial_delay": _seconds,
    "max_delay": _seconds,
    "with_jitter": argument.switch,
    "backoff_strategy": partial(argument.instance, kind=BackoffStrategy, example="BackoffStrategy.fixed()"),
    "retry_condition": partial(argument.instance, kind=RetryCondition, example="RetryCondition.transient_only()"),
}
