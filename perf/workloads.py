"""Workloads: what is measured, who contends, and what cloaca must reach."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from perf.contest import Contender, charged, clocked, reported
from perf.peers import PEERS, peer_of
from perf.score import Duel, Must

import cloaca

WORKERS = 2
"""The same for every contender, whatever the number of cores: so runs on different machines can be compared."""

SLOW = ("dask", "ray")
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Workload:
    """Contenders by name, and the pairs of them whose ratios are reported. `what` tells a reader what they do.

    A short workload plays `pace` rounds for each one asked for. `is_weighed`: its contenders' memory says something.
    `lacking`: why it can't be played.
    """

    name: str
    what: str
    contenders: Mapping[str, Contender]
    duels: tuple[Duel, ...]
    pace: int = 1
    is_weighed: bool = True
    lacking: str = ""

    def without(self, absent: Collection[str]) -> "Workload":
        """The workload without the contenders of these peers."""
        kept = {name: play for name, play in self.contenders.items() if peer_of(name) not in absent}
        return replace(self, contenders=kept, duels=tuple(duel for duel in self.duels if duel.peer in kept))


def trivial() -> Workload:
    """20,000 independent trivial tasks and a fan-in, warm."""
    tasks = 20_000
    return _beside(
        PEERS,
        "trivial",
        f"{tasks:,} independent tasks that each set a key of their own, and one that sums them. Time per task.",
        {
            "ProcessPool": (Must("ratio", 1 / 0.18),),
            "Pool": (Must("ratio", 1 / 0.45), Must("peak", 110 * MIB)),
        },
        repeats=3,
        per=tasks,
        tasks=tasks,
    )


def chain() -> Workload:
    """1,000 tasks, one after the other, warm."""
    tasks = 1_000
    return _beside(
        _all_but("joblib"),
        "chain",
        f"{tasks:,} tasks, each needing the one before. Time per task.",
        {"ProcessPool": (Must("ratio", 1 / 0.2),)},
        repeats=5,
        per=tasks,
        tasks=tasks,
    )


def layers() -> Workload:
    """100 layers of 100 tasks that each need three of the layer before, warm."""
    layers = width = 100
    return _beside(
        PEERS,
        "layers",
        f"{layers} layers of {width} tasks that each need three of the layer before. Time per task.",
        {"dask": (Must("ratio", 40),)},
        repeats=3,
        per=layers * width,
        layers=layers,
        width=width,
    )


def mapping() -> Workload:
    """`map` over a million items, warm."""
    items = 1_000_000
    workload = _beside(
        PEERS,
        "map",
        f"One trivial function over {items:,} items. Time for all of them.",
        {"Pool": (Must("ratio", 1 / 1.3),)},
        repeats=3,
        slow=("joblib", "mpire", "pebble", *SLOW),
        items=items,
    )
    return workload if hasattr(cloaca.DefaultRunner, "map") else replace(workload, lacking="DefaultRunner has no map")


def cpu(loops: int) -> Workload:
    """64 CPU-bound tasks of `loops` loops each, warm."""
    tasks = 64
    workload = _beside(
        PEERS, "cpu", f"{tasks} tasks of 27 ms of pure Python. Time for all of them.", tasks=tasks, loops=loops
    )
    return replace(
        workload,
        contenders={**workload.contenders, "loop": reported("cpu", "in_a_loop", tasks=tasks, loops=loops)},
        duels=(Duel("cloaca", "loop", (Must("ratio", 1.9),)), *workload.duels),
    )


def sleepers() -> Workload:
    """What the program itself takes of the processor for a task, while 64 workers sleep."""
    tasks, workers = 6_400, 64
    names = ("cloaca", "ProcessPool", "Pool")
    return Workload(
        "sleepers",
        f"{tasks:,} tasks that sleep for 5 ms, on {workers} workers. What the program alone takes of the processor for "
        "each.",
        {
            name: reported(
                "sleepers", function_name(name), per=tasks, warmups=1, repeats=2, tasks=tasks, workers=workers
            )
            for name in names
        },
        (Duel("cloaca", "ProcessPool", (Must("time", 30e-6),)), Duel("cloaca", "Pool")),
    )


def merge() -> Workload:
    """The first look at a list to which 10,000 branches have appended."""
    branches = 10_000
    return Workload(
        "merge",
        f"The first look at a list to which each of {branches:,} branches has appended. The peer only decodes them.",
        {
            "cloaca": reported("merge", "with_cloaca", warmups=1, repeats=3, branches=branches, workers=WORKERS),
            "decoding": reported("merge", "by_decoding", warmups=1, repeats=3, branches=branches),
        },
        (Duel("cloaca", "decoding", (Must("difference", 0.04),)),),
    )


def array() -> Workload:
    """An array of 200 MB made at run time, and 16 tasks that each sum a sixteenth of it, warm."""
    return _beside(
        PEERS,
        "array",
        "An array of 200 MB is made, and 16 tasks each sum every sixteenth element. Time for all of it.",
        {"joblib": (Must("ratio", 1 / 0.5),)},
        repeats=3,
        slow=("ProcessPool", "loky", "pebble", *SLOW),
        tasks=16,
        size=25_000_000,
    )


def records() -> Workload:
    """A list of 200,000 dicts of five fields, and 16 tasks that each read all of it, warm."""
    return _beside(
        PEERS,
        "records",
        "The program has a list of 200,000 dicts of five fields, and 16 tasks each go through it. Time for all of it.",
        {"joblib": (Must("ratio", 1 / 0.6),), "ProcessPool": (Must("ratio", 1 / 0.35),)},
        repeats=3,
        tasks=16,
        size=200_000,
    )


def cold() -> Workload:
    """From creating a runner (or from its imports) to the first result."""
    contenders = {
        "cloaca": reported("cold", "with_cloaca", workers=WORKERS),
        **{
            f"ProcessPool {method}": reported("cold", "with_processpool", workers=WORKERS, method=method)
            for method in ("fork", "forkserver", "spawn")
        },
        **{name: reported("cold", function_name(name), workers=WORKERS) for name in _all_but("ProcessPool")},
    }
    with_imports = {
        "cloaca + imports": reported("cold", "with_cloaca_and_its_imports", workers=WORKERS),
        "ProcessPool fork + imports": reported(
            "cold", "with_processpool_and_its_imports", workers=WORKERS, method="fork"
        ),
    }
    _, first, *others = contenders
    return Workload(
        "cold",
        "One task, from starting the tool to the first result. Its imports are counted only where that is said.",
        {**contenders, **with_imports},
        (
            Duel("cloaca", first, (Must("time", 0.1),)),
            *(Duel("cloaca", name) for name in others),
            Duel("cloaca + imports", "ProcessPool fork + imports"),
        ),
        pace=2,
    )


_SCRIPT = "cloaca for a script"


def imports() -> Workload:
    """What the import of each tool takes of the processor. The difference from a bare interpreter is the import."""
    modules = {name: package or name for name, package in PEERS.items()} | {
        "ProcessPool": "concurrent.futures.process",
        "Pool": "multiprocessing.pool",
    }
    return Workload(
        "import",
        '`python -c "import cloaca"`: what the whole process takes of the processor. The difference from a bare '
        "interpreter is the import; a script needs `from cloaca import WorkflowBuilder, task, DefaultRunner`.",
        {
            "cloaca": charged("-c", "import cloaca"),
            "bare": charged("-c", "pass"),
            _SCRIPT: charged("-c", "from cloaca import WorkflowBuilder, task, DefaultRunner"),
            **{name: charged("-c", f"import {module}") for name, module in modules.items()},
        },
        (
            Duel("cloaca", "bare", (Must("difference", 0.05),)),
            Duel(_SCRIPT, "bare", (Must("difference", 0.08),)),
            *(Duel(_SCRIPT, name) for name in modules),
        ),
        pace=4,
        is_weighed=False,
    )


def customers() -> Workload:
    """An example as a whole process."""
    example = ("examples/customer_analysis.py", "--customers", "100", "--workers", str(WORKERS))
    return Workload(
        "customers",
        f"`python {' '.join(example)}`, a whole process: 15 tasks.",
        {"cloaca": clocked(*example), "bare": clocked("-c", "pass")},
        (Duel("cloaca", "bare", (Must("time", 0.35),)),),
        pace=2,
        is_weighed=False,
    )


def _beside(
    peers: Collection[str],
    name: str,
    what: str,
    musts: Mapping[str, tuple[Must, ...]] | None = None,
    *,
    repeats: int = 1,
    slow: Collection[str] = SLOW,
    per: int = 1,
    **arguments: object,
) -> Workload:
    """A workload that cloaca and each peer does in its own way, warm; those that are `slow` at it do it just once."""

    def play(contender: str) -> Contender:
        return reported(
            name,
            function_name(contender),
            per=per,
            warmups=3 if contender == "cloaca" else int(contender not in slow),
            repeats=1 if contender in slow else repeats,
            workers=WORKERS,
            **arguments,
        )

    known = musts or {}
    return Workload(
        name,
        what,
        {contender: play(contender) for contender in ("cloaca", *peers)},
        tuple(Duel("cloaca", peer, known.get(peer, ())) for peer in peers),
    )


def function_name(contender: str) -> str:
    """The function that plays a contender, in the workload's file.

    >>> function_name("cloaca map"), function_name("ProcessPool")
    ('with_cloaca_map', 'with_processpool')
    """
    return f"with_{contender.lower().replace(' ', '_')}"


def _all_but(peer: str) -> list[str]:
    return [name for name in PEERS if name != peer]
