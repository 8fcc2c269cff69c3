"""Looks: what an attempt has looked at, as digests that can be compared in another run."""

from collections.abc import Mapping

from msgspec import Struct, field


class Looks(Struct, frozen=True, array_like=True, gc=False):
    """What stood there when it looked; `b""` in place of a digest: nothing, or it didn't look.

    `values`: by key, of the versions that it was told of. `presence`: by key, whether it was there. `keys`: of the
    names of all keys that there were. `outcomes`: by name, of how a task or an instance had ended;
    `every_outcome`: of all of them. `seed`: the run's, or of an instance what follows from that and its name.
    `fingerprint`: what the task's own came to. `item`: of the item,
    and its key.
    """

    values: Mapping[str, bytes] = field(default_factory=dict)
    presence: Mapping[str, bool] = field(default_factory=dict)
    keys: bytes = b""
    outcomes: Mapping[str, bytes] = field(default_factory=dict)
    every_outcome: bytes = b""
    seed: int | None = None
    fingerprint: bytes = b""
    item: bytes = b""
