"""Every message between the coordinator and what executes, and nothing else.

Envelope and payload are apart: `payload`, `blob` and `error` are bytes that the coordinator never opens; everything
else is what it reads. Structs are encoded as arrays: a field is only ever appended, with a default.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

Ranges = tuple[tuple[int, int], ...]
"""Whole numbers in order: from the first of each pair to before the second."""

Place = tuple[str, str]
"""The name of a module, and the way to what it holds: `RATE`, `Config.rate`."""


class Message(Struct, frozen=True, array_like=True, gc=False):
    """Base of all that travels. Nothing in a message refers back to it: the garbage collector needn't look."""


ITEMS = "items"
"""The key under which a batch of `map` finds a list: the number of its first item, and the items."""

PART = "part"
"""The key under which it finds the numbers of those items that are its own, where that isn't all of them."""

RESULTS = "results"
"""The key under which it leaves the list of their results, up to the first error."""

REACHED = "reached"
"""The key under which it leaves the number of its first item that is still to be done, if it took too long for all."""

FAILURES = "failures"
"""The key under which it leaves what items have failed with, by number, where it goes on after those."""

FAILURE = "failure"
"""The key under which it leaves that error, if there is one, as a `Failed`."""

UNCHANGED = "\0"
"""What a key begins with in what an instance has set, where it has set it to what was there."""

FIGURES = struct.Struct("<dddqqqqq")
"""What an instance cost, all but the keys that it has read: the fields of `Usage`, in their order."""

Figures = tuple[float, float, float, int, int, int, int, int]

SOCKET_LOST = 74
"""The exit code of a worker whose socket was closed under it (`os.EX_IOERR`)."""


class Version(Message, frozen=True):
    """One write of one key: who wrote it, and the encoded value (`None`: the key was removed).

    Where several versions of a key travel together, `saw` tells which of them its writer saw, as places among them in
    the merge order at the writer (or `(-n,)` for the first n, as they stand), and `place` where the writer's function
    stands (`file.py:12`). `rivals`: the versions of a key that was in conflict when it was given to the run; there is
    no payload then. With a `source`, they are the versions of the key of that name, of which this is the value.
    `is_milestone`: it stands for what all before it come to, up to the milestone before, and all after it came after
    these; for those after it, places count from here.
    """

    writer: str
    payload: bytes | None
    saw: tuple[int, ...] = ()
    place: str = ""
    rivals: "tuple[Version, ...]" = ()
    source: str = ""
    is_milestone: bool = False


MILESTONE = Version("", None, is_milestone=True)


class Outcome(Message, frozen=True):
    """How a task ended: `status` is "Completed", "Failed", "Skipped" or "Cancelled"; `error` says why, where it failed.

    `reason` says why it was skipped. What `context.outcome(task)` returns.
    """

    status: str
    error: str | None = None
    reason: str | None = None


class Slice(Message, frozen=True):
    """A part of the context as one task sees it: the versions of each key that its value follows from.

    Mostly that is one. Where branches meet it is all since the last one that stands by itself, in the merge order.
    A key without versions is known to be absent. `complete`: every key that is not here is absent too.
    `met`: the keys that may have several versions, where they are not here; `None`: any of them may. `names`: every key
    that there may be, beside those here; `None`: that isn't told.
    `outcomes`, where present: how each ancestor ended, by task id; of a slice that isn't `complete`, those alone that
    the task's condition names, or that were asked for.
    """

    versions: Mapping[str, tuple[Version, ...]]
    complete: bool = False
    outcomes: Mapping[str, Outcome] | None = None
    met: tuple[str, ...] | None = ()
    names: tuple[str, ...] | None = None


# ---- down: what an executor is told --------------------------------------------------------------------------------


class Profiling(Message, frozen=True):
    """What is published is the function of that number, of that task, under a profiler."""

    function: int
    task: str
    profiler: str


