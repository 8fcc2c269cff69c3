"""Pages are fetched many at a time, and computed on every core.

    fetch ---> count_0, count_1, count_2, count_3 ---> report

Waiting and computing want different things. `fetch` is one task that waits for forty answers at once, in an event
loop of its own; the counts are tasks of their own, each in a worker. There is no network here: the answers are made up.

    $ python examples/async_downloads.py
    fetched 40 pages, 40 at a time
    4 counts
    the 1,580 words have 7,900 letters
"""

import asyncio

import cloaca

PAGES = 40
PARTS = 4


async def fetch_page(number, under_way):
    """A page that takes its time."""
    under_way.append(number)
    await asyncio.sleep(0.01)
    return " ".join(["words"] * (number + 20))


def count_task(part):
    """The task that counts a part of the pages."""

    def count(context):
        pages = context["pages"][part::PARTS]
        words = [word for page in pages for word in page.split()]
        context.set("words", len(words))
        context.set("letters", sum(map(len, words)))
        context.set("counts", [part])

    return count


RULES = {"words": cloaca.merge.sum, "letters": cloaca.merge.sum, "counts": cloaca.merge.concat}

with cloaca.WorkflowBuilder("downloads", merge=RULES) as builder:

    @cloaca.task(timeout=60, retry_attempts=3, retry_condition="transient")
    async def fetch(context):
        """Fetch all pages side by side. One that fails ends the others, and the task is tried again."""
        under_way = []
        async with asyncio.TaskGroup() as group:
            pages = [group.create_task(fetch_page(number, under_way)) for number in range(context["count"])]
            await asyncio.sleep(0)
            most = len(under_way)
        context.set("pages", [page.result() for page in pages])
        context.set("most", most)

    counts = [cloaca.task(id=f"count_{part}", dependencies=[fetch])(count_task(part)) for part in range(PARTS)]

    @cloaca.task(dependencies=counts)
    def report(context):
        """Put everything into a text."""
        lines = [
            f"fetched {len(context['pages'])} pages, {context['most']} at a time",
            f"{len(context['counts'])} counts",
            f"the {context['words']:,} words have {context['letters']:,} letters",
        ]
        context.set("report", "\n".join(lines))


def main():
    """Run it."""
    with cloaca.DefaultRunner() as runner:
        result = runner.execute("downloads", cloaca.Context({"count": PAGES}))
    result.raise_for_status()
    print(result.final_context["report"])


if __name__ == "__main__":
    main()
