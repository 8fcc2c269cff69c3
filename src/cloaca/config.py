"""DefaultRunnerConfig: the settings that existing scripts pass to `DefaultRunner.with_config`.

They act where the user set them; the defaults that other engines need (polling, cron, recovery, pools of database
connections) have nothing to act on here: such settings are checked, kept and otherwise ignored, as `_WITHOUT_MEANING`
lists.
"""

from typing import Any

from cloaca.errors import NotSupportedYetError

_DEFAULTS: dict[str, int | bool] = {
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
_NOT_YET = ("task_timeout_seconds", "workflow_timeout_seconds")


class DefaultRunnerConfig:
    """Settings of a runner, by keyword or position; each is a property that can be read and written.

    `max_concurrent_tasks` bounds the workers, where it was set. `task_timeout_seconds` and `workflow_timeout_seconds`
    aren't supported yet, and setting them raises. The others have no meaning here: cloaca has no scheduler that polls,
    no cron and no database pool; they are accepted so that existing scripts run.

    Raises:
        ValueError: "Invalid configuration: ...".

    >>> from cloaca import DefaultRunnerConfig
    >>> config = DefaultRunnerConfig(max_concurrent_tasks=2)
    >>> config.max_concurrent_tasks, config.db_pool_size
    (2, 10)
    """

    def __init__(self, *values: int | bool | None, **named: int | bool | None) -> None:
        object.__setattr__(self, "_set", {})
        if len(values) > len(_DEFAULTS):
            raise TypeError(f"DefaultRunnerConfig takes at most {len(_DEFAULTS)} settings, not {len(values)}")
        for name, value in [*zip(_DEFAULTS, values, strict=False), *named.items()]:
            if value is not None:
                setattr(self, name, value)

    @classmethod
    def default(cls) -> "DefaultRunnerConfig":
        """A configuration in which nothing is set."""
        return cls()

    @property
    def workers(self) -> int | None:
        """How many workers were asked for; `None` where that was not set."""
        value: int | None = self._given().get("max_concurrent_tasks")
        return value

    def to_dict(self) -> dict[str, int | bool]:
        """Every setting, those that were not set with their defaults."""
        return {**_DEFAULTS, **self._given()}

    def __getattr__(self, name: str) -> Any:
        if name not in _DEFAULTS:
            raise AttributeError(f"DefaultRunnerConfig has no setting {name!r}")
        return self._given().get(name, _DEFAULTS[name])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _DEFAULTS:
            raise TypeError(f"Invalid configuration: there is no setting {name!r}. There are {', '.join(_DEFAULTS)}.")
        _check(name, value)
        self._given()[name] = value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_DEFAULTS})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefaultRunnerConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"DefaultRunnerConfig({', '.join(f'{name}={value!r}' for name, value in self._given().items())})"

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = object.__getattribute__(self, "_set")
        return given


def _check(name: str, value: Any) -> None:
    expected = type(_DEFAULTS[name])
    if type(value) is not expected:
        raise ValueError(f"Invalid configuration: {name} is a {expected.__name__}, not {value!r}")
    if expected is int and value < 1:
        raise ValueError(f"Invalid configuration: {name} is at least 1, not {value!r}")
    if name in _NOT_YET:
        raise NotSupportedYetError(f"{name} is not supported yet: leave it out.")
