"""Runs one assignment: the same code in a worker process and in the serial executor."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import Context as Variables
from contextvars import copy_context
from decimal import getcontext, setcontext
from functools import cache
from types import FrameType, TracebackType
from typing import Any

from cloaca.attempts.meter import Meter
from cloaca.attempts.seeding import Seeding, Unseeded, of_process
from cloaca.attempts.terminal import explain
from cloaca.attempts.traces import users_traceback
from cloaca.errors import Skip
from cloaca.merge.rules import Rules
from cloaca.tasks.contents import Contents
from cloaca.tasks.context import Context, contents_of, over
from cloaca.tasks.scope import Ask, Scope
from cloaca.tasks.shelf import Shelf, Traffic
from cloaca.tasks.watched import Watched
from cloaca.values.codec import encode
from cloaca.wire.messages import UNCHANGED, Assignment, Done, Failed, Items, Skipped, Slice, SpanNote, Usage
from cloaca.wire.text import encodable
from cloaca.wording import kinds_of

TaskFunction = Callable[..., Any]


def _leave_it(_error: BaseException | None) -> None:
    """Put nothing back."""


def unnoted(_noted: SpanNote) -> None:
    """Nobody is told of spans."""


def never_asked(_keys: tuple[str, ...], _rest: bool, _outcomes: bool) -> Slice:  # noqa: FBT001 - the shape of Ask
    """Asks for nothing: the slice is complete."""
    raise AssertionError("a complete slice is never asked about")


def run(
    assignment: Assignment,
    load: Callable[[int], Any],
    reads: frozenset[str],
    ask: Ask,
    meter: Meter,
    folders: tuple[str, ...] = (),
    left: Callable[[BaseException | None], None] = _leave_it,
    kind: type[Context] = Context,
    seeding: Callable[[], Seeding | Unseeded] = of_process,
    note: Callable[[SpanNote], None] = unnoted,
) -> Done | Failed | Skipped:
    """Run the assignment's function on its slice; whatever it raises becomes a `Failed`.

    `load` gives what was published under a number: the function, its condition, or the workflow's rules. Large values
    are written to files in `folders`, if there are any. `left` is told when the function has ended, and what it raised,
    if anything: it puts back what was left changed, before anything else is done for the report, as alarms that a task
    has set must not go off in what follows; and it ends a process that the function forked. `kind` is that of the
    context which the function is given; `seeding` gives what seeds the process. `note` takes what the function tells of
    its span.
    """
    meter.start()
    shelf = Shelf(folders, assignment.attempt) if folders else None
    contents = None
    try:
        rules = load(assignment.rules) if assignment.rules else Rules()
        origin = (assignment.seed, assignment.ended)
        contents = contents_kind(assignment)(
            assignment.slice, assignment.task, rules, covered=reads, ask=ask, shelf=shelf, origin=origin
        )
        if assignment.condition and (reason := refusal(assignment, load, contents, seeding)) is not None:
            left(None)
            return Skipped(assignment.attempt, reason, meter.stop(contents.traffic))
        contents.demand_agreement(assignment.agreed)
        if assignment.prefix:
            contents.enter(assignment.prefix)
        generators = seeding()
        if assignment.fingerprint and is_held(assignment, load, contents, generators):
            left(None)
            return held(assignment.attempt, contents, meter, generators)
        contents.slots = assignment.slots
        context = over(contents, kind)
        function = load(assignment.function)
        generators.begin(assignment.seed, assignment.task, assignment.ended)
        variables, items = own_variables(), assignment.items
        if assignment.traced is not None:
            from cloaca.attempts.span import enter  # few are

            variables.run(enter, assignment, note)
        given = () if items is None else given_for(context, items)
        returned = variables.run(function, context, *given)
        if returned is not None and returned is not context:
            take_over(context, returned, variables)
        left(None)
        diff = changes_of(context, assignment, function)
        written = diff.values() if contents.items is None else contents.items.payloads
        if shelf is not None:
            shelf.keep(written)
        settled = None if assignment.items is not None else contents.handed_back()
        usage = meter.stop(contents.traffic, written)
        looked = contents.looked(has_drawn=generators.has_drawn) if assignment.noting is not None else None
        return Done(assignment.attempt, diff, usage, settled, contents.items, looked)
    except BaseException as error:  # noqa: BLE001 - sys.exit and Ctrl-C of a task end the task, not the worker
        return broken_off(assignment.attempt, error, contents, shelf, meter, left)


def contents_kind(assignment: Assignment) -> type[Contents]:
    """The class of what an attempt sees: where its run is recorded, that notes what is looked at."""
    return _recorded() if assignment.noting is not None else Contents


@cache
def _recorded() -> type[Contents]:
    from cloaca.tasks.recorded import RecordedContents  # most runs aren't

    return RecordedContents


def given_for(context: Context, items: Items, place: int = 0) -> tuple[Any, ...]:
    """What the function of an instance is called with, beside the context."""
    if items.are_seen:
        contents_of(context).stand_for_item(items, place)
        return ()
    value = contents_of(context).item(items, place)
    if isinstance(context, Watched):
        context.call_with_item(value, items.payloads[place])
    return (value,)


def changes_of(context: Context, assignment: Assignment, function: TaskFunction) -> dict[str, bytes | None]:
    """What a task, or an instance, has set and removed, as it is called outside."""
    contents = contents_of(context)
    if isinstance(context, Watched):
        context.tell_lost_changes(contents.writer, function)
    if assignment.items is not None and assignment.items.are_seen:
        return _changes_in_copy(contents, assignment.prefix)
    diff = contents.diff() if assignment.items is None else contents.changes
    return Scope(assignment.prefix).left(diff) if assignment.prefix else diff


def _changes_in_copy(contents: Contents, prefix: str) -> dict[str, bytes | None]:
    """The same in a copy that is made for an item; what it has set to what was there is told apart."""
    changes, diff = dict(contents.changes), contents.diff()
    unchanged = [(key, payload) for key, payload in changes.items() if key not in diff and payload is not None]
    return {**Scope(prefix).left(diff), **{UNCHANGED + prefix + key: payload for key, payload in unchanged}}


def refusal(
    assignment: Assignment, load: Callable[[int], Any], contents: Contents, seeding: Callable[[], Seeding | Unseeded]
) -> str | None:
    """Why the task's condition doesn't hold; `None`: it does. Values run their own code, seeded like a task's."""
    from cloaca.attempts import gate

    condition = load(assignment.condition)
    seeding().begin(assignment.seed, assignment.task, assignment.ended)
    reason = own_variables().run(gate.refusal, assignment, condition, contents)
    return None if reason is None else encodable(reason)


