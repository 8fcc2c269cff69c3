"""What cloaca promises of executors, as tests: for whoever runs its tasks on an executor of their own.

pytest finds what a class inherits, so this is all that a file of tests needs:

    from cloaca.testing.conformance import Conformance

    class TestMyExecutor(Conformance):
        def executor(self, functions):
            return MyExecutor(workers=2)

`desk` holds each of these tests to the order of events, too: see `cloaca.testing.desk`.
"""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Executor as Futures
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread, get_ident
from typing import Any, cast

from msgspec.structs import replace

from cloaca.attempts.workroom import Workroom
from cloaca.execution import choice
from cloaca.execution.executor import Executor
from cloaca.tasks.context import Context
from cloaca.testing.demand import demand, same
from cloaca.testing.desk import Desk, EndOfAttempt, Fingerprinted, published, written
from cloaca.triggers.condition import Condition, all_of, context_value, task_skipped, task_success
from cloaca.values.codec import decode, encode
from cloaca.wire.messages import Done, Failed, Items, Looked, Outcome, Skipped, Started, Wants

TaskOfContext = Callable[[Context], object]

_LARGE = 5_000_000


class Conformance:
    """What every executor promises. Inherit from it, and say which one is yours."""

    def executor(self, functions: Mapping[int, Any]) -> Executor | Futures | Callable[[], Futures]:
        """What a runner takes as its `executor`: one of `concurrent.futures`, or a function that makes one.

        Or one that keeps the contract of `cloaca.execution.executor` itself. `functions` are what it will be told to
        run, by number; they are published to it as well.
        """
        raise NotImplementedError

    @contextmanager
    def desk(
        self, *functions: TaskOfContext, condition: Condition | None = None, late: int = 0, **facts: Any
    ) -> Generator[Desk, None, None]:
        """A desk at an executor that knows these, by their place, and the condition after them.

        So many of the last ones aren't published: they come `late`.
        """
        known: list[Any] = [*functions] if condition is None else [*functions, condition]
        numbered = dict(enumerate(known))
        with Desk(_adapted(self.executor(numbered), numbered), **facts) as desk:
            desk.executor.publish(published(*known[: len(known) - late]))
            yield desk

    # ---- one end for each attempt ----------------------------------------------------------------------------------

    def test_an_attempt_starts_and_then_is_done(self) -> None:
        with self.desk(lambda context: context.set("answer", 42)) as desk:
            same([written(end) for end in desk.run([0])], [{"answer": 42}])
            told = [type(event) for event in desk.events if not isinstance(event, Wants)]
            demand(told in ([Started, Done], [Done]), f"a start and an end should be told, not {told}")

    def test_many_small_assignments_in_one_submit_each_end_once(self) -> None:
        with self.desk(lambda context: context.set("twice", 2 * context["n"])) as desk:
            attempts = [desk.submit([0], n=n)[0] for n in range(50)] + desk.submit([0] * 500, n=50)
            desk.collect()
            found = [written(desk.ends[attempt])["twice"] for attempt in attempts]
            same(found, [2 * min(n, 50) for n in range(550)])

    def test_a_function_is_called_with_the_item_that_its_attempt_is_for(self) -> None:
        def tell(context: Context, *items: object) -> None:
            context.set("got", (items, context.item_key))

        with self.desk(tell) as desk:
            one = Items([encode({"x": (1, 2)})], [encode("north")], "rows", ("split",))
            sent = [one, Items([encode(None)]), None]
            attempts = [desk.submit([0], sent=item)[0] for item in sent]
            desk.collect()
            got = [written(desk.ends[attempt])["got"] for attempt in attempts]
            same(got, [(({"x": (1, 2)},), "north"), ((None,), None), ((), None)])

    def test_functions_are_published_once_and_used_by_many(self) -> None:
        with self.desk(*map(_setting, range(5))) as desk:
            same([written(end)["n"] for end in desk.run([0, 1, 2, 3, 4] * 10)], [0, 1, 2, 3, 4] * 10)

    def test_functions_may_be_published_later(self) -> None:
        functions = [*map(_setting, range(4))]
        with self.desk(*functions, late=3) as desk:
            desk.run([0])
            desk.executor.publish(published(*functions)[1:])
            same([written(end)["n"] for end in desk.run([3, 0, 1])], [3, 0, 1])

    def test_functions_that_were_retired_leave_the_others_alone(self) -> None:
        with self.desk(*map(_setting, range(4))) as desk:
            desk.run([0, 1])
            desk.executor.retire([0, 2])
            same([written(end)["n"] for end in desk.run([1, 3, 1])], [1, 3, 1])

    def test_what_is_reported_stays_as_it_was_reported(self) -> None:
        """Reports don't look into a buffer that is used again."""
        with self.desk(lambda context: context.set("copy", context["text"])) as desk:
            texts = [letter * 10_000 for letter in "abcdefgh"]
            attempts = [desk.submit([0], text=text)[0] for text in texts]
            desk.collect()
            same([written(desk.ends[attempt])["copy"] for attempt in attempts], texts)

    def test_large_values_pass_in_both_directions_at_once(self) -> None:
        """Two sides that each wait for the other to read would never end."""

        def answer(context: Context) -> None:
            context.set("back", context["asked"] + context["given"])

        with self.desk(answer, world={"asked": b"x" * _LARGE}) as desk:
            attempts = [desk.submit([0], given=bytes([n]) * _LARGE)[0] for n in range(6)]
            desk.collect()
            for n, attempt in enumerate(attempts):
                back = written(desk.ends[attempt])["back"]
                same((len(back), back[:1], back[-1]), (2 * _LARGE, b"x", n))

    def test_an_attempt_that_fails_tells_how(self) -> None:
        def fail(context: Context) -> None:
            context.set("unseen", 1)
            raise LookupError("not here")

        with self.desk(fail) as desk:
            failed = _failed(*desk.run([0]))
            same((failed.type_name, failed.text), ("LookupError", "not here"))
            demand('raise LookupError("not here")' in failed.traceback, f"the traceback is {failed.traceback}")
            same(failed.error and repr(decode(failed.error)), "LookupError('not here')")

    def test_how_an_attempt_ended_says_which_worker_ran_it(self) -> None:
        def tell(context: Context) -> None:
            context.set("here", (os.getpid(), get_ident()))

        with self.desk(tell) as desk:
            ends = [end for end in desk.run([0] * 20) if isinstance(end, Done)]
            found = {(written(end)["here"], end.usage.worker) for end in ends}
            same(len({here for here, _ in found}), len(found))
            same(len({worker for _, worker in found}), len(found))
            own = (os.getpid(), get_ident())
            same([here == own for here, _ in found], [worker == 0 for _, worker in found])
            reported = {end.attempt: end.usage.worker for end in ends}
            started = [event for event in desk.events if isinstance(event, Started)]
            same([event for event in started if event.worker not in (0, reported[event.attempt])], [])

    def test_a_failure_costs_one_attempt(self) -> None:
        with self.desk(lambda context: context.set("n", 1), lambda context: context["nothing"]) as desk:
            same([type(end) for end in desk.run([0, 1, 0, 1, 0])], [Done, Failed, Done, Failed, Done])

    def test_a_diff_holds_what_was_set_and_removed_and_nothing_else(self) -> None:
        def change(context: Context) -> None:
            context["read"].append(2)
            context.set("new", (1, 2))
            context.remove("old")
            context.remove("never there")

        with self.desk(change, world={"read": [1], "old": 1, "untouched": 0}) as desk:
            same([written(end) for end in desk.run([0])], [{"new": (1, 2), "old": None}])

    # ---- conditions ------------------------------------------------------------------------------------------------

    def test_an_attempt_begins_only_if_its_condition_holds(self) -> None:
        with TemporaryDirectory() as folder:
            trace = Path(folder) / "trace"

            def leave_a_trace(context: Context) -> None:
                with trace.open("a") as file:
                    file.write(f"{context['n']} ")

            with self.desk(leave_a_trace, condition=context_value("n", ">", 1)) as desk:
                attempts = [desk.submit([0], condition=1, n=n)[0] for n in (0, 2, 1)]
                desk.collect()
                same([type(desk.ends[attempt]) for attempt in attempts], [Skipped, Done, Skipped])
            same(trace.read_text(), "2 ")

    def test_an_attempt_that_is_skipped_tells_why(self) -> None:
        condition = all_of(task_success("before"), context_value("n", "equals", 1))
        with self.desk(lambda _: None, condition=condition, outcomes={"before": Outcome("Completed")}) as desk:
            (end,) = desk.run([0], condition=1, n=2)
            told = (end.reason, end.usage.read) if isinstance(end, Skipped) else end
            same(told, (f"its rule {condition} doesn't hold: 'n' is 2", ("n",)))

    def test_a_condition_is_told_how_tasks_ended(self) -> None:
        with self.desk(_setting(1), condition=task_skipped("before"), outcomes={"before": Outcome("Skipped")}) as desk:
            same([written(end) for end in desk.run([0], condition=1)], [{"n": 1}])

    def test_a_key_that_a_condition_names_and_that_was_not_sent_is_absent(self) -> None:
        with self.desk(_setting(1), condition=context_value("n", "not_exists")) as desk:
            same([written(end) for end in desk.run([0], condition=1)], [{"n": 1}])
            demand(all(wants.rest for wants in desk.answered), f"there was nothing to ask for: {desk.answered}")

    def test_a_condition_that_can_not_be_evaluated_fails_its_attempt(self) -> None:
        with self.desk(_setting(1), condition=context_value("n", "less_than", 3)) as desk:
            wrong, right = desk.submit([0], condition=1, n="two"), desk.submit([0], condition=1, n=2)
            desk.collect()
            same(_failed(desk.ends[wrong[0]]).type_name, "ConditionError")
            same(written(desk.ends[right[0]]), {"n": 1})

    # ---- reading ---------------------------------------------------------------------------------------------------

    def test_a_task_of_a_copy_calls_keys_and_tasks_by_the_rest_of_their_names(self) -> None:
        def read(context: Context) -> None:
            found = context["a"], context.get("b"), "c" in context, context.get("n")
            context.set("seen", (found, context.to_dict(), context.outcome("before").status))
            context.remove("a")

        outcomes = {"before": Outcome("Failed", "boom"), "x.before": Outcome("Completed")}
        with self.desk(read, world={"a": 0, "x.a": 1, "c": 3, "x.b": 2}, outcomes=outcomes) as desk:
            (end,) = desk.run([0], prefix="x.", n=4)
            expected = {"x.seen": ((1, 2, False, None), {"a": 1, "b": 2}, "Completed"), "x.a": None}
            same(written(end), expected)
            same(isinstance(end, Done) and end.usage.read, ("x.a", "x.b"))

    def test_a_task_reads_single_keys_all_keys_and_outcomes(self) -> None:
        def read(context: Context) -> None:
            found = context["a"], context.get("b"), context.get("absent"), "c" in context
            context.set("seen", (found, context.to_dict(), context.outcome("before").status))

        world: dict[str, Any] = {"a": 1, "b": [2], "c": {"d": 3}}
        with self.desk(read, world=world, outcomes={"before": Outcome("Failed", "boom")}) as desk:
            same([written(end)["seen"] for end in desk.run([0])], [((1, [2], None, True), world, "Failed")])

    def test_each_attempt_gets_the_answers_to_its_own_questions(self) -> None:
        def read(context: Context) -> None:
            context.set("seen", [context[f"key {context['n'] + i}"] for i in range(3)])

        with self.desk(read, world={f"key {n}": n for n in range(300)}) as desk:
            attempts = [desk.submit([0], n=n)[0] for n in range(200)]
            desk.collect()
            same([written(desk.ends[one])["seen"] for one in attempts], [[n, n + 1, n + 2] for n in range(200)])

    def test_an_executor_that_does_not_answer_never_asks(self) -> None:
        def read(context: Context) -> None:
            context.set("seen", (context["a"], len(context)))

        with self.desk(read, world={"a": 1, "b": 2}) as desk:
            same([written(end) for end in desk.run([0])], [{"seen": (1, 2)}])
            same(bool(desk.answered), desk.executor.answers, "whether it asked")

    # ---- what is recorded ------------------------------------------------------------------------------------------

    def test_an_attempt_tells_what_it_has_looked_at_where_it_is_recorded(self) -> None:
        def read(context: Context, *_item: object) -> None:
            context.set("seen", (context["a"], "b" in context, context.outcome("before").status, context.seed))

        with self.desk(read, world={"a": 1, "b": 2}, outcomes={"before": Outcome("Completed")}) as desk:
            sent = [None, Items([encode(None)], None, "rows")]
            told = [*self._looked(desk, sent, (0, b"")), *self._looked(desk, sent, None)]
            outside = Looked(("a",), ("b",), outcomes=("before",), seed=True)  # of an item, nothing is compared
            same(told, [replace(outside, values=("a", "seen")), outside, None, None])

    @staticmethod
    def _looked(desk: Desk, sent: Iterable[Items | None], recorded: Fingerprinted | None) -> list[Looked | None]:
        attempts = [desk.submit([0], sent=item, recorded=recorded)[0] for item in sent]
        desk.collect()
        return [_done(desk.ends[attempt]).looked for attempt in attempts]

    def test_a_task_whose_fingerprint_is_as_it_was_is_not_called(self) -> None:
        def fingerprint(context: Context, *item: object) -> object:
            return [context["a"], *item]

        def take(context: Context, *item: object) -> None:
            context.set("n", item)

        with self.desk(_setting(1), fingerprint, take, world={"a": 1}) as desk:
            for function, sent in ((0, None), (2, Items([encode("x")], None, "rows"))):
                (first,) = desk.submit([function], sent=sent, recorded=(1, b"another"))
                desk.collect()
                told = _done(desk.ends[first])
                demand(written(told) and told.looked is not None, f"it should have been called: {told}")
                unless = b"" if told.looked is None else told.looked.fingerprint
                (second,) = desk.submit([function], sent=sent, recorded=(1, unless))
                desk.collect()
                again = _done(desk.ends[second])
                same((again.diff, again.is_held), ({}, True))
                same(again.looked, Looked(("a",), fingerprint=unless, seed=bool(told.looked and told.looked.seed)))

    # ---- the rest of the calls -------------------------------------------------------------------------------------

    def test_every_cancelled_attempt_ends_once_however_far_it_was(self) -> None:
        with self.desk(_setting(1)) as desk:
            attempts = desk.submit([0] * 100)
            desk.until(Done)
            desk.executor.cancel(attempts, 0)
            desk.collect()
            same(sorted(desk.ends), attempts)

    def test_waiting_ends_without_events_when_nothing_happens(self) -> None:
        with self.desk(_setting(1)) as desk:
            same(list(desk.executor.wait(0)), [])
            desk.run([0])
            same(list(desk.executor.wait(0.01)), [])

    def test_waking_from_another_thread_ends_the_wait(self) -> None:
        with self.desk(_setting(1)) as desk:
            thread = Thread(target=desk.executor.wake)
            thread.start()
            same(list(desk.executor.wait(None)), [])
            thread.join()

    def test_waking_beforehand_ends_the_next_wait_however_often(self) -> None:
        with self.desk(_setting(1)) as desk:
            for _ in range(100_000):  # more than a pipe holds
                desk.executor.wake()
            same(list(desk.executor.wait(None)), [])
            same([type(end) for end in desk.run([0])], [Done])

    def test_closing_with_work_under_way_leaves_nothing_and_may_be_repeated(self) -> None:
        with self.desk(_setting(1)) as desk:
            desk.submit([0] * 1000)
            desk.step()
            for _ in range(2):
                desk.executor.close()

    def test_an_executor_that_was_never_used_closes(self) -> None:
        with self.desk(_setting(1)):
            pass

    def test_a_window_is_a_positive_number_of_attempts(self) -> None:
        with self.desk(_setting(1)) as desk:
            demand(desk.executor.window >= 1, f"the window is {desk.executor.window}")


def _adapted(given: Executor | Futures | Callable[[], Futures], functions: Mapping[int, Any]) -> Executor:
    """What a runner makes of it."""
    if hasattr(given, "window"):
        return cast("Executor", given)
    chosen = cast("choice.Chosen", given)
    return choice.on_provider(chosen, choice.workers_of(chosen), functions, Workroom(), Context, lambda: None)[0]


def _setting(n: int) -> TaskOfContext:
    """A function of its own that sets `n`."""
    return lambda context: context.set("n", n)


def _done(end: EndOfAttempt) -> Done:
    if not isinstance(end, Done):
        raise AssertionError(f"it should have ended well: {end}")
    return end


def _failed(end: EndOfAttempt) -> Failed:
    if not isinstance(end, Failed):
        raise AssertionError(f"it should have failed: {end}")
    return end
