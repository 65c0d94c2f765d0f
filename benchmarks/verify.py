"""Verdicts a second: leash_ray's verifier pool against a plain loop over the libraries in one process.

Same machine, problems and texts, one side after the other::

    python benchmarks/verify.py [--quick] [--json] [--workers 2]

``countdown``: a run in which 95% of the completions repeat an answer, verified in shards as sampling does; the plain
loop calls reasoning-gym's scorer for each completion (on a part of them: it is slow). ``math``: distinct answers to
problems of MATH500's shapes, about half of them right; the plain loop calls math-verify's ``parse`` and ``verify``.
``agreement`` is the share of verdicts that both sides share, and ``differences`` shows the others: (reference, answer,
ours, theirs). ``ratio`` is math's speed, ours over theirs.
"""

import argparse
import json
import logging
import random
import time
from fractions import Fraction

from _machine import machine, versions

from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.tasks.entry import load_entry
from leash_ray.types import Problem, Verdict
from leash_ray.verify import VerifierPool
from leash_ray.verify.settings import VerifyConfig

NUMBERS = {"min_numbers": 3, "max_numbers": 4, "min_value": 1, "max_value": 15, "min_target": 10, "max_target": 60}
SHARD = 4096
PLAIN_COUNTDOWN = 1000
"""Completions that the plain loop over the scorer gets."""

Completion = tuple[Problem, str, str]