def is_held(
    assignment: Assignment, load: Callable[[int], Any], contents: Contents, seeding: Seeding | Unseeded, place: int = 0
) -> bool:
    """Whether an earlier attempt stands for this one, as the task's fingerprint comes to the same; seeded as above."""
    from cloaca.attempts import fingerprint  # few tasks have one

    seeding.begin(assignment.seed, contents.writer, assignment.ended)
    return own_variables().run(fingerprint.is_met, assignment, load, contents, place)


def held(attempt: int, contents: Contents, meter: Meter, seeding: Seeding | Unseeded) -> Done:
    """The report that an earlier attempt stands for this one: the function wasn't called."""
    usage = meter.stop(contents.traffic)
    return Done(attempt, {}, usage, looked=contents.looked(has_drawn=seeding.has_drawn), is_held=True)


def own_variables() -> Variables:
    """Context variables for one attempt: what it sets in them, as the precision of `decimal`, ends with it."""
    variables = copy_context()
    if variables:
        variables.run(_copy_decimal)
    return variables


def _copy_decimal() -> None:
    """Make a context of `decimal` that may be changed in place."""
    setcontext(getcontext().copy())


def take_over(context: Context, returned: Any, variables: Variables) -> None:
    """Set what a task has returned, or what comes of that."""
    if not isinstance(returned, _AT_ONCE):
        returned = _awaited(returned, variables)
    if returned is None or returned is context:
        return
    if isinstance(returned, Context):
        contents_of(context).adopt(contents_of(returned))
    elif isinstance(returned, Mapping):
        for key, value in returned.items():
            context.set(key, value)
    else:
        raise TypeError(
            f"A task returns None, its context, or a mapping of updates, not {type(returned).__name__}. "
            "To hand on a value, use context.set(key, value)."
        )


