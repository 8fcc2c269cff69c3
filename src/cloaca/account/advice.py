"""Advice: what would make a run shorter, where its figures say so."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median

from cloaca.account.account import Account
from cloaca.account.spans import Span
from cloaca.account.told import duration, names, share
from cloaca.wording import counted

MANY = 500
TINY_SECONDS = 0.0002
WORTH_A_WORD = 0.05
"""Seconds that an execution takes at least for which there is any advice but that on tiny tasks."""

MANY_ITEMS = 10_000
TINY_ITEM_SECONDS = 0.00001

LARGEST_SHARE = 0.5
LITTLE = 0.25
NOTED_SHARE = 0.1
MOST_NAMED = 3


def advice(account: Account) -> Iterator[str]:
    """One sentence for each thing that stands out."""
    if not account.spans:
        return
    yield from _on_tiny_tasks(account)
    yield from _on_tiny_items(account)
    if account.seconds >= WORTH_A_WORD:
        yield from _on_what_bounds_it(account)
        yield from _on_starting(account)
        yield from _on_waiting(account)
        yield from _on_importing(account)
        yield from _on_encoding(account)


def _on_tiny_tasks(account: Account) -> Iterator[str]:
    own = [span.seconds for span in account.spans if span.item is None]
    if len(own) < MANY or (typical := median(own)) > TINY_SECONDS:
        return
    yield (
        f"{len(own):,} tasks take {duration(typical)} each, at the median: to hand one over costs about as much. "
        "Make them the items of one task (for_each), or do more in each."
    )


def _on_tiny_items(account: Account) -> Iterator[str]:
    by_task: defaultdict[str, list[float]] = defaultdict(list)
    for span in account.spans:
        if span.item is not None:
            by_task[span.task].append(span.seconds)
    for task, seconds in by_task.items():
        if len(seconds) >= MANY_ITEMS and (typical := median(seconds)) <= TINY_ITEM_SECONDS:
            yield (
                f"{len(seconds):,} items of task {task!r} take {duration(typical)} each, at the median: to hand one "
                "over costs about as much. Let an item be several of them, as a list of a hundred."
            )


def _on_what_bounds_it(account: Account) -> Iterator[str]:
    """Where the critical path takes most of the time, and more workers would not help."""
    path, seconds, workers = account.critical_path, account.seconds, account.workers
    if workers == 1 or path.seconds < (1 - LITTLE) * seconds or account.work > (1 - LITTLE) * workers * seconds:
        return
    longest = max(path.spans, key=lambda span: span.seconds)
    if longest.seconds >= LARGEST_SHARE * seconds:
        yield (
            f"Task {longest.name!r} takes {duration(longest.seconds)} of {duration(seconds)}, and no number of workers "
            "makes that shorter: split it, as by for_each."
        )
        return
    yield (
        f"{len(path.spans):,} tasks that wait for each other take {duration(path.seconds)} of {duration(seconds)} "
        f"({names(path.spans)}): more workers won't help. Let them depend on less, or split the longest."
    )


def _on_starting(account: Account) -> Iterator[str]:
    starting = account.idle.starting / account.workers
    if starting >= LARGEST_SHARE * account.seconds:
        yield (
            f"{duration(starting)} of {duration(account.seconds)} went by before the first task began: workers start "
            "once for a runner. Keep the runner for the next execution, or do more in this one."
        )


def _on_waiting(account: Account) -> Iterator[str]:
    if account.work >= LARGEST_SHARE * account.seconds and account.cpu < LITTLE * account.work:
        yield (
            f"Tasks computed for {share(account.cpu, account.work)} of the time that they took, and waited for the "
            "rest (files, network, locks): more workers than cores help there, or executor='threads'."
        )


def _on_importing(account: Account) -> Iterator[str]:
    """Where workers imported packages with functions, for long."""
    spans = [span for span in account.spans if span.imported]
    seconds = sum([span.loading for span in spans])
    if seconds < NOTED_SHARE * account.workers * account.seconds:
        return
    workers = {span.worker for span in spans}
    packages = [*dict.fromkeys(name for span in spans for name in span.imported)]
    said = ", ".join(packages[:MOST_NAMED]) + (", ..." if len(packages) > MOST_NAMED else "")
    took = duration(seconds / len(workers))
    yield (
        f"{counted(len(workers), 'worker')} imported {said} with functions, for {took} each: "
        "workers do so once for a runner. Keep the runner for the next execution, or import less there."
    )


def _on_encoding(account: Account) -> Iterator[str]:
    """Where much of the time goes into making values bytes, and back."""
    imported = sum([span.loading for span in account.spans if span.imported])
    spent = account.overhead.loading + account.overhead.encoding - imported
    if spent >= LITTLE * account.work:
        most = max(account.spans, key=_spent_on_values)
        yield (
            f"{share(spent, account.work)} of the tasks' time went into making values bytes, and back, most for "
            f"{most.name!r}: hand on arrays (of NumPy, or a DataFrame of such) rather than lists of objects, or less."
        )


def _spent_on_values(span: Span) -> float:
    return span.loading + span.encoding
