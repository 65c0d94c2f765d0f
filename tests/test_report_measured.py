"""What was measured is shown: numbers from the object, dashes or nothing for what it lacks, details and bits."""

import copy
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from leash_ray.report import figures, print_report
from leash_ray.report.html import render_html
from leash_ray.report.numbers import BITS, COUNT, FIXED, MEAN, NATS, RATE, Estimate, around, p_value, shown
from leash_ray.report.parts import deciding, detailed
from leash_ray.report.terminal import tight


def unit(P: int, E: int, S: int, O: int | None, shift: float) -> dict[str, Any]:  # noqa: E741
    ks, third = [1, 2, 4], [0.0, 1.25, 2.5]
    counts = {"P": [P + x for x in third], "E": [E + x for x in third], "S": [S + x for x in third]}
    sweep = {**counts, "O": [O] * 3, "SRR": [0.5, None, 0.75], "NDR": [0.25] * 3, "SDS": [0.1] * 3, "NSCR": [-0.2] * 3}
    return {
        "P": P,
        "E": E,
        "S": S,
        "O": O,
        "SRR": 0.912 - shift,
        "NDR": 0.031 + shift,
        "SDS": 0.061 + shift,
        "NSCR": -0.051 - shift,
        "ci": {"SRR": [0.861, 0.953], "NDR": [0.011, 0.071], "SDS": [0.021, 0.131], "NSCR": [-0.151, -0.022]},
        "null": {"E": 1.72, "S": 1.72, "sd": 0.87, "sd_net": 1.6, "p_E": 0.0123, "p_S": 7.2e-18, "p_net": 2.3e-7},
        "noise_floor": {"k": 2, "base": {"E": 4.21, "S": 4.21, "sd": 1.61}, "trained": {"E": 6.2, "S": 6.2, "sd": 1.9}},
        "mcnemar_p": 0.118,
        "behaviour": {
            "label": "undecided",
            "suggested": "support-constrained",
            "possible": ["support-constrained", "redistribution"],
            "net": "net shrinkage",
        },
        "sweep": {"k": ks, "epsilon": [2.996, 1.498, 0.749], "observed": sweep, "expected": sweep},
    }


def policy(up: float) -> dict[str, Any]:
    curve = {"1": 0.194 + up, "2": 0.367 + up, "4": 0.553 - up}
    return {
        "pass_at_k": curve,
        "coverage_at_k": {"1": 0.187 + up, "4": 0.553 - up},
        "cover_at_tau": {"0.01": 0.9, "0.5": 0.08 + up, "1": 0.0},
        "distinct_correct_at_k": {"1": 0.194, "2": 0.366, "4": 2.326 + up},
        "answer_entropy": 3.339 - up,
        "answer_entropy_miller_madow": 3.406 - up,
        "answer_entropy_chao_shen": 3.371 - up,
        "correct_answer_entropy": 1.231 - up,
        "correct_answer_entropy_miller_madow": 1.301 - up,
        "correct_answer_entropy_chao_shen": 1.344 - up,
        "token_entropy": 0.375,
        "mean_surprisal": 0.368,
        "mean_n_tokens": 8.13,
        "chao1_correct_answers": 4.668 - up,
        "unseen_correct_mass": 0.0027,
        "distinct_correct_answers": 2.326 + up,
        "n_completions": 600,
        "verdicts": {"CORRECT": 200, "INCORRECT": 400},
        "ci": {
            "pass_at_k": {k: [v - 0.043, v + 0.044] for k, v in curve.items()},
            "cover_at_tau": {"0.5": [0.047, 0.133]},
            "distinct_correct_at_k": {"4": [2.03, 2.56]},
            "answer_entropy": [3.291, 3.373],
        },
    }


