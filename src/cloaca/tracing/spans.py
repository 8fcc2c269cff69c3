"""Spans of OpenTelemetry: one for an execution, and beneath it one for each try of its tasks.

Purpose
    Who traces a program sees its workflows in the same picture, and what tasks do in workers beneath them.

Guarantees
    - A span of a try is made when that has ended, of what is told then: it begins and ends when the try did, on the
      clock of its worker.
    - Its id is known before the try is sent off (`Trace.span`), and so in its worker: what the task begins there is its
      child.
    - What the task has told of it meanwhile is passed on (`attempts/task_span.py`), and stands in it.
    - What hands out tasks never waits for a tracer, nor does a worker.

Roads not taken
    - To begin the span when the try is sent off: that is too early by the time for which it waits in its worker, and
      a span can't be told later when it began. Many a try is given back before it begins.
    - To make it in the worker: tracers hold threads and sockets, and can't be sent.
"""

import traceback
from collections.abc import Sequence
from time import time

from opentelemetry.trace import Link, Span, SpanContext, Tracer, set_span_in_context

from cloaca.engine.ends import cost_of
from cloaca.engine.facts import Fact, TaskExpanded, TaskFinished, TaskPutBack, TaskRetried, TaskStarted, TryFact
from cloaca.failure import error_of
from cloaca.tracing.tracer import Attributes, Guard, Ids, close, code_of, fail, nanoseconds, note, trace_of, with_ids
from cloaca.wire.messages import Failed, Lost, SpanNote, Trace, Usage
from cloaca.wording import kind_of
from cloaca.workflows.workflow import Workflow


