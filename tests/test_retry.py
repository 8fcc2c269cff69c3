"""Retry policies: which errors they retry, how long they wait, and what they refuse. The laws hold for every policy."""

import pickle
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cloaca.errors import (
    ConditionError,
    MergeConflict,
    MissingKeyError,
    ParameterError,
    UndeclaredWriteError,
    WorkerDied,
)
from cloaca.retry import BackoffStrategy, RetryCondition, RetryPolicy, RetryPolicyBuilder
from cloaca.wording import kinds_of


class RateLimitError(Exception):
    pass


class ApiRateLimitError(RateLimitError):
    pass


CONFLICT = MergeConflict("total", ("north", "south"), ("1", "2"))
DEATH = WorkerDied("load", None, "SIGKILL")

above_zero = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
delays = st.floats(min_value=0, allow_infinity=False)
tries = st.integers(min_value=1, max_value=10**400)
places = st.floats(min_value=0, max_value=1, exclude_max=True)
texts = st.lists(st.text(min_size=1), min_size=1)
error_types = st.lists(st.sampled_from([OSError, ConnectionError, RateLimitError, ApiRateLimitError]), min_size=1)
backoffs = st.one_of(
    st.just(BackoffStrategy.fixed()),
    st.builds(BackoffStrategy.linear, above_zero),
    st.builds(BackoffStrategy.exponential, above_zero, st.none() | above_zero),
)
conditions = st.one_of(
    st.just(RetryCondition.never()),
    st.just(RetryCondition.transient_only()),
    st.just(RetryCondition.all_errors()),
    st.builds(RetryCondition.error_pattern, texts),
    error_types.map(lambda types: RetryCondition.error_types(*types)),
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(min_value=0, max_value=10**6),
    initial_delay=delays,
    max_delay=delays,
    with_jitter=st.booleans(),
    backoff_strategy=backoffs,
    retry_condition=conditions,
)


def with_condition(condition: RetryCondition) -> RetryPolicy:
    return RetryPolicy.builder().retry_condition(condition).build()


# ---- laws ----------------------------------------------------------------------------------------------------------


@given(policies, tries, places)
def test_no_delay_is_negative_or_above_the_cap(policy: RetryPolicy, nth: int, place: float) -> None:
    assert 0 <= policy.delay(nth, place) <= policy.max_delay
    assert 0 <= policy.calculate_delay(nth) <= policy.max_delay


@given(policies, st.floats(min_value=1, allow_infinity=False), st.lists(tries, min_size=2).map(sorted))
def test_without_jitter_delays_never_shrink(policy: RetryPolicy, base: float, several: list[int]) -> None:
    steady = replace(policy, with_jitter=False)
    for strategy in (BackoffStrategy.fixed(), BackoffStrategy.linear(base), BackoffStrategy.exponential(base)):
        waits = [replace(steady, backoff_strategy=strategy).calculate_delay(nth) for nth in several]
        assert waits == sorted(waits)


@given(policies, tries, places)
def test_without_jitter_there_is_one_delay(policy: RetryPolicy, nth: int, place: float) -> None:
    steady = replace(policy, with_jitter=False)
    assert steady.delay(nth, place) == steady.calculate_delay(nth) == policy.calculate_delay(nth)


@given(policies, tries, places)
def test_jitter_is_a_quarter_at_most(policy: RetryPolicy, nth: int, place: float) -> None:
    middle = policy.calculate_delay(nth)
    assert min(0.75 * middle, policy.max_delay) <= policy.delay(nth, place) <= 1.25 * middle


@given(policies, tries, texts)
def test_the_last_try_is_not_retried(policy: RetryPolicy, nth: int, text: list[str]) -> None:
    if nth >= policy.max_attempts:
        assert not policy.retries(nth, kinds_of(TimeoutError), text[0])


@given(policies)
def test_a_conflict_is_never_retried(policy: RetryPolicy) -> None:
    assert not policy.retries(1, kinds_of(MergeConflict), f"MergeConflict: {CONFLICT}")
    assert not policy.should_retry(1, CONFLICT)
    assert not policy.should_retry(1, MergeConflict)
    assert not policy.should_retry(1, "MergeConflict")
    assert not policy.should_retry(1, "cloaca.errors.MergeConflict")


