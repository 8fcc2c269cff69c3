"""One who follows a run, and holds what it is told to what the facts promise."""

from collections.abc import Iterable, Mapping

from cloaca.engine.facts import (
    Fact,
    RunBegan,
    RunFinished,
    TaskExpanded,
    TaskFact,
    TaskFinished,
    TaskPutBack,
    TaskRetried,
    TaskStarted,
)

Place = tuple[str, int | None]


class Follower:
    """Keeps all `facts`, and knows of each task and instance how it stands by them.

    `before`: how many tries were made before this run.
    """

    def __init__(self, before: Mapping[Place, int] | None = None) -> None:
        self._has_begun = False
        self.facts: list[Fact] = []
        self.ended: dict[Place, TaskFinished] = {}
        self.expanded: dict[str, TaskExpanded] = {}
        self._open: set[Place] = set()  # those that are known to run
        self._nth = dict(before or {})

    def follow(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            last = self.facts[-1] if self.facts else fact
            assert isinstance(fact, RunBegan) == (not self.facts), f"{fact} after {last}"
            assert not isinstance(last, RunFinished), f"{fact} after the end"
            assert last.at <= fact.at
            assert last.time <= fact.time
            self.facts.append(fact)
            if isinstance(fact, TaskFact):
                self._follow(fact, (fact.task, fact.item))
            elif isinstance(fact, RunFinished):
                assert not self._open
                assert all((task, None) in self.ended for task in self.expanded)

    def _check_place(self, fact: TaskFact, place: Place) -> None:
        assert place not in self.ended, f"{fact} of what has ended"
        if isinstance(fact, TaskExpanded | TaskFinished) and fact.reused:
            assert not self._has_begun or fact.origin, f"{fact} after something has begun"
            self._nth[place] = fact.nth
        if fact.item is not None:
            assert fact.item < self.expanded[fact.task].size
            assert (fact.task, None) not in self.ended, f"{fact} after its task has ended"

    def _follow(self, fact: TaskFact, place: Place) -> None:
        self._check_place(fact, place)
        begins = place not in self._open and fact.nth > self._nth.get(place, 0)  # or it never did
        assert fact.nth == self._nth.get(place, 0) + begins, fact
        self._nth[place] = fact.nth
        self._has_begun |= begins
        is_open = place in self._open
        self._open.discard(place)
        match fact:
            case TaskStarted():
                assert begins, fact
                self._open.add(place)
            case TaskPutBack():
                assert fact.lacking > 0
                self._nth[place] -= 1
            case TaskRetried():
                assert begins or is_open, fact
            case TaskExpanded():
                assert begins or is_open or fact.usage is None or fact.reused, fact
                self.expanded[fact.task] = fact
            case TaskFinished():
                assert (fact.size is not None) == (fact.item is None and fact.task in self.expanded)
                if fact.size is not None:
                    ends = [self.ended[fact.task, item] for item in range(fact.size)]
                    assert all(end.at <= fact.at for end in ends)
                self.ended[place] = fact
            case _:
                raise AssertionError(f"{fact} is of a kind that nobody knows")
