"""Adversarial completions through every verifier: counts, crashes (none may be), and the slowest call.

Seeded, so that what was found can be found again::

    python benchmarks/fuzz_verify.py [--n 100000] [--seed 0] [--kinds math,choice] [--quick] [--json]

No text is a right answer to its problem on purpose, so ``correct`` must be 0 wherever an answer cannot be guessed: a
letter of four can, so ``choice`` has some. ``slowest_read_s`` is the most CPU time that reading one text took (in the
sampling process, up to 10 MB), ``slowest_judge_s`` the longest judgement, against ``timeout_s`` and the time to kill.
``crashes`` counts exceptions out of the pool, ``unstorable`` answers or reasons that are no UTF-8.
"""

import argparse
import json
import random
import re
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable

from _machine import machine, versions

from leash_ray.errors import UsageError
from leash_ray.tasks import ReasoningGymSpec, load_problems
from leash_ray.types import Problem, Verdict
from leash_ray.verify import VerifierPool, kind_of, read_answer
from leash_ray.verify.settings import SandboxConfig, VerifyConfig

GYMS = (
    "countdown", "dice", "prime_factorization", "palindrome_generation", "advanced_geometry", "power_function",
    "arc_1d", "boxnet", "binary_matrix", "polynomial_equations", "game_of_life", "sudoku", "propositional_logic",
    "list_functions", "complex_arithmetic",
)  # fmt: skip
FIXED = {
    "math": [
        ("math", "\\frac{355}{113}"), ("math", "(-\\infty,-17)\\cup(23,\\infty)"), ("math", "\\{71, 83\\}"),
        ("math", "\\sqrt{1234567}"), ("math?strict=true", "x^{17}+41x+1"), ("math", "8.71\\text{ cm}"),
    ],
    "choice": [("choice", "C"), ("choice", '{"answer": "B", "choices": ["red", "green", "blue", "none"]}')],
    "exact": [
        ("exact", "Amundsen\u2013Scott"), ("exact?type=json", '{"b": [1, 2], "a": null}'),
        ("exact?type=list", "q, z, v"), ("exact?format=bold", "yes, no, yes"),
    ],
    "numeric": [
        ("numeric", "6.02214e23"), ("numeric", '{"answer": "83.144", "unit": "J/(mol K)"}'),
        ("numeric?units=require", "299792458 m/s"),
    ],
    "judge": [("judge", '{"question": "Who reached the South Pole first?", "answer": "Roald Amundsen"}')],
    "python": [("python:operator:eq", "unguessable 7b3f")],
    "code": [
        ("code", '{"tests": [{"input": "1 2\\n", "output": "3\\n"}]}'),
        ("code", '{"tests": [{"input": "[1, 2]", "output": "3"}], "function": "total"}'),
    ],
}  # fmt: skip
ONLY_READ = {"judge"}
"""Judging these asks a model."""
N_CODE = 4000
"""At most so many of the texts go to ``code``: each starts a sandbox."""

