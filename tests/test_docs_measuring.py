"""``docs/measuring.md``: every number that the page prints of its example is computed again, from its own answers.

The page is read, not repeated here: its table of answers becomes completions; a table with a column ``key`` holds
values of ``support.json``, to the printed digits; a span of code that is arithmetic is evaluated.
"""

import itertools
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from leash_ray.estimates import Estimates, estimate
from leash_ray.measure.measuring import Measuring
from leash_ray.measure.settings import MeasureConfig
from leash_ray.reducers import state_of_block
from leash_ray.stats.concentration import concentration
from leash_ray.stats.entropy import (
    answer_entropies_nats,
    answer_entropy_nats,
    chao_shen_entropies_nats,
    miller_madow_entropies_nats,
)
from leash_ray.stats.perplexity import perplexity_by_pattern
from leash_ray.stats.plan import Shares, plan
from leash_ray.stats.richness import richness
from leash_ray.stats.series import series
from leash_ray.stats.tilt import tilted_entropies_nats, tilts
from leash_ray.types import Verdict

PAGE = (Path(__file__).parent.parent / "docs" / "measuring.md").read_text(encoding="utf-8")
VERDICTS = {"–": Verdict.NO_ANSWER, "…": Verdict.TRUNCATED, "!": Verdict.ERROR}
TOKENS = {"base": (-1.0, 1.2), "trained": (-0.5, 0.4)}
"""logprob_sum and entropy_sum of every completion."""

Row = dict[str, str]


def tables() -> list[list[Row]]:
    """All tables of the page, as rows by the names of their columns."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


TABLES = tables()


def with_column(name: str) -> list[list[Row]]:
    return [table for table in TABLES if name in table[0]]


ANSWERS = {row["N"]: row for row in with_column("N")[0]}


def estimates(error: tuple[str, str, int] | None = None, config: MeasureConfig | None = None) -> Estimates:
    """Of the page's answers; ``error``: the policy, problem and sample whose verifier failed."""
    rows = []
    for policy, (logprob, entropy) in TOKENS.items():
        for problem, row in ANSWERS.items():
            for i, text in enumerate(row[policy].split()):
                said = "!" if error == (policy, problem, i) else text
                verdict = VERDICTS.get(said) or (Verdict.CORRECT if said.endswith("✓") else Verdict.INCORRECT)
                answer = None if said in VERDICTS else said.rstrip("✓")
                rows.append((policy, problem, i, str(verdict), answer, 2, logprob, entropy))
    names = ("policy", "problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum", "entropy_sum")
    table = pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    guess = dict.fromkeys(ANSWERS, config.guess_rate) if config else None
    how = Measuring(config=config or MeasureConfig(), guess=guess)  # type: ignore[arg-type]
    return estimate(state_of_block(table).finalize(), base="base", trained="trained", measuring=how)


@pytest.fixture(scope="module")
def example() -> Estimates:
    return estimates()


@pytest.fixture(scope="module")
def objects(example: Estimates) -> dict[str, dict[str, Any]]:
    """What the columns of the page's tables are about, by their headings; others are about the example."""
    plain = example.to_json()
    return {
        "": plain,
        "above guessing": estimates(config=MeasureConfig(guess_rate=0.1, above_guessing=True)).to_json(),
        "with g = 0.1": estimates(config=MeasureConfig(guess_rate=0.1)).to_json(),
        "one ERROR": estimates(("base", "9", 3)).to_json(),
    }


def at(value: Any, path: str) -> Any:
    """The value of a JSON object at a path; keys may have dots, as 0.5 has."""
    if not path:
        return value
    for key in value if isinstance(value, dict) else ():
        if path == key or path.startswith(key + "."):
            return at(value[key], path[len(key) + 1 :])
    raise KeyError(f"{path} is not in support.json; there are {list(value)}")


def test_the_tokens_of_every_completion() -> None:
    (logprob, entropy), (logprob_trained, entropy_trained) = (map(_signed, TOKENS[p]) for p in ("base", "trained"))
    text = _one_line(PAGE)
    assert f"a log-probability of {logprob} (`logprob_sum`) and an entropy summed over its steps of {entropy} " in text
    assert f"one of the trained policy's {logprob_trained} and {entropy_trained}." in text


def evaluate(text: str) -> float:
    python = text.replace("−", "-").replace("×", "*").replace("^", "**")
    return float(eval(python, {"__builtins__": {}}, _FUNCTIONS))


