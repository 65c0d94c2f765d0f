"""A comparison for readers: the command, the tables, the page, the figures, and what is said in words."""

import copy
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from compare_made import make, study
from rich.console import Console

from leash_ray.cli import main
from leash_ray.compare import compare_runs
from leash_ray.report.compare import print_comparison, sentences, write_comparison
from leash_ray.report.compare.figures import all_figures
from leash_ray.report.compare.parts import parts_of, short
from leash_ray.report.compare.words import expands_sentence, lost_sentence


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return study(tmp_path_factory.mktemp("study"), {"grpo": 1.2, "dapo<b>": 0.1}, seeds=2, n_problems=40)


@pytest.fixture(scope="module")
def found(runs: list[Path]) -> dict[str, Any]:
    return compare_runs(runs)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err  # type: ignore[return-value]


# The command.


def test_json_is_one_object_and_nothing_else(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *runs, "--json", "--out", tmp_path / "out")
    assert (status, err) == (0, "")
    shown = json.loads(out)
    assert [r["name"] for r in shown["recipes"]] == ["grpo", "dapo<b>"]
    assert json.loads((tmp_path / "out" / "compare.json").read_text()) == shown


def test_the_last_line_says_where_the_results_are(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir, page, svg = tmp_path / "out", tmp_path / "deep" / "a.html", tmp_path / "a.svg"
    status, out, _ = run(capsys, *runs, "--out", out_dir, "--html", page, "--figure", svg)
    assert status == 0
    assert out.splitlines()[-1] == f"results are in {out_dir}: open {out_dir / 'compare.html'} and {page} and {svg}"
    assert page.read_text() == (out_dir / "compare.html").read_text()
    assert svg.read_text() == (out_dir / "figures" / "recipes.svg").read_text()
    _, out, _ = run(capsys, *runs)
    assert out.splitlines()[-1].startswith("nothing was written; --out DIR")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give two or more runs"),
        (["--html", "."], ". is a folder; give a file"),
        (["--group-by", "nothing"], "--group-by nothing: no run's config has this key"),
        (["--k", "999"], "give --k 16"),
    ],
)
def test_what_is_unusable_names_the_fix(
    runs: list[Path], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, *(runs if arguments else ()), *arguments)
    assert (status, out) == (2, "") and said in err and err.startswith("leash: ") and "Traceback" not in err


# The terminal.


def printed(found: dict[str, Any], width: int, details: bool = False) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_comparison(found, console, details)
    return console.export_text()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_tables_fit_the_terminal(found: dict[str, Any], width: int) -> None:
    text = printed(found, width, details=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in ("SRR", "NSCR", "NDR", "SDS", "pass@1", "pass@16", "answer entropy"):
        assert re.search(rf"(^|\s){name}(\s|$)", text)


def test_numbers_are_those_of_the_object(found: dict[str, Any]) -> None:
    text = printed(found, 200, details=True)
    for recipe in found["recipes"]:
        row = next(line for line in text.splitlines() if line.startswith(recipe["name"]))
        problem = recipe["support"]["problem"]
        srr = problem["SRR"]
        assert f"{srr['value']:.3f} [{srr['ci'][0]:.3f}, {srr['ci'][1]:.3f}]" in row
        assert f"{problem['S']['value']:.1f}" in row
        assert f"{recipe['pass_at_k']['16']['value']:.3f}" in text
    assert "seed 0" in text and "seed 1" in text
    assert found["pairs"][0]["a"] + " − " + found["pairs"][0]["b"] in text
    assert "Caution: 2 seeds are few" in text


def test_details_add_tables(found: dict[str, Any]) -> None:
    few, all_ = printed(found, 200), printed(found, 200, details=True)
    assert "Do these models differ?" in all_ and "Do these models differ?" not in few
    assert all(part.title in all_ for part in parts_of(found))


def test_short_numbers() -> None:
    assert [short(n) for n in (None, 0, 950, 1234, 1_200_000, 3.4e9)] == ["–", "0", "950", "1.23 k", "1.2 M", "3.4 G"]


# Words.


def made(**recipes: tuple[float, tuple[float, float]]) -> dict[str, Any]:
    """Recipe -> (problems lost, interval of NSCR); p between neighbours is 0.01, else 0.5."""
    names = list(recipes)
    of = [
        {
            "name": name,
            "seeds": ["0", "1", "2"],
            "support": {
                "problem": {
                    "S": {"value": lost},
                    "NSCR": {"value": sum(ci) / 2, "ci": list(ci)},
                    "beyond_chance": {"E": int(ci[0] > 0), "S": 0},
                },
                "answer": None,
            },
        }
        for name, (lost, ci) in recipes.items()
    ]
    pairs = [
        {"a": a, "b": b, "numbers": {"problem": {"S": {"p_adjusted": 0.01 if j > i + 1 else 0.5}}}}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i < j
    ]
    return {"recipes": of, "pairs": pairs, "confidence": 0.95, "n_problems": 150, "base": {}, "k_answers": 8}


def test_who_loses_least() -> None:
    found = made(a=(2.0, (-0.1, 0.1)), b=(4.0, (-0.3, -0.1)), c=(9.5, (0.1, 0.3)))
    assert lost_sentence(found, "problem") == (
        "a loses the fewest problems (2 of 150, mean of 3 seeds), told apart from c (p = 0.010), but not from b "
        "(p = 0.50)."
    )
    two = made(a=(2.0, (-0.1, 0.1)), b=(4.0, (-0.3, -0.1)))
    assert lost_sentence(two, "problem").endswith("seeds), but is not told apart from b (p = 0.50).")
    tie = made(a=(0.0, (-0.1, 0.1)), b=(0.0, (-0.3, -0.1)))
    assert lost_sentence(tie, "problem") == "All recipes lose as many problems: 0 of 150."


def test_who_expands() -> None:
    found = made(a=(2.0, (-0.1, 0.1)), b=(4.0, (-0.3, -0.1)), c=(9.5, (0.1, 0.3)))
    assert expands_sentence(found, "problem") == (
        "On balance, c (NSCR 0.200 [0.100, 0.300]) expands; b (NSCR -0.200 [-0.300, -0.100]) shrinks; for a "
        "(NSCR 0.000 [-0.100, 0.100]) it is not decided. What was gained is more than chance alone gives by c in 1 of "
        "3 runs."
    )
    del found["recipes"][2], found["recipes"][0]
    assert expands_sentence(found, "problem") == (
        "No recipe expands on balance: b (NSCR -0.200 [-0.300, -0.100]) shrinks. In no run is what was gained more "
        "than chance alone gives."
    )


def test_sentences_of_a_study(found: dict[str, Any]) -> None:
    said = sentences(found)
    assert said[0].startswith("dapo<b> loses the fewest problems (")
    assert any("distinct correct answers" in s for s in said) and said[-1].startswith("pass@1 is highest for")


# Page and figures.


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "data") or k.startswith("on")]


