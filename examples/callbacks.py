"""Reports for five shops, with progress on the way, and word of what goes wrong.

    amsterdam, berlin, cairo, delhi, essen ---> summary

Tasks run in worker processes; what shows their progress and sends word of failures is called in this one. The line of
one shop is down at first: it is tried again. That of another one stays down: the summary goes without it. What is
told while tasks run comes in the order in which they end.

    $ python examples/callbacks.py
    1 of 6 done
    to the operator: berlin, ConnectionError: the line is down
    2 of 6 done
    3 of 6 done
    to the operator: essen, ConnectionError: the line is down
    4 of 6 done
    to the operator: essen, ConnectionError: the line is down
    5 of 6 done

    the run has ended: Failed
    to the operator: Task 'essen' failed: ConnectionError: the line is down (examples/callbacks.py:70)
    amsterdam 9, berlin 6, cairo 5, delhi 5
"""

import tempfile
from pathlib import Path

import cloaca

SHOPS = ("amsterdam", "berlin", "cairo", "delhi", "essen")


class Progress:
    """Shows how many tasks have ended well."""

    def __init__(self, total):
        """Of `total` tasks."""
        self.total = total
        self.done = 0

    def __call__(self, task_id, context):
        """Count one more."""
        self.done += 1
        print(f"{self.done} of {self.total} done")


def send_word(text):
    """Here an e-mail would be sent. If that fails, it is logged, and the run goes on."""
    print(f"to the operator: {text}")


def failed(task_id, error, context):
    """Send word of a try that failed."""
    send_word(f"{task_id}, {error}")


def ended(result):
    """Send word of the end, if it isn't a good one."""
    print(f"\nthe run has ended: {result.status}")
    if result.error_message:
        send_word(result.error_message)


def shop_task(shop, marks):
    """The task that reads one shop's sales: the first try finds no line to Berlin, and none ever finds one to Essen."""

    def read_sales(context):
        mark = marks / shop
        if shop == "essen" or (shop == "berlin" and not mark.exists()):
            mark.touch()
            raise ConnectionError("the line is down")
        context.set("sales", {shop: len(shop)})

    return read_sales


def define(marks):
    """The workflow; the folder `marks` is where the shops note that they were asked."""
    progress = Progress(total=len(SHOPS) + 1)
    with cloaca.WorkflowBuilder("shops", on_complete=ended) as builder:
        for shop in SHOPS:
            cloaca.task(id=shop, on_success=progress, on_failure=failed, retry_attempts=2, retry_delay_ms=1)(
                shop_task(shop, marks)
            )

        @cloaca.task(dependencies=SHOPS, on_success=progress)
        def summary(context):
            context.set("summary", ", ".join(f"{shop} {sold}" for shop, sold in context["sales"].items()))

    return builder.build()


def main():
    """Run it."""
    with tempfile.TemporaryDirectory() as marks, cloaca.DefaultRunner() as runner:
        result = runner.execute(define(Path(marks)).name)
        print(result.final_context["summary"])


if __name__ == "__main__":
    main()
