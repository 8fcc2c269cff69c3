"""Seeds of attempts: which facts they follow from, and that they never change between releases."""

from itertools import product

import pytest

from cloaca.seed import LIMIT, derived, fraction

SEEDS = (0, 1, 256, LIMIT - 1)
TASKS = ("a", "b", "ab", "", "a\0", "task é", "\udcff")
ENDED = (0, 1, 2, 256)
CASES = list(product(SEEDS, TASKS, ENDED))


def test_every_attempt_has_a_seed_of_its_own() -> None:
    assert len({derived(*case) for case in CASES}) == len(CASES)
    assert all(0 <= derived(*case) < LIMIT for case in CASES)


def test_every_attempt_has_a_fraction_of_its_own() -> None:
    assert len({fraction(*case) for case in CASES}) == len(CASES)
    assert all(0 <= fraction(*case) < 1 for case in CASES)


def test_fractions_are_spread_evenly() -> None:
    drawn = sorted(fraction(7, f"task {n}", 0) for n in range(1000))
    assert max(abs(value - n / 1000) for n, value in enumerate(drawn)) < 0.05


@pytest.mark.parametrize(
    ("case", "seed"),
    [
        ((0, "load", 0), 3853302299556294906),
        ((0, "load", 1), 8399739397169165874),
        ((LIMIT - 1, "load", 0), 6965274239033745545),
    ],
)
def test_a_run_can_be_repeated_with_a_later_release(case: tuple[int, str, int], seed: int) -> None:
    assert derived(*case) == seed
