"""Memory: a store that lasts as long as its object does, for tests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from threading import RLock

from cloaca.errors import ClaimLostError, ExecutionClaimedError, StoreError, UnknownExecutionError, ValueLostError
from cloaca.nearest import nearest
from cloaca.store import owner
from cloaca.store.faults import fault
from cloaca.store.files import ValueFiles
from cloaca.store.records import Code, Header, Record
from cloaca.store.store import FINDABLE, Claim, Listed
from cloaca.store.took import Took, took_in
from cloaca.values.blobs import Part


class MemoryStore:
    """Keeps what is recorded as it is. Large values lie in a folder that goes when the store is closed."""

    def __init__(self, *, allows_pickles: bool = True) -> None:
        self.allows_pickles = allows_pickles
        self._lock = RLock()
        self._kept: dict[str, _Remembered] = {}
        self._codes: dict[bytes, Code] = {}
        self._folder = TemporaryDirectory(prefix="cloaca-store-")
        self._files = ValueFiles(self._folder.name, is_durable=False)

    # ---- writing ---------------------------------------------------------------------------------------------------

    def create(self, header: Header) -> Claim:
        """Begin an execution, and claim it."""
        with self._lock:
            if header.id in self._kept:
                raise StoreError(f"The store holds an execution {header.id!r} already.")
            self._kept[header.id] = _Remembered(header)
            return self.claim(header.id)

    def claim(self, execution: str) -> Claim:
        """Claim an execution in order to go on with it."""
        with self._lock:
            kept = self._free(execution)
            kept.is_claimed, kept.status, kept.ended = True, "Running", None
            kept.token += 1
            return Claim(execution, kept.token)

    def append(self, claim: Claim, records: Sequence[Record], codes: Iterable[Code] = ()) -> None:
        """Add records."""
        with self._lock:
            self._claimed(claim).records.extend(records)
            self._codes.update((code.digest, code) for code in codes)

    def beat(self, claim: Claim) -> None:
        """Nobody else looks: this only tells whether the claim holds."""
        with self._lock:
            self._claimed(claim)

    def end(self, claim: Claim, status: str, at: float) -> None:
        """The execution has ended so, and the claim with it."""
        with self._lock:
            kept = self._claimed(claim)
            kept.status, kept.ended, kept.is_claimed = status, at, False

    def _claimed(self, claim: Claim) -> "_Remembered":
        kept = self._kept.get(claim.execution)
        if kept is None or not kept.is_claimed or kept.token != claim.token:
            raise ClaimLostError(claim.execution)
        return kept

    def _free(self, execution: str) -> "_Remembered":
        kept = self._known(execution)
        if kept.is_claimed:
            holder = owner.this_process()
            raise ExecutionClaimedError(execution, str(holder), 0.0, way=holder.way)
        return kept

    def _known(self, execution: str) -> "_Remembered":
        try:
            return self._kept[execution]
        except KeyError:
            raise UnknownExecutionError(execution, tuple(nearest(execution, self._kept))) from None

    # ---- values ----------------------------------------------------------------------------------------------------

    def put(self, claim: Claim, parts: Sequence[Part], digest: bytes) -> str:
        """Keep a large value for the execution, unless it is there already; returns the path of its file."""
        with self._lock:
            self._claimed(claim).holds[digest] = sum(map(len, parts))
            try:
                return self._files.put(digest, parts)
            except OSError as error:
                raise fault(self._folder.name, error) from error

    def put_file(self, claim: Claim, path: str, digest: bytes) -> str:
        """The same for the content of a file."""
        with open(path, "rb") as file:
            return self.put(claim, [file.read()], digest)

    def hold(self, claim: Claim, digests: Iterable[bytes]) -> None:
        """The execution, too, refers to these values, which others have put. Raises `ValueLostError`."""
        with self._lock:
            kept = self._claimed(claim)
            for digest in digests:
                self.path(digest)
                kept.holds[digest] = self._sizes()[digest]

    def path(self, digest: bytes) -> str:
        """Where the value with that digest lies. Raises `ValueLostError` where it is gone, or was cut short."""
        with self._lock:
            size = self._sizes().get(digest)
            if size is None:
                raise ValueLostError(self._files.path(digest), "belongs to no execution any more")
            return self._files.checked(digest, size)

    def _sizes(self) -> dict[bytes, int]:
        return {digest: size for kept in self._kept.values() for digest, size in kept.holds.items()}

    # ---- reading ---------------------------------------------------------------------------------------------------

    def entries(self, workflow: str | None = None, status: str | None = None) -> list[Listed]:
        """The executions, the newest first."""
        with self._lock:
            listed = [kept.listed() for kept in reversed(self._kept.values())]
        found = [one for one in listed if workflow in (None, one.workflow) and status in (None, one.status)]
        return sorted(found, key=lambda one: one.began, reverse=True)

    def header(self, execution: str) -> Header:
        """How it began. Raises `UnknownExecutionError`, which lists near ids."""
        with self._lock:
            return self._known(execution).header

    def records(self, execution: str) -> Iterator[Record]:
        """All that was recorded, in order."""
        with self._lock:
            return iter([*self._known(execution).records])

    def codes(self, digests: Iterable[bytes]) -> dict[bytes, Code]:
        """The codes with these digests, as far as they are known."""
        with self._lock:
            return {digest: self._codes[digest] for digest in digests if digest in self._codes}

    def holding(self, workflow: str, codes: Mapping[str, bytes]) -> Iterator[tuple[Header, dict[str, list[Record]]]]:
        """Where attempts that completed stand, of tasks with such code, the newest execution of each task first."""
        with self._lock:
            kept = [one for one in reversed(self._kept.values()) if one.header.workflow == workflow]
        left = [(one.header, one.findings(codes)) for one in kept]
        while left:
            told: set[str] = set()
            later: list[tuple[Header, dict[str, list[Record]]]] = []
            for header, found in left:
                now = {task: records for task, records in found.items() if task not in told and task in codes}
                told |= now.keys()
                if now:
                    yield header, now
                if rest := {task: records for task, records in found.items() if task not in now}:
                    later.append((header, rest))
            left = later if told else []

    def took(self, workflow: str) -> dict[str, Took]:
        """What tasks of the workflow took, by id, in the newest execution that completed, or else that has ended."""
        with self._lock:
            ended = [one for one in self._kept.values() if one.header.workflow == workflow and one.ended is not None]
            latest = [one for one in ended if one.status == "Completed"] or ended
            return took_in(latest[-1].header, latest[-1].records) if latest else {}

    # ---- forgetting ------------------------------------------------------------------------------------------------

    def remove(self, executions: Iterable[str]) -> int:
        """Forget executions, and the values that no other one holds; returns how many bytes these took."""
        with self._lock:
            gone = {execution: self._free(execution) for execution in executions}
            for execution in gone:
                del self._kept[execution]
            return self._files.keep_only(set(self._sizes()))

    def close(self) -> None:
        """Forget everything. Idempotent."""
        self._folder.cleanup()


class _Remembered:
    """One execution."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.status = "Running"
        self.ended: float | None = None
        self.token = 0
        self.is_claimed = False
        self.records: list[Record] = []
        self.holds: dict[bytes, int] = {}

    def listed(self) -> Listed:
        header = self.header
        return Listed(header.id, header.workflow, self.status, header.began, self.ended)

    def findings(self, codes: Mapping[str, bytes]) -> dict[str, list[Record]]:
        """The records of attempts that `holding` finds, by task."""
        found: dict[str, list[Record]] = {}
        for record in self.records:
            task = self.header.tasks[record.task].id
            if record.state in FINDABLE and record.code and record.code == codes.get(task):
                found.setdefault(task, []).append(record)
        return found