def support() -> dict[str, Any]:
    """Every number that is looked for differs from the others."""
    soft = {"P": 113.09, "E": 5.96, "S": 24.01, "O": 6.94, "SRR": 0.825, "NDR": 0.05, "SDS": 0.094, "NSCR": -0.126}
    soft_ci = {"P": [102.2, 122.8], "E": [2.83, 11.3], "S": [16.0, 34.0], "O": [3.05, 12.9], "NSCR": [-0.199, -0.06]}
    change = {"value": 0.125, "ci": [0.093, 0.153]}
    group = {
        "confidence": 0.95,
        "support": {"problem": unit(132, 4, 17, 3, 0.0), "answer": unit(364, 31, 285, None, 0.3)},
        "policies": {"base": policy(0.0), "trained@200": policy(0.1)},
        "soft_support": {"joint": {**soft, "ci": soft_ci, "prior": "joint"}},
        "difference": {
            "pass_at_k": {"1": change, "4": {"value": -0.1, "ci": [-0.16, -0.04]}},
            "answer_entropy": {"value": -0.466, "ci": [-0.558, -0.381]},
            "correct_answer_entropy": {"value": -0.638, "ci": [-0.703, -0.567], "n_problems": 119},
            "chao1_correct_answers": {"value": -1.938, "ci": [-2.293, -1.624]},
        },
        "entropy_quadrants": {
            "tokens_by": "token_entropy",
            "answers_by": "answer_entropy",
            "up_up": 41,
            "up_down": 42,
            "down_up": 43,
            "down_down": 44,
            "ties": 5,
            "undefined": 6,
        },
        "crossing": {"k": 2.72, "ci": [1.36, 3.55], "direction": "base overtakes", "share_of_replicates": 0.9995},
        "guessing": {"n_problems": 77, "mean_rate": 0.0317, "pass_at_k": {"1": 0.0317, "4": 0.121}},
        "tilt": {
            "beta": 0.882,
            "beta_is_infinite": False,
            "beta_per_problem": {"median": 1.265, "quartiles": [0.85, 1.461], "median_standard_error": 0.28},
            "pass_at_k": {
                "1": {"predicted": 0.294, "measured": 0.294},
                "2": {"predicted": 0.578, "measured": 0.467},
                "4": {"predicted": None, "measured": 0.453},
            },
            "answer_entropy": {"n_problems": 146, "predicted": 3.099, "measured": 2.858},
            "concentration": {
                "n_problems": 131,
                "kl": {"value": 0.462, "ci": [0.417, 0.518]},
                "excess": {"value": 0.264, "ci": [0.205, 0.313]},
                "p": 0.0005,
                "lost": {
                    "observed": 287,
                    "in_problems_of_one_policy": 51,
                    "expected_by_tilting": 70.82,
                    "unexplained": 163.18,
                    "unexplained_share": 0.573,
                    "p": 0.0006,
                },
                "gained": {
                    "observed": 33,
                    "in_problems_of_one_policy": 7,
                    "expected_by_tilting": 104.7,
                    "unexplained": -80.7,
                    "unexplained_share": -2.6,
                    "p": 1.0,
                },
            },
        },
    }
    steps = ["trained@50", "trained@200"]
    reference = {"base": {"n_texts": 58, "mean": 3.21, "median": 3.02, "token_weighted": 2.93}}
    reference["trained"] = {"n_texts": 58, "mean": 4.21, "median": None, "token_weighted": 3.93}
    return {
        "base": "base",
        "trained": "trained@200",
        "n_problems": 156,
        "k": 4,
        "zeta": 0.05,
        "epsilon": 0.749,
        **group,
        "by_task": {"chain_sum": copy.deepcopy(group), "countdown": copy.deepcopy(group)},
        "perplexity": {"reference texts": {"P": reference, "S": {}}},
        "series": {
            "n_problems": 149,
            "k": 4,
            "steps": [50, 200],
            "policies": steps,
            "support": {
                "P": [143, 132],
                "E": [3, 4],
                "S": [0, 17],
                "O": [10, 3],
                "SRR": [1.0, None],
                "NDR": [0.021, 0.031],
                "SDS": [0.041, 0.06],
                "NSCR": [0.022, -0.052],
            },
            "lost": {"ever": 27, "came_back": 9, "at_last": 18, "more_than_once": 1, "problems": []},
            "gained": {"ever": 8, "came_back": 3, "at_last": 5, "more_than_once": 0, "problems": []},
            "estimates": {
                "trained@50": {"policies": {"trained@50": {"pass_at_k": {"1": 0.275, "4": 0.573}}}},
                "trained@200": {"policies": {"trained@200": {"pass_at_k": {"1": 0.294, "4": None}}}},
            },
        },
    }