class Publish(Message, frozen=True, tag="publish"):
    """A function, merge rules or a condition, that assignments will name by number; or the head of functions.

    `reads`: the keys that a slice for the function always covers. `head`: the number of what the blob goes on from (see
    `pickling/functions`), 0 where it says everything itself. `takes_handle`: it is called with a handle too. `binding`:
    the number of what tells the keys that it is called with, by name; 0 where there are none. `writes`: the keys that
    it may set and remove, where it has declared them; `looks`: those that it may look at, where that is limited.
    `attached`: references to the buffers that the blob takes in, in their order. It may be a reference itself.
    `profiling`: there is no blob, as it is another function under a profiler. `along`: what is loaded before it.
    """

    function: int
    blob: bytes
    reads: tuple[str, ...]
    head: int = 0
    takes_handle: bool = False
    binding: int = 0
    writes: tuple[str, ...] | None = None
    looks: tuple[str, ...] | None = None
    attached: tuple[bytes, ...] = ()
    profiling: Profiling | None = None
    along: tuple[int, ...] = ()

    @property
    def needs(self) -> list[int]:
        """The numbers of what has to be known before."""
        profiled = 0 if self.profiling is None else self.profiling.function
        return [number for number in (self.head, self.binding, profiled, *self.along) if number]


class Filter(Message, frozen=True):
    """One of the program's filters of warnings: what is done with those that match, as in `warnings.filters`.

    `category` is known by its name. `message` and `module` are patterns with their flags, or texts to be met exactly.
    """

    action: str
    message: tuple[str, int] | str | None
    category: str
    module: tuple[str, int] | str | None
    line: int


class Loggers(Message, frozen=True):
    """What the program has set of its loggers, by name: levels, which ones are disabled, and which have handlers.

    `custom` are those among them of a class of their own: a worker leaves it to others to make them. `names` are those
    of levels, `root` is the root's level, `root_handles`: it has handlers; nothing up to `threshold` is logged.
    `tells_errors`: what goes wrong inside `logging` is told on standard error.
    """

    levels: Mapping[str, int] = {}
    disabled: tuple[str, ...] = ()
    handled: tuple[str, ...] = ()
    custom: tuple[str, ...] = ()
    names: Mapping[str, int] = {}
    root: int = 30
    root_handles: bool = False
    threshold: int = 0
    tells_errors: bool = True


class InterpreterLimits(Message, frozen=True):
    """What the interpreter allows: how deep calls go, how many digits become text, and so on."""

    recursion: int = 1000
    digits: int = 4300
    switch_interval: float = 0.005
    writes_bytecode: bool = True


class Surroundings(Message, frozen=True, tag="surroundings"):
    """Where tasks run from here on: the program's working directory, `sys.path`, environment and limits.

    `folders` are those for large values, the first one with room first; with none, all values are sent. What else comes
    from the system is bytes, as it needn't be text. `loggers` and `filters` are the program's, so that tasks log and
    warn as it would. `modules` is the code of the user's own modules, as a payload: with each `generation`, some are
    other ones than before. `arguments` are those of the command line. `authkey` is that by which processes of
    `multiprocessing` know each other; none where the program has not loaded it.
    """

    directory: bytes
    path: tuple[bytes, ...]
    folders: tuple[str, ...] = ()
    environment: Mapping[bytes, bytes] = {}
    limits: InterpreterLimits = InterpreterLimits()
    loggers: Loggers = Loggers()
    filters: tuple[Filter, ...] = ()
    modules: bytes = b""
    generation: int = 0
    arguments: tuple[bytes, ...] = ()
    authkey: bytes = b""


class Retire(Message, frozen=True, tag="retire"):
    """Functions that no assignment will name again."""

    functions: list[int]


class Overlay(Message, frozen=True):
    """What an instance sees in place of what all of its task see alike; and the names of more keys that there are."""

    versions: Mapping[str, tuple[Version, ...]]
    names: tuple[str, ...] = ()


class Items(Message, frozen=True):
    """What an attempt at instances of a mapped task is for: their items, which are run through one after the other.

    `payloads` are the items, and `keys` their keys where they are those of a dict. `of` is the key of the context that
    holds them, `writers` the tasks (or instances) that made them: one for all, or one for each. Where there are
    several, they are instances of `task`, called by `labels`, or by their numbers from `number` on; and `overlays` are
    what each sees beside the slice, where that isn't all. `are_seen`: they stand in the context, under that key, and
    the function is called with that alone.
    """

    payloads: list[bytes]
    keys: list[bytes] | None = None
    of: str = ""
    writers: tuple[str, ...] = ("",)
    task: str = ""
    number: int = 0
    labels: list[str] | None = None
    overlays: list[Overlay] | None = None
    are_seen: bool = False


