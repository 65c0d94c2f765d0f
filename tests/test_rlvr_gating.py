"""Weights of problems from what training has seen of them: hand-worked numbers, numerical integration."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from leash_ray.rlvr.book import Book, Record
from leash_ray.rlvr.gating import gate
from leash_ray.rlvr.sections import AdvantageConfig


def boundary(n: int, c: int, k: int) -> float:
    return float(gate([Record(n=n, c=c)], AdvantageConfig(gate="boundary", k=k)).item())


def test_unsolved_by_hand() -> None:
    records = [Record(), Record(n=16), Record(n=16, c=1), Record(n=64, c=64)]
    assert gate(records, AdvantageConfig(gate="unsolved")).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert gate(records, AdvantageConfig()).tolist() == [1.0] * 4


def test_boundary_by_hand() -> None:
    # k = 2: the mean of 1 − p, (n − c + ½)/(n + 1). k = 3: times (n − c + 3/2)/(n + 2).
    assert boundary(0, 0, 2) == 0.5
    assert boundary(3, 1, 2) == pytest.approx(2.5 / 4)
    assert boundary(3, 1, 3) == pytest.approx(2.5 / 4 * 3.5 / 5)
    assert boundary(16, 8, 1) == 1.0  # pass@1: every problem adds the same


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([1, 2, 4, 16, 64]))
@settings(max_examples=30, deadline=None)
def test_boundary_is_the_posterior_mean(n: int, c: int, k: int) -> None:
    c = min(c, n)
    # p = x² takes away the density's pole at 0.
    posterior = beta(c + 0.5, n - c + 0.5)
    mean, _ = quad(lambda x: (1 - x * x) ** (k - 1) * posterior.pdf(x * x) * 2 * x, 0, 1, limit=200)
    assert boundary(n, c, k) == pytest.approx(mean, rel=1e-3)


def test_one_success_closes_most_of_the_gate_at_a_high_k() -> None:
    assert boundary(16, 0, 256) > 0.2
    assert boundary(16, 1, 256) < 0.03
    assert boundary(16, 16, 256) < 1e-6


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([2, 8, 64]))
@settings(max_examples=30, deadline=None)
def test_successes_close_it_and_misses_open_it(n: int, c: int, k: int) -> None:
    c = min(c, n)
    assert 0.0 < boundary(n, c, k) < boundary(n, c - 1, k) <= 1.0
    assert boundary(n + 1, c, k) > boundary(n, c, k)


def test_the_book_s_numbers_by_hand_and_through_json() -> None:
    book = Book()
    assert book.record("a") == Record()
    book.add_own({"a": (16, 0), "b": (15, 3)})
    book.add_own({"a": (14, 2)})
    assert book.record("a") == Record(n=30, c=2, turns=2, last_n=14, last_c=2)
    assert book.record("b") == Record(n=15, c=3, turns=1, last_n=15, last_c=3)
    assert "c" not in book.of and book.record("c").turns == 0  # looking is not writing
    assert Book.restored(json.loads(json.dumps(book.state()))) == book
