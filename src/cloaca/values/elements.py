"""Lists of values that have nothing to do with each other, as payloads: the items of a batch, and their results.

Each element is a copy of its own, of the value as it was when it was added, whatever it shares with others: what comes
of it doesn't depend on which of them travel together. One that can't be sent, or rebuilt, leaves those before it whole.

Plain values are msgpack. Others are pickled one after the other, in runs: the pickles of a run have one memo, so what
lasts, as a class, is told once. A value that leads to something that may be changed, and to which one before it leads
as well, begins another run. (In one pickle of all, that would be one object for those that travel together. A pickler
for each takes up to ten times as long.)
"""

from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from pickle import Unpickler
from typing import TYPE_CHECKING, Any

from msgspec import msgpack

from cloaca.errors import EncodeError
from cloaca.pickling.stack import on_its_own
from cloaca.values.blobs import LARGE, Part, content_of, is_reference
from cloaca.values.codec import as_it_is, decode, encode_unseen, framed, parts_of, plainly, undisturbed
from cloaca.values.composite import LIST_HEADS
from cloaca.values.kinds import SCALARS, is_constant
from cloaca.wire.strike import is_strike

if TYPE_CHECKING:
    from cloaca.values.memo import Pickles

_sizes = msgpack.Decoder(list[int]).decode


class ListWriter:
    """Takes values one after the other.

    Those of which nothing can be changed are encoded together, as long as there are no others.

    >>> elements = ListWriter()
    >>> elements.add({1})
    >>> elements.add((2, 3))
    >>> decode_list(elements.payload())
    ([{1}, (2, 3)], {})
    """

    def __init__(self) -> None:
        self._constants: list[Any] = []
        self._parts: list[Part] = []
        self._sizes: list[int] = []
        self._run: Pickles | None = None
        self._owned = self._count = 0
        self._are_constant = True

    def __len__(self) -> int:
        """How many there are."""
        return len(self._constants) + self._count

    def add(self, value: object) -> None:
        """Take the value as it is now, but for its buffers, which are read until they are owned.

        Raises:
            EncodeError: it can't be sent. The next one may be.
        """
        if self._are_constant and is_constant(value):
            self._constants.append(value)
            return
        self._go_on_with_others()
        self._pickle(value)

    def add_all(self, values: Sequence[object]) -> None:
        """The same for several, of which none can change any other one."""
        if self._are_constant and SCALARS.issuperset(map(type, values)):
            self._constants += values
            return
        for value in values:
            self.add(value)

    def add_apart(self, value: object) -> None:
        """The same; and it can be rebuilt whatever happens to the others."""
        self._end_run()
        self.add(value)
        self._end_run()

    def own(self) -> None:
        """Read the values' buffers now: they may change. Of large values nothing else is kept then."""
        rest = self._parts[self._owned :]
        self._parts[self._owned :] = [bytes(part) if isinstance(part, memoryview) else part for part in rest]
        self._owned = len(self._parts)
        if any(len(part) >= LARGE for part in rest):
            self._end_run()

    def payload(self) -> bytes:
        """The bytes of the list of all of them."""
        if self._are_constant:
            packed = plainly(self._constants)
            return _together(self._constants) if packed is None else packed
        self._end_run()
        return b"".join(framed([msgpack.encode(self._sizes), *self._parts]))

    def _go_on_with_others(self) -> None:
        if self._are_constant:
            self._are_constant = False
            for constant in self._constants:
                self._pickle(constant)
            self._constants.clear()

    def _pickle(self, value: object) -> None:
        if self._run is None or not self._run.takes(value):
            self._end_run()
            self._begin_run(value)
        self._count += 1

    def _begin_run(self, value: object) -> None:
        from cloaca.values.memo import Pickles  # most values are plain, and it takes long to load

        run = Pickles(self._parts)
        if run.takes(value):
            self._run = run
            return
        del self._parts[run.place :]
        parts = [*parts_of(memoryview(encode_unseen(value)))]  # it can't be sent, or leads too deep for this stack
        self._parts += parts
        self._sizes.append(len(parts))

    def _end_run(self) -> None:
        if self._run is not None:
            self._run.end()
            self._sizes.append(len(self._parts) - self._run.place)
            self._run = None


def _together(constants: list[Any]) -> bytes:
    return b"".join(framed([b"", *parts_of(memoryview(encode_unseen(constants)))]))


def encode_list(values: list[Any]) -> tuple[bytes, int, EncodeError | None]:
    """The bytes of a list up to the first element that can't be sent, how many there are, and why the next one can't.

    >>> decode_list(encode_list([1, (2,)])[0])
    ([1, (2,)], {})
    """
    payload = plainly(values)
    if payload is not None:
        return payload, len(values), None
    elements = ListWriter()
    for place, value in enumerate(values):
        try:
            elements.add(value)
        except EncodeError as error:
            return elements.payload(), place, error
    return elements.payload(), len(values), None


def encode_apart(values: list[Any]) -> tuple[bytes, dict[int, EncodeError]]:
    """The bytes of a list, and by place what could not be sent: it is `None` there.

    Other than those of `encode_list`, each element can be rebuilt whatever happens to those before it.
    """
    payload, errors = plainly(values), dict[int, EncodeError]()
    if payload is not None:
        return payload, errors
    elements = ListWriter()
    for place, value in enumerate(values):
        try:
            elements.add_apart(value)
        except EncodeError as error:
            errors[place] = error
            elements.add_apart(None)
    return elements.payload(), errors


def decode_list(payload: bytes) -> tuple[list[Any], dict[int, Exception]]:
    """A list from its bytes, and by place what rebuilding an element raised: it is `None` there.

    Where an element wasn't encoded apart, those of its run that come after such a one are missing.

    Raises:
        FileNotFoundError: the payload refers to a file that has been removed.
    """
    content = memoryview(content_of(payload))
    if content[0] in LIST_HEADS:
        return decode(content), {}
    elements: list[Any] = []
    errors: dict[int, Exception] = {}
    sizes, *parts = parts_of(content)
    if not sizes:
        (elements,), _ = _loaded(parts, bytearray)
        return elements, {}
    rest = iter(parts)
    with undisturbed():
        for size in _sizes(sizes):
            found, error = _loaded([*islice(rest, size)], as_it_is if is_reference(payload) else bytearray)
            elements += found
            if error is not None:
                errors[len(elements)] = error
                elements.append(None)
    return elements, errors


def _loaded(run: list[memoryview], buffer: Callable[[memoryview], Any]) -> tuple[list[Any], Exception | None]:
    load = partial(_load, run, buffer)
    elements, error = load()
    if isinstance(error, RecursionError):
        elements, error = on_its_own(load)
    if error is not None and is_strike(error, partial(_raise_again, load)):
        raise error
    return elements, error


def _load(run: list[memoryview], buffer: Callable[[memoryview], Any]) -> tuple[list[Any], Exception | None]:
    pickles, *buffers = run
    elements: list[Any] = []
    with BytesIO(pickles) as file:
        unpickler = Unpickler(file, buffers=map(buffer, buffers))
        try:
            while file.tell() < len(pickles):
                elements.append(unpickler.load())
        except Exception as error:  # noqa: BLE001 - unpickling runs user code
            return elements, error
    return elements, None


def _raise_again(load: Callable[[], tuple[list[Any], Exception | None]]) -> None:
    _, error = load()
    if error is not None:
        raise error