_FUNCTIONS = {"ln": math.log, "exp": math.exp, "sqrt": math.sqrt, "C": math.comb}


def printed(text: str, value: float) -> None:
    """``text`` is ``value`` to its digits, or an equation of which every side is."""
    for side in text.split(" = "):
        decimal = re.fullmatch(r"−?\d+\.(\d+)", side)
        slack = 0.5 * 10.0 ** -len(decimal[1]) if decimal else 0.0
        assert evaluate(side) == pytest.approx(value, abs=slack + 1e-9), text


def same(cell: str, value: Any) -> None:
    """A cell of a table shows this value of the JSON object."""
    if value is None:
        assert cell == "–"
    elif isinstance(value, str):
        assert cell == value
    elif isinstance(value, list) and value and isinstance(value[0], str):
        assert cell.split(", ") == value
    elif isinstance(value, list):
        shown_ends = cell.strip("[]").split(", ")
        assert cell.startswith("[")
        for shown, end in zip(shown_ends, value, strict=True):
            printed(shown, end)
    else:
        printed(cell, value)


def keyed() -> list[tuple[str, str, str]]:
    """(key, column, cell) of every value in a table with a column ``key``."""
    found = []
    for table in with_column("key"):
        columns = [name for name in table[0] if name not in ("", "key")]
        found += [(row["key"].strip("`"), column, row[column]) for row in table for column in columns]
    return found


def test_every_value_of_the_tables(objects: dict[str, dict[str, Any]]) -> None:
    checked = 0
    for key, column, cell in keyed():
        k = column.removeprefix("k = ")
        path = key.replace("<unit>", column).replace("<policy>", column).replace("<k>", k)
        value = at(objects.get(column, objects[""]), path)
        if ".sweep." in key:
            value = value[at(objects[""], "support.problem.sweep.k").index(int(k))]
        try:
            same(cell, value)
        except (AssertionError, ValueError, NameError, SyntaxError) as e:
            raise AssertionError(f"{path} is {value}, and the page says {cell} in the column {column!r}") from e
        checked += 1
    assert checked > 150


def test_the_plan() -> None:
    asked = re.search(
        r"leash plan --epsilon (\S+) --shares (\S+),(\S+),(\S+) --nscr-width (\S+) --power (\S+) \\\n"
        r" +--tokens (\S+) --bytes (\S+) --tokens-per-s (\S+)\n",
        PAGE,
    )
    assert asked
    epsilon, p, e, s, width, power, tokens, size, speed = map(float, asked.groups())
    planned = plan(
        epsilon=epsilon,
        shares=Shares(p, e, s),
        width=width,
        power=power,
        tokens_per_completion=tokens,
        bytes_per_completion=size,
        tokens_per_s=speed,
    ).to_json()
    (table,) = with_column("key in the plan")
    for row in table:
        same(row["example"], at(planned, row["key in the plan"].strip("`")))


def test_the_arithmetic() -> None:
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"\n", " ", PAGE))
    sums = [s for s in spans if " = " in s and not re.sub(r"ln|exp|sqrt|C|[\d\s.,()+−×/^=]", "", s)]
    assert len(sums) >= 30
    for text in sums:
        printed(text, evaluate(text.split(" = ")[0]))


def test_the_arithmetic_on_twelve_is_what_the_code_computes() -> None:
    """What the page works out by hand for N = 12."""
    base, trained = (ANSWERS["12"][policy].split() for policy in TOKENS)
    counts = list(Counter(base).values())
    right = sorted(answer for answer in {*base, *trained} if answer.endswith("✓"))
    b, t = ([answers.count(a) for a in right] for answers in (base, trained))
    entropies = answer_entropies_nats, miller_madow_entropies_nats, chao_shen_entropies_nats
    beta, error = tilts([4], [sum(b)], [4], [sum(t)])
    found = concentration(b, t, [0] * len(b), 1)
    predicted = tilted_entropies_nats(b, [0] * len(b), [True] * len(b), [1.0])
    values = {
        "plug-in, Miller-Madow, Chao-Shen": [f(counts, [0] * len(counts), 1)[0] for f in entropies],
        "Chao1": [richness(b, [0] * len(b), [4]).chao1[0]],
        "beta and its error": [beta[0], error[0]],
        "KL and its expectation": [found.kl_nats[0], found.expected_kl_nats[0]],
        "predicted entropy": predicted.tolist(),
    }
    for name, numbers in values.items():
        for number in numbers:
            assert f"= {number:.3f}`" in _one_line(PAGE), (name, number)
    assert f"= {predicted[0]:.3f}`, measured {answer_entropy_nats(t):.3f}" in _one_line(PAGE)

    # All ways to deal the labels of the seven correct samples.
    pooled = [i for i in range(len(right)) for _ in range(b[i] + t[i])]
    deals = [np.bincount(d, minlength=len(right)) for d in itertools.combinations(pooled, sum(t))]
    kls = [concentration(np.add(b, t) - deal, deal, [0] * len(b), 1, replicates=2).kl_nats[0] for deal in deals]
    (few, often, rest) = sorted(Counter(f"{kl:.3f}" for kl in kls).items(), key=lambda item: -float(item[0]))
    shown = f"the `C(7,4) = {len(deals)}` ways to deal the seven, {few[1]} have KL {few[0]}, {often[1]} have {often[0]}"
    assert f"{shown} and {rest[1]} have {rest[0]}:" in _one_line(PAGE)
    assert f"{sum(kl >= found.kl_nats[0] - 1e-9 for kl in kls)} of {len(deals)} are at least as large" in _one_line(
        PAGE
    )


