"""Store: where executions are recorded. A protocol, which one conformance suite checks on every store."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from cloaca.store.records import Code, Header, Record
from cloaca.store.took import Took
from cloaca.values.blobs import Part

FINDABLE = frozenset({"Completed", "Expanded"})
"""The states of attempts that `holding` finds."""


class Claim(Struct, frozen=True):
    """That a process may write to an execution, until it releases it, is gone, or another one has taken over."""

    execution: str
    token: int


class Listed(Struct, frozen=True):
    """An execution, as lists tell of it.

    `status`: "Running", "Completed", "Failed", "Cancelled"; "Interrupted": the process that ran it is gone.
    """

    id: str
    workflow: str
    status: str
    began: float
    ended: float | None = None


class Store(Protocol):
    """All methods may be called from any thread. Whatever can't be done is a `StoreError` that names the way out.

    What is to be written to an execution takes the claim on it, and raises `ClaimLostError` where another process has
    taken over. A method that has returned has committed.

    `allows_pickles`: whether values may be in it, or come out of it, that only a pickle can carry.
    """

    allows_pickles: bool

    def create(self, header: Header) -> Claim:
        """Begin an execution, and claim it."""
        ...

    def claim(self, execution: str) -> Claim:
        """Claim an execution in order to go on with it: it is running again.

        Raises:
            ExecutionClaimedError: somebody is at it who isn't known to be gone, and be it slow.
            UnknownExecutionError: there is none.
        """
        ...

    def append(self, claim: Claim, records: Sequence[Record], codes: Iterable[Code] = ()) -> None:
        """Add records, in one commit. `codes`: those of the execution that weren't given yet.

        Values that records refer to are put, or held, before.
        """
        ...

    def beat(self, claim: Claim) -> None:
        """Tell that the execution is still under way here, if nothing was appended for some seconds."""
        ...

    def end(self, claim: Claim, status: str, at: float) -> None:
        """The execution has ended so, and the claim with it."""
        ...

    def put(self, claim: Claim, parts: Sequence[Part], digest: bytes) -> str:
        """Keep a large value for the execution, unless it is there already; returns the path of its file.

        Nobody ever writes to such a file, and its name is only seen once it is whole.
        """
        ...

    def put_file(self, claim: Claim, path: str, digest: bytes) -> str:
        """The same for the content of a file."""
        ...

    def hold(self, claim: Claim, digests: Iterable[bytes]) -> None:
        """The execution, too, refers to these values, which others have put. Raises `ValueLostError`."""
        ...

    def path(self, digest: bytes) -> str:
        """Where the value with that digest lies. Raises `ValueLostError` where it is gone, or was cut short."""
        ...

    def entries(self, workflow: str | None = None, status: str | None = None) -> list[Listed]:
        """The executions, the newest first."""
        ...

    def header(self, execution: str) -> Header:
        """How it began. Raises `UnknownExecutionError`, which lists near ids."""
        ...

    def records(self, execution: str) -> Iterator[Record]:
        """All that was recorded, in order."""
        ...

    def codes(self, digests: Iterable[bytes]) -> dict[bytes, Code]:
        """The codes with these digests, as far as they are known."""
        ...

    def holding(self, workflow: str, codes: Mapping[str, bytes]) -> Iterator[tuple[Header, dict[str, list[Record]]]]:
        """Where attempts that completed (or found items) stand, of tasks with the code that `codes` has for them.

        For each such task the newest execution that has any comes first; then for each the one before that, and so on.
        What is taken out of `codes` meanwhile isn't looked for any more. Each execution comes with its records of those
        tasks that were looked for, by task, in order.
        """
        ...

    def took(self, workflow: str) -> dict[str, Took]:
        """What tasks of the workflow took, by id, in the newest execution that completed, or else that has ended.

        It is for showing how long the next one may take: of a large one, it may tell of a part of the tasks only.
        """
        ...

    def remove(self, executions: Iterable[str]) -> int:
        """Forget executions, and the values that no other one holds; returns how many bytes that has freed.

        Raises `ExecutionClaimedError` or `UnknownExecutionError`, and forgets none, where one of them is that.
        """
        ...

    def close(self) -> None:
        """Let go of the files, and of all claims that are left. Idempotent."""
        ...
