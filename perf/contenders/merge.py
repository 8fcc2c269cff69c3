"""The first look at a list to which every branch of a fan-in has appended: that is when it is merged."""

from itertools import islice

from perf.stopwatch import Figures, main, timed

import cloaca
from cloaca.values.codec import decode, encode


def with_cloaca(branches: int, workers: int) -> Figures:
    with cloaca.WorkflowBuilder("fan-in"):
        for number in range(branches):
            cloaca.task(id=f"branch {number}")(appending(number))
    with cloaca.DefaultRunner(workers=workers) as runner:
        while True:
            result = runner.execute("fan-in", cloaca.Context({"rows": []}))
            yield from islice(timed(lambda: result.final_context["rows"], lambda rows: len(rows) == branches), 1)  # noqa: B023


def appending(number):
    return lambda context: context.set("rows", [*context["rows"], number])


def by_decoding(branches: int) -> Figures:
    """No merge, but what comes before any: every branch's list is decoded."""
    payloads = [encode([number]) for number in range(branches)]
    yield from timed(lambda: [decode(payload) for payload in payloads], lambda lists: len(lists) == branches)


if __name__ == "__main__":
    main()
