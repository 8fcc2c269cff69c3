"""DefaultRunnerConfig: the settings that existing scripts pass to `DefaultRunner.with_config`.

A setting acts where the user set it, even to its default. Those that other engines need (polling, cron, recovery, pools
of database connections) have nothing to act on here: they are checked, kept and otherwise ignored.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

_T = TypeVar("_T", int, bool)
_KINDS = {int: "a whole number", bool: "True or False"}


class _CheckedSetting(Generic[_T]):
    """A property with a default and a check. A configuration keeps only what was set; `None` unsets it."""

    def __init__(self, default: _T, least: int = 1) -> None:
        self._default: _T = default
        self._least = least

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, config: None, owner: type) -> None: ...
    @overload
    def __get__(self, config: "DefaultRunnerConfig", owner: type) -> _T: ...
    def __get__(self, config: "DefaultRunnerConfig | None", owner: type) -> _T | None:
        return None if config is None else vars(config).get(self._name, self._default)

    def __set__(self, config: "DefaultRunnerConfig", value: _T | None) -> None:
        if value is None:
            vars(config).pop(self._name, None)
            return
        self._check(value)
        vars(config)[self._name] = value

    def _check(self, value: object) -> None:
        expected = type(self._default)
        if not isinstance(value, expected) or isinstance(value, bool) is not (expected is bool):
            raise ValueError(f"Invalid configuration: {self._name} is {_KINDS[expected]}, not {value!r}")
        if value < self._least and expected is int:
            raise ValueError(f"Invalid configuration: {self._name} is at least {self._least}, not {value!r}")


@dataclass
class DefaultRunnerConfig:
    """Settings of a runner, by keyword or position; each is a property that can be read and written.

    `max_concurrent_tasks` bounds the workers, `task_timeout_seconds` each try of a task that has no `timeout` of its
    own, and `workflow_timeout_seconds` an execution, where they were set: without that there is no time limit. The
    others have no meaning here: cloaca has no scheduler that polls, no cron and no database pool; they are accepted so
    that existing scripts run. `None` stands for the default.

    Raises:
        ValueError: "Invalid configuration: ...".

    >>> from cloaca import DefaultRunnerConfig
    >>> config = DefaultRunnerConfig(max_concurrent_tasks=2)
    >>> config.max_concurrent_tasks, config.db_pool_size
    (2, 10)
    """

    max_concurrent_tasks: _CheckedSetting[int] = _CheckedSetting(4)
    scheduler_poll_interval_ms: _CheckedSetting[int] = _CheckedSetting(100)
    task_timeout_seconds: _CheckedSetting[int] = _CheckedSetting(300)
    workflow_timeout_seconds: _CheckedSetting[int] = _CheckedSetting(3600)
    db_pool_size: _CheckedSetting[int] = _CheckedSetting(10)
    enable_recovery: _CheckedSetting[bool] = _CheckedSetting(default=True)
    enable_cron_scheduling: _CheckedSetting[bool] = _CheckedSetting(default=True)
    cron_poll_interval_seconds: _CheckedSetting[int] = _CheckedSetting(30)
    cron_max_catchup_executions: _CheckedSetting[int] = _CheckedSetting(100, least=0)
    cron_enable_recovery: _CheckedSetting[bool] = _CheckedSetting(default=True)
    cron_recovery_interval_seconds: _CheckedSetting[int] = _CheckedSetting(300)
    cron_lost_threshold_minutes: _CheckedSetting[int] = _CheckedSetting(10)
    cron_max_recovery_age_seconds: _CheckedSetting[int] = _CheckedSetting(86400, least=0)
    cron_max_recovery_attempts: _CheckedSetting[int] = _CheckedSetting(3, least=0)

    @classmethod
    def default(cls) -> Self:
        """A configuration in which nothing is set."""
        return cls()

    def given(self, name: str) -> int | None:
        """What a setting was set to; `None` where it was not set."""
        return vars(self).get(name)

    def to_dict(self) -> dict[str, Any]:
        """Every setting, those that were not set with their defaults."""
        return asdict(self)

    if not TYPE_CHECKING:  # type checkers know the settings, and would take this for leave to set anything

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in self.__dataclass_fields__:
                raise AttributeError(f"DefaultRunnerConfig has no setting {name!r}")
            super().__setattr__(name, value)
