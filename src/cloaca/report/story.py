"""Story: what a report tells, put together by whoever knows the run."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloaca.account.account import Account


class Failure(NamedTuple):
    """A task that failed: with what, what had come before that, and where."""

    name: str
    message: str
    explanation: str
    traceback: str


class KeyTraffic(NamedTuple):
    """What a key came to: how often it was set, and how many bytes all of these values take."""

    key: str
    writes: int
    size: int


class Group(NamedTuple):
    """Tasks that stand as one node of the graph: what they are called, and their ranks."""

    title: str
    ranks: Sequence[int]


class Story(NamedTuple):
    """What a report tells.

    `groups`: the nodes of the graph, by the first task of each. `left_out`: how many failures more there are.
    `skipped`: why tasks were, by name. `explanations`: how values came to be, by key. `origins`: the execution that a
    task or instance was taken over from, by name; `reasons`: why the others ran all the same.
    """

    title: str
    status: str
    facts: Mapping[str, str]
    message: str | None
    summary: str
    account: Account
    groups: Sequence[Group]
    failures: Sequence[Failure] = ()
    left_out: int = 0
    skipped: Sequence[tuple[str, str]] = ()
    explanations: Mapping[str, str] = {}
    traffic: Sequence[KeyTraffic] = ()
    origins: Mapping[str, str] = {}
    reasons: Mapping[str, str] = {}