_AT_ONCE = (type(None), Context, Mapping)


def _awaited(returned: Any, variables: Variables) -> Any:
    """What it comes to, where it is a coroutine or the like."""
    from inspect import isawaitable  # few tasks return anything else, and what follows takes long to load

    if not isawaitable(returned):
        return returned
    from cloaca.attempts.coroutines import finish  # asyncio takes longer to load than a worker to start

    return variables.run(finish, returned)


def broken_off(
    attempt: int,
    error: BaseException,
    contents: Contents | None,
    shelf: Shelf | None,
    meter: Meter,
    left: Callable[[BaseException | None], None],
    item: int = 0,
) -> Failed | Skipped:
    """The report that the function has raised this. First of all, what it left changed is put back."""
    try:
        left(error)
    except BaseException:  # noqa: BLE001 - an alarm of the task went off on the way there: the last one
        left(error)
    if shelf is not None:
        shelf.keep(())
    traffic = Traffic() if contents is None else contents.traffic
    usage = meter.stop(traffic)
    if isinstance(error, skips()):
        return Skipped(attempt, encodable(_text(error)), usage, item)
    lacking = 0 if shelf is None else shelf.lacked
    return failure(attempt, error, usage, tuple(traffic.absent), lacking, item)


def skips() -> tuple[type[BaseException], ...]:
    """The exceptions by which a task says that it is to be skipped: ours, and that of `pytest.skip`, if it is here."""
    pytest = sys.modules.get("pytest")
    skip = getattr(getattr(pytest, "skip", None), "Exception", Skip)
    return (Skip, skip)


def failure(
    attempt: int, error: BaseException, usage: Usage, absent: tuple[str, ...] = (), lacking: int = 0, item: int = 0
) -> Failed:
    """The report that the attempt has raised this."""
    explain(error)
    frames = users_traceback(error)
    return Failed(
        attempt,
        type(error).__name__,
        encodable(_text(error)),
        encodable("".join(traceback.format_exception(error.with_traceback(frames)))),
        _pickled(error),
        usage,
        kinds_of(type(error)),
        _notes(error),
        encodable(_place(frames)),
        absent,
        lacking,
        item,
    )


def _place(frames: TracebackType | None) -> str:
    """The innermost line that is neither of an installed package, of Python's own library nor of cloaca."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(frames) if not _is_cloacas(frame)]
    file, line = next(((file, line) for file, line in reversed(lines) if not _is_installed(file)), ("", 0))
    return f"{file}:{line}" if file else ""


def _is_cloacas(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("cloaca.")


def _is_installed(file: str) -> bool:
    return file.startswith((_LIBRARY, "<frozen ")) or any(part in file for part in _INSTALLED)


_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - a broken __str__ must not hide the error itself, nor end the worker
        return f"(its text can't be shown: {type(second).__name__})"


def _notes(error: BaseException) -> tuple[str, ...]:
    notes = getattr(error, "__notes__", ())
    return tuple(encodable(note) for note in notes if isinstance(note, str)) if isinstance(notes, list) else ()


def _pickled(error: BaseException) -> bytes | None:
    try:
        return encode(error)
    except BaseException:  # noqa: BLE001 - its text and traceback travel all the same
        return None
