"""Page: a run as Markdown with pictures, for the documentation.

`python -m pytest perf --markdown docs/performance.md` writes it; `python -m perf.page RUN.json FILE.md` writes it of a
run that `--store` kept.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from perf import picture
from perf.catalogue import PROGRAMS
from perf.peers import PEERS, peer_of
from perf.reasons import reason
from perf.record import Record, load
from perf.score import Figure, Score
from perf.table import bound, duration, memory, span, verdict

INTRODUCTION = """\
# Performance

What cloaca takes beside the tools that people use today, for the same work on the same machine. First come *programs*,
as people write them for pools, each from starting its tool to the end of its work; then *workloads* that each look at
one thing, most of them with workers that are warm.

This page and its pictures are written by a program. It was

```sh
pip install -e '.[perf]'
python -m pytest perf --rounds {rounds} --store perf/runs/two-cores.json --markdown docs/performance.md
```

and you can have your own. `python -m perf.page perf/runs/two-cores.json docs/performance.md` writes it again from the
run that was stored. [perf/README.md](../perf/README.md) tells how each tool is used for each of these, and what else
can be measured.
"""

HOW_TO_READ = """\
## How to read it

- Every contender works with 2 worker processes, in a fresh process for each round. Contenders take turns, in both
  orders. The answers of a program's contenders are compared: they are equal.
- **time** is the median over the rounds; the lowest and the highest round stand beside it. A program's clock starts
  when it has imported what it needs and has its data, just before the tool starts.
- **ratio** is a tool's time over cloaca's, taken round by round: 2 says that cloaca takes half the time, 0.5 that it
  takes twice as long. Ratios say more than times about another machine than this one.
- **CPU** is what the whole program takes of the processors, with its workers, its imports and its data.
- **memory** is the most that a contender's process and all that it started had at once, in a run of its own: what is
  shared is counted once.
- **must** is what cloaca is meant to reach, and whether the median does. *memory* there is a tool's over cloaca's.
- In the pictures, dots stand for medians, lines for the lowest to the highest round. Right of 1 cloaca is better.
"""

AHEAD = """\
Where a peer is ahead, and why. Less memory is mostly due to forking: a fork shares its interpreter and modules with the
program, until it writes to them.
"""

WIDTH = 760
EVEN = 0.05
"""A peer is ahead where it takes less than cloaca by more than this."""


def page(record: Record, name: str) -> str:
    """The whole page; its pictures are called after `name`."""
    programs, others = _parted(record.scores)
    rounds = min((score.rounds for score in record.scores), default=0)
    parts = [INTRODUCTION.format(rounds=rounds), HOW_TO_READ]
    if programs:
        parts += ["## Programs\n", *_overview(programs, f"{name}-programs"), *_sections(record, programs)]
    if others:
        parts += ["## Workloads\n", *_overview(others, f"{name}-workloads"), *_sections(record, others)]
    return "\n".join([*parts, _goals([*programs, *others]), _conditions(record)])


def pictures(record: Record, name: str) -> dict[str, str]:
    """The page's pictures by their names, as SVG."""
    kinds = zip(("programs", "workloads"), _parted(record.scores), strict=True)
    found = [(kind, figure, picture.rows(scores, figure)) for kind, scores in kinds for figure in FIGURES]
    return {f"{name}-{kind}-{figure}.svg": picture.drawn(rows, *BETTER[figure]) for kind, figure, rows in found if rows}


FIGURES: tuple[picture.Kind, ...] = ("time", "memory")
BETTER = {
    "time": ("cloaca is so many times as fast", "the peer is faster"),
    "memory": ("the peer has so many times the memory", "the peer has less"),
}


def write(record: Record, path: Path) -> None:
    """Write the page to a file, and its pictures beside it."""
    path.write_text(page(record, path.stem), encoding="utf-8")
    for name, drawn in pictures(record, path.stem).items():
        path.with_name(name).write_text(drawn, encoding="utf-8")


def _parted(scores: Iterable[Score]) -> tuple[list[Score], list[Score]]:
    """Those of the programs, in the catalogue's order, and all others."""
    order = {program.module: number for number, program in enumerate(PROGRAMS)}
    known = list(scores)
    programs = [score for score in known if score.workload in order]
    programs.sort(key=lambda score: order[score.workload])
    return programs, [score for score in known if score.workload not in order]


