"""Planning: by hand, every outcome of small studies, and simulation."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.mcnemar import mcnemar, mcnemar_p
from leash_ray.stats.plan import (
    Shares,
    cost,
    mcnemar_power,
    nscr_width,
    plan,
    problems_for_power,
    problems_for_width,
    samples_for_epsilon,
)
from leash_ray.stats.support import epsilon, support_metrics


def test_samples_for_epsilon() -> None:
    # The paper: k = 8192 allows 3.66e-4 (rounded up: 3.657e-4).
    assert samples_for_epsilon(3.66e-4) == 8186
    assert samples_for_epsilon(-math.log(0.05) / 300) == 300
    assert samples_for_epsilon(10) == 1


@settings(deadline=None)
@given(st.floats(1e-5, 1), st.floats(0.001, 0.5))
def test_samples_for_epsilon_are_the_fewest(target: float, zeta: float) -> None:
    k = samples_for_epsilon(target, zeta)
    assert epsilon(zeta, k) <= target * (1 + 1e-9)
    assert k == 1 or epsilon(zeta, k - 1) > target


def test_width_by_hand() -> None:
    # Shares .5 .1 .2 of P, E, S: m = .8, NSCR = -1/8; (.3/.8 - 1/64) / (.8 N) = 0.44921875 / N.
    shares = Shares(0.5, 0.1, 0.2)
    assert nscr_width(100, shares) == pytest.approx(2 * 1.959964 * math.sqrt(0.0044921875), rel=1e-6)
    n = problems_for_width(0.1, shares)
    assert n is not None
    assert nscr_width(n, shares) <= 0.1 < nscr_width(n - 1, shares)


@pytest.mark.parametrize(("p", "e", "s"), [(0.5, 0.1, 0.2), (0.8, 0.02, 0.1), (0.1, 0.3, 0.1), (0.0, 0.4, 0.4)])
def test_width_by_simulation(p: float, e: float, s: float) -> None:
    counts = np.random.default_rng(0).multinomial(600, [p, e, s, 1 - p - e - s], size=40_000)
    nscr = support_metrics(*counts[:, :3].T)["NSCR"]
    assert nscr_width(600, Shares(p, e, s)) == pytest.approx(2 * 1.96 * nscr.std(), rel=0.03)


def test_width_at_the_ends() -> None:
    assert problems_for_width(0.1, Shares(0, 0, 0)) is None and math.isnan(nscr_width(10, Shares(0, 0, 0)))
    for certain in (Shares(1, 0, 0), Shares(0, 1, 0), Shares(0, 0, 0.5)):
        assert nscr_width(10, certain) == 0 and problems_for_width(0.1, certain) == 1


def test_power_over_every_outcome() -> None:
    n, shares = 6, {"P": 0.2, "E": 0.6, "S": 0.1, "O": 0.1}
    power = 0.0
    for outcome in itertools.product("PESO", repeat=n):
        if mcnemar(outcome.count("E"), outcome.count("S")).p <= 0.1:
            power += math.prod(shares[group] for group in outcome)
    assert mcnemar_power(n, Shares(0.2, 0.6, 0.1), alpha=0.1) == pytest.approx(power, abs=1e-11)


def test_power_by_hand() -> None:
    # All of 8 change sides. 8 : 0 has p = 1/128, 7 : 1 has 9/128; so 18 of 256 equally likely outcomes reject at 0.1.
    assert mcnemar_power(8, Shares(0, 1, 0)) == pytest.approx(1)
    assert mcnemar_power(8, Shares(0, 0.5, 0.5), alpha=0.1) == pytest.approx(18 / 256)
    assert mcnemar_power(5, Shares(0, 1, 0)) == 0  # 5 : 0 has p = 1/16


def test_power_by_simulation() -> None:
    n, shares = 400, Shares(0.7, 0.03, 0.08)
    counts = np.random.default_rng(1).multinomial(n, [0.7, 0.03, 0.08, 0.19], size=40_000)
    rejected = (mcnemar_p(counts[:, 1], counts[:, 2]) <= 0.05).mean()
    assert mcnemar_power(n, shares) == pytest.approx(rejected, abs=0.01)
    assert mcnemar_power(n, Shares(0.7, 0.08, 0.03)) == pytest.approx(mcnemar_power(n, shares))  # swapped


def test_power_holds_its_level() -> None:
    for n in (10, 100, 1000):
        assert mcnemar_power(n, Shares(0.5, 0.1, 0.1)) <= 0.05
    assert mcnemar_power(10, Shares(1, 0, 0)) == 0


@pytest.mark.parametrize(
    "shares",
    [Shares(0.7, 0.03, 0.1), Shares(0, 0.75, 0.25), Shares(0.02, 0.25, 0.73), Shares(0, 1, 0), Shares(0.5, 0.3, 0)],
)
def test_problems_for_power_are_the_fewest_from_which_on_it_holds(shares: Shares) -> None:
    n = problems_for_power(shares)
    assert n is not None
    powers = np.array([mcnemar_power(i, shares) for i in range(1, min(3 * n + 30, n + 150))])
    assert (powers[n - 1 :] >= 0.8).all() and (n == 1 or powers[n - 2] < 0.8)


def test_no_number_of_problems_shows_what_is_not_there() -> None:
    assert problems_for_power(Shares(0.5, 0.1, 0.1)) is None
    assert problems_for_power(Shares(0.5, 0.0, 0.0)) is None


def test_cost_by_hand() -> None:
    # 150 problems x 256 x 2 = 76,800 completions; x 40 tokens = 3,072,000; at 4,000 a second 768 s.
    c = cost(150, 256, tokens_per_completion=40, bytes_per_completion=100, tokens_per_s=4000)
    assert (c.completions, c.tokens, c.size_bytes) == (76_800, 3_072_000, 7_680_000)
    assert c.hours == pytest.approx(768 / 3600)
    assert cost(1, 1, tokens_per_s=10).hours is None


def test_one_plan() -> None:
    shares = Shares(0.5, 0.1, 0.2)
    p = plan(epsilon=0.01, shares=shares, width=0.1, power=0.8, tokens_per_completion=100, tokens_per_s=1000)
    assert p.samples_per_problem == 300 and p.epsilon <= 0.01
    assert p.problems == p.cost.problems == max(p.problems_for_width or 0, p.problems_for_power or 0)
    assert p.nscr_width is not None and p.nscr_width <= 0.1
    assert p.power is not None and p.power >= 0.8
    written = json.loads(json.dumps(p.to_json(), allow_nan=False))
    assert written["cost"]["completions"] == 2 * 300 * p.problems and written["cost"]["size_bytes"] is None
    undefined = plan(samples_per_problem=8, problems=10, shares=Shares(0, 0, 0)).to_json()
    assert undefined["nscr_width"] is None and undefined["power"] == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "either a target epsilon"),
        ({"epsilon": 0.01, "samples_per_problem": 5}, "either a target epsilon"),
        ({"epsilon": 0.01}, "number of problems"),
        ({"epsilon": 0.01, "width": 0.1}, "pilot"),
        ({"epsilon": -1, "problems": 3}, "positive"),
        ({"samples_per_problem": 0, "problems": 3}, "positive"),
        ({"epsilon": 0.01, "problems": 3, "zeta": 5}, "zeta"),
        ({"epsilon": 0.01, "power": 0.8, "shares": Shares(0.5, 0.1, 0.1)}, "differ too little"),
        ({"epsilon": 0.01, "width": 0.1, "shares": Shares(0, 0, 0)}, "undefined"),
        ({"epsilon": 0.01, "problems": 3, "tokens_per_s": 0}, "tokens_per_s"),
    ],
)
def test_bad_plans_name_the_fix(arguments: dict, match: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=match):
        plan(**arguments)


def test_bad_shares() -> None:
    with pytest.raises(ValueError, match="at most 1"):
        Shares(0.9, 0.2, 0)
