"""Advice: what would make a run shorter, where its figures say so."""

from collections.abc import Iterator
from statistics import median

from cloaca.account.account import Account
from cloaca.account.told import duration, names, share

MANY = 500
TINY_SECONDS = 0.0002
WORTH_A_WORD = 0.05
"""Seconds that an execution takes at least for which there is any advice but that on tiny tasks."""

LARGEST_SHARE = 0.5
LITTLE = 0.25


def advice(account: Account) -> Iterator[str]:
    """One sentence for each thing that stands out."""
    if not account.spans:
        return
    yield from _on_tiny_tasks(account)
    if account.seconds >= WORTH_A_WORD:
        yield from _on_what_bounds_it(account)
        yield from _on_starting(account)
        yield from _on_waiting(account)


def _on_tiny_tasks(account: Account) -> Iterator[str]:
    own = [span.seconds for span in account.spans if span.item is None]
    if len(own) < MANY or (typical := median(own)) > TINY_SECONDS:
        return
    yield (
        f"{len(own):,} tasks take {duration(typical)} each, at the median: to hand one over costs about as much. "
        "Make them the items of one task (for_each), or do more in each."
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