_TOWERS = (
    "9**9**9", "9^9^9", "9^{9^{9}}", "9**9**9**9", "(9**9)**9**9", "9⁹⁹", "9!!!!!!", "99999999!", "10^{10^{10}}",
    "1e999999999", "2^{-10^{10}}", "\\binom{10^9}{5\\cdot 10^8}", "\\frac{1}{9^{9^{9^{9}}}}", "\\sqrt[9^9]{9^{9^9}}",
    "\\sum_{n=1}^{10^{12}} \\frac{1}{n}", "\\int_0^{\\infty} x^{x^{x}} dx", "\\prod_{k=1}^{10^9} k", "\\log_{0}0",
    "(x+1)^{100000}", "(x+y+z+w)^{500}", "\\sin(10^{10^{10}})", "0/0", "1/0", "\\frac{0}{0}", "\\tan(\\frac{\\pi}{2})",
    "10**-10**10", "3**-3**9", "9 ** 9 ** 9 + 1", "pow(9, pow(9, 9))", "1<<10**10", "999^999^999 m/s", "10^{99999} J",
    "\\begin{pmatrix} 9^{9^9} & 0 \\\\ 0 & 1 \\end{pmatrix}", "\\{1,2,\\ldots,10^{12}\\}", "[0,9^{9^{9}}]",
    "x=9^{9^{9}}", "9^{9^{9}}\\%", "9^9^9 \\text{ cm}",
)  # fmt: skip
_CODE = (
    "__import__('os').system('sleep 60')", "__import__('os').kill(__import__('os').getppid(), 9)", "exit()", "quit(0)",
    "open('/etc/passwd').read()", "().__class__.__base__.__subclasses__()", "[0]*10**10", "'a'*10**10",
    "(lambda f: f(f))(lambda f: f(f))", "__import__('time').sleep(60)", "[i for i in iter(int, 1)]",
    "{}.__class__.__call__", "raise SystemExit", "1 if True else 2", "globals()", "eval('9**9**9')",
    "exec('while True: pass')", "breakpoint()", "input()", "help()", "license()", "```python\nwhile True: pass\n```",
    "```python\nimport os\nos.fork()\n```", "```python\nprint('x' * 10**9)\n```",
    "```python\nx = bytearray(10**11)\n```", "```python\nraise SystemExit(0)\n```", "```\n", "```python\n",
    "__import__('os')._exit(0)", "__import__('ctypes').string_at(0)", "S(9)**S(9)**S(9)", "Symbol('x').__class__",
    "type('A', (), {'__eq__': lambda s, o: True})()", "Integer(10)**(10**10)", "factorial(10**9)", "primepi(10**15)",
)  # fmt: skip
_LATEX = (
    "\\def\\x{\\x}\\x", "\\newcommand{\\a}{\\a\\a}\\a", "\\let\\b\\b\\b", "\\expandafter\\boxed", "\\begin{array}",
    "\\end{array}\\begin{cases}", "\\text{\\text{\\text{", "\\left(\\left[\\right", "\\left\\{1,\\right.",
    "\\\\\\\\\\", "\\boxed{\\boxed{\\boxed{", "\\boxed{}", "\\boxed", "\\fbox{\\boxed 5}", "\\input{/etc/passwd}",
    "\\write18{ls}", "$$$$$", "\\(\\(\\)", "\\[\\]\\[", "\\frac{}{}", "\\frac12\\frac", "\\sqrt[]{}", "^^^^", "____",
    "x_{x_{x}}^{y^{y}}",
)  # fmt: skip
_FORMATS = ("%s%s%n", "{0.__class__.__mro__}", "{:>9999999999}", "%9999999999d", "$(reboot)", "`reboot`", "${jndi:x}")
_TAGS = (
    "<answer>", "</answer>", "<answer", "<think>", "</think>", "<thinking>", "</thinking>", "<solution>", "</solution>",
    "<<answer>>", "<answer></answer>", "</answer><answer>", "<ANSWER>", "####", "answer is ", "Answer:", "**", "__",
    "The correct answer is (", "\\boxed{", "}", "```", "```json\n", "[[", "]]", "\n\n",
)  # fmt: skip
_ODD_CHARS = (
    "\x00\x01\x07\x08\x1b\x7f\u0085\u00ad\u200b\u200d\u200e\u200f\u202e"
    "\u2066\u2069\u2028\u2029\ufeff\ufffd\ufffe\U000e0001\U0010ffff"
)
_SURROGATES = "\ud800\udbff\udc00\udfff"
_DIGITS = "٣٥۷१২৩༣๓４７𝟗𝟟²³₄ⅧⅫ½⅐①⓽㊿〇三万"
_BOMBS = (
    "a", "(", ")", "[", "{", "}", "{}", "$", "\\", "\\\\", " ", "\t", "\n", " \n", "-", "--", "+", ",", " ,", ", ",
    "1,", "1,000", "0", "9", "9.", ".", "..", "/", "1/", "e", "1e", "^", "_", "*", "**", "a b ", "#### ", "answer is ",
    "answer is\n", "answer ", "\\frac", "\\frac{", "\\frac{1}", "\\sqrt", "\\sqrt{", "\\text{", "\\boxed{", "\\left(",
    "\\begin{array}", "\\pm", "<answer>", "</answer>", "<think>", "</think>", "<", "```\n", "**a", "__", "|", "x=",
    "=", "\\cup", "(1,2)\\cup", "π", "½", "°", "%", "\x00", "\u200f", "m/s*", "km ", "kg^", "A", "A or ", "(A)",
    "not ", "'", '"', "\\'", "[[", '{"a":', "[1,", "null,", "\u0301",
)  # fmt: skip


def adversarial(rng: random.Random, max_chars: int = 10_000_000) -> str:
    """One text that somebody who wishes harm, or a model in bad training, may write."""
    text = rng.choice(_SHAPES)(rng)
    if rng.random() < 0.3:
        text = rng.choice((text + _SHAPES[rng.randrange(len(_SHAPES))](rng), _with_odd_chars(rng, text)))
    text = rng.choice(_FRAMES)(text)
    if len(text) < 1000 and rng.random() < 0.003:  # megabytes, before or after
        size = int(10 ** rng.uniform(5, 7))
        filler = rng.choice(_BOMBS) * size
        text = rng.choice((filler[:size] + text, text + filler[:size]))
    return text[:max_chars]


