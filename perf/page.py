"""Page: a run as Markdown, for the documentation.

`python -m pytest perf --markdown docs/performance.md` writes it; `python -m perf.page RUN.json FILE.md` writes it of a
run that `--store` kept.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from perf.record import Record, load
from perf.score import Figure, Score
from perf.table import bound, duration, memory, span, verdict

INTRODUCTION = """\
# Performance

What cloaca takes beside the tools that people use today, for the same work on the same machine. This page is written by
a program, and you can have your own: `pip install -e '.[perf]'`, then

```sh
python -m pytest perf --markdown docs/performance.md
```

[perf/README.md](../perf/README.md) tells how each tool is used for each workload, and what else can be measured.
"""

HOW_TO_READ = """\
## How to read it

- Every contender works with 2 worker processes, in a fresh process for each round. Contenders take turns, in both
  orders. But for *cold*, *import* and *customers* all are warm: workers run and have had tasks before the clock starts.
- **time** is the median over the rounds; the lowest and the highest round stand beside it.
- **ratio** is a tool's time over cloaca's, taken round by round: 2 says that cloaca takes half the time, 0.5 that it
  takes twice as long. Ratios say more than times about another machine than this one.
- **memory** adds up the peaks of a contender's process and of all that it started. Pages that forked processes share
  are counted in each.
- **must** is what cloaca is meant to reach, and whether the median does.
"""


def page(record: Record) -> str:
    """The whole page."""
    sections = [_section(record, name, list(scores)) for name, scores in groupby(record.scores, _workload)]
    return "\n".join([INTRODUCTION, _conditions(record), HOW_TO_READ, _goals(record.scores), *sections])


def write(record: Record, path: Path) -> None:
    """Write the page to a file."""
    path.write_text(page(record), encoding="utf-8")


def _conditions(record: Record) -> str:
    rows = list(record.conditions.items()) + [(f"without {name}", why) for name, why in record.left_out.items()]
    return f"## Conditions\n\n{_table(('', ''), rows)}"


def _goals(scores: Iterable[Score]) -> str:
    rows = [
        (score.workload, score.duel.peer, bound(score.duel.must), _reached(score), verdict(score))
        for score in scores
        if score.duel.must is not None
    ]
    return f"## What cloaca is meant to reach\n\n{_table(('workload', 'beside', 'must', 'median', ''), rows)}"


def _reached(score: Score) -> str:
    match score.duel.must:
        case None:
            return ""
        case must if must.figure == "ratio":
            return f"{score.ratio.median:.2f}"
        case must:
            return duration((score.time if must.figure == "time" else score.difference).median)


def _section(record: Record, name: str, scores: Sequence[Score]) -> str:
    what = record.workloads.get(name, "")
    rows = [row for _, duels in groupby(scores, _contender) for row in _rows(list(duels))]
    head = ("", "time", "low-high", "ratio", "low-high", "memory", "must")
    return f"## {name}\n\n{what} Rounds: {scores[0].rounds}.\n\n{_table(head, rows)}"


def _rows(scores: Sequence[Score]) -> list[tuple[str, ...]]:
    """A contender's row, and those of its peers."""
    first = scores[0]
    own = (f"**{first.duel.contender}**", *_times(first.time), "", "", memory(first.peak), "")
    return [own, *(_peer_row(score) for score in scores)]


def _peer_row(score: Score) -> tuple[str, ...]:
    ratio = score.ratio
    must = f"{bound(score.duel.must)}: {verdict(score)}" if score.duel.must else ""
    return (
        score.duel.peer,
        *_times(score.peer_time),
        f"{ratio.median:.2f}",
        f"{ratio.low:.2f}-{ratio.high:.2f}",
        memory(score.peer_peak),
        must,
    )


def _times(figure: Figure) -> tuple[str, str]:
    return duration(figure.median), span(figure)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _workload(score: Score) -> str:
    return score.workload


def _contender(score: Score) -> str:
    return score.duel.contender


def main() -> None:
    """Write the page of a stored run."""
    run, path = sys.argv[1:]
    write(load(Path(run)), Path(path))


if __name__ == "__main__":
    main()
