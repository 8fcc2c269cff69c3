"""Verdicts: whether a condition holds, and on what grounds. Pure: whoever asks brings the facts.

The grounds are the conditions that decided: of `all_of` the first one that doesn't hold, of `any_of` all that were
tried in vain. So a task that is skipped can be told why, without the rest.
"""

from typing import NamedTuple, Protocol

from cloaca.errors import InternalError
from cloaca.triggers.condition import Always, Combined, Condition, ContextValue, TaskEnded
from cloaca.triggers.rules import told
from cloaca.wording import clipped

_LONGEST = 300


class Facts(Protocol):
    """What conditions ask for."""

    def status(self, task: str) -> str:
        """How a task ended."""
        ...

    def holds(self, asked: ContextValue) -> bool:
        """Whether the value of a key compares so."""
        ...

    def told(self, asked: ContextValue) -> str:
        """What the value of that key is, in words."""
        ...


class Verdict(NamedTuple):
    """Whether a condition holds, and the simple conditions that decided that."""

    holds: bool
    grounds: tuple[Condition, ...]


def judge(condition: Condition, facts: Facts) -> Verdict:
    """Whether the condition holds, given the facts. Looks at no more of them than necessary, from left to right."""
    match condition:
        case Always():
            return Verdict(True, ())  # noqa: FBT003 - the first field
        case TaskEnded():
            return Verdict(facts.status(_id(condition)) == condition.status, (condition,))
        case ContextValue():
            return Verdict(facts.holds(condition), (condition,))
        case Combined():
            return _judge_all(condition, facts)
        case _:
            raise InternalError(f"{condition!r} is no condition that could be judged")


def _judge_all(condition: Combined, facts: Facts) -> Verdict:
    """One part decides if it holds or not, as it may be: else it takes all of them."""
    decisive = condition.how != "all_of"
    grounds: list[Condition] = []
    for part in condition.parts:
        verdict = judge(part, facts)
        if verdict.holds is decisive:
            return Verdict(condition.how == "any_of", verdict.grounds)
        grounds += verdict.grounds
    return Verdict(condition.how != "any_of", tuple(dict.fromkeys(grounds)))


def refusal(condition: Condition, facts: Facts) -> str | None:
    """Why a task with this condition isn't to start; `None`: it is to start.

    >>> from cloaca.triggers.condition import any_of, task_success
    >>> class Failed:
    ...     def status(self, task):
    ...         return "Failed"
    >>> refusal(any_of(task_success("a"), task_success("b")), Failed())
    "its rule any_of(task_success('a'), task_success('b')) doesn't hold: 'a' failed, 'b' failed"
    """
    verdict = judge(condition, facts)
    if verdict.holds:
        return None
    grounds = ", ".join(dict.fromkeys(_told(ground, facts) for ground in verdict.grounds))
    lead = f"its rule {clipped(repr(condition), _LONGEST)} doesn't hold"
    return f"{lead}: {clipped(grounds, _LONGEST)}" if grounds else lead


def _told(ground: Condition, facts: Facts) -> str:
    match ground:
        case TaskEnded():
            return told(_id(ground), facts.status(_id(ground)))
        case ContextValue():
            return facts.told(ground)
        case _:
            raise InternalError(f"{ground!r} can't be the ground of a verdict")


def _id(condition: TaskEnded) -> str:
    if not isinstance(condition.task, str):
        raise InternalError(f"{condition!r} names a function still, and not the id of a task")
    return condition.task