@given(policies)
def test_a_condition_that_can_not_be_evaluated_is_never_retried(policy: RetryPolicy) -> None:
    assert not policy.retries(1, kinds_of(ConditionError), "ConditionError: no")
    assert not policy.should_retry(1, ConditionError)


@given(policies, st.sampled_from([MissingKeyError, ParameterError, UndeclaredWriteError]))
def test_what_follows_from_the_context_alone_is_never_retried(policy: RetryPolicy, kind: type[Exception]) -> None:
    assert not policy.retries(1, kinds_of(kind), f"{kind.__name__}: no")
    assert not policy.should_retry(1, kind)
    assert not policy.should_retry(1, kind.__name__)


@given(policies)
def test_a_policy_comes_back_from_a_pickle(policy: RetryPolicy) -> None:
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy
    assert hash(again) == hash(policy)
    assert repr(again) == repr(policy)


@given(policies)
def test_a_builder_makes_what_it_was_told_and_never_changes(policy: RetryPolicy) -> None:
    steps: list[Callable[[RetryPolicyBuilder], RetryPolicyBuilder]] = [
        lambda builder: builder.max_attempts(policy.max_attempts),
        lambda builder: builder.initial_delay(policy.initial_delay),
        lambda builder: builder.max_delay(policy.max_delay),
        lambda builder: builder.with_jitter(policy.with_jitter),
        lambda builder: builder.backoff_strategy(policy.backoff_strategy),
        lambda builder: builder.retry_condition(policy.retry_condition),
    ]
    builder = RetryPolicy.builder()
    for step in steps:
        before, built = builder, builder.build()
        builder = step(before)
        assert before.build() is built
    assert builder.build() == policy


# ---- the policy ----------------------------------------------------------------------------------------------------


def test_a_policy_that_says_nothing() -> None:
    policy = RetryPolicy.default()
    assert policy == RetryPolicy() == RetryPolicy.builder().build()
    assert (policy.max_attempts, policy.initial_delay, policy.max_delay, policy.with_jitter) == (3, 1.0, 60.0, True)
    assert [policy.calculate_delay(nth) for nth in (1, 2, 3, 6, 7, 8)] == [1, 2, 4, 32, 60, 60]
    assert [policy.should_retry(nth, ValueError) for nth in (1, 2, 3, 4)] == [True, True, False, False]
    assert repr(policy) == (
        "RetryPolicy(max_attempts=3, initial_delay=1.0, max_delay=60.0, with_jitter=True, "
        "backoff_strategy=BackoffStrategy.exponential(2.0), retry_condition=RetryCondition.all_errors())"
    )


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (BackoffStrategy.fixed(), [2, 2, 2, 2]),
        (BackoffStrategy.linear(1.5), [3, 6, 9, 12]),
        (BackoffStrategy.exponential(3), [2, 6, 18, 54]),
        (BackoffStrategy.exponential(3, 0.5), [1, 3, 9, 27]),
        (BackoffStrategy.exponential(base=10, multiplier=10), [20, 60, 60, 60]),
        (BackoffStrategy.exponential(0.5), [2, 1, 0.5, 0.25]),
    ],
)
def test_how_delays_grow(strategy: BackoffStrategy, delays: list[float]) -> None:
    policy = RetryPolicy.builder().initial_delay(2).backoff_strategy(strategy).build()
    assert [policy.calculate_delay(nth) for nth in (1, 2, 3, 4)] == delays


@pytest.mark.parametrize(
    "strategy",
    [BackoffStrategy.exponential(1e300), BackoffStrategy.exponential(2), BackoffStrategy.linear(1e308)],
)
def test_huge_delays_are_the_cap(strategy: BackoffStrategy) -> None:
    policy = RetryPolicy.builder().backoff_strategy(strategy).initial_delay(1e308).build()
    assert policy.calculate_delay(10**9) == policy.calculate_delay(10**400) == 60
    assert replace(policy, initial_delay=0).calculate_delay(10**400) == 0


def test_a_jitter_above_the_cap_is_the_cap() -> None:
    policy = RetryPolicy(initial_delay=60)
    assert [policy.delay(1, place) for place in (0.0, 0.25, 0.5, 0.75)] == [45, 52.5, 60, 60]


@pytest.mark.parametrize("attempts", [0, 1])
def test_no_try_and_one_try_mean_one(attempts: int) -> None:
    assert not RetryPolicy(max_attempts=attempts).should_retry(1, TimeoutError)