def per_problem() -> pa.Table:
    rows = [
        {
            "problem_id": f"p{i}",
            "task": ("chain_sum", "countdown")[i % 2],
            "group": "PESO"[i % 4],
            "token_entropy_base": 0.4,
            "token_entropy_trained": 0.4 + 0.1 * (-1) ** i,
            "answer_entropy_base": 3.0,
            "answer_entropy_trained": 2.5 if i % 3 else None,
        }
        for i in range(12)
    ]
    return pa.Table.from_pylist(rows)


def printed(table: dict[str, Any], width: int = 100, **how: Any) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    print_report(table, console, **how)
    console.file.close()
    return console.export_text()


def squeezed(text: str) -> str:
    return " ".join(text.split())


SHORT = [
    "pass@1 0.194 [0.151, 0.238] 0.294 [0.251, 0.338] +0.125 [0.093, 0.153]",
    "pass@2 0.367 [0.324, 0.411] 0.467 [0.424, 0.511] –",
    "answer entropy 3.34 [3.29, 3.37] 3.24 [3.29, 3.37] -0.47 [-0.56, -0.38]",
    "token entropy 0.38 0.38 –",
    "P 132 113.1 [102.2, 122.8] 364",
    "S 17 24.0 [16.0, 34.0] 285",
    "O 3 6.9 [3.0, 12.9] –",
    "SRR 0.912 [0.861, 0.953] 0.825 0.612 [0.861, 0.953]",
    "NSCR -0.051 [-0.151, -0.022] -0.126 [-0.199, -0.060] -0.351 [-0.151, -0.022]",
    "problems chance alone: E 1.7 ± 0.9, S 1.7 ± 0.9; p_E 0.012, p_S 7e-18, p_net 2e-07; McNemar 0.12",
    "against itself at k = 2: base 4.2 ± 1.6, trained@200 6.2 ± 1.9; measured E 5.2, S 18.2",
    "behaviour: undecided between support-constrained and redistribution; point estimates say support-constrained; "
    "net shrinkage",
    "pass@k crosses at k = 2.7 [1.4, 3.5], the base overtakes, 99.9% of replicates cross",
    "lost at some step: 27, came back: 9, lost at the last: 18; gained at some step: 8, lost again: 3, gained at the "
    "last: 5",
]
DETAILS = [
    "1 2.996 132.0 4.0 17.0 3.0 0.500 0.250 0.100 -0.200",
    "2 1.498 133.2 5.2 18.2 3.0 – 0.250 0.100 -0.200",
    "1 2.996 364.0 31.0 285.0 0.500 0.250 0.100 -0.200",  # no O among answers
    "Cover@0.5 0.080 [0.047, 0.133] 0.180 [0.047, 0.133] –",
    "solved within 4 0.553 0.453 –",
    "a blind guess is right with probability 0.032; known for 77 problems",
    "pass@4 0.121 0.553 0.453",
    "seen 2.33 [2.03, 2.56] 2.43 [2.03, 2.56] –",
    "at least (Chao1) 4.67 4.57 -1.94 [-2.29, -1.62]",
    "unseen mass 0.0027 0.0027 –",
    "all answers, Miller-Madow 3.41 3.31 –",
    "correct only, Chao-Shen 1.34 1.24 –",
    "over the 119 problems",
    "chain_sum 41 42 43 44 5 6",
    "pass@2 0.578 0.467 -0.111",
    "pass@4 – 0.453 –",
    "answer entropy, nats (146 problems) 3.10 2.86 -0.24",
    "β = 0.88 for all problems; problem by problem: median 1.26, quartiles 0.85 and 1.46",
    "0.26 [0.20, 0.31] nats, p 0.0005, over 131 problems that both solved",
    "287 correct answers lost: 51 in problems that the trained policy never solved, 70.8 expected by tilting and "
    "chance, 163.2 (57%) unexplained (p 0.0006)",
    "33 correct answers gained: 7 in problems that the base never solved, 104.7 expected by tilting and chance, none "
    "unexplained (p 1)",
    "Perplexity of reference texts",
    "P both right 58 3.21 → 4.21 3.02 → – 2.93 → 3.93",
    "50 143 3 0 10 1.000 0.021 0.041 0.022 0.275 0.573",
    "200 132 4 17 3 – 0.031 0.060 -0.052 0.294 –",
    "base 0.194 0.553",
]


