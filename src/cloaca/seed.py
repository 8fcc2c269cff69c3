"""Seeds: what an attempt draws its random numbers from, and the chance that an engine without any of its own may use.

All follow from the run's seed, the task's id and the number of its tries that ended by themselves, never from a worker
or a clock. Pure.
"""

LIMIT = 1 << 63
"""Seeds are below this, and at least 0: a signed integer of 64 bits holds them."""

_ATTEMPT = b"attempt"
_FRACTION = b"fraction"


def derived(seed: int, task: str, ended: int) -> int:
    """The seed of an attempt of `task` in a run with `seed`, after `ended` tries of it; below `LIMIT`."""
    return _drawn(_ATTEMPT, seed, task, ended) >> 1


def fraction(seed: int, task: str, ended: int) -> float:
    """A number from 0 to below 1 that follows from the same, and tells nothing about the attempt's seed."""
    return (_drawn(_FRACTION, seed, task, ended) >> 11) / (1 << 53)


def _drawn(purpose: bytes, seed: int, task: str, ended: int) -> int:
    """64 bits. The numbers take eight bytes each, so that no two cases are written alike."""
    from hashlib import blake2b  # loads OpenSSL's library

    told = ended.to_bytes(8) + task.encode(errors="surrogatepass")
    return int.from_bytes(blake2b(told, digest_size=8, key=seed.to_bytes(8), person=purpose).digest())