class Noting(Message, frozen=True):
    """What is looked at is noted. `fingerprint` is the number under which the task's was published, 0: it has none.

    Where that comes to the digest `unless`, the function isn't called: another attempt stands for this one. (One with
    `unless` is for one task or one instance, and nothing comes right after it.)
    """

    fingerprint: int = 0
    unless: bytes = b""


NOTING = Noting()


class Trace(Message, frozen=True):
    """Where a run stands in what its program is traced by, in OpenTelemetry's terms.

    `id` is that of the trace, in 16 bytes, and `root` that of the run's span, in 8; `flags` and `state` are those of a
    `traceparent` and a `tracestate`; `baggage` goes along. `foresees`: the spans of tries will have the ids that are
    told here. Where they can't have, tasks see the run's own.
    """

    id: bytes
    root: bytes
    flags: int = 0
    state: str = ""
    baggage: Mapping[str, str] = {}
    foresees: bool = True

    def span(self, task: str, item: int | None, nth: int) -> bytes:
        """The id of the span of a try, in 8 bytes.

        >>> trace = Trace(b"t" * 16, b"r" * 8)
        >>> trace.span("load", None, 1) == trace.span("load", None, 1) != trace.span("load", None, 2)
        True
        """
        if not self.foresees:
            return self.root
        from hashlib import blake2b  # loads OpenSSL's library

        name = f"{task}\0{item}\0{nth}".encode(errors="surrogatepass")
        return blake2b(name, digest_size=8, key=self.root).digest()


class Traced(Message, frozen=True):
    """Of an attempt, the ids of the spans of what it is at: 8 bytes for each instance, or for the one task."""

    trace: Trace
    spans: bytes


class Assignment(Message, frozen=True, tag="assign"):
    """One attempt to run.

    `rules` is the number under which the workflow's merge rules were published, 0 where there are none. `agreed`: keys
    of the slice that must not be in conflict, or the attempt fails before the task begins. `nth`: which try of the task
    this is, from 1. `place`: how urgent it is among those of its run, the smallest number first. `seed` is the run's;
    with it, the task's id and `ended` (how many tries the task ended by itself, so without those that were lost) comes
    the attempt's own. `condition` is the number under which the task's condition was published, where it is asked in
    the attempt: the task begins only if it holds. `items`: the function is called with those, too, once for each.
    `prefix`: what the names of the task's keys begin with, which it leaves out itself: that of a copy (see
    `cloaca.workflows.copies`). `variables`: the number under which was published what the user's modules are to have, 0
    where there is nothing. `after`: the attempt that it comes right after, in a chain. It begins once that has ended
    well, and its slice lacks what those before it in the chain leave. `noting`, where the run is
    recorded: its report tells what it has looked at. `traced`, where the run is. `slots`: the numbers of the seats
    that it has, by limit (see `engine/seats`).
    """

    attempt: int
    task: str
    function: int
    slice: Slice
    rules: int = 0
    agreed: tuple[str, ...] = ()
    nth: int = 1
    ended: int = 0
    seed: int = 0
    place: int = 0
    condition: int = 0
    items: Items | None = None
    prefix: str = ""
    variables: int = 0
    after: int | None = None
    noting: Noting | None = None
    traced: Traced | None = None
    slots: Mapping[str, Ranges] | None = None

    @property
    def fingerprint(self) -> int:
        """The number of its task's, where that is to be asked; 0: it isn't."""
        return 0 if self.noting is None else self.noting.fingerprint

    @property
    def unless(self) -> bytes:
        """What that would have to come to for the function not to be called."""
        return b"" if self.noting is None else self.noting.unless

    @property
    def size(self) -> int:
        """How often the function is called, and so how many ends are to be reported."""
        return 1 if self.items is None else len(self.items.payloads)

    def names(self) -> list[str]:
        """What its instances are called, in order."""
        items = self.items
        if items is None or not items.task:
            return [self.task]
        past = items.number + len(items.payloads)
        return [f"{items.task}[{label}]" for label in items.labels or range(items.number, past)]

    def name(self, place: int) -> str:
        """What the instance at that place is called."""
        items = self.items
        if items is None or not items.task:
            return self.task
        return f"{items.task}[{items.number + place if items.labels is None else items.labels[place]}]"

    def seen(self, place: int) -> Slice:
        """What the instance at that place sees: what all see, and over it what those before it have set."""
        if self.items is None or self.items.overlays is None:
            return self.slice
        common, over = self.slice, self.items.overlays[place]
        names = None if common.names is None else (*common.names, *over.names)
        return Slice({**common.versions, **over.versions}, common.complete, common.outcomes, common.met, names)