def test_the_counts_and_groups(example: Estimates) -> None:
    rows = {row["problem_id"]: row for row in example.per_problem.to_pylist()}
    assert rows.keys() == ANSWERS.keys()
    for problem, row in ANSWERS.items():
        found = rows[problem]
        shown = (int(row["c, base"]), int(row["c, trained"]), row["group"])
        assert shown == (found["c_base"], found["c_trained"], found["group"])
        for policy in TOKENS:  # the marks are right: divisors other than 1 and N
            for text in row[policy].split():
                number = text.rstrip("✓")
                right = number.isdigit() and 1 < int(number) < int(problem) and not int(problem) % int(number)
                assert right == text.endswith("✓"), (problem, text)
    assert f"With ε = {rows['12']['epsilon']:.3f}, p is above it" in _one_line(PAGE)
    above = {c: f"{rows['12'][f'above_epsilon_{side}']:.3f}" for c, side in ((3, "base"), (4, "trained"))}
    assert f"{above[3]} for 3 of 4 and {above[4]} for 4 of 4" in _one_line(PAGE)
    assert f"with 1 of 4 the probability is {rows['49']['above_epsilon_base']:.3f}" in _one_line(PAGE)


def test_the_checkpoints() -> None:
    (table,) = (t for t in with_column("step"))
    found = [[row[problem] == "✓" for problem in ANSWERS] for row in table]
    assert found[0] == [row["base"].count("✓") > 0 for row in ANSWERS.values()]
    assert found[-1] == [row["trained"].count("✓") > 0 for row in ANSWERS.values()]
    of = series([int(row["step"]) for row in table[1:]], found[0], found[1:])
    for i, row in enumerate(table[1:]):
        for group in "PESO":
            assert int(row[group]) == of.counts[group][i]
        printed(row["NSCR"], float(of.metrics["NSCR"][i]))
    for name, count in of.lost.counts().items():
        assert f"`{name}`: {count}" in PAGE
    nine = list(ANSWERS).index("9")
    assert (of.lost.first[nine], of.lost.back[nine], of.lost.spells[nine]) == (50, 100, 2)


def test_the_two_texts() -> None:
    found = perplexity_by_pattern([0, 0], [-6.0, -1.0], [4, 2], ["P"])["P"]
    assert f"mean `(exp(6/4) + exp(1/2))/2 = {found.mean:.3f}`" in _one_line(PAGE)
    assert f"token-weighted `exp(7/6) = {found.token_weighted:.3f}`" in _one_line(PAGE)


def test_other_keys_exist(objects: dict[str, dict[str, Any]]) -> None:
    """Keys that the text names, of which no table shows a value."""
    named = {s for s in re.findall(r"`([A-Za-z_<>.]+\.[A-Za-z_<>.]+)`", PAGE) if s.split(".")[0] in objects[""]}
    named -= {key for key, *_ in keyed()}
    placeholders = {"<unit>": "problem", "<policy>": "base", "<k>": "1"}
    absent = ("by_task.", "series.", "perplexity.")  # the example has neither tasks nor checkpoints nor scores
    for key in named:
        for name, value in placeholders.items():
            key = key.replace(name, value)
        if not key.startswith(absent):
            at(objects[""], key)


def _signed(value: float) -> str:
    return str(value).replace("-", "−")


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