def _size(rng: random.Random) -> int:
    return int(10 ** rng.choice((0.3, 0.7, 1, 1, 1.5, 2, 2, 2.5, 3, 3.5, 4)))


def _with_odd_chars(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_ODD_CHARS + _SURROGATES) * rng.choice((1, 1, 3)) + text[at:]


_BRACKETS = (
    ("{", "}"), ("(", ")"), ("[", "]"), ("\\{", "\\}"), ("\\frac{1}{", "}"), ("\\sqrt{", "}"), ("x^{", "}"),
    ("\\left(", "\\right)"), ("\\text{", "}"), ("\\boxed{", "}"), ("-", ""), ("(1+", ")"), ("\\frac{", "}{2}"),
    ('{"a":', "}"), ("|", "|"), ("<answer>", "</answer>"), ("f(", ")"), ("$", "$"), ("[1,", "]"), ("not ", ""),
    ("\\begin{cases}", "\\end{cases}"),
)  # fmt: skip


def _nested(rng: random.Random) -> str:
    left, right = rng.choice(_BRACKETS)
    depth = _size(rng)
    return (
        left * depth + rng.choice(("1", "x", "9^9", "")) + right * rng.choice((depth, depth, depth - 1, depth + 1, 0))
    )


def _huge_number(rng: random.Random) -> str:
    digits = "".join(rng.choices("0123456789", k=30)) * (_size(rng) // 20 + 1)
    return rng.choice(
        ("{}", "-{}", "{}.{}", "1/{}", "{}/{}", "{}e{}", "0.{}", "\\frac{{{}}}{{{}}}", "{}^{}", "{} m")
    ).format(digits, digits[::-1])


def _small_sum(rng: random.Random) -> str:
    return "".join(
        f"{rng.randint(0, 99)}{rng.choice(['+', '-', '*', '/', '**', '^', '//', ' '])}" for _ in range(_size(rng))
    )


_SHAPES: tuple[Callable[[random.Random], str], ...] = (
    _nested,
    _huge_number,
    _small_sum,
    lambda rng: rng.choice(_TOWERS),
    lambda rng: rng.choice(_CODE),
    lambda rng: rng.choice(_LATEX) * rng.choice((1, 1, _size(rng))),
    lambda rng: rng.choice(_FORMATS),
    lambda rng: rng.choice(_BOMBS) * _size(rng) + rng.choice(("", "!", "1", "}")),
    lambda rng: "".join(rng.choice(_BOMBS) for _ in range(_size(rng))),
    lambda rng: "".join(rng.choices(_TAGS, k=min(_size(rng), 300))),
    lambda rng: "".join(rng.choices(_ODD_CHARS + _SURROGATES + _DIGITS, k=_size(rng))),
    lambda rng: "".join(rng.choices(_DIGITS + "0123456789.,", k=min(_size(rng), 100))),
    lambda rng: "".join(map(chr, rng.choices(range(0x10FFFF), k=min(_size(rng), 300)))),
    lambda rng: rng.choice(("", " ", "\n", "\x00", "None", "nan", "inf", "-inf", "NaN", "null", "true", "[]", "{}")),
    lambda rng: rng.choice(_TOWERS) + rng.choice("+-*/=,;") + rng.choice(_TOWERS),
)  # fmt: skip
_FRAMES: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: f"\\boxed{{{text}}}",
    lambda text: f"<answer>{text}</answer>",
    lambda text: f"<think>{text}</think>{text}",
    lambda text: f"Hm. The answer is {text}",
    lambda text: f"```python\n{text}\n```",
    lambda text: f"**{text}**",
    lambda text: f"\\boxed{{{text}",
    lambda text: f"<answer>{text}",
)


def problems_of(kind: str) -> list[Problem]:
    """Problems of one kind, whose answers nobody guesses; none where the kind does not work on this machine."""
    if kind == "reasoning_gym":
        return [p for name in GYMS for p in load_problems(ReasoningGymSpec(dataset=name, size=2, seed=5))]
    found = [Problem.make("fuzz", f"{kind} {i}", verifier, ref) for i, (verifier, ref) in enumerate(FIXED[kind])]
    try:
        for problem in found:
            kind_of(problem.verifier).check()
            kind_of(problem.verifier).check_reference(problem.reference)
    except (UsageError, ImportError) as e:
        print(f"left out: {kind}: {e}", file=sys.stderr)
        return []
    return found