def countdown_completions(n: int, seed: int = 0) -> list[Completion]:
    """``n`` completions, of which a twentieth are the first with their answer."""
    rng = random.Random(seed)
    problems = load_problems(
        ReasoningGymSpec(dataset="countdown", config=NUMBERS, prompt="compact", seed=3, size=max(20, n // 2000))
    )
    per_problem = n // len(problems)
    items: list[Completion] = []
    for problem in problems:
        numbers = load_entry(problem.reference)["numbers"]
        answers: dict[str, None] = {}
        while len(answers) < per_problem // 20:
            terms = [str(x) for x in rng.sample(numbers, len(numbers))]
            text = terms[0] + "".join(rng.choice("+-*/") + term for term in terms[1:])
            if rng.random() < 0.5:
                text = (
                    f"({terms[0]}{rng.choice('+-*')}{terms[1]}){rng.choice('+-*/')}{rng.choice('+-*').join(terms[2:])}"
                )
            if rng.random() < 0.2:
                text += f"{rng.choice('+-')}{rng.randint(1, 99)}"
            answers[text] = None
        firsts = list(answers)
        repeats = [rng.choice(firsts) for _ in range(per_problem - len(firsts))]
        items += [(problem, f"{text} " if rng.random() < 0.5 else text, "stop") for text in firsts + repeats]
    rng.shuffle(items)  # worse than sampling's own order, which keeps a problem's completions together
    return items


def math_completions(n: int, seed: int = 0) -> list[Completion]:
    """``n`` distinct (reference, answer) pairs: whole numbers, fractions, decimals, roots, π, terms, points, intervals,
    sets, matrices and units, about as often as in MATH500; each problem has 8 answers."""
    rng = random.Random(seed)
    shapes = [
        (_whole, 55), (_fraction, 12), (_decimal, 5), (_root, 6), (_pi, 4), (_term, 7), (_point, 5), (_interval, 3),
        (_list, 2), (_matrix, 1),
    ]  # fmt: skip
    items: list[Completion] = []
    seen: set[tuple[str, str]] = set()
    while len(items) < n:
        shape = rng.choices([s for s, _ in shapes], [w for _, w in shapes])[0]
        key = rng.randrange(10**6)
        reference = shape(random.Random(key), 0)
        problem = Problem.make("math", f"{shape.__name__} {key}", "math", reference)
        for _ in range(8):
            value = key if rng.random() < 0.5 else rng.randrange(10**6)
            answer = shape(random.Random(value), rng.randrange(4))
            if (reference, answer) not in seen:
                seen.add((reference, answer))
                items.append((problem, f"So we are done, and the answer is $\\boxed{{{answer}}}$.", "stop"))
    return items[:n]


def _signed(rng: random.Random, most: int) -> int:
    return rng.choice([1, 1, 1, -1]) * rng.randint(1, most)


def _whole(rng: random.Random, style: int) -> str:
    x = _signed(rng, rng.choice([20, 200, 20_000]))
    return [f"{x}", f"{x}.0", f"{x:,}".replace(",", "{,}"), f"x = {x}"][style]


def _fraction(rng: random.Random, style: int) -> str:
    f = Fraction(_signed(rng, 50), rng.randint(2, 50))
    p, q, minus = abs(f.numerator), f.denominator, "-" if f < 0 else ""
    return [
        f"{minus}\\frac{{{p}}}{{{q}}}", f"{minus}{p}/{q}", f"{minus}\\dfrac{{{p}}}{{{q}}}",
        f"\\frac{{{minus}{2 * p}}}{{{2 * q}}}",
    ][style]  # fmt: skip


def _decimal(rng: random.Random, style: int) -> str:
    x = _signed(rng, 9999)
    return [f"{x / 100:.2f}", f"\\frac{{{x}}}{{100}}", f"{x / 100:.3f}", f"{x}\\%"][style]


def _root(rng: random.Random, style: int) -> str:
    a, b = rng.randint(2, 30), rng.choice([2, 3, 5, 6, 7, 10, 11])
    return [f"{a}\\sqrt{{{b}}}", f"\\sqrt{{{a * a * b}}}", f"{a} \\cdot \\sqrt {b}", f"{b}^{{1/2}} \\cdot {a}"][style]


def _pi(rng: random.Random, style: int) -> str:
    p, q = rng.randint(1, 40), rng.choice([1, 2, 3, 5])
    head = f"{p}\\pi"
    return [f"\\frac{{{head}}}{{{q}}}", f"{head}/{q}", f"\\frac{{{p}}}{{{q}}}\\pi", f"{p}π/{q}"][style]


def _term(rng: random.Random, style: int) -> str:
    a, b, c = rng.randint(2, 9), rng.randint(1, 9), rng.randint(1, 9)
    return [
        f"{a}x^2+{b}x+{c}", f"{c} + {b}x + {a}x^2", f"{a}x^{{2}} + {b}x + {c}", f"x({a}x+{b})+{c}",
    ][style]  # fmt: skip


def _point(rng: random.Random, style: int) -> str:
    a, b, c = _signed(rng, 20), rng.randint(1, 20), rng.randint(2, 9)
    return [
        f"({a},\\frac{{{b}}}{{{c}}})", f"\\left({a}, \\frac{{{b}}}{{{c}}}\\right)", f"({a},{b}/{c})",
        f"( {a} , \\tfrac{{{b}}}{{{c}}} )",
    ][style]  # fmt: skip


def _interval(rng: random.Random, style: int) -> str:
    a, b = rng.randint(-20, 0), rng.randint(1, 20)
    return [f"[{a},{b})", f"\\left[{a}, {b}\\right)", f"[ {a}, {2 * b}/2 )", f"x \\in [{a},{b})"][style]


def _list(rng: random.Random, style: int) -> str:
    a, b, c = rng.sample(range(-20, 20), 3)
    return [f"\\{{{a},{b},{c}\\}}", f"\\{{{c}, {a}, {b}\\}}", f"{b},{a},{c}", f"\\left\\{{ {a}, {b}, {c} \\right\\}}"][
        style
    ]


def _matrix(rng: random.Random, style: int) -> str:
    cells = [str(_signed(rng, 9)) for _ in range(4)]
    name = ["pmatrix", "pmatrix", "bmatrix", "pmatrix"][style]
    a, b, c, d = cells
    return f"\\begin{{{name}}} {a} & {b} \\\\ {c} & {d} \\end{{{name}}}"


def pool_side(items: list[Completion], workers: int) -> tuple[dict, list[Verdict]]:
    with VerifierPool(VerifyConfig(workers=workers)) as pool:
        pool.verify([(items[0][0], "\\boxed{0}", "stop")] * 2)  # starting the processes takes seconds, once
        calls, busy_s = pool.n_calls, pool.busy_s
        verdicts: list[Verdict] = []
        started_s = time.perf_counter()
        for start in range(0, len(items), SHARD):
            verdicts += [v.verdict for v in pool.verify(items[start : start + SHARD])]
        wall_s = time.perf_counter() - started_s
        judged = pool.n_calls - calls
        side = _speed(len(items), wall_s)
        side |= {
            "judged": judged,
            "judged_per_s": round(judged / wall_s, 1),
            "busy_s": round(pool.busy_s - busy_s, 2),
            "workers": workers,
        }
    return side, verdicts


def plain_countdown(items: list[Completion]) -> tuple[dict, list[Verdict]]:
    from reasoning_gym import get_score_answer_fn

    score = get_score_answer_fn("countdown")
    started_s = time.perf_counter()
    scores = [score(text, {"metadata": load_entry(problem.reference)}) for problem, text, _ in items]
    return _speed(len(items), time.perf_counter() - started_s), [_verdict(s >= 1.0) for s in scores]


def plain_math(items: list[Completion]) -> tuple[dict, list[Verdict]]:
    """As math-verify's README has it: each text parsed and compared, a problem's reference parsed once."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    parse("\\boxed{1}")
    golds: dict[str, list] = {}
    verdicts = []
    started_s = time.perf_counter()
    for problem, text, _ in items:
        if problem.id not in golds:
            golds[problem.id] = parse(f"\\boxed{{{problem.reference}}}")
        verdicts.append(_verdict(verify(golds[problem.id], parse(text))))
    return _speed(len(items), time.perf_counter() - started_s), verdicts


def _verdict(right: bool) -> Verdict:
    return Verdict.CORRECT if right else Verdict.INCORRECT


def _speed(n: int, wall_s: float) -> dict:
    return {"verdicts": n, "wall_s": round(wall_s, 2), "verdicts_per_s": round(n / wall_s, 1)}


def _compare(items: list[Completion], ours: tuple[dict, list[Verdict]], theirs: tuple[dict, list[Verdict]]) -> dict:
    differ = [(p.reference[:100], text[-60:], a, b) for (p, text, _), a, b in zip(items, ours[1], theirs[1]) if a != b]
    n = min(len(ours[1]), len(theirs[1]))
    return {
        "ours": ours[0],
        "theirs": theirs[0],
        "ratio": round(ours[0]["verdicts_per_s"] / theirs[0]["verdicts_per_s"], 2),
        "correct_share": round(sum(v is Verdict.CORRECT for v in ours[1]) / len(ours[1]), 3),
        "agreement": round(1 - len(differ) / n, 5),
        "differences": differ[:20],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the completions")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()

    countdown = countdown_completions(40_000 if args.quick else 200_000)
    math = math_completions(800 if args.quick else 4000)
    some = countdown[:PLAIN_COUNTDOWN]
    compared = {
        "countdown": _compare(some, pool_side(countdown, args.workers), plain_countdown(some)),
        "math": _compare(math, pool_side(math, args.workers), plain_math(math)),
    }
    result = {
        "benchmark": "verify",
        **compared,
        "ratio": compared["math"]["ratio"],
        "machine": machine(),
        "versions": versions("math-verify", "reasoning-gym", "sympy"),
    }
    if not args.json:
        for name, sides in compared.items():
            ours, theirs = sides["ours"]["verdicts_per_s"], sides["theirs"]["verdicts_per_s"]
            print(
                f"{name:10} {ours:>10,.0f} verdicts/s, plain loop {theirs:>8,.0f}; agreement {sides['agreement']:.2%}"
            )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
