"""Trigger rules: whether a task may start, once all of its dependencies have ended.

A rule is evaluated exactly once, when the last dependency has ended, so its answer can't depend on timing. A task
without dependencies starts without being asked.
"""


def may_start(completed: int) -> bool:
    """The default rule, `all_done_min_one_success`: at least one dependency ended well.

    An aggregating task can so handle a partial failure, and a chain behind a failure is skipped instead of crashing
    task by task.
    """
    return completed > 0
