"""Help for tests: of your own merge rules, and of what drives executors.

`check_merge_rule` tries a merge rule on sample values, and says what a workflow would notice. `warm` makes a runner
ready for what measures it. `ScriptedExecutor` runs tasks in whatever order a test chooses.
"""

from cloaca.testing.rule import check_merge_rule
from cloaca.testing.scripted import (
    NO_USAGE,
    Action,
    Choose,
    Diff,
    Move,
    Play,
    Report,
    ScriptedExecutor,
    running,
    telling,
)
from cloaca.testing.warm import warm

__all__ = [
    "NO_USAGE",
    "Action",
    "Choose",
    "Diff",
    "Move",
    "Play",
    "Report",
    "ScriptedExecutor",
    "check_merge_rule",
    "running",
    "telling",
    "warm",
]