def fuzz(n: int, seed: int, kinds: list[str], config: VerifyConfig, batch: int = 1000) -> dict:
    """``n`` texts, shared out evenly over ``kinds``."""
    problems = {kind: problems_of(kind) for kind in kinds}
    kinds = [kind for kind in kinds if problems[kind]]
    verdicts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    correct: list[tuple[str, str, str]] = []
    crashes: list[str] = []
    slowest_read: tuple[float, str, int] = (0.0, "", 0)
    rng, finishes = random.Random(seed), ["stop"] * 9 + ["length"]
    started_s = time.perf_counter()
    unstorable = n_code = n_done = 0
    with VerifierPool(config) as pool:
        while n_done < n:
            items = []
            for i in range(n_done, min(n, n_done + batch)):
                kind = kinds[i % len(kinds)]
                if kind == "code" and (n_code := n_code + 1) > N_CODE:
                    kind = kinds[0]
                items.append((kind, rng.choice(problems[kind]), adversarial(rng), rng.choice(finishes)))
            n_done += len(items)
            for kind, problem, text, finish in items:
                before_s = time.process_time()
                try:
                    reading = read_answer(problem, text, finish)
                except Exception:
                    crashes.append(f"{problem.verifier}: {text[:200]!r}: {traceback.format_exc(limit=-2)}")
                    continue
                slowest_read = max(slowest_read, (time.process_time() - before_s, problem.verifier, len(text)))
                if kind in ONLY_READ:
                    verdicts[kind]["READ" if hasattr(reading, "content") else str(reading.verdict)] += 1
            judged = [item for item in items if item[0] not in ONLY_READ]
            try:
                found = pool.verify([(problem, text, finish) for _, problem, text, finish in judged])
            except Exception:
                crashes.append(traceback.format_exc(limit=-3))
                continue
            for (kind, problem, text, _), v in zip(judged, found, strict=True):
                verdicts[kind][v.verdict.value] += 1
                if v.verdict is Verdict.ERROR:
                    reasons[kind][re.sub(r"\d+", "…", (v.reason or "").partition(":")[0])[:60]] += 1
                if v.verdict is Verdict.CORRECT and kind != "choice":
                    correct.append((problem.verifier, problem.reference[:200], text[:200]))
                try:
                    "".join((v.answer or "", v.reason or "")).encode()
                except UnicodeEncodeError:
                    unstorable += 1
        slowest_judge_s = max((w.slowest_s for w in pool._workers.values()), default=0.0)
    return {
        "n": n,
        "seed": seed,
        "verdicts": {kind: dict(sorted(counts.items())) for kind, counts in verdicts.items()},
        "errors": {kind: dict(counts.most_common(8)) for kind, counts in reasons.items()},
        "correct": len(correct),
        "correct_texts": correct[:20],
        "crashes": len(crashes),
        "crash_texts": crashes[:5],
        "unstorable": unstorable,
        "slowest_read_s": round(slowest_read[0], 3),
        "slowest_read": f"{slowest_read[1]}, {slowest_read[2]} characters",
        "slowest_judge_s": round(slowest_judge_s, 2),
        "timeout_s": config.timeout_s,
        "wall_s": round(time.perf_counter() - started_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="math,reasoning_gym,choice,exact,numeric,python,judge,code")
    parser.add_argument("--timeout-s", type=float, default=2.0, help="wall and CPU time of one judgement")
    parser.add_argument("--quick", action="store_true", help="3,000 texts")
    parser.add_argument("--json", action="store_true", help="only the JSON object")
    args = parser.parse_args()
    sandbox = SandboxConfig(timeout_s=args.timeout_s, cpu_s=args.timeout_s)
    config = VerifyConfig(workers=2, timeout_s=args.timeout_s, cpu_s=args.timeout_s + 1, sandbox=sandbox)
    result = {
        "benchmark": "fuzz_verify",
        **fuzz(3000 if args.quick else args.n, args.seed, args.kinds.split(","), config),
        "machine": machine(),
        "versions": versions("math-verify", "reasoning-gym"),
    }
    if not args.json:
        for kind, counts in result["verdicts"].items():
            print(f"{kind:14} " + "  ".join(f"{name} {count:,}" for name, count in counts.items()))
        print(
            f"{result['crashes']} crashes, {result['correct']} correct; slowest read {result['slowest_read_s']} s "
            f"({result['slowest_read']}), slowest judgement {result['slowest_judge_s']} s of {args.timeout_s:g} s"
        )
    print(json.dumps(result))
    sys.exit(1 if result["crashes"] or result["unstorable"] else 0)


if __name__ == "__main__":
    main()
