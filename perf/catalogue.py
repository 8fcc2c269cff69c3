"""Catalogue: the programs of `perf/programs/`, which forms of each there are, and what cloaca must reach.

They are what people write for pools: each a script of its own, cold, from starting its tool to the end of its work.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product

from perf.contest import program
from perf.score import Duel, Must
from perf.workloads import Workload, function_name


@dataclass(frozen=True, slots=True)
class Program:
    """A file of `perf/programs/`: the forms of it with cloaca, and those with its peers.

    `musts` are of one form beside one peer. `needs`: a package that it can't do without.
    """

    module: str
    what: str
    forms: tuple[str, ...]
    peers: tuple[str, ...]
    musts: Mapping[tuple[str, str], tuple[Must, ...]] = field(default_factory=dict)
    needs: str = "numpy"

    def workload(self) -> Workload:
        """Each of cloaca's forms beside each of the peers'."""
        names = (*self.forms, *self.peers)
        return Workload(
            self.module,
            self.what,
            {name: program(self.module, function_name(name)) for name in names},
            tuple(Duel(*pair, self.musts.get(pair, ())) for pair in product(self.forms, self.peers)),
            lacking="" if find_spec(self.needs) else f"{self.needs} is not installed",
        )


def takes(time: float, memory: float | None = None) -> tuple[Must, ...]:
    """What it must take at most, where the peer takes 1."""
    return (Must("ratio", 1 / time), *(() if memory is None else (Must("memory", 1 / memory),)))


PLAIN, MAP, EACH, TASKS = "cloaca", "cloaca map", "cloaca for_each", "cloaca tasks"
PROCESSPOOL, POOL, JOBLIB, DASK, RAY = "ProcessPool", "Pool", "joblib", "dask", "ray"

PROGRAMS = (
    Program(
        "first",
        "Four tiny items: the first result of a new runner, and its end.",
        (PLAIN,),
        (PROCESSPOOL, JOBLIB),
        {(PLAIN, PROCESSPOOL): (Must("time", 0.1),)},
    ),
    Program(
        "first_pandas",
        "The same, where the program has loaded pandas and its function needs it.",
        (PLAIN,),
        (PROCESSPOOL, JOBLIB),
        {(PLAIN, PROCESSPOOL): (Must("time", 0.15),)},
        needs="pandas",
    ),
    Program(
        "pipeline",
        "A pandas pipeline: 12 files are loaded, cleaned, summed up in two ways, and joined. The pool has them "
        "fused into one function for each file.",
        (TASKS, EACH),
        (PROCESSPOOL, DASK),
        {(TASKS, PROCESSPOOL): takes(1.5), (TASKS, DASK): takes(0.3)},
        needs="pandas",
    ),
    Program(
        "captured",
        "An array of 256 MB that the function holds, and 56 windows of it.",
        (MAP, EACH),
        (JOBLIB, POOL),
        {(MAP, JOBLIB): takes(0.6, memory=1.0), (MAP, POOL): takes(2)},
    ),
    Program(
        "images",
        "16 images of 11 MB are made smoother: large arrays in, and as large ones out.",
        (MAP, EACH),
        (PROCESSPOOL, JOBLIB),
        {(form, peer): takes(time) for form in (MAP, EACH) for peer, time in ((PROCESSPOOL, 1.0), (JOBLIB, 0.6))},
    ),
    Program(
        "group",
        "Group-by and apply: a million sales of 400 shops, a table in and out for each shop.",
        (MAP, EACH),
        (POOL, JOBLIB),
        {(form, peer): takes(time) for form in (MAP, EACH) for peer, time in ((POOL, 1.0), (JOBLIB, 0.7))},
        needs="pandas",
    ),
    Program(
        "shuffle",
        "Words are counted by 12 mappers and 12 reducers, each of which needs something of every mapper.",
        (TASKS, EACH),
        (PROCESSPOOL, RAY),
        {(TASKS, PROCESSPOOL): takes(0.9), (EACH, PROCESSPOOL): takes(1.1)},
    ),
    Program(
        "uneven",
        "145 items of plain Python, of which the first takes as long as all others. The pool's results come in any "
        "order.",
        (MAP, EACH),
        (POOL,),
        {(form, POOL): takes(1.1) for form in (MAP, EACH)},
    ),
    Program(
        "kmeans",
        "k-means: 8 blocks of 10 MB, gone through 12 times with new centres.",
        (MAP, TASKS),
        (POOL, JOBLIB, RAY),
        {(form, peer): takes(time) for form in (MAP, TASKS) for peer, time in ((POOL, 1.0), (JOBLIB, 0.7))},
    ),
    Program(
        "tiny",
        "100,000 items of some 10 us each. The pools have chunks of a size that was found by trying.",
        (MAP, EACH),
        (POOL, PROCESSPOOL, JOBLIB),
        {(EACH, POOL): takes(1.0, memory=1.5)},
    ),
    Program(
        "medium",
        "3,000 results of 1 MB, of which the program needs one number each.",
        (MAP, EACH),
        (POOL, JOBLIB),
        {(EACH, POOL): (Must("memory", 1 / 4),)},
    ),
    Program(
        "life",
        "The game of life in four strips, 40 steps: each step of a strip needs the edges of its neighbours. The pool "
        "waits for all strips of a step.",
        (TASKS, MAP),
        (POOL,),
        {(TASKS, POOL): takes(0.4, memory=1.2)},
    ),
    Program("montecarlo", "An option's price by simulation: 32 jobs of plain Python.", (MAP,), (POOL,)),
    Program("mandelbrot", "A picture in 64 tiles, some of which take far longer.", (MAP,), (PROCESSPOOL,)),
    Program(
        "model",
        "A model of 100 MB that each worker has, and 6,000 documents. *By fork*: the program loads it before it forks.",
        (MAP,),
        (POOL, "Pool by fork"),
    ),
    Program(
        "large",
        "16 chains of three stages that leave 40 MB each to the next one. The pool and `map` have the stages fused.",
        (TASKS, EACH, MAP),
        (PROCESSPOOL, DASK, RAY),
    ),
    Program(
        "sweep",
        "A parameter sweep: 80 choices over one table of 250,000 prices.",
        (MAP, EACH),
        (PROCESSPOOL, JOBLIB),
        needs="pandas",
    ),
    Program("bootstrap", "400 times quantiles of 200,000 values that are drawn anew.", (MAP,), (PROCESSPOOL, JOBLIB)),
)