def test_values_are_equal_by_what_they_say() -> None:
    assert RetryPolicy(initial_delay=2) == RetryPolicy.builder().initial_delay(2.0).build()
    assert BackoffStrategy.exponential(2) == BackoffStrategy.exponential(2.0, 1)
    assert BackoffStrategy.linear(1) != BackoffStrategy.fixed()
    assert RetryCondition.error_pattern(["a"]) == RetryCondition.error_pattern(("a",))
    assert RetryCondition.error_types(OSError) != RetryCondition.error_pattern(["OSError"])
    assert {RetryPolicy.builder(): 1}[RetryPolicy.builder()] == 1


def test_policies_do_not_change() -> None:
    with pytest.raises(AttributeError):
        RetryPolicy().max_attempts = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    "written",
    [
        "BackoffStrategy.fixed()",
        "BackoffStrategy.linear(1.5)",
        "BackoffStrategy.exponential(2.0)",
        "BackoffStrategy.exponential(2.0, multiplier=3.0)",
        "RetryCondition.never()",
        "RetryCondition.transient_only()",
        "RetryCondition.all_errors()",
        "RetryCondition.error_pattern(['rate limit', \"can't\"])",
        "RetryCondition.error_types(OSError, ValueError)",
        (
            "RetryPolicy(max_attempts=1, initial_delay=0.5, max_delay=2.0, with_jitter=False, "
            "backoff_strategy=BackoffStrategy.fixed(), retry_condition=RetryCondition.never())"
        ),
    ],
)
def test_values_show_how_they_are_written(written: str) -> None:
    assert repr(eval(written)) == written


# ---- conditions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (TimeoutError(), True),
        (ConnectionError(), True),
        (ConnectionResetError("by peer"), True),
        (DEATH, True),
        (ValueError("Service UNAVAILABLE"), True),
        (ValueError("a temporary failure"), True),
        (OSError("Network is down"), True),
        (RuntimeError("lost the connection: try again"), True),
        (KeyError("timeout"), True),
        (OSError("no space left"), False),
        (ValueError("bad row"), False),
        (type("NetworkShapeError", (ValueError,), {"__module__": "connection_pool"})("(3, 4)"), False),
    ],
)
def test_transient_errors(error: Exception, is_transient: bool) -> None:  # noqa: FBT001 - a column of the table
    assert with_condition(RetryCondition.transient_only()).should_retry(1, error) is is_transient


@pytest.mark.parametrize("kind", ["TimeoutError", "ConnectionError", "cloaca.errors.TaskTimeout"])
def test_transient_kinds(kind: str) -> None:
    policy = with_condition(RetryCondition.transient_only())
    assert policy.retries(1, ("somewhere.Error", kind, "Exception"), "Error: it took too long")


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("rate LIMIT", True),
        ("429", True),
        ("ApiRateLimitError", True),
        ("RateLimitError", True),
        (f"{__name__}.RateLimitError", True),
        ("Exception", True),
        ("test_retry", False),
        ("500", False),
    ],
)
def test_error_patterns(pattern: str, fits: bool) -> None:  # noqa: FBT001 - a column of the table
    policy = with_condition(RetryCondition.error_pattern(["nothing like it", pattern]))
    assert policy.should_retry(1, ApiRateLimitError("429: Rate limit")) is fits


def test_error_types_hold_for_subclasses() -> None:
    policy = with_condition(RetryCondition.error_types(RateLimitError, ConnectionError))
    assert policy.should_retry(1, RateLimitError("slow down"))
    assert policy.should_retry(1, ApiRateLimitError)
    assert policy.should_retry(1, ConnectionResetError)
    assert not policy.should_retry(1, ValueError("RateLimitError"))
    assert not with_condition(RetryCondition.error_types(ApiRateLimitError)).should_retry(1, RateLimitError())


def test_all_and_none() -> None:
    assert with_condition(RetryCondition.all_errors()).should_retry(1, "whatever.Error")
    assert not with_condition(RetryCondition.never()).should_retry(1, TimeoutError)


