"""Quantiles, approximate answers and halves are printed as they are in the object, and left out where they are not."""

import copy
from typing import Any

import pyarrow as pa

from leash_ray.estimates import estimate
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reducers import state_of_block
from leash_ray.reducers.registry import KEPT, with_bounded_answers
from leash_ray.report.html import render_html
from leash_ray.report.parts import deciding, detailed
from leash_ray.report.parts.part import Part

N = 40


def support() -> dict[str, Any]:
    """Sample i of either policy has 10 i + 10 tokens (trained: 10 more), surprisal 0.5 and the answer i; 7 is right."""
    rows = [
        (
            "base" if policy == 0 else "trained",
            "p",
            i,
            "CORRECT" if i == 7 else "INCORRECT",
            str(i),
            10 * (i + 1 + policy),
        )
        for policy in range(2)
        for i in range(N)
    ]
    names = ("policy", "problem_id", "sample_index", "verdict", "answer", "n_tokens")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    table = table.append_column("logprob_sum", pa.array([-0.5 * r[5] for r in rows]))
    reducers = (*with_bounded_answers(KEPT, 16), "halves")
    how = Measuring(config=MeasureConfig(bootstrap=100))
    reduced = state_of_block(table, reducers=reducers).finalize()
    return estimate(reduced, base="base", trained="trained", measuring=how).to_json()


def rows_of(part: Part) -> dict[str, list[str]]:
    return {label.strip(): cells for label, cells in part.rows}


def test_what_is_printed() -> None:
    found = support()
    spread = detailed(found)["spread"]
    assert rows_of(spread) == {
        "tokens": ["20 / 200 / 380", "30 / 210 / 390"],
        "tokens, CORRECT": ["80 / 80 / 80", "90 / 90 / 90"],
        "tokens, INCORRECT": ["20 / 210 / 390", "30 / 220 / 400"],  # the 2nd, 20th and 38th of 39
        "surprisal": ["0.50 / 0.50 / 0.50"] * 2,
    }
    assert "within" not in spread.caption  # few values: exact
    approximate = next(part for part in deciding(found) if part.name == "approximate")
    of = found["policies"]["base"]["approximate_answers"]
    assert of["n_problems_sampled"] == 1 and abs(of["distinct_answers"]["value"] - N) < 5 * of["distinct_answers"]["se"]
    assert (
        rows_of(approximate)["distinct answers"]
        == [f"{of['distinct_answers']['value']:.3g} ± {of['distinct_answers']['se']:.2g}"] * 2
    )
    assert approximate.lines[0][1].startswith("in problems with more than 16 distinct answers: base 1, trained 1;")
    chance = next(part for part in deciding(found) if part.name == "chance")
    # sample 7 is odd: found by that half alone
    assert any(
        "odd samples against even ones: base E 1.0, S 0.0; trained E 1.0, S 0.0" in line for _, line in chance.lines
    )
    assert "20 / 200 / 380" in render_html(found, None, [], {}, {})


def test_what_was_not_measured_is_left_out() -> None:
    found = support()
    for name in ("quantiles", "approximate_answers"):
        less = copy.deepcopy(found)
        for of in less["policies"].values():
            of[name] = None
        parts = {*detailed(less), *(part.name for part in deciding(less))}
        assert ("spread" in parts, "approximate" in parts) == (name != "quantiles", name == "quantiles")
        del less["policies"]["base"][name], less["policies"]["trained"][name]
        assert {*detailed(less), *(part.name for part in deciding(less))} == parts
