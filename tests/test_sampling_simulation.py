"""The simulation behind docs/sampling.md (``benchmarks/adaptive.py``), in small."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from adaptive import BUDGETS, PASS_AT_1, TABLES, World, beta_shape, chances, study

K = 256


def test_the_fitted_shapes_have_the_table_s_shares() -> None:
    counts = TABLES["all of table 1"]
    P, E, S, _ = (count / sum(counts) for count in counts)
    world = World.fitted(counts, 8192)
    base, trained = chances(world.shapes, world.rho, np.random.default_rng(1).standard_normal((3, 100_000)))
    solved = [1 - (1 - p) ** 8192 for p in (base, trained)]
    assert [p.mean() for p in (base, trained)] == pytest.approx(PASS_AT_1, abs=0.005)
    assert [s.mean() for s in solved] == pytest.approx([P + S, P + E], abs=0.005)
    assert (solved[0] * solved[1]).mean() == pytest.approx(P, abs=0.01)


def test_a_beta_variable_of_two_known_moments() -> None:
    """Beta(1, 1): the mean of p is 1/2, and of 1 - (1 - p)**3 it is 3/4."""
    assert beta_shape(0.5, 0.75, 3) == pytest.approx((1.0, 1.0))


def test_every_budget_gives_the_fixed_design_s_support_for_less() -> None:
    world = World.fitted(TABLES["all of table 1"], 8192)
    found = study(world, K, 40, 0, list(BUDGETS))
    floor = found["fixed"]["floor"]
    for name in BUDGETS:
        one = found[name]
        assert one["same"] and one["same_coverage"] and one["support"] == found["fixed"]["support"]
        assert floor < one["share"] <= 1.0
    assert found["first 8, grow 4"]["share"] < 0.7 < found["all reach 256"]["share"] == 1.0
