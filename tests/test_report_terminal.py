"""The terminal's tables: both policies, both units, undefined as a dash, at two widths."""

from typing import Any

import pytest
from rich.console import Console

from leash_ray.report import print_report


def support() -> dict[str, Any]:
    policies = {
        name: {
            "n_completions": 38400,
            "verdicts": {"INCORRECT": 30000, "CORRECT": 8000, "ERROR": 4},
            "pass_at_k": {"1": 0.1 * i, "2": 0.25, "256": None},
            "answer_entropy": float("nan"),
            "mean_surprisal": None,
            "mean_n_tokens": 8.13,
        }
        for i, name in enumerate(("base", "trained@200"), 1)
    }
    counts = {"P": 10, "E": 0, "S": 0, "O": 2, "SRR": 1.0, "NDR": 0.0, "SDS": 0, "NSCR": -0.5}
    return {
        "base": "base",
        "trained": "trained@200",
        "n_problems": 12,
        "k": 256,
        "zeta": 0.05,
        "epsilon": 0.0117,
        "support": {"problem": counts, "answer": None},
        "policies": policies,
    }


def printed(table: dict[str, Any], width: int, **how: Any) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
    print_report(table, console, **how)
    console.file.close()
    return console.export_text()


def line(text: str, start: str) -> list[str]:
    return next(x for x in text.splitlines() if x.strip().startswith(start)).split()


@pytest.mark.parametrize("width", [80, 120])
def test_tables(width: int) -> None:
    text = printed(support(), width)
    assert max(len(x) for x in text.splitlines()) <= width
    assert line(text, "pass@1") == ["pass@1", "0.100", "0.200"]
    assert line(text, "pass@256") == ["pass@256", "–", "–"]
    assert line(text, "answer entropy")[-2:] == ["–", "–"]
    assert line(text, "surprisal")[-2:] == ["–", "–"]
    assert line(text, "base        CORRECT") == ["base", "CORRECT", "8,000,", "INCORRECT", "30,000,", "ERROR", "4"]
    assert "difference" not in text  # it was not measured
    assert line(text, "problems  ") == ["problems", "answers"]
    cells = {"P": "10", "E": "0", "S": "0", "O": "2", "SRR": "1.000", "NDR": "0.000", "SDS": "0.000", "NSCR": "-0.500"}
    for name, cell in cells.items():
        assert line(text, f"{name} ") == [name, cell, "–"]
    assert "trained@200" in text
    assert "0.012 (ε) at 95% confidence" in " ".join(text.split())
    assert "Caution: only 0 problems changed sides" in text
    assert text.index("CORRECT") < text.index("INCORRECT")  # the order of meaning, not of the file


def test_tasks_appear_when_there_are_several() -> None:
    table = support()
    part = {"n_problems": 6, "support": table["support"], "policies": table["policies"]}
    table["by_task"] = {"countdown": part}
    assert "By task" not in printed(table, 80)
    table["by_task"]["gcd"] = part
    text = printed(table, 80)
    expected = ["gcd", "6", "10", "0", "0", "2", "-0.500", "0.100", "→", "0.200", "0.250", "→", "0.250"]
    assert line(text, "gcd") == expected


def test_nothing_is_known() -> None:
    text = printed({"support": {}, "policies": {}}, 80)
    assert "not known" in text


def test_markup_in_names_is_not_markup() -> None:
    table = support()
    table["trained"] = "[bold]x[/bold]"
    table["policies"]["[bold]x[/bold]"] = table["policies"].pop("trained@200")
    assert "[bold]x[/bold]" in printed(table, 120)