@pytest.mark.parametrize(
    ("name", "is_transient"),
    [
        ("ConnectionRefusedError", True),
        ("TimeoutError: no answer", True),
        ("WorkerDied", True),
        ("cloaca.errors.WorkerDied", True),
        ("Error: service unavailable", True),
        ("requests.exceptions.Timeout", False),
        ("ValueError", False),
        ("print", False),
    ],
)
def test_an_error_by_name(name: str, is_transient: bool) -> None:  # noqa: FBT001 - a column of the table
    assert with_condition(RetryCondition.transient_only()).should_retry(1, name) is is_transient


def test_kinds_are_named_along_the_bases() -> None:
    assert kinds_of(TimeoutError) == ("TimeoutError", "OSError", "Exception", "BaseException")
    assert kinds_of(ApiRateLimitError)[:3] == (
        f"{__name__}.ApiRateLimitError",
        f"{__name__}.RateLimitError",
        "Exception",
    )
    assert kinds_of(WorkerDied)[0] == "cloaca.errors.WorkerDied"


# ---- what makes no sense -------------------------------------------------------------------------------------------

NO_DELAYS = [-1, -0.001, nan, inf, -inf, 10**400, True, "1", None, 1j]
NO_FACTORS = [*NO_DELAYS, 0, 0.0]


@pytest.mark.parametrize("value", [-1, 1.0, nan, inf, True, "3", None])
def test_no_number_of_tries(value: Any) -> None:
    with pytest.raises(ValueError, match="max_attempts is a whole number, 0 or more, not "):
        RetryPolicy.builder().max_attempts(value)


@pytest.mark.parametrize("value", NO_DELAYS)
def test_no_delay(value: Any) -> None:
    with pytest.raises(ValueError, match="initial_delay, in seconds, is a finite number, 0 or more, not "):
        RetryPolicy.builder().initial_delay(value)
    with pytest.raises(ValueError, match="max_delay, in seconds, is a finite number, 0 or more, not "):
        RetryPolicy.builder().max_delay(value)


@pytest.mark.parametrize("value", NO_FACTORS)
def test_no_growth(value: Any) -> None:
    with pytest.raises(ValueError, match="multiplier of a linear backoff is a finite number above 0, not "):
        BackoffStrategy.linear(value)
    with pytest.raises(ValueError, match="base of an exponential backoff is a finite number above 0, not "):
        BackoffStrategy.exponential(value)
    if value is not None:
        with pytest.raises(ValueError, match="multiplier of an exponential backoff is a finite number above 0, not "):
            BackoffStrategy.exponential(2, value)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: RetryPolicy.builder().with_jitter(1), "with_jitter is True or False, not 1"),  # type: ignore[arg-type]
        (lambda: RetryPolicy.builder().backoff_strategy("fixed"), r"as in BackoffStrategy\.fixed\(\), not 'fixed'"),  # type: ignore[arg-type]
        (lambda: RetryPolicy.builder().retry_condition("all"), "retry_condition is a RetryCondition, .* not 'all'"),  # type: ignore[arg-type]
        (lambda: RetryPolicy(max_attempts=-1), "max_attempts"),
        (lambda: RetryPolicy().should_retry(0, OSError), "attempt is a whole number, 1 or more, not 0"),
        (lambda: RetryPolicy().calculate_delay(0), "attempt is a whole number, 1 or more, not 0"),
        (lambda: RetryPolicy().calculate_delay(True), "not True"),
        (lambda: RetryPolicy().should_retry(1, int), "error_type is an exception, its class or the name"),  # type: ignore[arg-type]
    ],
)
def test_what_a_policy_refuses(refused: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()


@pytest.mark.parametrize("patterns", ["timeout", b"timeout", [], [""], [1], None, {"a": 1}])
def test_no_patterns(patterns: Any) -> None:
    with pytest.raises(
        ValueError, match=r"error_pattern takes a list of texts, none of them empty, as in \['rate limi"
    ):
        RetryCondition.error_pattern(patterns)


@pytest.mark.parametrize("types", [(), ("OSError",), (int,), (OSError, None), (OSError(),)])
def test_no_error_types(types: Any) -> None:
    with pytest.raises(ValueError, match="error_types takes classes of exceptions, as in ConnectionError, not "):
        RetryCondition.error_types(*types)


def test_settings_are_plain_numbers() -> None:
    class Own(float):
        pass

    policy = RetryPolicy(initial_delay=Own(2), max_delay=3)
    assert (type(policy.initial_delay), type(policy.max_delay)) == (float, float)
