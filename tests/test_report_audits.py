"""The audits while training in the report: by hand, and safe with what models write."""

from typing import Any

from test_report_figures import SUPPORT, texts

from leash_ray.report.figures import audit_curves
from leash_ray.report.html import render_html
from leash_ray.report.parts.audits import audits_of, audits_part, lost_part

EVIL = "<script>alert(1)</script>\x07"


def row(step: int, *counts: int, changes: list[tuple[str, str]] = (), **more: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """Of P, E, S and O; with NSCR and an interval of a tenth to either side."""
    p, e, s, _ = counts
    nscr = (e - s) / (p + e + s)
    return {
        "stage": "audit",
        "step": step,
        **{f"problem/{g}": n for g, n in zip("PESO", counts, strict=True)},
        "problem/SRR": p / (p + s),
        "problem/NSCR": nscr,
        "problem/NSCR/low": nscr - 0.1,
        "problem/NSCR/high": nscr + 0.1,
        "trained/pass_at_k/1": 0.4,
        "base/pass_at_k/1": 0.25,
        "trained/answer_entropy": 1.5,
        "n_problems": 10,
        "k": 64,
        "lost": sum(change == "lost" for change, _ in changes),
        "regained": sum(change == "regained" for change, _ in changes),
        "seconds": 3.25,
        "changes": [
            {"change": change, "problem_id": problem, "correct": "3 of 64", "answer": EVIL}
            for change, problem in changes
        ],
        **more,
    }


ROWS = [
    {"stage": "train", "step": 10, "reward_mean": 0.5},
    {"stage": "audit", "step": 0, "completions": 640, "tokens": 6400},  # the base alone
    row(10, 7, 0, 2, 1, changes=[("lost", "a"), ("lost", "b")]),
    {"stage": "audit", "step": 15, "error": "RunFailed: no replica", "failures": 1},
    row(20, 6, 0, 3, 1, changes=[("regained", "a"), ("lost", "c"), ("lost", "d")]),
    row(20, 6, 1, 2, 1, changes=[("regained", "a"), ("lost", "c")], guard="stop"),  # done again after a resume
]


def test_an_audit_is_a_row_with_what_the_guard_did() -> None:
    part = audits_part(ROWS)
    assert part.columns[:6] == ("P", "E", "S", "O", "SRR", "NSCR")
    assert part.rows[0] == (
        "10",
        ["7", "0", "2", "1", "0.778", "-0.222 [-0.322, -0.122]", "0.400", "0.250", "1.50", "2", "0", "3.2"],
    )
    assert [step for step, _ in part.rows] == ["10", "20"] and part.rows[1][1][:4] == ["6", "1", "2", "1"]
    assert part.lines == (
        ("leash guard", "stopped training after step 20"),
        ("failed audits", "1, the last one at step 15"),
    )
    raised = audits_part([row(30, 6, 0, 3, 1, guard="kl", kl_coef=0.002)])
    assert raised.lines == (("leash guard", "raised the KL weight to 0.002 after step 30"),)


def test_what_is_lost_and_has_not_come_back_is_listed() -> None:
    part = lost_part(ROWS)
    assert [(problem, cells[0]) for problem, cells in part.rows] == [("b", "10"), ("c", "20")]
    assert not lost_part(ROWS[:2]) and not audits_part(ROWS[:2]) and not audits_of([])


def test_the_figure_has_a_panel_each_and_says_the_last_counts() -> None:
    figure = audit_curves(ROWS)
    said = texts(figure.svg)
    assert {"P, E and S, problems", "SRR and NSCR", "pass@1", "NSCR", "trained", "10", "20"} <= set(said)
    assert figure.alt == "2 audits; at the last one, after step 20, P 6, E 1, S 2, O 1."
    assert audit_curves(ROWS[:2]).svg is None
    assert audit_curves(ROWS[:3]).svg is not None  # one audit alone


def test_the_page_shows_them_and_leaves_answers_text() -> None:
    page = render_html(SUPPORT, None, ROWS, {}, {})
    assert "The leash while training" in page and "Lost while training" in page
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;␇" in page
    without = render_html(SUPPORT, None, ROWS[:1], {}, {})
    assert "The leash while training" not in without and "Audits while training" not in without
