"""Workloads: what is measured, who contends, and what cloaca must reach."""

from collections.abc import Mapping
from dataclasses import dataclass

from perf.contest import Play, clocked, reported
from perf.score import Duel, Must

WORKERS = 2
"""The same for every contender, whatever the number of cores: so runs on different machines can be compared."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Contenders by name, and the pairs of them whose ratios are reported.

    A short workload plays `pace` rounds for each one asked for.
    """

    name: str
    contenders: Mapping[str, Play]
    duels: tuple[Duel, ...]
    pace: int = 1


def trivial() -> Workload:
    """10,000 independent trivial tasks and a fan-in, warm. Figure: seconds per task."""
    return _per_task("trivial", tasks=10_000, repeats=3, least_ratio=3)


def chain() -> Workload:
    """1,000 tasks, one after the other, warm. Figure: seconds per task."""
    return _per_task("chain", tasks=1_000, repeats=5, least_ratio=2.5)


def _per_task(name: str, *, tasks: int, repeats: int, least_ratio: float) -> Workload:
    def contender(function: str, warmups: int) -> Play:
        return reported(name, function, warmups=warmups, repeats=repeats, per=tasks, tasks=tasks, workers=WORKERS)

    return Workload(
        name,
        {"cloaca": contender("with_cloaca", warmups=3), "ProcessPool": contender("with_pool", warmups=1)},
        (Duel("cloaca", "ProcessPool", Must("ratio", least_ratio)),),
    )


def cpu(loops: int) -> Workload:
    """64 CPU-bound tasks of `loops` loops each, warm. Figure: seconds for all of them."""
    tasks = 64
    return Workload(
        "cpu",
        {
            "cloaca": reported("cpu", "with_cloaca", warmups=1, tasks=tasks, workers=WORKERS, loops=loops),
            "ProcessPool": reported("cpu", "with_pool", warmups=1, tasks=tasks, workers=WORKERS, loops=loops),
            "loop": reported("cpu", "in_a_loop", tasks=tasks, loops=loops),
        },
        (Duel("cloaca", "loop", Must("ratio", 1.85)), Duel("cloaca", "ProcessPool"), Duel("ProcessPool", "loop")),
    )


def merge() -> Workload:
    """The first look at a list to which 10,000 branches have appended. Figure: seconds."""
    branches = 10_000
    return Workload(
        "merge",
        {
            "cloaca": reported("merge", "with_cloaca", warmups=1, repeats=3, branches=branches, workers=WORKERS),
            "decoding": reported("merge", "by_decoding", warmups=1, repeats=3, branches=branches),
        },
        (Duel("cloaca", "decoding", Must("difference", 0.04)),),
    )


def array() -> Workload:
    """An array of 200 MB made at run time, and 16 tasks that each sum a sixteenth of it. Figure: seconds for all."""
    sizes = {"tasks": 16, "size": 25_000_000, "workers": WORKERS}
    return Workload(
        "array",
        {
            "cloaca": reported("array", "with_cloaca", warmups=1, repeats=3, **sizes),
            "joblib": reported("array", "with_joblib", warmups=1, repeats=3, **sizes),
        },
        (Duel("cloaca", "joblib", Must("ratio", 1.5)),),
    )


def records() -> Workload:
    """A list of 200,000 dicts of five fields, and 16 tasks that each read all of it. Figure: seconds for all."""
    sizes = {"tasks": 16, "size": 200_000, "workers": WORKERS}
    peers = {"ProcessPool": "with_pool", "loky": "with_loky", "joblib": "with_joblib"}
    return Workload(
        "records",
        {
            "cloaca": reported("records", "with_cloaca", warmups=1, repeats=3, **sizes),
            **{
                name: reported("records", contender, warmups=1, repeats=3, **sizes) for name, contender in peers.items()
            },
        },
        tuple(Duel("cloaca", name, Must("ratio", 1.8)) for name in peers),
    )


def cold() -> Workload:
    """From creating a runner (or from its imports) to the first result. Figure: seconds."""
    pools = {
        f"ProcessPool {method}": reported("cold", "with_pool", workers=WORKERS, method=method)
        for method in ("fork", "forkserver", "spawn")
    }
    return Workload(
        "cold",
        {
            "cloaca": reported("cold", "with_cloaca", workers=WORKERS),
            **pools,
            "cloaca + imports": reported("cold", "with_cloaca_and_its_imports", workers=WORKERS),
            "ProcessPool fork + imports": reported("cold", "with_pool_and_its_imports", workers=WORKERS, method="fork"),
        },
        (
            Duel("cloaca", "ProcessPool fork", Must("time", 0.15)),
            Duel("cloaca", "ProcessPool forkserver"),
            Duel("cloaca", "ProcessPool spawn"),
            Duel("cloaca + imports", "ProcessPool fork + imports"),
        ),
        pace=2,
    )


def imports() -> Workload:
    """`import cloaca` in a process of its own. The figure to look at is the difference from a bare interpreter."""
    return Workload(
        "import",
        {
            "cloaca": clocked("import cloaca"),
            "bare": clocked("pass"),
            "cloaca.DefaultRunner": clocked("import cloaca; cloaca.DefaultRunner"),
        },
        (Duel("cloaca", "bare", Must("difference", 0.05)), Duel("cloaca.DefaultRunner", "bare")),
        pace=8,
    )
