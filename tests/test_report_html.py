"""The page: safe with what models write, whole without a network, honest about what is missing."""

import json
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.report import write_report
from leash_ray.report.examples import collect_examples
from leash_ray.report.html import render_html
from leash_ray.report.rows import select, sorted_rows
from leash_ray.report.run_info import run_info
from leash_ray.report.text import clip, rate, visible
from leash_ray.types import COMPLETIONS_SCHEMA

EVIL = "</pre><script>alert('x')</script><img src=http://evil.test/a.png onerror=alert(1)>\x07\ud800\u202e"
VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def make_support() -> dict[str, Any]:
    counts = {"P": 2, "E": 1, "S": 1, "O": 1, "SRR": 0.667, "NDR": 0.333, "SDS": None, "NSCR": 0.0}
    policy = {
        "n_completions": 20,
        "verdicts": {"CORRECT": 5, "INCORRECT": 15},
        "pass_at_k": {"1": 0.25, "2": 0.4, "4": 0.6},
        "answer_entropy": 1.25,
        "mean_surprisal": None,
        "mean_n_tokens": 8.0,
    }
    return {
        "base": "base",
        "trained": "trained",
        "n_problems": 5,
        "k": 4,
        "zeta": 0.05,
        "epsilon": 0.749,
        "support": {"problem": counts, "answer": {**counts, "O": None}},
        "policies": {"base": policy, "trained": policy},
    }


def make_per_problem(n: int = 5) -> pa.Table:
    groups = "PPESO"
    rows = [
        {
            "problem_id": f"p{i:04}",
            "task": "countdown",
            "group": groups[i % 5],
            "n_base": 4,
            "c_base": {"P": 2, "S": 1}.get(groups[i % 5], 0),
            "n_trained": 4,
            "c_trained": {"P": 3, "E": 1}.get(groups[i % 5], 0),
            "first_correct_base": 0,
            "first_correct_trained": None,
            "distinct_answers_base": 3,
            "distinct_answers_trained": 2,
            "distinct_correct_answers_base": 1,
            "distinct_correct_answers_trained": None,
            "answer_entropy_base": 1.0,
            "answer_entropy_trained": float("nan"),
        }
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows)


def make_completions() -> pa.Table:
    rows = []
    for policy in ("base", "trained"):
        answers = [("CORRECT", "a"), ("CORRECT", "b"), ("CORRECT", "b"), ("INCORRECT", "c"), ("INCORRECT", "d")]
        answers += [("INCORRECT", "d"), ("NO_ANSWER", None)]
        for i, (verdict, answer) in enumerate(answers):
            text = EVIL.replace("\ud800", "") if (i, policy) == (0, "base") else f"{policy} {answer} {i}"
            row = {"policy": policy, "task": "countdown", "problem_id": "p0000", "sample_index": i, "verdict": verdict}
            rows.append({**row, "answer": answer, "n_tokens": 3, "text": text})
    return pa.Table.from_pylist(rows, schema=pa.schema([(f.name, _plain_type(f.type)) for f in COMPLETIONS_SCHEMA]))


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def make_examples() -> dict[str, Any]:
    evil = {"text": EVIL, "verdict": "CORRECT", "answer": EVIL, "n": 3}
    return {"p0000": {"prompt": EVIL, "base": [evil], "trained": [{**evil, "text": None, "answer": None}]}}


RUN = {
    "name": "demo <b>1</b>",
    "seed": 3,
    "task": "countdown",
    "versions": {"ray": "2.60.0"},
    "sampling": {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "min_p": 0.0, "max_tokens": 32},
    "config": {"note": EVIL},
}
METRICS = [{"stage": "train", "step": i, "reward_mean": 0.1 * i} for i in range(5)]


@pytest.fixture(scope="module")
def html() -> str:
    return render_html(make_support(), make_per_problem(), METRICS, make_examples(), RUN)


def test_page_has_every_part(html: str) -> None:
    page = Page(html)
    sections = [a.get("id") for tag, a in page.tags if tag == "section"]
    assert sections == [
        "answer",
        "reach",
        "spread",
        "training",
        "policies",
        "problems",
        "verdicts",
        "sampling",
        "glossary",
        "run",
    ]
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert ("html", {"lang": "en"}) in page.tags
    for words in (
        "Does RLVR on this base expand or shrink what it can reach?",
        "RLVR gained as much reach as it lost",
        "Sampling cut the support. top_p 0.95",
        "All 5 problems. Example completions for 1 of them",
        "2 of 4 correct, first at index 0; 3 distinct answers",
        "2.60.0",
        "Not logged, so not drawn: token entropy",
    ):
        assert words in page.text
    assert [h for h in ("SRR", "NDR", "SDS", "NSCR", "ε") if f"<dt>{h}</dt>" not in html] == []