class Free(Message, frozen=True, tag="free"):
    """An attempt that needs no permit: the worker has nothing else to do, and it won't be recalled."""

    attempt: int


class Recall(Message, frozen=True, tag="recall"):
    """Attempts that a worker has queued, and that are not to be run there; `number` counts recalls from it, from 1."""

    number: int
    attempts: list[int]


class Answer(Message, frozen=True, tag="answer"):
    """What an attempt asked for with `Wants`. `question` is the number of that."""

    attempt: int
    slice: Slice
    question: int = 0


# ---- up: what an executor reports ----------------------------------------------------------------------------------


class Phases(Message, frozen=True):
    """How many seconds of an attempt went by with anything but its function, where that is worth a word.

    `loading`: the function and the large values that it read were rebuilt from bytes; `imported` are the packages that
    were imported with the function, where that took long. `waiting`: it asked for values, and waited for the answer.
    `encoding`: what it set was made bytes, and written to shared memory.
    """

    loading: float = 0.0
    waiting: float = 0.0
    encoding: float = 0.0
    imported: tuple[str, ...] = ()


class Usage(Message, frozen=True):
    """What an attempt cost: `started` and `ended` on the machine's monotonic clock, CPU seconds, peak bytes.

    `read`: the keys whose values it looked at, and how many bytes those take, of which `mapped` were mapped rather than
    sent; `written`: how many bytes the values take that it set. `worker`: the number of the worker that ran it, from 1;
    0: it ran in the program's own thread. `phases`: how much of that went by beside the function, if it is much.
    """

    started: float
    ended: float
    cpu: float
    peak_memory: int
    read: tuple[str, ...] = ()
    bytes_read: int = 0
    bytes_mapped: int = 0
    bytes_written: int = 0
    worker: int = 0
    phases: Phases | None = None


def usage_of(figures: Figures, read: tuple[str, ...], phases: Phases | None = None) -> Usage:
    """What an attempt cost that has read these keys."""
    started, ended, cpu, peak, bytes_read, mapped, written, worker = figures
    return Usage(started, ended, cpu, peak, read, bytes_read, mapped, written, worker, phases)


def figures_of(usage: Usage) -> Figures:
    """What an attempt cost, as `FIGURES` takes it."""
    return (
        usage.started,
        usage.ended,
        usage.cpu,
        usage.peak_memory,
        usage.bytes_read,
        usage.bytes_mapped,
        usage.bytes_written,
        usage.worker,
    )


class Ready(Message, frozen=True, tag="ready"):
    """A worker process has started and waits for its first assignment; or has dropped what was recalled.

    `recall` is the number of the last `Recall` that it has heard of.
    """

    recall: int = 0


class Unfit(Message, frozen=True, tag="unfit"):
    """The runner's initializer has raised in this worker, which ends: it can't run anything."""

    type_name: str
    text: str
    traceback: str


class Worn(Message, frozen=True, tag="worn"):
    """A task has changed this worker's process for good: it ends, and what it has queued is for others."""


class Started(Message, frozen=True, tag="started"):
    """The attempt has begun, at that moment of the machine's monotonic clock; `None`: just now.

    `worker` as above; 0 also where it isn't known yet.
    """

    attempt: int
    moment: float | None = None
    worker: int = 0