class ExecutionSpans:
    """The spans of one execution, which begins now, beneath what is current here.

    `clock` is what the wall's is ahead of the machine's monotonic one, in seconds. All but the making is for one thread
    at a time.
    """

    def __init__(self, tracer: Tracer, workflow: Workflow, execution: str, clock: float) -> None:
        self._workflow = workflow
        self._clock = clock
        self._tracer = tracer
        self._ids: Ids | None = None
        self._guard = Guard(f"workflow {workflow.name!r}")
        self._root: Span | None = None
        self._began: dict[tuple[str, int | None], TaskStarted] = {}
        self._mapped: dict[str, Span] = {}  # those whose instances haven't all ended
        self._made: dict[str, SpanContext] = {}  # of each task, that of its last try
        self._noted: dict[bytes, list[SpanNote]] = {}
        self._code: dict[str, Attributes] = {}
        self._counts: dict[str, int] = {}
        self.trace: Trace | None = None
        """Where the execution stands in its trace; `None`: it isn't traced."""
        self._guard.call(self._begin, tracer, execution)

    def follow(self, facts: Sequence[Fact]) -> None:
        """These have happened."""
        for fact in facts:
            self._guard.call(self._tell, fact)

    def note(self, noted: SpanNote) -> None:
        """A task has told that of its span, which isn't made yet; or of the execution's, where it sees that."""
        if self._root is not None and self.trace is not None and noted.span == self.trace.root:
            self._guard.call(note, self._root, noted)
        else:
            self._noted.setdefault(noted.span, []).append(noted)

    def end(self, status: str, error: str | None, at: float) -> None:
        """The execution has ended so, at that time since 1970."""
        self._guard.call(self._end, status, error, nanoseconds(at))

    def _begin(self, tracer: Tracer, execution: str) -> None:
        name = self._workflow.name
        self._tracer, self._ids = with_ids(tracer)
        attributes: Attributes = {"cloaca.workflow.name": name, "cloaca.execution.id": execution}
        root = self._tracer.start_span(f"workflow {name}", attributes=attributes, start_time=nanoseconds(time()))
        context = root.get_span_context()
        if context.is_valid:
            self._root, self.trace = root, trace_of(context, foresees=self._ids is not None)

    def _tell(self, fact: Fact) -> None:
        match fact:
            case TaskStarted():
                self._began[fact.task, fact.item] = fact
            case TaskPutBack():
                self._began.pop((fact.task, fact.item), None)
            case TaskRetried():
                self._add(fact, "Retried", fact.error)
            case TaskExpanded(reused=False):
                self._expand(fact)
            case TaskFinished():
                self._finish(fact)
            case _:
                pass

    def _expand(self, fact: TaskExpanded) -> None:
        """A mapped task has one span, from the beginning of the try that told its items until all have ended."""
        self._began.pop((fact.task, None), None)
        started = fact.at if fact.usage is None else fact.usage.started
        told: Attributes = {"cloaca.task.instances": fact.size}
        self._mapped[fact.task] = self._made_of(fact.task, None, fact.nth, told, self._moment(started))

    def _finish(self, fact: TaskFinished) -> None:
        outcome = fact.outcome
        if fact.item is None:
            count = "reused" if fact.reused else outcome.status.lower()
            self._counts[count] = self._counts.get(count, 0) + 1
        mapped = self._mapped.pop(fact.task, None) if fact.item is None else None
        if mapped is not None:
            close(mapped, outcome.status, outcome.error, self._moment(fact.at))
        elif not fact.reused:
            self._add(fact, outcome.status, outcome.error)

    def _add(self, fact: TryFact, status: str, error: str | None) -> None:
        """Add the span of a try, if it is known to have run."""
        began, usage = self._began.pop((fact.task, fact.item), None), cost_of(fact.end)
        if usage is not None:
            started, ended = usage.started, usage.ended
        elif began is not None:
            started, ended = began.moment, fact.at
        else:
            return
        told = {"cloaca.worker": 0 if began is None else began.worker, **_costs(usage)}
        if isinstance(fact, TaskRetried):
            told["cloaca.task.retry_delay"] = fact.delay
        span = self._made_of(fact.task, fact.item, fact.nth, told, self._moment(started))
        at = self._moment(ended)
        if isinstance(fact.end, Failed | Lost) and status != "Cancelled":
            fail(span, *_error(fact.end, fact.task, fact.nth), at)
        close(span, status, error, at)

    def _made_of(self, task: str, item: int | None, nth: int, told: Attributes, start: int) -> Span:
        """The span of a try, beneath that of its mapped task if it is of an instance."""
        attributes = {"cloaca.task.id": task, "cloaca.task.try": nth, **self._standing(task), **told}
        if item is not None:
            attributes["cloaca.task.item"] = item
        id = b"" if self.trace is None else self.trace.span(task, item, nth)
        if self._ids is not None:
            self._ids.next = id
        above = self._root if item is None else self._mapped.get(task, self._root)
        context = None if above is None else set_span_in_context(above)
        links = self._links(task) if item is None else ()
        span = self._tracer.start_span(f"task {task}", context, attributes=attributes, links=links, start_time=start)
        if item is None:
            self._made[task] = span.get_span_context()
        for noted in self._noted.pop(id, ()):
            self._guard.call(note, span, noted)
        return span

    def _links(self, task: str) -> Sequence[Link]:
        """To what it depends on: to the spans of the last tries."""
        plan, made = self._workflow.plan, self._made
        names = [plan.names[above] for above in plan.predecessors[plan.rank[task]]]
        return [Link(made[name], {"cloaca.link": "dependency"}) for name in names if name in made]

    def _standing(self, task: str) -> Attributes:
        if task not in self._code:
            plan = self._workflow.plan
            self._code[task] = code_of(self._workflow.tasks[plan.defined[plan.rank[task]]].function)
        return self._code[task]

    def _end(self, status: str, error: str | None, at: int) -> None:
        for span in self._mapped.values():  # a fault has ended the run
            close(span, "Cancelled", None, at)
        if self._root is not None:
            for name, count in self._counts.items():
                self._root.set_attribute(f"cloaca.tasks.{name}", count)
            close(self._root, status, error, at)

    def _moment(self, at: float) -> int:
        return nanoseconds(at + self._clock)


def _costs(usage: Usage | None) -> Attributes:
    if usage is None:
        return {}
    return {
        "cloaca.worker": usage.worker,
        "cloaca.cpu_seconds": usage.cpu,
        "cloaca.peak_memory": usage.peak_memory,
        "cloaca.bytes_read": usage.bytes_read,
        "cloaca.bytes_written": usage.bytes_written,
    }


def _error(end: Failed | Lost, task: str, nth: int) -> tuple[str, str, str]:
    """Its kind, its text and its traceback."""
    if isinstance(end, Failed):
        return (*end.kinds, end.type_name)[0], end.text, end.traceback
    error = error_of(end, task, nth)
    return kind_of(type(error)), str(error), "".join(traceback.format_exception(error))
