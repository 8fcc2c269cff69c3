"""Reasons: why a peer may be faster at a workload. The page tells them where one is."""

from collections.abc import Mapping

from perf.peers import peer_of

FORKS = (
    "A pool forks the program, which takes milliseconds; cloaca starts its workers apart, as what a program's threads "
    "hold doesn't survive a fork."
)
SHARES = "Forked workers have what the program has, and nothing is sent: for the next data there must be another pool."
FUSES = "Its stages are one function, so nothing is kept between them; cloaca keeps what each stage leaves."
CHUNKS = "It sends items in chunks and knows nothing of a single one; cloaca records how each one ended."
LAYERS = "A pool sends a layer in a few chunks and waits for all of it; cloaca starts each task as soon as it can."
SMALL = "It is a pool, and little more."

REASONS: Mapping[str, Mapping[str, str]] = {
    "first": {"ProcessPool": FORKS},
    "first_pandas": {"ProcessPool": FORKS},
    "pipeline": {"ProcessPool": f"{FUSES} {FORKS}"},
    "captured": {"Pool": SHARES},
    "images": {"ProcessPool": FORKS},
    "group": {"Pool": FORKS},
    "shuffle": {"ProcessPool": FORKS},
    "uneven": {"Pool": f"{FORKS} Its results come in any order."},
    "kmeans": {"Pool": SHARES},
    "tiny": {"Pool": CHUNKS, "ProcessPool": CHUNKS, "joblib": CHUNKS},
    "medium": {"Pool": "Its results are gone once the program has used them; a workflow's stay with its result."},
    "life": {"Pool": FORKS},
    "montecarlo": {"Pool": FORKS},
    "mandelbrot": {"ProcessPool": FORKS},
    "model": {"Pool": f"{FORKS} What is loaded before the fork is there once for all."},
    "large": {"ProcessPool": FUSES},
    "sweep": {"ProcessPool": FORKS},
    "bootstrap": {"ProcessPool": FORKS},
    "trivial": {"joblib": CHUNKS},
    "layers": dict.fromkeys(("ProcessPool", "Pool", "loky", "pebble"), LAYERS),
    "map": {"ray": "A batch of the benchmark's making is one task for it."},
    "array": {"Pool": SHARES, "mpire": SHARES},
    "records": {"Pool": SHARES, "mpire": SHARES},
    "cold": {
        **dict.fromkeys(("ProcessPool", "Pool", "mpire", "pebble"), FORKS),
        **dict.fromkeys(("ProcessPool spawn", "ProcessPool forkserver"), SMALL),
    },
    "import": dict.fromkeys(("ProcessPool", "Pool", "loky", "pebble"), SMALL),
}


def reason(workload: str, peer: str) -> str:
    """Why this peer may be faster, in any of its forms or in this one; empty where nobody has looked yet.

    >>> reason("cold", "ProcessPool spawn"), reason("cold", "nobody")
    ('It is a pool, and little more.', '')
    """
    known = REASONS.get(workload, {})
    return known.get(peer, known.get(peer_of(peer), ""))