class Wants(Message, frozen=True, tag="wants"):
    """A running attempt needs what its slice lacks: some keys, all the rest, or how its ancestors ended.

    Where it asks for `outcomes`, `keys` are names of tasks and instances: it is told of these, of the siblings of the
    instances, and of more of its ancestors. Without names it is told of all of them that are tasks.
    `question` is a number that its worker gives to no other one: an alarm of the task may go off while the answer is on
    its way, and then nobody waits for that any more.
    """

    attempt: int
    keys: tuple[str, ...] = ()
    rest: bool = False
    outcomes: bool = False
    question: int = 0


class Said(Message, frozen=True, tag="said"):
    """Output of an attempt: `stream` is "stdout" or "stderr". No text: the line that is unfinished ends there."""

    attempt: int
    stream: str
    text: str


class Logged(Message, frozen=True, tag="logged"):
    """What an attempt logged: the record's attributes, as the payload of a dict."""

    attempt: int
    record: bytes


class Warned(Message, frozen=True, tag="warned"):
    """A warning of an attempt. `warning` is the instance as a payload, where it could be encoded.

    `module` is the name of the module in which `line` stands.
    """

    attempt: int
    warning: bytes | None
    category: str
    text: str
    file: str
    line: int
    module: str


class Profiled(Message, frozen=True, tag="profiled"):
    """What the profiler of a task has recorded of so many `calls`: `data`, where there is any. It was in that attempt.

    `notes` are what is to be said of it, as why there is none.
    """

    attempt: int
    task: str
    profiler: str
    calls: int
    data: bytes | None = None
    notes: tuple[str, ...] = ()


class SpanNote(Message, frozen=True, tag="span_note"):
    """What an attempt has told of the span with that id: some `attributes`, or an `event` of that moment with them.

    `name` is a new one for the span, and `status` a code ("OK", "ERROR") and a description. `moment` is in nanoseconds
    since 1970.
    """

    attempt: int
    span: bytes
    attributes: Mapping[str, Any] = {}
    event: str | None = None
    moment: int = 0
    name: str | None = None
    status: tuple[str, str | None] | None = None


class ItemsFound(Message, frozen=True):
    """What a mapped task runs for: its items, in order.

    `labels` are what its instances are called by, where that isn't their numbers; `keys` those of the items, where they
    come from a dict.
    """

    payloads: list[bytes]
    labels: list[str] | None = None
    keys: list[bytes] | None = None


class Looked(Message, frozen=True):
    """What an attempt has looked at of what it could see, by the names that keys and tasks have outside of copies.

    `values`: the keys whose value it has read, or compared with what it set, also where there was none. `presence`:
    those of which it has only asked whether they are there. `every_key`: it has asked which keys there are; those of a
    copy, where the task belongs to one.
    `outcomes`: the tasks and instances that it has asked about, `every_outcome`: all of them. `seed`: it has asked for
    its seed, or may have drawn what follows from that. `fingerprint`: the digest of what the task's own fingerprint
    came to, if it has one.
    """

    values: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()
    every_key: bool = False
    outcomes: tuple[str, ...] = ()
    every_outcome: bool = False
    seed: bool = False
    fingerprint: bytes = b""


class Done(Message, frozen=True, tag="done"):
    """The attempt ended well. `diff`: the payload of each key that it set, `None` for each that it removed.

    `settled`: what keys came to of which it was told several versions, where that is small. `items`: what it has found,
    if it was to find the items of a mapped task. `looked`: what it has looked at, where its run is recorded. `is_held`:
    its function wasn't called, as its fingerprint came to what it was not to be (`unless`).
    """

    attempt: int
    diff: dict[str, bytes | None]
    usage: Usage
    settled: dict[str, Version] | None = None
    items: ItemsFound | None = None
    looked: Looked | None = None
    is_held: bool = False


class Entry(Message, frozen=True):
    """What an instance has set (the payloads) and removed (`None`): under which `keys`, and which ones it has `read`.

    `looked`: what it has looked at, where its run is recorded. `None`: as the one before it. `phases`: those of its
    attempt, if they are worth a word.
    """

    payloads: tuple[bytes | None, ...]
    keys: tuple[str, ...] | None = None
    read: tuple[str, ...] | None = None
    looked: Looked | None = None
    phases: Phases | None = None


