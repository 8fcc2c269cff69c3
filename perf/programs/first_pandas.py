"""The first result of a new runner or pool, of a script that has loaded pandas and needs it in its workers, too."""

from functools import partial

import pandas as pd
from perf.programs import first
from perf.script import main


def total(values):
    return float(pd.Series(values).sum())


with_cloaca = partial(first.with_cloaca, total)
with_processpool = partial(first.with_processpool, total)
with_joblib = partial(first.with_joblib, total)


if __name__ == "__main__":
    main()
