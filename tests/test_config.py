"""DefaultRunnerConfig: the settings of existing scripts."""

import copy
import inspect
import pickle
from typing import Any

import pytest

from cloaca import DefaultRunner, DefaultRunnerConfig

DEFAULTS: dict[str, Any] = {
    "max_concurrent_tasks": 4,
    "scheduler_poll_interval_ms": 100,
    "task_timeout_seconds": 300,
    "workflow_timeout_seconds": 3600,
    "db_pool_size": 10,
    "enable_recovery": True,
    "enable_cron_scheduling": True,
    "cron_poll_interval_seconds": 30,
    "cron_max_catchup_executions": 100,
    "cron_enable_recovery": True,
    "cron_recovery_interval_seconds": 300,
    "cron_lost_threshold_minutes": 10,
    "cron_max_recovery_age_seconds": 86400,
    "cron_max_recovery_attempts": 3,
}
MAY_BE_ZERO = ["cron_max_catchup_executions", "cron_max_recovery_age_seconds", "cron_max_recovery_attempts"]
NUMBERS = [name for name, default in DEFAULTS.items() if type(default) is int]
SWITCHES = [name for name, default in DEFAULTS.items() if type(default) is bool]


@pytest.mark.parametrize("config", [DefaultRunnerConfig(), DefaultRunnerConfig.default()])
def test_the_defaults(config: DefaultRunnerConfig) -> None:
    assert config.to_dict() == DEFAULTS
    assert list(config.to_dict()) == list(DEFAULTS)
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS
    assert [config.given(name) for name in DEFAULTS] == [None] * len(DEFAULTS)


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_setting_is_given_by_keyword_or_position_or_written(name: str) -> None:
    value: Any = False if name in SWITCHES else 7
    written = DefaultRunnerConfig()
    setattr(written, name, value)
    before: list[Any] = [None] * list(DEFAULTS).index(name)
    for config in (DefaultRunnerConfig(**{name: value}), DefaultRunnerConfig(*[*before, value]), written):
        assert getattr(config, name) is value
        assert config.to_dict() == DEFAULTS | {name: value}


@pytest.mark.parametrize("name", DEFAULTS)
def test_none_is_the_default(name: str) -> None:
    config = DefaultRunnerConfig(**{name: None})
    assert config == DefaultRunnerConfig()
    setattr(config, name, None)
    assert getattr(config, name) == DEFAULTS[name]


def test_only_what_was_set_acts() -> None:
    assert DefaultRunnerConfig(4).given("max_concurrent_tasks") == 4
    config = DefaultRunnerConfig(max_concurrent_tasks=2)
    config.max_concurrent_tasks = None
    assert [config.given(name) for name in DEFAULTS] == [None] * len(DEFAULTS)


def test_workers_are_as_many_as_concurrent_tasks() -> None:
    runner = DefaultRunner.with_config("sqlite://:memory:", DefaultRunnerConfig(max_concurrent_tasks=3))
    assert "workers=3" in repr(runner)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, True, 1.0, 1.5, "1", float("nan"), [1]])
def test_a_number_out_of_range_or_of_another_type(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^Invalid configuration: {name} is "):
        DefaultRunnerConfig(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_where_none_makes_sense(name: str) -> None:
    zero: dict[str, Any] = {name: 0}
    if name in MAY_BE_ZERO:
        assert DefaultRunnerConfig(**zero).to_dict()[name] == 0
        return
    with pytest.raises(ValueError, match=f"^Invalid configuration: {name} is at least 1, not 0$"):
        DefaultRunnerConfig(**zero)


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [0, 1, "yes"])
def test_a_switch_is_a_bool(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^Invalid configuration: {name} is True or False, not "):
        DefaultRunnerConfig(**{name: value})


def test_a_refused_value_changes_nothing() -> None:
    config = DefaultRunnerConfig(db_pool_size=5)
    with pytest.raises(ValueError, match="Invalid configuration"):
        config.db_pool_size = 0
    assert config.db_pool_size == 5


def test_an_unknown_setting() -> None:
    with pytest.raises(TypeError, match="max_concurrent_task"):
        DefaultRunnerConfig(max_concurrent_task=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        DefaultRunnerConfig(*[None] * 15)
    with pytest.raises(AttributeError, match="no setting 'max_concurrent_task'"):
        DefaultRunnerConfig().max_concurrent_task = 3  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="max_concurrent_task"):
        DefaultRunnerConfig().max_concurrent_task  # type: ignore[attr-defined]  # noqa: B018 - read on purpose


def test_the_signature_lists_the_settings() -> None:
    assert list(inspect.signature(DefaultRunnerConfig).parameters) == list(DEFAULTS)


def test_configurations_are_equal_by_their_settings() -> None:
    assert DefaultRunnerConfig(4) == DefaultRunnerConfig()
    assert DefaultRunnerConfig(5) != DefaultRunnerConfig()
    assert DefaultRunnerConfig().__eq__(DEFAULTS) is NotImplemented


def test_a_copy_goes_its_own_way() -> None:
    config = DefaultRunnerConfig(5, enable_recovery=False)
    for twin in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        twin.max_concurrent_tasks = 6
        assert config.max_concurrent_tasks == 5


def test_repr_can_be_read() -> None:
    assert repr(DefaultRunnerConfig(7)).startswith("DefaultRunnerConfig(max_concurrent_tasks=7, scheduler_poll")
