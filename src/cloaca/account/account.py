"""Account: what a run that has ended comes to in figures, each found when it is first asked for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from cloaca.account.cores import Idle, Moment, idle, moments
from cloaca.account.memory import peaks
from cloaca.account.overhead import Overhead, overhead_of
from cloaca.account.path import CriticalPath, critical_path
from cloaca.account.spans import Span, failed_spans_of, spans_of
from cloaca.account.tasks import TaskFigures, figures_of
from cloaca.engine.ledger import Ledger
from cloaca.engine.state import ENDED
from cloaca.history.plan import Plan


class Account:
    """The figures of one execution. `began`: when, on the clock of what its tasks cost. `seconds`: what it took.

    `workers`: how many there were; 0: that isn't known, and is taken to be as many as ran tasks at once. `seats`: how
    many seats each named limit had. `memory`: what was read of the workers, and when.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        began: float,
        seconds: float,
        workers: int,
        seats: Mapping[str, int] | None = None,
        memory: Sequence[tuple[float, int]] = (),
    ) -> None:
        self._ledger = ledger
        self._plan = plan
        self._began = began
        self.seconds = seconds
        self._workers = workers
        self._seats = seats or {}
        self._memory = memory

    @cached_property
    def spans(self) -> Sequence[Span]:
        """When each task and instance ran, by unit: its last try."""
        return [*spans_of(self._ledger, self._began)]

    @cached_property
    def failed_spans(self) -> Sequence[Span]:
        """The tries before those, which failed."""
        return [*failed_spans_of(self._ledger, self._began)]

    @cached_property
    def tasks(self) -> Sequence[TaskFigures]:
        """How each task ended, by rank."""
        return [*figures_of(self._ledger, self._plan, (*self.spans, *self.failed_spans))]

    @cached_property
    def memory(self) -> Sequence[tuple[float, int]]:
        """What the workers had for themselves at each reading, in bytes; nothing where it was never read."""
        return [(at - self._began, much) for at, much in self._memory]

    @cached_property
    def memory_peaks(self) -> Sequence[tuple[float, int]]:
        """What they had used at most by then, each by itself, as far as tasks have told."""
        return [*peaks(self.spans)]

    @cached_property
    def moments(self) -> Sequence[Moment]:
        """How many ran at each moment."""
        return moments(self._ledger, self._plan, self.spans, self.failed_spans, self._seats)

    @cached_property
    def critical_path(self) -> CriticalPath:
        """What no number of workers makes shorter."""
        return critical_path(self._ledger, self._plan, self.spans)

    @cached_property
    def workers(self) -> int:
        """How many there were, as far as that is known."""
        return self._workers or self.most_at_once or 1

    @cached_property
    def most_at_once(self) -> int:
        """How many tasks ran at the same time, at most."""
        return max((moment.running for moment in self.moments), default=0)

    @cached_property
    def idle(self) -> Idle:
        """What kept workers from running tasks."""
        return idle(self.moments, self.workers, self.seconds)

    @cached_property
    def overhead(self) -> Overhead:
        """What went by beside the functions of tasks."""
        return overhead_of(self.spans, self.idle.handing_over)

    @cached_property
    def work(self) -> float:
        """How many seconds all tasks took together."""
        last = self._ledger.ends.seconds(self._began, self._ledger.fans)
        return last + sum([span.seconds for span in self.failed_spans])

    @property
    def speed_up(self) -> float:
        """How many times as long one worker would have taken that has nothing to do but these tasks."""
        return self.work / self.seconds if self.seconds else 0.0

    @cached_property
    def cpu(self) -> float:
        """For how many of these they computed. More than that, where they have threads of their own."""
        return sum([span.cpu for span in (*self.spans, *self.failed_spans)])

    @cached_property
    def counts(self) -> Counter[str]:
        """How many tasks ended how; of a mapped task, its instances count."""
        states = self._ledger.states
        units = (unit for unit in range(len(states)) if unit not in self._ledger.fans and states[unit] in ENDED)
        return Counter(states[unit].name.capitalize() for unit in units)

    @cached_property
    def edges(self) -> Sequence[tuple[int, int]]:
        """Which units came right before which, of those that have spans: a dependency and what depends on it."""
        known = {span.unit for span in self.spans}
        return [(above, span.unit) for span in self.spans for above in self._before(span) if above in known]

    def _before(self, span: Span) -> list[int]:
        rank, fans = self._plan.rank[span.task], self._ledger.fans
        leaders = () if span.item is None else fans[rank].leaders
        followed = {leader.rank for leader in leaders}
        own = [leader.first + (span.item or 0) for leader in leaders]
        return own + [self._last_of(above) for above in self._plan.predecessors[rank] if above not in followed]

    def _last_of(self, rank: int) -> int:
        """The task; of a mapped one the instance that ended last."""
        return self._last.get(rank, rank)

    @cached_property
    def _last(self) -> dict[int, int]:
        found: dict[int, Span] = {}
        for span in self.spans:
            rank = self._plan.rank[span.task]
            if span.item is not None and (rank not in found or span.ended > found[rank].ended):
                found[rank] = span
        return {rank: span.unit for rank, span in found.items()}