def test_page_is_accessible(html: str) -> None:
    tags = Page(html).tags
    assert all(a.get("scope") in ("col", "row") for tag, a in tags if tag == "th")
    assert all(a.get("aria-label") for tag, a in tags if tag == "svg")
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert Counter(tag for tag, _ in tags)["title"] == 1
    assert Counter(tag for tag, _ in tags)["h1"] == 1


def test_what_a_model_wrote_stays_text(html: str) -> None:
    page = Page(html)
    assert Counter(tag for tag, _ in page.tags)["script"] == 1
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    shown = visible(EVIL)
    assert "␇�⟨U+202E⟩" in shown
    assert sum(shown in text for text in page.texts) >= 4  # prompt, completion, answer and configuration
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff\u202e]", html)
    html.encode("utf-8")


def test_page_needs_no_network(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "a", "image", "use")
        assert not {"src", "href", "xlink:href", "srcset", "action", "data"} & set(attributes), tag
    assert not re.search(r"url\((?!#)|@import", html)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_undefined_is_a_dash(html: str) -> None:
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert "–" in cells
    assert not {"nan", "NaN", "None", "null"} & set(cells)
    assert re.search(r'<td data-v="">–</td>', html)


def test_nothing_but_support() -> None:
    page = Page(render_html(make_support(), None, [], {}, {}))
    assert "Left out: there is no per-problem table" in page.text
    assert "Left out: No training was logged" in page.text
    assert "sampling settings were not recorded" in page.text
    assert Page(render_html({"support": {}, "policies": {}}, None, [], {}, {})).text.count("Left out") == 6


def test_a_large_run_stays_small() -> None:
    table = make_per_problem(2000)
    examples = {pid: make_examples()["p0000"] for pid in table["problem_id"].to_pylist()}
    html = render_html(make_support(), table, [], examples, {})
    assert html.count("<tbody data-group=") == 500
    assert html.count('<tr class="examples">') == 200
    assert "Showing 500 of 2,000 problems" in html
    assert "P 125 of 800, E 125 of 400, S 125 of 400, O 125 of 400" in html


def test_select_gives_every_group_a_fair_share() -> None:
    rows = [{"group": "E", "i": i} for i in range(3)] + [{"group": "P", "i": i} for i in range(100)]
    chosen = select(rows, 13)
    assert Counter(r["group"] for r in chosen) == {"E": 3, "P": 10}
    assert [r["i"] for r in chosen if r["group"] == "P"] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert select(rows, 1000) == rows


def test_rows_are_sorted_by_group_then_solve_rate() -> None:
    assert [r["group"] for r in sorted_rows(make_per_problem())] == ["E", "S", "P", "P", "O"]


def test_examples(tmp_path: Path) -> None:
    table = make_completions()
    pq.write_table(table.slice(0, 5), tmp_path / "a.parquet")
    pq.write_table(table.slice(5).drop(["text"]), tmp_path / "b.parquet")
    (tmp_path / ".half.parquet").write_bytes(b"torn")
    (tmp_path / "_tmp").mkdir()
    (tmp_path / "_tmp" / "c.parquet").write_bytes(b"torn")
    files = parquet_files(tmp_path)
    assert [f.name for f in files] == ["a.parquet", "b.parquet"]
    found = collect_examples(files, ["p0000", "p9999"], {"p0000": "1 2=3:"})
    assert found["p9999"] == {"prompt": "", "base": [], "trained": []}
    assert found["p0000"]["prompt"] == "1 2=3:"
    # One of each verdict before a second of any: b (twice), d (twice), then no answer.
    assert [(e["verdict"], e["answer"], e["n"]) for e in found["p0000"]["base"]] == [
        ("CORRECT", "b", 2),
        ("INCORRECT", "d", 2),
        ("NO_ANSWER", None, 1),
    ]
    texts = [e["text"] for e in found["p0000"]["base"]]
    assert texts == ["base b 1", "base d 4", None]  # of the lowest index; the second file has no texts
    assert collect_examples(list(reversed(files)), ["p0000"], {}) == collect_examples(files, ["p0000"], {})
    five = collect_examples(files, ["p0000"], {}, per_problem=5)["p0000"]["base"]
    assert [e["answer"] for e in five] == ["b", "a", "d", "c", None]


def test_examples_from_dictionary_columns_and_several_versions(tmp_path: Path) -> None:
    table = make_completions()
    for name in ("policy", "problem_id", "verdict"):
        column = table[name].combine_chunks().dictionary_encode()
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, tmp_path / "a.parquet")
    found = collect_examples([tmp_path / "a.parquet"], ["p0000"], {}, per_problem=1, base="trained", trained="base")
    assert found["p0000"]["base"][0]["text"] == "trained b 1"


