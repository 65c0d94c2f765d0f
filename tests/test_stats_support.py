"""Support metrics: the paper's printed tables, hand-worked cases, and what swapping the policies must do."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leash_ray.stats.support import Support, answer_support, epsilon, problem_support, support_metrics

PAPER = Path(__file__).parent / "data" / "paper_support.csv"
ROWS = list(csv.DictReader(PAPER.open()))


# Two cells of table 1 are the paper's counts rounded twice: 0.01478 -> 0.015 -> 0.02 and 0.99490 -> 0.995 -> 1.00.
ROUNDED_TWICE = {("ProRL-1.5B-v1", "Overall", "NDR"): 0.015, ("Kangheng-OVR-7B", "Math", "SRR"): 0.995}


def assert_prints_as(value: float, printed: str) -> None:
    digits = len(printed.partition(".")[2])
    assert abs(value - float(printed)) <= 0.5 * 10**-digits + 1e-9, (value, printed)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['table']}-{r['model']}-{r['dataset']}-{r['step']}")
def test_paper_tables(row: dict[str, str]) -> None:
    # Blank in the file: k and the pass rates of table 1, and the step of tables 1 and 3. Every metric is there.
    support = Support(*(int(row[c]) for c in "PESO"))
    for name, value in support.metrics().items():
        cell = (row["model"], row["dataset"], name)
        if cell in ROUNDED_TWICE:
            assert round(value, 3) == ROUNDED_TWICE[cell]
            value = ROUNDED_TWICE[cell]
        assert_prints_as(value, row[name.lower()])
    if row["k"]:
        assert support.O is not None
        total = support.P + support.E + support.S + support.O
        assert_prints_as(100 * (support.P + support.S) / total, row["base_pass"])
        assert_prints_as(100 * (support.P + support.E) / total, row["target_pass"])


def test_paper_file_is_whole() -> None:
    assert [sum(r["table"] == t for r in ROWS) for t in ("1", "3", "4")] == [8, 12, 4]


@pytest.mark.parametrize(
    ("counts", "srr", "ndr", "sds", "nscr"),
    [
        ((0, 0, 0), math.nan, math.nan, math.nan, math.nan),  # nothing solved
        ((0, 3, 0), math.nan, 1.0, math.nan, 1.0),  # base solved nothing: nothing to retain
        ((0, 0, 3), 0.0, math.nan, math.nan, -1.0),  # trained solved nothing: nothing to be new
        ((0, 1, 1), 0.0, 1.0, 0.0, 0.0),  # disjoint
        ((4, 0, 0), 1.0, 0.0, 0.0, 0.0),
        ((3, 1, 1), 0.75, 0.25, 0.375, 0.0),
    ],
)
def test_by_hand(counts: tuple[int, int, int], srr: float, ndr: float, sds: float, nscr: float) -> None:
    assert list(Support(*counts, O=5).metrics().values()) == pytest.approx([srr, ndr, sds, nscr], nan_ok=True)


def test_metrics_of_many_replicates_at_once() -> None:
    metrics = support_metrics(np.array([3, 0]), np.array([1, 0]), np.array([1, 0]))
    assert metrics["SDS"][0] == pytest.approx(0.375)
    assert np.isnan(metrics["SDS"][1])


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_groups_partition_problems_and_swap_with_the_policies(solved: list[tuple[bool, bool]]) -> None:
    base, trained = [b for b, _ in solved], [t for _, t in solved]
    one, other = problem_support(base, trained), problem_support(trained, base)
    assert one.O is not None
    assert len(solved) == one.P + one.E + one.S + one.O
    assert (one.P, one.E, one.S, one.O) == (other.P, other.S, other.E, other.O)
    nscr, swapped = one.metrics()["NSCR"], other.metrics()["NSCR"]
    assert (math.isnan(nscr) and math.isnan(swapped)) or nscr == -swapped


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_a_problem_that_both_solve_never_lowers_retention_nor_raises_discovery(solved: list[tuple[bool, bool]]) -> None:
    one, more = (problem_support(*zip(*rows, strict=True)).metrics() for rows in (solved, [*solved, (True, True)]))
    assert math.isnan(one["SRR"]) or more["SRR"] >= one["SRR"]
    assert math.isnan(one["NDR"]) or more["NDR"] <= one["NDR"]


def test_answers() -> None:
    base, trained = {("p", "1+2"), ("p", "2+1"), ("q", "7")}, {("p", "2+1"), ("q", "8"), ("r", "7"), ("r", "8")}
    assert answer_support(base, trained) == Support(P=1, E=3, S=2, O=None)


def test_epsilon() -> None:
    assert epsilon(0.05, 8192) == pytest.approx(3.66e-4, abs=5e-7)  # printed in the paper
    assert epsilon(0.05, 0) == math.inf
    p = epsilon(0.05, 1000)
    assert (1 - p) ** 1000 == pytest.approx(0.05, rel=0.01)  # that probability survives 1000 misses just about so often
    for zeta, k in ((0, 1), (1, 1), (0.05, -1)):
        with pytest.raises(ValueError, match="must"):
            epsilon(zeta, k)


def test_unequal_problem_lists() -> None:
    with pytest.raises(ValueError, match="one flag per problem"):
        problem_support([True], [True, False])
