"""The storm and the soak of `perf/stress`, small enough for every day: what counts is that nothing but time is lost."""

from perf.stress import soak, storm


def test_a_storm_costs_nothing_but_time() -> None:
    storm.define(150)
    quiet = storm.weather(None)
    stormy = storm.weather(quiet.seconds / 2)  # workers live long enough to get ready, however slow they are at it
    assert (quiet.lost, quiet.kills) == (0, 0)
    assert stormy.kills > 0
    storm.check(quiet, stormy)
    assert stormy.result.final_context["total"] == 150


def test_a_soak_leaves_no_descriptor() -> None:
    readings = list(soak.soak(300, 6))
    assert soak.growth(readings).descriptors == 0
