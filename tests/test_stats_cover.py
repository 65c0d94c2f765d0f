"""Cover@τ by hand, as the integral that pass@k is of it, and guessing by enumeration."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_ray.stats.cover import (
    above_guessing,
    cover_at_tau,
    cover_steps,
    guess_p_value,
    guesser_pass_at_k,
    reliably_solved,
)


def test_by_hand() -> None:
    n, c = [4, 4, 10, 2], [0, 1, 3, 2]  # 0, 0.25, 0.3, 1
    assert cover_at_tau(n, c, [0, 0.1, 0.25, 0.26, 0.3, 0.31, 1]).tolist() == [1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert reliably_solved(n, c, [0.3]).tolist() == [[0], [0], [1], [1]]
    taus, cover = cover_steps(n, c)
    assert taus.tolist() == [0, 0.25, 0.3, 1] and cover.tolist() == [1, 0.75, 0.5, 0.25]


def test_thresholds_with_rounding_errors() -> None:
    assert cover_at_tau([10] * 11, range(11), np.linspace(0, 1, 11)) == pytest.approx(np.arange(11, 0, -1) / 11)
    assert cover_at_tau([10**6], [333_333], [1 / 3]).tolist() == [0]


def test_pass_at_k_is_an_integral_of_it() -> None:
    n, c = np.array([7, 9, 16, 5]), np.array([0, 2, 16, 4])
    taus, cover = cover_steps(n, c)
    for k in (1, 3, 20):
        # k (1-τ)^(k-1) integrates to (1-a)^k - (1-b)^k over (a, b].
        edges = np.concatenate([[0], taus])
        integral = (cover * ((1 - edges[:-1]) ** k - (1 - edges[1:]) ** k)).sum()
        assert integral == pytest.approx(guesser_pass_at_k(c / n, [k])[0])


counts = st.lists(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=9
)


@settings(deadline=None, max_examples=50)
@given(counts, st.integers(0, 60))
def test_steps_say_the_same_and_never_rise(problems: list[tuple[int, int]], sixtieths: int) -> None:
    n, c = zip(*problems, strict=True)
    tau = sixtieths / 60
    share = Fraction(sum(Fraction(y, x) >= Fraction(sixtieths, 60) for x, y in problems), len(problems))
    assert cover_at_tau(n, c, [tau])[0] == pytest.approx(float(share))
    taus, cover = cover_steps(n, c)
    step = np.searchsorted(taus, tau - 1e-12)
    assert (cover[step] if step < len(taus) else 0) == pytest.approx(float(share))
    assert (np.diff(cover) < 0).all()
    assert cover_at_tau(n[::-1], c[::-1], taus) == pytest.approx(cover)  # order of problems


def test_no_samples_is_undefined() -> None:
    assert np.isnan(cover_at_tau([4, 0], [1, 0], [0, 0.5])).all()
    assert np.isnan(cover_at_tau([], [], [0.5])).all()
    assert [len(x) for x in cover_steps([4, 0], [1, 0])] == [0, 0]


def test_guesser() -> None:
    # Four choices twice: 1 - 9/16. A sure thing. Never.
    assert guesser_pass_at_k([0.25], [0, 1, 2]) == pytest.approx([0, 0.25, 7 / 16])
    assert guesser_pass_at_k([1], [0, 1]).tolist() == [0, 1]
    assert guesser_pass_at_k([0, 0.5], [1]) == pytest.approx([0.25])
    assert guesser_pass_at_k([1e-12], [1000])[0] == pytest.approx(1e-9, rel=1e-8)


def test_guessing_by_enumeration() -> None:
    n, g = 5, 0.25
    outcomes = [(sum(r), np.prod([g if x else 1 - g for x in r])) for r in itertools.product((0, 1), repeat=n)]
    for c in range(n + 1):
        assert guess_p_value([n], [c], g)[0] == pytest.approx(sum(p for right, p in outcomes if right >= c))
    # P(at least 3 of 5) = 0.1035, P(at least 4) = 0.0156.
    assert above_guessing([5] * 3, [2, 3, 4], 0.25).tolist() == [False, False, True]
    assert above_guessing([5] * 3, [2, 3, 4], 0.25, zeta=0.2).tolist() == [False, True, True]


def test_guessing_at_the_ends() -> None:
    assert above_guessing([8, 8], [0, 1], [0, 0]).tolist() == [False, True]  # nothing is guessed: one hit is enough
    assert above_guessing([8], [8], [1]).tolist() == [False]  # always guessed
    assert guess_p_value([900], [900], [0.5])[0] == pytest.approx(2.0**-900, rel=1e-10)
    # AIME's 1,000 answers, 8,192 samples: a guesser is right 8 times on average; 20 are more than guessing.
    assert above_guessing([8192] * 2, [9, 20], 1 / 1000).tolist() == [False, True]


def test_level_holds() -> None:
    c = np.random.default_rng(0).binomial(64, 0.25, 20_000)
    assert above_guessing(np.full(20_000, 64), c, 0.25).mean() <= 0.05


def test_bad_arguments_name_the_fix() -> None:
    with pytest.raises(ValueError, match="0 <= c <= n"):
        cover_at_tau([4], [5], [0.5])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        cover_at_tau([4], [2], [50])
    with pytest.raises(ValueError, match="four choices"):
        above_guessing([4], [2], 25)
    with pytest.raises(ValueError, match="zeta"):
        above_guessing([4], [2], 0.25, zeta=0)
    with pytest.raises(ValueError, match="negative"):
        guesser_pass_at_k([0.5], [-1])