class Tallied(Message, frozen=True, tag="tallied"):
    """These instances have ended well, from that `place` of their attempt on: what they cost, and have set.

    `figures` are those of `FIGURES`, for each; `entries` the encoded list of an `Entry` for each.
    """

    attempt: int
    place: int
    figures: bytes
    entries: bytes


class Failed(Message, frozen=True, tag="failed"):
    """The task raised. `error` is the pickled exception, where it could be pickled.

    `kinds`: the names of its class and of those that it derives from (see `cloaca.wording.kinds_of`). `notes` are those
    that were added to it: not every exception takes them along when it is pickled. `place`: the line of the user's code
    that raised it, if any did. `absent`: the keys that the attempt looked up, and that weren't there. `lacking`: how
    many bytes a value takes for which it found no room. `item`: of an attempt at several items, the place of the one.
    """

    attempt: int
    type_name: str
    text: str
    traceback: str
    error: bytes | None
    usage: Usage
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    place: str = ""
    absent: tuple[str, ...] = ()
    lacking: int = 0
    item: int = 0


class Skipped(Message, frozen=True, tag="skipped"):
    """The task's condition doesn't hold, and nothing of it ran; or it has skipped itself. `usage` is what that cost.

    `item`: of an attempt at several items, the place of the one.
    """

    attempt: int
    reason: str
    usage: Usage
    item: int = 0


class Vitals(Message, frozen=True):
    """How a worker was when it died: `seconds` into the attempt, and the last readings of memory, in bytes.

    `memory` is what the worker had for itself, `available` what the machine had left. `is_oom`: the kernel's
    out-of-memory killer struck at about that time.
    """

    seconds: float | None = None
    memory: int | None = None
    available: int | None = None
    is_oom: bool = False


class Lost(Message, frozen=True, tag="lost"):
    """The attempt was cut off: its worker died, by `signal` or with `exit_code`; `reason`, where one is known.

    `memory_limit`: the worker was stopped as it had more memory than that. `timeout`: it was stopped as the attempt had
    taken longer than so many seconds (which the run knows, not the executor). `item` is that of a batch which ran, if
    the worker has told. `worker` as above.
    """

    attempt: int
    exit_code: int | None
    signal: str | None
    reason: str | None = None
    vitals: Vitals | None = None
    memory_limit: int | None = None
    timeout: float | None = None
    item: int | None = None
    worker: int = 0


class Unstarted(Message, frozen=True, tag="unstarted"):
    """The attempt was cancelled, or given back, before anything of it ran: of several items the last `count`."""

    attempt: int
    count: int = 1


class ItemsDone(Struct, frozen=True):
    """The next instances of an attempt have ended well: what is `Tallied`, opened.

    Of each, `written` are the payloads under its `keys`, and `read` the keys at which it has looked. `stored`: those
    payloads that refer to files. `looked`: what each has looked at, where the run is recorded; else there is none.
    `phases`: those of each, if they are worth a word for any.
    """

    attempt: int
    figures: bytes
    written: list[tuple[bytes | None, ...]]
    keys: list[tuple[str, ...]]
    read: list[tuple[str, ...]]
    stored: list[bytes]
    looked: Sequence[Looked | None] = ()
    phases: Sequence[Phases | None] = ()

    def alone(self, place: int) -> Done:
        """The end of the instance at that place, as that of a task."""
        phases = self.phases[place] if self.phases else None
        usage = usage_of(FIGURES.unpack_from(self.figures, place * FIGURES.size), self.read[place], phases)
        looked = self.looked[place] if self.looked else None
        return Done(self.attempt, dict(zip(self.keys[place], self.written[place], strict=True)), usage, looked=looked)


Down = Surroundings | Publish | Retire | Assignment | Free | Recall | Answer
Remark = Said | Logged | Warned
"""What an attempt has for whoever looks at the program: it goes past the engine."""

Up = Ready | Unfit | Worn | Wants | Remark | Profiled | SpanNote | Done | Tallied | Failed | Skipped
Event = Started | Wants | Remark | Profiled | SpanNote | Done | ItemsDone | Failed | Skipped | Lost | Unstarted
