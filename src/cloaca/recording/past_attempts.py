"""Attempts on record, which may stand for those that a run would make.

Of each task, those of the newest execution that has any of its code are read before the run begins; older ones only
where none of these holds.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from cloaca.engine.looks import Looks
from cloaca.engine.reuse import Candidate
from cloaca.errors import StoreError
from cloaca.recording.facts import diff_in, items_in, settled_in, usage_in
from cloaca.store.records import Code, Header, Record
from cloaca.store.store import FINDABLE, Store
from cloaca.wire.messages import Done
from cloaca.workflows.codes import changed

LOOKED_BACK = 20
"""In how many executions is looked for what the code of a task was before."""


class PastAttempt(Struct, frozen=True, gc=False):
    """One that has completed, of the execution `origin`."""

    looks: Looks
    record: Record
    origin: str
    store: Store

    @property
    def nth(self) -> int:
        """Which of its tries it was."""
        return self.record.nth

    @property
    def ended(self) -> int:
        """How many had ended by themselves before."""
        return self.record.ended

    def report(self) -> Done | None:
        """What it has ended with; `None` where a value of that is lost."""
        record, store, usage = self.record, self.store, usage_in(self.record)
        if usage is None:
            return None
        try:
            return Done(0, diff_in(record, store), usage, settled_in(record, store), items_in(record, store))
        except StoreError:
            return None


class _OfTask:
    """Those of one task: of itself, and of its instances by what their items come to."""

    def __init__(self) -> None:
        self.whole: list[PastAttempt] = []
        self.by_item: defaultdict[bytes, list[PastAttempt]] = defaultdict(list)

    def add(self, records: Iterable[Record], origin: str, store: Store) -> None:
        """Those of an older execution."""
        for record in records:
            if record.looks is None or (record.size is not None and record.state != "Expanded"):
                continue
            attempt = PastAttempt(record.looks, record, origin, store)
            (self.whole if record.item is None else self.by_item[record.looks.item]).append(attempt)

    def for_item(self, item: int, digest: bytes) -> list[PastAttempt]:
        """Those for such an item: of that number first. Seeds follow from numbers, so others stand where none counts.

        Where only such others are there, one of them, to tell that.
        """
        found = self.by_item.get(digest, [])
        same = [attempt for attempt in found if attempt.record.item == item]
        others = [attempt for attempt in found if attempt.record.item != item]
        return same + [attempt for attempt in others if attempt.looks.seed is None] or others[:1]


class PastAttempts:
    """Those of the workflow's earlier executions (see `cloaca.engine.reuse.Reuse`).

    `codes`: the code of each task; `accepted`: the digests that are as good, by task; `barred`: the tasks that run in
    any case.
    """

    def __init__(
        self,
        store: Store,
        workflow: str,
        codes: Mapping[str, Code],
        accepted: Mapping[str, Sequence[str]],
        barred: frozenset[str],
    ) -> None:
        self._store = store
        self._workflow = workflow
        self._codes = codes
        self._accepted = accepted
        self._barred = barred
        self._known: defaultdict[str, _OfTask] = defaultdict(_OfTask)
        self._older: dict[str, Iterator[None]] = {}
        self._past_codes: dict[str, Mapping[str, Code]] = {}
        self._earlier = [listed.id for listed in store.entries(workflow)[:LOOKED_BACK]]
        self.newest: Header | None = None
        self._load_newest()

    def candidates(self, task: str, item: int | None, item_digest: bytes) -> Iterator[Candidate]:
        """Those for a task, or its instance for an item with that digest; the newest first."""
        if task in self._barred:
            return
        told: list[PastAttempt] = []
        while True:
            known = self._known[task]
            found = known.whole if item is None else known.for_item(item, item_digest)
            news = [attempt for attempt in found if not any(attempt is one for one in told)] if told else found
            yield from news
            told += news
            if next(self._more(task), self) is self:
                return

    def why_none(self, task: str, item: int | None) -> str:
        """Why there are none for it, in words."""
        if task in self._barred:
            return "reuse=False"
        known = self._known[task]
        if known.whole or known.by_item:
            return "never ran" if item is None else "its item is new"
        before, now = self._before(task), self._codes[task]
        if before is None:
            return "never ran"
        return "it hadn't completed" if before.digest == now.digest else changed(before, now)

    # ---- what the store has ----------------------------------------------------------------------------------------

    def _load_newest(self) -> None:
        wanted = {task: code.digest for task, code in self._codes.items() if task not in self._barred}
        for header, found in self._store.holding(self._workflow, wanted):
            if self.newest is None or header.began > self.newest.began:
                self.newest = header
            for task, records in found.items():
                wanted.pop(task, None)
                self._known[task].add(records, header.id, self._store)

    def _more(self, task: str) -> Iterator[None]:
        """Reads those of one more execution, each time that it is asked for the next."""
        if task not in self._older:
            self._older[task] = self._reading(task)
        return self._older[task]

    def _reading(self, task: str) -> Iterator[None]:
        digest = self._codes[task].digest
        met = {attempt.origin for attempt in self._known[task].whole}
        for one in (digest, *map(bytes.fromhex, self._accepted.get(task, ()))):
            for header, found in self._store.holding(self._workflow, {task: one}):
                if header.id not in met or one != digest:
                    self._known[task].add(found.get(task, ()), header.id, self._store)
                    yield

    def _before(self, task: str) -> Code | None:
        """What the code of the task was when it ran last."""
        codes = (self._codes_in(execution).get(task) for execution in self._earlier)
        return next(filter(None, codes), None)

    def _codes_in(self, execution: str) -> Mapping[str, Code]:
        """The code of each task that ran in an execution; read once for all tasks."""
        found = self._past_codes.get(execution)
        if found is None:
            ids = [row.id for row in self._store.header(execution).tasks]
            digests = {ids[record.task]: record.code for record in self._store.records(execution) if record.code}
            codes = self._store.codes(digests.values())
            found = {task: codes[digest] for task, digest in digests.items() if digest in codes}
            self._past_codes[execution] = found
        return found


class OwnAttempts:
    """Those of the execution itself that is gone on with: with whatever code, they aren't made again."""

    def __init__(self, header: Header, records: Iterable[Record], store: Store) -> None:
        self._known: defaultdict[str, _OfTask] = defaultdict(_OfTask)
        for record in records:
            if record.state in FINDABLE and record.looks is not None:
                free = replace(record, looks=replace(record.looks, fingerprint=b""))
                self._known[header.tasks[record.task].id].add([free], header.id, store)

    def candidates(self, task: str, item: int | None, item_digest: bytes) -> list[PastAttempt]:
        """Those for a task, or its instance for that item; the latest first."""
        known = self._known[task]
        return (known.whole if item is None else known.for_item(item, item_digest))[::-1]

    def why_none(self, task: str, item: int | None) -> str:  # noqa: ARG002 - it is the same for all
        """It hadn't completed."""
        return "it hadn't completed"
