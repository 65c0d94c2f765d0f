"""The figures: what is drawn, what is left out and why, and that they can share a page."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pyarrow as pa
import pytest

from leash_ray.report.figures import answer_entropy, pass_at_k, solve_rates, support_bars
from leash_ray.report.svg import BASE, TRAINED, inline
from leash_ray.report.text import visible
from leash_ray.report.training import MAX_POINTS, smooth, thin, training_curves, training_series

COUNTS = {"P": 117, "E": 4, "S": 33, "O": 1}
SUPPORT: dict[str, Any] = {
    "base": "base",
    "trained": "trained@200",
    "support": {"problem": COUNTS, "answer": {"P": 251, "E": 9, "S": 1461, "O": None}},
    "policies": {
        "base": {"pass_at_k": {"1": 0.1, "2": 0.2, "4": 0.4, "8": None}, "answer_entropy": 3.0},
        "trained@200": {"pass_at_k": {"1": 0.3, "2": 0.35, "4": 0.38}, "answer_entropy": 1.5},
    },
}


def texts(svg: str | None) -> list[str]:
    assert svg is not None
    return [t.text or "" for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def table(**columns: list[Any]) -> pa.Table:
    n = len(columns["group"])
    base = {"problem_id": [f"p{i}" for i in range(n)], "n_base": [8] * n, "n_trained": [8] * n}
    return pa.table({**base, **columns})


def test_pass_at_k_marks() -> None:
    figure = pass_at_k(SUPPORT)
    said = texts(figure.svg)
    assert {"base", "trained@200", "1", "2", "4"} <= set(said)
    svg = figure.svg or ""
    # Three defined points a policy, and one line of two segments: the undefined k is not drawn as zero.
    assert len(re.findall(rf'<path [^>]*fill="{BASE}"[^>]*opacity="1"', svg)) >= 3
    path = re.search(rf'<path d="(M[^"]+)" stroke="{TRAINED}"', svg)
    assert path is not None
    assert path.group(1).count("L") == 2
    # Equal steps of log2 k are equal steps on the axis.
    xs = [float(p.split(",")[0]) for p in re.split("[ML]", path.group(1))[1:]]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1])
    assert "trained@200 from 0.300 at k=1 to 0.380 at k=4" in figure.alt


def test_coverage_dots_only_where_there_is_coverage() -> None:
    assert "Open circles" not in pass_at_k(SUPPORT).note
    policies = {k: {**v, "coverage_at_k": {"1": 0.1, "4": 0.5}} for k, v in SUPPORT["policies"].items()}
    assert "Open circles" in pass_at_k({**SUPPORT, "policies": policies}).note


def test_support_bars_show_counts_and_no_undefined_bar() -> None:
    figure = support_bars(SUPPORT)
    said = texts(figure.svg)
    assert {"117", "4", "33", "1", "251", "9", "1,461"} <= set(said)
    assert said.count("O · out of support") == 1  # not among the answers, where it is undefined
    lengths = [float(w) for w in re.findall(r'd="M0,[\d.]+h([\d.]+)v[\d.]+h-[\d.]+Z" fill="#', figure.svg or "")]
    assert len(lengths) == 7
    assert lengths[0] / lengths[2] == pytest.approx(117 / 33, rel=1e-3)


def test_support_bars_without_answers() -> None:
    only = {**SUPPORT, "support": {"problem": COUNTS, "answer": None}}
    assert support_bars(only).note == "The counts by answer are missing."
    assert support_bars({**SUPPORT, "support": {}}).svg is None


def test_before_after_counts_and_means() -> None:
    rows = table(
        group=["P", "P", "S", "O"],
        answer_entropy_base=[3.0, 3.0, 2.0, None],
        answer_entropy_trained=[1.0, 1.0, 2.5, 0.0],
        c_base=[4, 4, 2, 0],
        c_trained=[6, 6, 0, 0],
    )
    entropy = answer_entropy(SUPPORT, rows)
    assert "3 problems; 2 below the diagonal, 1 above; the mean moved from 3.00 to 1.50" in entropy.alt
    assert "1 problems are undefined" in entropy.note
    rates = solve_rates(SUPPORT, rows)
    assert "4 problems; 1 below the diagonal, 2 above" in rates.alt
    # Two problems at the same place are one larger dot: P, S and O make three places.
    assert len(re.findall(r"<path transform=[^>]*stroke=\"white\"[^>]*opacity=\"0.6\"", rates.svg or "")) == 3
    assert "0.25" in texts(rates.svg)


def test_before_after_without_data_says_why() -> None:
    assert answer_entropy(SUPPORT, None).note == "There is no per-problem table to draw it from."
    rows = table(group=["P"], answer_entropy_base=[None], answer_entropy_trained=[float("nan")])
    assert answer_entropy(SUPPORT, rows).note.startswith("No problem has a defined value")


def test_training_curves() -> None:
    rows: list[dict[str, Any]] = [{"stage": "train", "step": i, "reward_mean": i / 10, "kl": None} for i in range(10)]
    rows += [{"stage": "sample", "step": 3, "reward_mean": 99.0}, {"stage": "train", "reward_mean": 5.0}]
    figure = training_curves(rows)
    assert "reward" in texts(figure.svg)
    assert "clip fraction" not in texts(figure.svg)
    assert "Not logged, so not drawn: token entropy, nats, response length, tokens, KL" in figure.note
    assert "reward from 0 to 0.9" in figure.alt
    assert training_curves([]).svg is None
    assert training_curves([{"stage": "sample"}]).note == "The log has no training steps."


def test_series_of_a_resumed_run() -> None:
    rows = [{"stage": "train", "step": s, "kl": v} for s, v in [(1, 0.1), (2, 0.2), (3, 0.3), (2, 0.25), (3, None)]]
    assert training_series(rows, "kl") == [(1, 0.1), (2, 0.25), (3, 0.3)]


def test_thin_keeps_means() -> None:
    series = [(i, float(i % 2)) for i in range(4 * MAX_POINTS)]
    short = thin(series)
    assert len(short) == MAX_POINTS
    assert {v for _, v in short} == {0.5}
    assert thin(series[:7]) == series[:7]


def test_smooth_is_cut_short_at_both_ends() -> None:
    assert smooth([(0, 0.0), (1, 3.0), (2, 6.0), (3, 3.0)]) == [(0, 1.5), (1, 3.0), (2, 4.0), (3, 4.5)]


def test_figures_are_reproducible_and_do_not_clash() -> None:
    rows = [{"stage": "train", "step": i, "entropy": 1.0} for i in range(3)]
    made = [pass_at_k(SUPPORT), support_bars(SUPPORT), training_curves(rows)]
    assert made[0].svg == pass_at_k(SUPPORT).svg
    ids = [i for f in made for i in re.findall(r'\bid="([^"]+)"', f.svg or "")]
    assert len(ids) == len(set(ids))
    for figure in made:
        svg = figure.svg or ""
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(re.findall(r'\bid="([^"]+)"', svg))
        assert "http" not in inline(svg)
        assert svg.startswith('<svg role="img" aria-label=')


def test_a_policy_name_is_text_in_the_drawing() -> None:
    name = '<script>&"\x07'
    policies = {"base": SUPPORT["policies"]["base"], name: SUPPORT["policies"]["trained@200"]}
    svg = pass_at_k({**SUPPORT, "trained": name, "policies": policies}).svg
    assert visible(name) in texts(svg)  # it parses, and the name is no element of it
    assert visible(name) in ET.fromstring(svg or "").attrib["aria-label"]