def test_the_short_view() -> None:
    text = squeezed(printed(support()))
    assert [words for words in SHORT if words not in text] == []
    assert [words for words in DETAILS if words in text] == []
    assert "--details prints also: problems at every k, answers at every k, reliably solved, guessing," in text
    assert len(printed(support()).splitlines()) <= 70


def test_details() -> None:
    text = squeezed(printed(support(), 120, details=True))
    assert [words for words in SHORT + DETAILS if words not in text] == []
    assert "--details" not in text


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("details", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, details: bool) -> None:
    assert max(len(line) for line in printed(support(), width, details=details).splitlines()) <= width


def test_three_intervals_fit_on_80_columns() -> None:
    rows = [line.strip() for line in printed(support(), 80).splitlines() if line.strip().startswith("pass@4")]
    assert [re.sub(" +", " ", row) for row in rows] == [
        "pass@4 0.553 [.510 .597] 0.453 [.410 .497] -0.100 [-.160 -.040]"
    ]
    assert tight("0.194 [0.167, 10.5]") == "0.194 [.167 10.5]"


def test_bits() -> None:
    text = squeezed(printed(support(), 120, details=True, bits=True))
    two = math.log(2)
    assert "entropies and surprisal in bits" in text
    assert f"answer entropy {3.339 / two:.2f} [{3.291 / two:.2f}, {3.373 / two:.2f}]" in text
    assert f"surprisal {0.368 / two:.2f}" in text
    assert f"all answers, plug-in {3.339 / two:.2f}" in text
    assert f"answer entropy, bits (146 problems) {3.099 / two:.2f}" in text
    assert f"{0.264 / two:.2f} [{0.205 / two:.2f}, {0.313 / two:.2f}] bits, p 0.0005" in text
    assert f"Answer entropy fell {3.339 / two:.2f} → {3.239 / two:.2f} bits" in text
    assert "nats" not in text
    assert "β = 0.88" in text  # a factor on odds, not an information
    assert "pass@1 0.194" in text


def test_shown() -> None:
    one = Estimate(0.19435, (0.16712, 0.22605))
    assert shown(one) == "0.194 [0.167, 0.226]"
    assert shown(Estimate(3e-4, (1e-4, 6e-4))) == "0.00030 [0.00010, 0.00060]"  # digits that the interval bears out
    assert shown(Estimate(2e-4, (-0.064, 0.059)), signed=True) == "0.000 [-0.064, 0.059]"
    assert shown(Estimate(-0.0467, (-0.1, -1e-17)), signed=True) == "-0.047 [-0.100, 0.000]"
    # An interval that is on one side of 0 looks it, where two more decimals can show that.
    assert shown(Estimate(-0.05, (-0.1, -0.0004)), signed=True) == "-0.0500 [-0.1000, -0.0004]"
    assert shown(Estimate(0.05, (0.00004, 0.1))) == "0.05000 [0.00004, 0.10000]"
    assert shown(Estimate(0.05, (1e-9, 0.1))) == "0.050 [0.000, 0.100]"
    assert shown(Estimate(0.125), signed=True) == "+0.125"
    assert shown(Estimate(3.66e-4)) == "0.00037"
    assert shown(Estimate(5e-17), FIXED) == "0.000"
    assert shown(Estimate(1.0, (1.0, 1.0)), MEAN) == "1.00 [1.00, 1.00]"
    assert shown(Estimate(1234.56, (1000.0, 2000.0)), COUNT) == "1,234.6 [1,000.0, 2,000.0]"
    assert shown(Estimate(math.log(2), (math.log(2), 2 * math.log(2))), BITS.kind) == "1.00 [1.00, 2.00]"
    assert shown(Estimate(None, (0.1, 0.2)), NATS.kind) == "–"
    assert [p_value(p) for p in (0.118, 0.0103, 7.2e-18, 5e-4, 1.0, None, math.nan)] == [
        *("0.12", "0.010", "7e-18", "0.0005", "1", "–", "–")
    ]
    assert (around(1.34, 0.9), around(1.34, None), around(None, 1)) == ("1.3 ± 0.9", "1.3", "–")
    assert RATE.decimals == 3