def _overview(scores: Sequence[Score], name: str) -> Iterable[str]:
    """Two pictures, and where a peer is ahead."""
    for figure in FIGURES:
        if picture.rows(scores, figure):
            alt = f"{figure.capitalize()} of each peer over cloaca's, on a logarithmic scale: figures stand below."
            yield f'<img src="{name}-{figure}.svg" width="{WIDTH}" alt="{alt}">\n'
    beside = [score for score in scores if peer_of(score.duel.peer) in PEERS]
    ahead = [told for name, group in groupby(beside, attrgetter("workload")) if (told := _ahead(name, list(group)))]
    if ahead:
        yield AHEAD
        yield "".join(f"- {told}\n" for told in ahead)


def _ahead(workload: str, scores: Sequence[Score]) -> str:
    """Which peers are ahead of cloaca in a workload, in any of its forms, and why; or nothing."""
    why: dict[str, list[str]] = {}
    for score in scores:
        if score.ratio.median < 1 - EVEN:
            why.setdefault(reason(workload, score.duel.peer), []).append(_faster(score))
    told = [f"{_listed(faster)}. {because}".strip() for because, faster in why.items()]
    smaller = [_smaller(score) for score in scores if score.memory is not None and score.memory < 1 - EVEN]
    if smaller:
        told.append(f"Less memory: {', '.join(smaller)}.")
    return f"**{workload}**: {' '.join(told)}" if told else ""


def _faster(score: Score) -> str:
    ratio, mine = score.ratio, score.duel.contender
    between = f"{1 / ratio.high:.1f}-{1 / ratio.low:.1f}"
    return f"{score.duel.peer} is {1 / ratio.median:.1f} times as fast as {mine} ({between})"


def _smaller(score: Score) -> str:
    return f"{score.duel.peer} {score.memory:.2f} of {score.duel.contender}'s"


def _listed(parts: Sequence[str]) -> str:
    """Parts of a sentence.

    >>> _listed(["a", "b", "c"]), _listed(["a"])
    ('a, b and c', 'a')
    """
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _conditions(record: Record) -> str:
    rows = list(record.conditions.items()) + [(f"without {name}", why) for name, why in record.left_out.items()]
    return f"## Conditions\n\n{_table(('', ''), rows)}"


def _goals(scores: Iterable[Score]) -> str:
    rows = [
        (score.workload, score.duel.contender, score.duel.peer, *_standing(score))
        for score in scores
        if score.duel.musts
    ]
    head = ("workload", "contender", "beside", "must", "reached", "")
    return f"## What cloaca is meant to reach\n\n{_table(head, rows)}"


def _standing(score: Score) -> tuple[str, str, str]:
    musts = score.duel.musts
    return "; ".join(map(bound, musts)), "; ".join(_reached(score, must.figure) for must in musts), verdict(score)


def _reached(score: Score, figure: str) -> str:
    match figure:
        case "ratio":
            return f"{score.ratio.median:.2f}"
        case "memory":
            return _times_as_much(score.memory)
        case "peak":
            return memory(score.peak)
        case _:
            return duration((score.time if figure == "time" else score.difference).median)


def _sections(record: Record, scores: Iterable[Score]) -> Iterable[str]:
    return (_section(record, name, list(group)) for name, group in groupby(scores, attrgetter("workload")))


def _section(record: Record, name: str, scores: Sequence[Score]) -> str:
    what = record.workloads.get(name, "")
    head = ("", "time", "low-high", "ratio", "low-high", "CPU", "memory", "must")
    rows = [row for _, duels in groupby(scores, attrgetter("duel.contender")) for row in _rows(list(duels))]
    return f"### {name}\n\n{what} Rounds: {scores[0].rounds}.\n\n{_table(head, rows)}"


def _rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """A contender's row, and those of its peers."""
    first = scores[0]
    own = (f"**{first.duel.contender}**", *_times(first.time), "", "", _cpu(first.cpu), memory(first.peak), "")
    return [own, *(_peer_row(score) for score in scores)]


def _peer_row(score: Score) -> tuple[str, ...]:
    ratio = score.ratio
    must = f"{'; '.join(map(bound, score.duel.musts))}: {verdict(score)}" if score.duel.musts else ""
    return (
        score.duel.peer,
        *_times(score.peer_time),
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        _cpu(score.peer_cpu),
        memory(score.peer_peak),
        must,
    )


def _times(figure: Figure) -> tuple[str, str]:
    return duration(figure.median), span(figure)


def _cpu(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _times_as_much(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the page of a stored run."""
    run, path = sys.argv[1:]
    write(load(Path(run)), Path(path))


if __name__ == "__main__":
    main()