def write_run(run: Path) -> None:
    (run / "completions" / "base").mkdir(parents=True)
    (run / "support.json").write_text(json.dumps(make_support()))
    pq.write_table(make_per_problem(), run / "per_problem.parquet")
    pq.write_table(make_completions(), run / "completions" / "base" / "part-0.parquet")
    problems = [{"id": f"p{i:04}", "task": "countdown", "prompt": f"prompt {i}"} for i in range(5)]
    pq.write_table(pa.Table.from_pylist(problems), run / "problems.parquet")
    lines = [json.dumps(m) for m in METRICS]
    (run / "metrics.jsonl").write_text("\n".join(lines) + '\n{"stage": "train", "st')
    (run / "run.json").write_text(json.dumps({"name": "r1", "seed": 0, "created": "2025", "packages": {"ray": "2.60"}}))
    (run / "config.yaml").write_text("sampling: {n: 4, temperature: 1.0, top_p: 0.9}\n")


def test_write_report(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = write_report(tmp_path)
    assert path == tmp_path / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert "prompt 0" in page.text
    assert "trained b 1" in page.text
    assert "top_p 0.9" in page.text
    assert "2.60" in page.text
    made = sorted(p.name for p in (tmp_path / "figures").iterdir())
    # Not answer_entropy.svg: the trained policy's is undefined on every problem.
    assert made == ["pass_at_k.svg", "solve_rates.svg", "support.svg", "training.svg"]
    # A figure that this report leaves out does not stay behind from an earlier one.
    (tmp_path / "metrics.jsonl").unlink()
    before = path.read_bytes()
    write_report(tmp_path)
    assert not (tmp_path / "figures" / "training.svg").exists()
    assert path.read_bytes() != before


def test_write_report_is_reproducible(tmp_path: Path) -> None:
    write_run(tmp_path)
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first


def test_write_report_needs_support(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"`leash reduce {tmp_path}`")):
        write_report(tmp_path)
    (tmp_path / "support.json").write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        write_report(tmp_path)
    (tmp_path / "support.json").write_text("{}")
    with pytest.raises(UsageError, match="'support' and 'policies'"):
        write_report(tmp_path)
    (tmp_path / "support.json").write_text(json.dumps(make_support()))
    assert write_report(tmp_path).exists()


def test_run_info_prefers_what_run_json_says() -> None:
    config = {
        "task": {"name": "countdown", "size": 3},
        "policies": {"base": {"model": "m"}, "trained": {"model": None}},
        "train": {"steps": 20},
        "sampling": {"n": 8, "top_p": 1.0, "in_flight": 4},
    }
    info = run_info({"name": "x", "packages": {"ray": "1"}, "created": "t"}, config)
    assert info["sampling"] == {"n": 8, "top_p": 1.0}
    assert info["models"] == {"base": "m", "trained": "base after 20 training steps"}
    stopped = run_info({}, config, steps=15)["models"]["trained"]
    assert stopped == "base after 15 training steps"  # by the leash guard
    assert (info["task"], info["started"], info["versions"]) == ("countdown", "t", {"ray": "1"})
    assert run_info({"sampling": {"top_p": 0.5}}, config)["sampling"] == {"top_p": 0.5}
    # as a run of leash writes it down: every key, null where it was not given
    for task, label in (
        ({"kind": "reasoning_gym", "name": None, "dataset": "chain_sum"}, "chain_sum"),
        ({"kind": "jsonl", "name": None, "path": "data/math.jsonl"}, "data/math.jsonl"),
        ({"kind": "jsonl", "name": "math", "path": "data/math.jsonl"}, "math"),
        ({}, None),
    ):
        assert run_info({}, {"task": task})["task"] == label


def test_text() -> None:
    assert [rate(x) for x in (None, float("nan"), float("inf"), 0, 0.5, 0.0044, 3.66e-4, -0.25, True)] == [
        "–", "–", "–", "0.000", "0.500", "0.0044", "0.00037", "-0.250", "–",
    ]  # fmt: skip
    assert visible("a\tb\nc\r\x1b[0m\x7f\u200b") == "a\tb\nc␍␛[0m␡⟨U+200B⟩"
    assert clip("x" * 10, 10) == "x" * 10
    assert clip("a" * 60 + "b" * 100 + "c" * 40, 100) == "a" * 60 + "\n[… 100 characters left out …]\n" + "c" * 40


def test_importing_the_report_is_light() -> None:
    heavy = "altair", "polars", "pyarrow", "jinja2", "rich", "ray"
    code = f"import sys, leash_ray.report; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