def without(tree: Any, name: str) -> Any:
    """``tree`` without the key, wherever it is."""
    if isinstance(tree, dict):
        return {k: without(v, name) for k, v in tree.items() if k != name}
    return tree


def nulled(tree: Any, name: str) -> Any:
    if isinstance(tree, dict):
        return {k: None if k == name else nulled(v, name) for k, v in tree.items()}
    return tree


CHANGES_OTHERS = {"ci", "confidence", "crossing", "value"}
"""Without them other numbers are printed: with more digits, or found from what is left."""


def keys_of(tree: Any) -> set[str]:
    return set(tree) | {k for v in tree.values() for k in keys_of(v)} if isinstance(tree, dict) else set()


@pytest.mark.parametrize("lack", [without, nulled])
def test_any_key_may_be_missing(lack: Callable[[Any, str], Any]) -> None:
    whole = support()
    kept = set(re.findall(r"\d+\.\d+", printed(whole, 120, details=True)))
    for name in sorted(keys_of(whole) - {"base", "trained", "support", "policies"}):
        table = lack(whole, name)
        text = printed(table, 120, details=True)
        assert "None" not in text and "nan" not in text, name
        # What is missing does not turn into another number: no decimal that the whole object does not print.
        new = set(re.findall(r"\d+\.\d+", text)) - kept
        if not set(name) <= set("0123456789.") and name not in CHANGES_OTHERS:
            assert not new, (name, new)


def test_a_part_without_numbers_is_left_out() -> None:
    old = {k: support()[k] for k in ("base", "trained", "n_problems", "k", "zeta", "epsilon")}
    old["support"] = {"problem": {k: support()["support"]["problem"][k] for k in "PESO"}, "answer": None}
    old["policies"] = {"base": {"pass_at_k": {"1": 0.2}}, "trained@200": {"pass_at_k": {"1": 0.3}}}
    assert [part.name for part in deciding(old)] == ["policies", "support"]
    assert detailed(old) == {}
    text = printed(old, details=True)
    assert printed(old).count("--details") == 0
    assert "difference" not in text and "[" not in text and "soft" not in text
    drawn = figures.all_figures(old, None, [])
    assert [name for name, f in drawn.items() if f.svg] == ["pass_at_k", "support"]
    page = render_html(old, None, [], {}, {}, drawn)
    for section in ("sure", "depends", "richness", "tilting", "perplexity"):
        assert f'<section id="{section}">' not in page


def test_no_null_where_labels_do_not_move() -> None:
    table = support()
    for name in ("null", "noise_floor"):
        table = nulled(table, name)
    text = squeezed(printed(table))
    assert "chance alone: E 1.7" not in text
    assert "problems McNemar 0.12 behaviour:" in text


def test_a_beta_without_bound() -> None:
    table = support()
    table["tilt"] |= {"beta": None, "beta_is_infinite": True}
    assert "no finite β reaches the trained policy's pass@1" in printed(table, details=True)


def test_curves_that_do_not_cross() -> None:
    table = support()
    table["crossing"] = {"k": None, "ci": None, "direction": "none", "share_of_replicates": 0.31}
    assert "curves pass@k does not cross (31% of replicates cross)" in squeezed(printed(table))


