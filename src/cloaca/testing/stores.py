"""What cloaca promises of stores, as tests: for whoever keeps records elsewhere.

pytest finds what a class inherits, so this is all that a file of tests needs:

    from cloaca.testing.stores import StoreConformance

    class TestMyStore(StoreConformance):
        def store(self, folder):
            return MyStore(folder)
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TypeVar

from msgspec.structs import replace

from cloaca.engine.looks import Looks
from cloaca.errors import (
    ClaimLostError,
    ExecutionClaimedError,
    StoreError,
    UnknownExecutionError,
    ValueLostError,
)
from cloaca.store.records import Code, Header, Problem, Record, StoredVersion, TaskRow
from cloaca.store.store import Claim, Listed, Store
from cloaca.store.took import Took
from cloaca.testing.demand import demand, same

_Error = TypeVar("_Error", bound=Exception)

TASKS: tuple[str, ...] = ("load", "clean", "report")
"""The tasks of the executions that these tests make, in order."""


def header(id: str, began: float = 1.0, workflow: str = "sales") -> Header:
    """How an execution begins that has nothing special."""
    inputs = {"year": StoredVersion("", b"\xcd\x07\xea"), "gone": StoredVersion("", None)}
    rows = tuple(TaskRow(task, (place - 1,) if place else ()) for place, task in enumerate(TASKS))
    rules = {"total": b"rule"}
    return Header(id, workflow, began, seed=2**62, inputs=inputs, tasks=rows, python="3.11", rules=rules)


def record(task: str, code: bytes = b"", state: str = "Completed", item: int | None = None, nth: int = 1) -> Record:
    """What became of an attempt."""
    looks = Looks({"year": b"y" * 16}, {"rows": False}, seed=7)
    return Record(
        TASKS.index(task), item, state, nth, 5.25, diff={"rows": b"\x01", "old": None}, code=code, looks=looks
    )


def timed(task: str, seconds: float, state: str = "Completed", item: int | None = None) -> Record:
    """What became of an attempt that took so long."""
    return replace(record(task, state=state, item=item), figures=(10.0, 10.0 + seconds, 0.0, 0, 0, 0, 0, 1))


def digest_of(content: bytes) -> bytes:
    """What stands for a value in these tests."""
    return content[:16].ljust(16, b".")


class StoreConformance:
    """What every store promises. Inherit from it, and say which one is yours."""

    def store(self, folder: Path) -> Store:
        """One that is empty. `folder` is empty, too, and goes after the test."""
        raise NotImplementedError

    @contextmanager
    def open(self) -> Generator[Store, None, None]:
        """A store of these tests."""
        with TemporaryDirectory() as folder:
            store = self.store(Path(folder))
            try:
                yield store
            finally:
                store.close()

    # ---- what was written is read ----------------------------------------------------------------------------------

    def test_an_execution_is_read_as_it_was_written(self) -> None:
        problem = Problem("Failed", "no", b"report")
        written = [
            record("load", b"code of load"),
            record("clean", b"c", "Expanded"),
            record("clean", b"c", item=1, nth=3),
            Record(2, None, "Failed", 2, 1e9, 1, problem=problem, why="never ran"),
            Record(2, None, "Completed", 3, 1e9, items=(b"1", b"2"), labels=("a", "b"), item_keys=(b"a", b"b"), size=2),
            Record(
                2,
                None,
                "Completed",
                3,
                1e9,
                settled={"a": StoredVersion("x", b"1", rivals=(StoredVersion("y", None),))},
            ),
        ]
        with self.open() as store:
            claim = store.create(header("a"))
            store.append(claim, written[:2])
            store.append(claim, written[2:])
            same(store.header("a"), header("a"))
            same([*store.records("a")], written)

    def test_an_execution_without_records_has_none(self) -> None:
        with self.open() as store:
            store.append(store.create(header("a")), [])
            same([*store.records("a")], [])

    def test_an_execution_is_created_once(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            raises(StoreError, lambda: store.create(header("a", 2.0)))
            store.append(claim, [record("load")])
            same(store.header("a").began, 1.0)

    def test_records_can_be_read_while_others_come(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            store.append(claim, [record("load")])
            reading = store.records("a")
            same(next(reading), record("load"))
            store.append(claim, [record("clean")])
            demand([*reading] in ([], [record("clean")]), "what came meanwhile is there, or isn't")

    def test_codes_are_found_by_digest(self) -> None:
        first, second = Code(b"1" * 16, {"f": b"x" * 16}), Code(b"2" * 16)
        with self.open() as store:
            claim = store.create(header("a"))
            store.append(claim, [], [first])
            store.append(claim, [], [first, second])
            same(store.codes([b"2" * 16, b"1" * 16, b"3" * 16]), {b"1" * 16: first, b"2" * 16: second})
            same(store.codes([b"1" * 16]), {b"1" * 16: first})
            same(store.codes([]), {})

    # ---- lists -----------------------------------------------------------------------------------------------------

    def test_executions_are_listed_the_newest_first(self) -> None:
        with self.open() as store:
            for id, began, workflow in [("a", 2.0, "sales"), ("b", 1.0, "stock"), ("c", 3.0, "sales")]:
                store.create(header(id, began, workflow))
            same([one.id for one in store.entries()], ["c", "a", "b"])
            same([one.id for one in store.entries("sales")], ["c", "a"])
            same(store.entries("b"), [])

    def test_an_execution_is_listed_with_how_it_ended(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            same(store.entries(), [Listed("a", "sales", "Running", 1.0)])
            store.end(claim, "Failed", 9.5)
            same(store.entries(), [Listed("a", "sales", "Failed", 1.0, 9.5)])
            same([one.id for one in store.entries(status="Failed")], ["a"])
            same(store.entries(status="Running"), [])

    def test_an_unknown_execution_is_told_with_near_names(self) -> None:
        with self.open() as store:
            store.create(header("sales-2026-a"))
            asking: list[Callable[[], object]] = [
                lambda: store.header("sales-2026-b"),
                lambda: store.records("sales-2026-b"),
                lambda: store.claim("sales-2026-b"),
                lambda: store.remove(["sales-2026-b"]),
            ]
            for ask in asking:
                error = raises(UnknownExecutionError, ask)
                same(error.close, ("sales-2026-a",))

    # ---- claims ----------------------------------------------------------------------------------------------------

    def test_an_execution_that_is_under_way_is_claimed_by_nobody_else(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            raises(ExecutionClaimedError, lambda: store.claim("a"))
            raises(ExecutionClaimedError, lambda: store.remove(["a"]))
            store.beat(claim)
            store.append(claim, [record("load")])

    def test_an_execution_that_has_ended_can_be_gone_on_with(self) -> None:
        with self.open() as store:
            first = store.create(header("a"))
            store.append(first, [record("load")])
            store.end(first, "Failed", 2.0)
            second = store.claim("a")
            same(store.entries(), [Listed("a", "sales", "Running", 1.0)])
            store.append(second, [record("clean")])
            same([*store.records("a")], [record("load"), record("clean")])

    def test_a_claim_that_has_ended_writes_nothing_more(self) -> None:
        with self.open() as store:
            first = store.create(header("a"))
            store.end(first, "Failed", 2.0)
            self._is_lost(store, first)
            store.claim("a")
            self._is_lost(store, first)
            self._is_lost(store, Claim("never created", 1))
            same([*store.records("a")], [])

    def _is_lost(self, store: Store, claim: Claim) -> None:
        writing: list[Callable[[], object]] = [
            lambda: store.append(claim, [record("load")]),
            lambda: store.beat(claim),
            lambda: store.end(claim, "Completed", 3.0),
            lambda: store.put(claim, [b"value"], b"v" * 16),
            lambda: store.hold(claim, []),
        ]
        for write in writing:
            raises(ClaimLostError, write)

    # ---- values ----------------------------------------------------------------------------------------------------

    def test_a_value_lies_in_a_file_of_its_own(self) -> None:
        content = b"abc" * 50_000
        with self.open() as store:
            claim = store.create(header("a"))
            path = store.put(claim, [content[:7], b"", memoryview(content)[7:]], digest_of(content))
            same(Path(path).read_bytes(), content)
            same(store.path(digest_of(content)), path)
            same(Path(path).stat().st_mode & 0o777, 0o600)

    def test_a_value_of_a_file_is_copied(self) -> None:
        content = b"abc" * 50_000
        with self.open() as store, TemporaryDirectory() as folder:
            source = Path(folder) / "value"
            source.write_bytes(content)
            path = store.put_file(store.create(header("a")), str(source), digest_of(content))
            source.unlink()
            same(Path(path).read_bytes(), content)
            same(Path(path).stat().st_mode & 0o777, 0o600)

    def test_a_value_is_written_once_however_many_hold_it(self) -> None:
        content = b"abc" * 50_000
        with self.open() as store:
            paths = {store.put(store.create(header(id)), [content], digest_of(content)) for id in "abc"}
            same(len(paths), 1)
            (path,) = map(Path, paths)
            before = path.stat()
            store.put(store.create(header("d")), [content], digest_of(content))
            same((path.stat().st_ino, path.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))

    def test_a_value_that_is_gone_or_cut_short_is_told(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            cut, gone = store.put(claim, [b"1" * 99], b"1" * 16), store.put(claim, [b"2" * 99], b"2" * 16)
            Path(cut).write_bytes(b"1" * 98)
            Path(gone).unlink()
            same(raises(ValueLostError, lambda: store.path(b"1" * 16)).file, cut)
            same(raises(ValueLostError, lambda: store.path(b"2" * 16)).file, gone)
            raises(ValueLostError, lambda: store.path(b"3" * 16))
            raises(ValueLostError, lambda: store.hold(claim, [b"2" * 16]))
            raises(ValueLostError, lambda: store.hold(claim, [b"3" * 16]))

    def test_a_value_that_is_gone_or_cut_short_is_mended_by_putting_it_again(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            path = Path(store.put(claim, [b"1" * 99], b"1" * 16))
            for spoil in (path.unlink, lambda: path.write_bytes(b"1")):
                spoil()
                same(store.put(claim, [b"1" * 99], b"1" * 16), str(path))
                same(Path(store.path(b"1" * 16)).read_bytes(), b"1" * 99)

    # ---- how long it took ------------------------------------------------------------------------------------------

    def test_what_tasks_took_is_told_by_the_newest_execution_that_completed(self) -> None:
        with self.open() as store:
            same(store.took("sales"), {})
            for id, status, seconds in [("a", "Completed", 1.0), ("b", "Completed", 2.0), ("c", "Failed", 3.0)]:
                claim = store.create(header(id))
                store.append(claim, [timed("load", seconds), timed("load", 9.0, "Failed"), timed("clean", 1.0, item=0)])
                store.append(claim, [timed("clean", 3.0, item=1), record("report"), timed("clean", 9.0)])
                same(store.took("stock"), {})
                store.end(claim, status, 2.0)
            store.create(header("d"))
            same(store.took("sales"), {"load": Took(2.0), "clean": Took(2.0, 2)})
            store.remove(["a", "b"])
            same(store.took("sales"), {"load": Took(3.0), "clean": Took(2.0, 2)})

    # ---- reuse -----------------------------------------------------------------------------------------------------

    def test_completed_attempts_of_the_same_code_are_found(self) -> None:
        with self.open() as store:
            claim = store.create(header("a"))
            wanted = [record("load", b"1"), record("clean", b"2", "Expanded"), record("clean", b"2", item=0)]
            store.append(claim, [wanted[0], record("report", b"other"), wanted[1], record("clean", b"2", "Failed", 1)])
            store.append(claim, [wanted[2], record("load"), record("report", b"3", "Skipped")])
            codes = {"load": b"1", "clean": b"2", "report": b"3", "nobody": b"1"}
            same([*store.holding("sales", codes)], [(header("a"), {"load": wanted[:1], "clean": wanted[1:]})])
            same([*store.holding("stock", codes)], [])
            same([*store.holding("sales", {})], [])

    def test_the_newest_attempt_of_each_task_is_found_before_older_ones(self) -> None:
        with self.open() as store:
            for id, tasks in [("a", "load clean"), ("b", "load"), ("c", "clean report"), ("d", "load")]:
                claim = store.create(header(id))
                store.append(claim, [record(task, b"1") for task in tasks.split()])
                store.end(claim, "Completed", 2.0)
            codes = dict.fromkeys(TASKS, b"1")
            found = [(told.id, " ".join(by_task)) for told, by_task in store.holding("sales", codes)]
            same(found, [("d", "load"), ("c", "clean report"), ("b", "load"), ("a", "clean"), ("a", "load")])

    def test_what_needs_no_more_is_not_looked_for(self) -> None:
        with self.open() as store:
            for id in "abc":
                store.append(store.create(header(id)), [record(task, b"1") for task in TASKS])
            codes = dict.fromkeys(TASKS, b"1")
            found = []
            for told, by_task in store.holding("sales", codes):
                found.append((told.id, [*by_task]))
                codes.pop("report" if told.id == "c" else "load", None)
            same(found, [("c", [*TASKS]), ("b", ["load", "clean"]), ("a", ["clean"])])

    # ---- forgetting ------------------------------------------------------------------------------------------------

    def test_what_is_removed_is_gone_and_the_rest_stays(self) -> None:
        with self.open() as store:
            for id in "ab":
                claim = store.create(header(id))
                store.append(claim, [record("load", b"1")], [Code(b"1", {})])
                store.end(claim, "Completed", 2.0)
            store.remove(["a"])
            raises(UnknownExecutionError, lambda: store.records("a"))
            same([told.id for told, _ in store.holding("sales", {"load": b"1"})], ["b"])
            same([*store.records("b")], [record("load", b"1")])
            same([*store.codes([b"1"])], [b"1"])

    def test_nothing_is_removed_where_one_of_them_can_not_be(self) -> None:
        with self.open() as store:
            store.end(store.create(header("a")), "Completed", 2.0)
            store.create(header("b"))
            raises(ExecutionClaimedError, lambda: store.remove(["a", "b"]))
            raises(UnknownExecutionError, lambda: store.remove(["a", "c"]))
            same(sorted(one.id for one in store.entries()), ["a", "b"])

    def test_values_go_with_the_last_execution_that_holds_them(self) -> None:
        with self.open() as store:
            own, both, held = ((letter * 70_000, digest_of(letter * 16)) for letter in (b"1", b"2", b"3"))
            claims = [store.create(header(id)) for id in "ab"]
            for content, digest in (own, both, held):
                store.put(claims[0], [content], digest)
            store.put(claims[1], [both[0]], both[1])
            store.hold(claims[1], [held[1]])
            for claim in claims:
                store.end(claim, "Completed", 2.0)
            paths = [Path(store.path(digest)) for _, digest in (own, both, held)]
            demand(store.remove(["a"]) >= len(own[0]), "as many bytes are free")
            same([path.exists() for path in paths], [False, True, True])
            raises(ValueLostError, lambda: store.path(own[1]))
            demand(store.remove(["b"]) >= 2 * len(own[0]), "as many bytes are free")
            same([path.exists() for path in paths], [False, False, False])

    # ---- threads ---------------------------------------------------------------------------------------------------

    def test_many_threads_may_use_it_at_once(self) -> None:
        with self.open() as store:
            claims = [store.create(header(str(n))) for n in range(4)]

            def write(claim: Claim) -> None:
                for n in range(25):
                    store.append(claim, [record("load", b"1", item=n)])
                    store.put(claim, [b"%d" % n * 100], b"%16d" % n)
                    demand(len([*store.records(claim.execution)]) == n + 1, "what was appended is there")

            threads = [Thread(target=write, args=(claim,)) for claim in claims]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            expected = [record("load", b"1", item=n) for n in range(25)]
            for claim in claims:
                same([*store.records(claim.execution)], expected)

    def test_closing_may_be_repeated(self) -> None:
        with self.open() as store:
            store.create(header("a"))
            store.close()
            store.close()


def raises(kind: type[_Error], act: Callable[[], object]) -> _Error:
    """The error that `act` raises, which is one of that kind."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} should have been raised")
