"""Adversarial texts through every kind of verifier: nothing raises, reading is linear, no limit is passed.

``benchmarks/fuzz_verify.py`` makes the texts, and runs 100,000 of them.
"""

import itertools
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leash_ray.errors import UsageError
from leash_ray.types import Problem
from leash_ray.verify import Reading, kind_of, read_answer
from leash_ray.verify.settings import VerifyConfig

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import fuzz_verify as fuzzer


def _works(verifier: str) -> bool:
    try:
        kind_of(verifier)
    except (UsageError, ImportError):
        return False
    return True


VERIFIERS = [
    verifier
    for verifier in (
        "math", "math?strict=true", "choice", "choice?strict=true", "exact", "exact?type=json", "exact?type=list",
        "exact?type=unordered", "exact?format=bold", "exact?format=phrase", "exact?format=whole", "numeric", "judge",
        "code", "python:operator:eq", *(f"reasoning_gym:{name}" for name in fuzzer.GYMS),
    )
    if _works(verifier)
]  # fmt: skip

anything = st.text(st.characters(), max_size=60)  # lone surrogates too
pieces = st.sampled_from(
    [
        *fuzzer._BOMBS,
        *fuzzer._TAGS,
        *fuzzer._LATEX,
        *fuzzer._TOWERS,
        *fuzzer._CODE,
        *fuzzer._SURROGATES,
        *fuzzer._DIGITS,
    ]
)
texts = st.one_of(
    anything, st.lists(pieces, max_size=12).map("".join), st.lists(st.one_of(pieces, anything)).map("".join)
)


@pytest.mark.parametrize("verifier", VERIFIERS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=texts, finish=st.sampled_from(["stop", "length"]))
@example(text="\ud800\\boxed{\udfff}", finish="stop")
@example(text="{" * 10_000, finish="stop")
@example(text="\\boxed{" * 10_000 + "9**9**9" + "}" * 10_000, finish="stop")
@example(text="\\def\\x{\\x}\\boxed{\\x}", finish="stop")
@example(text="<answer>" + "[" * 10_000, finish="length")
@example(text="\\boxed{" + "9" * 5000 + "}", finish="stop")
@example(text="\\boxed{٣/٥}", finish="stop")
@example(text="\\boxed{1e999999999}", finish="stop")
def test_reading_never_raises(verifier: str, text: str, finish: str) -> None:
    found = read_answer(Problem("id", "t", "p", verifier, ""), text, finish)
    if isinstance(found, Reading):
        assert found.answer


def _read_s(verifier: str, text: str) -> float:
    kind = kind_of(verifier)
    started_s = time.process_time()
    kind.read(text)
    return time.process_time() - started_s


FRAMES = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "the answer is {}")


@pytest.mark.parametrize("verifier", VERIFIERS[:15])
def test_reading_takes_time_linear_in_the_text(verifier: str) -> None:
    # Eight times the text may take eight times as long; a quadratic rule takes 64 times. Small times are noise.
    for piece, frame in itertools.product((*fuzzer._BOMBS, *fuzzer._TAGS[:14], "1, ", "1\n", "**1** ", "$1$ "), FRAMES):
        short, long = (frame.format((piece * n)[:n]) for n in (1_500, 12_000))
        long_s = _read_s(verifier, long)
        if long_s > 0.03:
            long_s = min(long_s, _read_s(verifier, long))
            short_s = min(_read_s(verifier, short) for _ in range(3))
            assert long_s < 24 * short_s + 0.03, f"{piece!r} in {frame!r}: {short_s:.4f} s, then {long_s:.4f} s"


@pytest.mark.parametrize("verifier", VERIFIERS[:15])
def test_ten_megabytes_are_read_in_the_time_of_one(verifier: str) -> None:
    for piece in (" ", "\\boxed{1} "):
        one, ten = ((piece * (n // len(piece) + 1))[:n] for n in (1_000_000, 10_000_000))
        assert _read_s(verifier, ten) < 12 * _read_s(verifier, one) + 0.5


def test_a_few_thousand_adversarial_texts_cost_nothing_but_their_verdicts() -> None:
    kinds = ["math", "reasoning_gym", "choice", "exact", "numeric", "python", "judge"]
    config = VerifyConfig(workers=2, timeout_s=2.0, cpu_s=3.0)
    found = fuzzer.fuzz(2500, 11, kinds, config)
    assert sum(sum(counts.values()) for counts in found["verdicts"].values()) == 2500
    assert found["crashes"] == 0, (found["seed"], found["crash_texts"])
    assert found["correct"] == 0, (found["seed"], found["correct_texts"])
    assert found["unstorable"] == 0, found["seed"]
    assert found["slowest_judge_s"] < 4.0, found["seed"]