def test_names_are_untrusted() -> None:
    table = support()
    table["perplexity"] = {"[bold]x\x07": table["perplexity"]["reference texts"]}
    table["by_task"]["[red]\x1b"] = table["by_task"].pop("countdown")
    text = printed(table, 120, details=True)
    assert "Perplexity of [bold]x␇" in text
    assert "[red]␛" in text
    assert "\x1b" not in render_html(table, None, [], {}, {})


def texts(svg: str | None) -> list[str]:
    assert svg is not None
    return [t.text or "" for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_figure_is_drawn_and_described() -> None:
    drawn = figures.all_figures(support(), per_problem(), [{"stage": "train", "step": 1, "loss": 1.0}])
    missing = {name: f.note for name, f in drawn.items() if f.svg is None}
    assert set(missing) == {"solve_rates", "audits"}  # the table has no counts; nothing was audited
    for name, f in drawn.items():
        if f.svg is not None:
            assert f.alt and f'aria-label="{f.alt[:10]}' in f.svg, name
            assert "NaN" not in f.svg and "null" not in f.svg, name
    ids = [i for f in drawn.values() for i in re.findall(r'\bid="([^"]+)"', f.svg or "")]
    assert len(ids) == len(set(ids))


def test_figures_show_the_numbers_of_the_object() -> None:
    table = support()
    assert "they cross near k = 3 [1, 4]" in figures.pass_at_k(table).alt
    assert "Bands: 95% intervals" in figures.pass_at_k(table).note
    assert "Bands" not in figures.pass_at_k(without(table, "ci")).note
    assert "trained@200 from 0.900 at τ=0.01 to 0.000 at τ=1" in figures.cover_at_tau(table).alt
    assert "Chao1 of base 4.67; Chao1 of trained@200 4.57" in figures.accumulation(table).alt
    assert "problems at k=4: E 6, S 20, SRR 0.750" in figures.support_sweep(table).alt
    assert "Predicted pass@2 0.578, measured 0.467" in figures.tilted_curves(table).alt
    assert "β = 0.88" in figures.tilted_curves(table).note
    assert "2 checkpoints; at the last step P 132, E 4, S 17, O 3" in figures.series_curves(table).alt
    chance = figures.against_chance(table)
    assert "problems: E 4, S 17; by chance alone 1.7 ± 0.9 each" in chance.alt
    assert {"chance alone", "base against itself", "measured, k = 4", "measured, k = 2"} <= set(texts(chance.svg))
    corners = figures.entropy_quadrants(table, per_problem())
    assert {"41", "42", "43", "44", "chain_sum", "countdown"} <= set(texts(corners.svg))
    assert "change of token entropy" in corners.alt


def test_quadrants_by_surprisal_and_without_counts() -> None:
    rows = per_problem().to_pylist()
    for row in rows:
        row["surprisal_base"], row["surprisal_trained"] = (
            row.pop("token_entropy_base"),
            row.pop("token_entropy_trained"),
        )
    figure = figures.entropy_quadrants(without(support(), "entropy_quadrants"), pa.Table.from_pylist(rows))
    # 8 of 12 have an answer entropy: of them half rose (even ones), and all answers became fewer.
    assert "change of surprisal a token and of answer entropy: up up 0, up down 4, down up 0, down down 4" in figure.alt
    many = [{**row, "task": f"t{i}"} for i, row in enumerate(rows)]
    assert "other tasks" in texts(figures.entropy_quadrants({}, pa.Table.from_pylist(many)).svg)


def test_the_page_shows_every_part() -> None:
    page = render_html(support(), per_problem(), [], {}, {})
    for section in ("sure", "depends", "richness", "spread", "tilting", "perplexity", "training", "policies"):
        assert f'<section id="{section}">' in page
    text = squeezed(re.sub(r"<[^>]+>", " ", page[page.index("<body>") :]))
    assert [words for words in (*SHORT, *DETAILS) if words not in text and not words.startswith("solved within")] == []
    for word in (
        "Soft problems",
        "Chance alone",
        "McNemar",
        "Cover@τ",
        "Chao1",
        "Unseen mass",
        "Tilt, β",
        "Perplexity",
    ):
        assert f"<dt>{word}</dt>" in page
