"""Assigning: what an attempt is sent: its function, its slice of the context, and what else it has to know."""

from msgspec.structs import replace

from cloaca.engine.fan import Each
from cloaca.engine.ledger import Ledger
from cloaca.engine.priority import Priority
from cloaca.engine.sight import Sight
from cloaca.engine.tries import Tries
from cloaca.engine.work import Merging, Work
from cloaca.history.history import History
from cloaca.history.plan import Plan
from cloaca.wire.messages import NOTING, Assignment, Noting, Trace, Traced


class Assigning:
    """Makes the assignments of one run.

    `is_asked`: whether the executor asks for what a slice lacks; `is_recorded`: whether the run is; `trace`: where it
    stands in one.
    """

    def __init__(
        self,
        plan: Plan,
        work: list[Work],
        *,
        priority: Priority,
        ledger: Ledger,
        tries: Tries,
        history: History,
        sight: Sight,
        merging: Merging,
        seed: int,
        variables: int,
        is_asked: bool,
        is_recorded: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self._plan = plan
        self._work = work
        self._places = priority.places
        self._ledger = ledger
        self._tries = tries
        self._history = history
        self._sight = sight
        self._merging = merging
        self._seed = seed
        self._variables = variables
        self._is_asked = is_asked
        self._is_recorded = is_recorded
        self._trace = trace

    def assignment(
        self, number: int, unit: int, count: int = 1, head: int | None = None, after: int | None = None
    ) -> Assignment:
        """Of the attempt of that number, of a task or of so many instances.

        In a chain it comes right `after` another attempt; `head` is the task with which that begins.
        """
        work = self._work[unit]
        if work.each is not None:
            if unit >= len(self._plan.names):
                return self._of_instances(number, range(unit, unit + count))
            work = _expanding(work, work.each)
        agreed: tuple[str, ...] = ()
        reads = work.reads
        if self._merging.unanimous and len(self._plan.predecessors[unit]) > 1:
            agreed = tuple(self._history.joined_keys(unit))
            reads = (*reads, *agreed)
        slice_ = self._sight.slice(unit, reads) if head is None else self._sight.slice_in_chain(unit, reads, head)
        if work.condition and self._is_asked:
            slice_ = replace(slice_, outcomes=self._ledger.named_outcomes(unit, work.trigger))
        return Assignment(  # in their order, as keywords take longer
            number,
            self._plan.names[unit],
            work.function,
            slice_,
            self._merging.rules,
            agreed,
            self._ledger.attempts[unit] + 1,
            self._tries.failures[unit],
            self._seed,
            self._places[unit],
            work.condition,
            None,
            work.prefix,
            self._variables,
            after,
            self._noting(work) if self._is_recorded else None,
            None if self._trace is None else self._traced(self._trace, range(unit, unit + 1)),
        )

    def _of_instances(self, number: int, units: range) -> Assignment:
        unit = units[0]
        fan, work = self._ledger.fan_of(unit), self._work[unit]
        if len(units) == 1:
            slice_, overlays = self._sight.slice_for_item(fan, unit, work.reads), None
        else:
            slice_, overlays = self._sight.slice_for_items(fan, units, work.reads)
        agreed: tuple[str, ...] = ()
        if fan.copied is not None:
            agreed = fan.copied.joined(fan, unit - fan.first) if self._merging.unanimous else ()
            if work.condition and self._is_asked:
                slice_ = replace(slice_, outcomes=self._ledger.named_outcomes(unit, work.trigger))
        return Assignment(
            number,
            self._ledger.name(unit),
            work.function,
            slice_,
            self._merging.rules,
            agreed,
            nth=self._ledger.attempts[unit] + 1,
            ended=self._tries.failures[unit],
            seed=self._seed,
            place=self._places[fan.rank],
            condition=0 if fan.copied is None else work.condition,
            items=fan.items(unit - fan.first, len(units), overlays),
            prefix=work.prefix,
            variables=self._variables,
            noting=self._noting(work) if self._is_recorded else None,
            traced=None if self._trace is None else self._traced(self._trace, units),
        )

    def _noting(self, work: Work) -> Noting:
        """What an attempt is told whose looks are noted."""
        return Noting(work.fingerprint) if work.fingerprint else NOTING

    def _traced(self, trace: Trace, units: range) -> Traced:
        nth = self._ledger.attempts[units[0]] + 1
        return Traced(trace, b"".join([trace.span(*self._ledger.place(unit), nth) for unit in units]))


def _expanding(work: Work, each: Each) -> Work:
    """What a mapped task does first: tell its items, one by one."""
    reads: tuple[str, ...] = (each.key,)
    condition = work.condition
    if each.inner is not None:
        condition = 0  # that is asked in each copy
    elif work.trigger is not None:
        reads = (each.key, *work.trigger.keys)
    return replace(work, function=each.expansion, reads=reads, prefix="", fingerprint=0, condition=condition)