def test_the_page_stands_alone_and_escapes_names(found: dict[str, Any], tmp_path: Path) -> None:
    page = write_comparison(found, tmp_path).read_text()
    seen = _Page()
    seen.feed(page)
    assert seen.links == [] and not {"script", "link", "img", "iframe", "b"} & set(seen.tags)
    assert seen.tags.count("svg") == 3 and "dapo&lt;b&gt;" in page and "dapo<b>" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "default-src 'none'" in page
    assert found["recipes"][0]["runs"][0] in page
    for caution in found["cautions"]:
        assert caution[1:40] in page.replace("&#39;", "'")


def test_figures_are_svg_that_say_what_they_show(found: dict[str, Any]) -> None:
    for figure in all_figures(found):
        root = ET.fromstring(figure.svg or "")
        assert root.tag.endswith("svg") and "grpo" in (figure.alt or "") and "base" not in figure.name
        text = " ".join(root.itertext())
        assert "grpo" in text and "dapo<b>" in text
    numbers = " ".join(ET.fromstring(all_figures(found)[0].svg or "").itertext())
    assert all(title in numbers for title in ("SRR, problems kept", "NSCR, answers on balance", "pass@16"))


def test_what_is_not_known_is_left_out(found: dict[str, Any], tmp_path: Path) -> None:
    bare = copy.deepcopy(found)
    for recipe in bare["recipes"]:
        recipe["support"]["answer"] = None
        for ks in ("pass_at_k", "gain_at_k"):
            recipe[ks] = {k: {"value": None, "ci": None, "seeds": [None] * 2} for k in recipe[ks]}
    bare["base"]["pass_at_k"] = {}
    for pair in bare["pairs"]:
        del pair["numbers"]["answer"]
    page = write_comparison(bare, tmp_path).read_text()
    assert "distinct correct answers" not in page and "Left out: " in page
    assert not (tmp_path / "figures" / "trade.svg").exists()
    assert "–" in printed(bare, 120, details=True)


def test_one_seed_each(tmp_path: Path) -> None:
    base = {f"p{i}": "ab.." for i in range(6)}
    runs = [
        make(tmp_path / name, base, {p: "a..." if i >= n else "...." for i, p in enumerate(base)})
        for name, n in (("x", 1), ("y", 4))
    ]
    text = printed(compare_runs(runs), 120)
    assert "seed 0" not in text and "mean of" not in text and "intervals over problems" in text
    assert "every recipe has one seed" in text
    assert "x loses the fewest problems (1 of 6), but is not told apart from y (p = 0.25)." in text


def test_the_docs_name_options_that_there_are_and_keys_that_are_given(found: dict[str, Any]) -> None:
    from leash_ray.cli_compare import compare

    docs = (Path(__file__).parents[1] / "docs" / "comparing.md").read_text()
    options = {name for parameter in compare.params for name in parameter.opts if name.startswith("--")}
    assert {o for o in re.findall(r"--[a-z-]+", docs) if o.strip("-")} <= options | {"--quick"}
    assert options <= set(re.findall(r"--[a-z-]+", docs))
    for key in re.findall(r"`(numbers\.[\w.]+)`", docs):
        at: Any = found["pairs"][0]
        for part in key.split("."):
            at = at[part]
        assert at is not None
    for key in re.findall(r"^\| `([a-z_]+)[`.]", docs, re.MULTILINE):
        assert key in found["recipes"][0] or key in ("recipe", "name", "run", "train")
