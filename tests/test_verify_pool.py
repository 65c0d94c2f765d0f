"""The pool against verifiers that hang, die and raise: only the answer at fault is an ERROR, and work goes on."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leash_ray.types import Problem, Verdict
from leash_ray.verify import Reading, Verification, VerifierPool, read_answer
from leash_ray.verify.processes import Item, Workers
from leash_ray.verify.settings import VerifyConfig

HERE = Path(__file__).parent
COUNTDOWN = Problem.make("t", "p", "reasoning_gym:countdown", '{"numbers": [2, 3, 9], "target": 21}')
MATH = Problem.make("t", "p", "math", "\\frac{1}{2}")
TRICKY = Problem.make("t", "p", "python:test_verify_pool_helpers:misbehaves", "right")
C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR


@pytest.fixture(autouse=True)
def _helpers_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(VerifyConfig(timeout_s=2.0)) as pool:
        yield pool


def verdicts(pool: VerifierPool, problem: Problem, texts: list[str]) -> list[Verdict]:
    return [v.verdict for v in pool.verify([(problem, text, "stop") for text in texts])]


def test_each_distinct_answer_is_judged_once(pool: VerifierPool) -> None:
    calls, hits = pool.n_calls, pool.n_cache_hits
    assert verdicts(pool, COUNTDOWN, ["9*2+3", " 9 * 2 + 3", "2+3", "9*2+3"]) == [C, C, W, C]
    assert (pool.n_calls - calls, pool.n_cache_hits - hits) == (2, 2)
    assert verdicts(pool, COUNTDOWN, ["9*2 +3"]) == [C]
    assert (pool.n_calls - calls, pool.n_cache_hits - hits) == (2, 3)
    # The same answer to another problem is another question.
    other = Problem.make("t", "p", "reasoning_gym:countdown", '{"numbers": [2, 3, 9], "target": 22}')
    assert verdicts(pool, other, ["9*2+3"]) == [W]
    assert pool.n_calls - calls == 3
    assert pool.busy_s > 0


def test_every_verdict_and_its_answer(pool: VerifierPool) -> None:
    items = [
        (MATH, "\\boxed{½}", "stop", C, "1/2"),
        (MATH, "\\boxed{.5}", "length", C, "1/2"),  # it answered before the limit
        (MATH, "the answer is 0.5", "length", Verdict.TRUNCATED, None),
        (MATH, "no idea", "stop", Verdict.NO_ANSWER, None),
        (COUNTDOWN, "9*2+3", "length", Verdict.TRUNCATED, None),
        (COUNTDOWN, "<answer>9*2+3</answer>", "length", C, "9*2+3"),
        (COUNTDOWN, "", "stop", Verdict.NO_ANSWER, None),
        (COUNTDOWN, "3*7", "stop", W, "3*7"),
    ]
    found = pool.verify([(problem, text, finish) for problem, text, finish, _, _ in items])
    assert [(v.verdict, v.answer, v.reason) for v in found] == [(verdict, a, None) for *_, verdict, a in items]


OPENED = "<|im_start|>assistant\n<think>\n"
KINDS_AND_ANSWERS = (
    ("math", "7", "\\boxed{7}"), ("choice", "B", "The answer is (B)."), ("exact", "yes", "<answer>yes</answer>"),
    ("numeric", "7 m", "\\boxed{7 m}"), ("code", "{}", "```python\nprint(7)\n```"), ("judge", "Paris", "Paris."),
    ("reasoning_gym:countdown", "{}", "<answer>1+2</answer>"), ("python:operator:eq", "7", "7"),
    ("exact?pattern=It is (.*)", "7", "It is 7"),
)  # fmt: skip


@pytest.mark.parametrize(("verifier", "reference", "said"), KINDS_AND_ANSWERS)
def test_where_the_prompt_opened_the_thinking_what_is_said_in_it_is_no_answer(
    verifier: str, reference: str, said: str
) -> None:
    asked = Problem.make("t", OPENED, verifier, reference)
    for finish, verdict in (("stop", Verdict.NO_ANSWER), ("length", Verdict.TRUNCATED)):
        for text in (said, f"Perhaps {said}\nBut let me check", f"<think>{said}"):
            found = read_answer(asked, text, finish)
            assert isinstance(found, Verification) and found.verdict is verdict
    for text in (f"Perhaps.</think>\n\n{said}", f"{said}</Think>{said}"):
        assert isinstance(read_answer(asked, text, "stop"), Reading)
    closed = Problem.make("t", "<think>\n\n</think>\n\n", verifier, reference)
    assert isinstance(read_answer(closed, said, "stop"), Reading)


def test_a_long_text_without_a_marked_answer_has_none_and_is_no_failure() -> None:
    long = "I wonder. " * 3000
    with VerifierPool() as pool:
        for verifier in ("reasoning_gym:chain_sum", "judge", "exact", "exact?format=whole", "python:operator:eq"):
            found = pool.verify([(Problem.make("t", "p", verifier, "{}"), long, "stop")])[0]
            assert found.verdict is Verdict.NO_ANSWER and found.answer is None
            assert "max_answer_chars" in (found.reason or "")
        marked = pool.verify([(Problem.make("t", "p", "exact", "yes"), f"<answer>{long}</answer>", "stop")])[0]
        assert marked.verdict is E  # it says that this is the answer, and nobody looked whether it is right
        assert (pool.n_calls, pool.n_errors) == (0, 1)


def test_a_power_tower_costs_one_error(pool: VerifierPool) -> None:
    errors = pool.n_errors
    problem = Problem.make("t", "p", "reasoning_gym:countdown", '{"numbers": [9, 9, 9, 9], "target": 36}')
    wrong = [f"9*9{a}9{b}9" for a in "+-*/" for b in "+-*/"]
    found = pool.verify([(problem, t, "stop") for t in [*wrong[:10], "9**9**9**9", *wrong[10:], "9+9+9+9"]])
    assert [v.verdict for v in found] == [W] * 10 + [E] + [W] * 6 + [C]
    assert "no verdict within 2 s" in (found[10].reason or "")
    assert pool.n_errors - errors == 1


def test_hang_sigkill_and_raise_cost_one_error_each() -> None:
    with VerifierPool(VerifyConfig(workers=2, timeout_s=1.0)) as pool:
        texts = ["right", "hang", "wrong", "die", "also wrong", "raise", "right"]
        found = pool.verify([(TRICKY, t, "stop") for t in texts])
        assert [v.verdict for v in found] == [C, E, W, E, W, E, C]
        assert "no verdict within 1 s" in (found[1].reason or "")
        assert "signal 9" in (found[3].reason or "")
        assert found[5].reason == "RuntimeError: no such luck"
        # An ERROR is judged again when it comes again; other verdicts are remembered.
        calls = pool.n_calls
        assert verdicts(pool, TRICKY, ["right", "wrong", "raise"]) == [C, W, E]
        assert pool.n_calls - calls == 1


def test_sigkill_from_outside_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    log = tmp_path / "pids"
    problem = Problem.make("t", "p", "python:test_verify_pool_helpers:says_its_pid", str(log))
    with VerifierPool(VerifyConfig(timeout_s=20.0)) as pool:

        def kill_the_slow_one() -> None:
            for _ in range(600):
                for line in log.read_text().splitlines() if log.exists() else []:
                    if line.startswith("slow "):
                        os.kill(int(line.split()[1]), signal.SIGKILL)
                        return
                time.sleep(0.05)

        killer = threading.Thread(target=kill_the_slow_one)
        killer.start()
        found = pool.verify([(problem, t, "stop") for t in ["a", "b", "slow", "c", "d"]])
        killer.join()
        assert [v.verdict for v in found] == [C] * 5
        judged = [line.split() for line in log.read_text().splitlines()]
        assert sorted(answer for answer, _ in judged) == [
            "a",
            "b",
            "c",
            "d",
            "slow",
            "slow",
        ]  # only it was judged again
        assert len({pid for _, pid in judged}) == 2  # one was killed, and one took over
        assert verdicts(pool, problem, ["e"]) == [C]


def test_killing_an_idle_process_costs_nothing(pool: VerifierPool) -> None:
    assert verdicts(pool, COUNTDOWN, ["9+2+3"]) == [W]
    for process in pool._workers["fenced"]._processes:
        os.kill(process.pid, signal.SIGKILL)
    assert verdicts(pool, COUNTDOWN, ["9-2+3", "2*9+3"]) == [W, C]


def test_verifiers_cannot_write_files_or_start_processes(tmp_path: Path) -> None:
    acts = [
        Item("python:test_verify_pool_helpers:acts", str(tmp_path), act) for act in ("write", "start", "read", "remove")
    ]
    (tmp_path / "there").write_text("x")
    open_workers = Workers(VerifyConfig(), fenced=False)
    assert [j.verdict for j in open_workers.judge(acts)] == [C] * 4, "without the fence it works"
    open_workers.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["started", "written"]
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "there").write_text("x")
    fenced = Workers(VerifyConfig(), fenced=True)
    assert [j.verdict for j in fenced.judge(acts)] == [E, E, C, E]
    fenced.close()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_lone_surrogates_become_text_that_can_be_stored(pool: VerifierPool) -> None:
    texts = ["\ud800", "9*2+3\udfff", "\ud83d\ude00", "\\boxed{\udc00}"]
    for problem in (COUNTDOWN, MATH, TRICKY):
        for verification in pool.verify([(problem, text, "stop") for text in texts]):
            assert verification.verdict is not C
            for said in (verification.answer, verification.reason):
                assert said is None or said.encode()
    smile = pool.verify([(TRICKY, "\ud83d\ude00", "stop")])[0]
    assert smile.answer == "\U0001f600"  # two halves that belong together


def test_the_cache_is_bounded() -> None:
    problem = Problem.make("t", "p", "python:test_verify_pool_helpers:is_equal", "a")
    with VerifierPool(max_cache=2) as pool:
        assert verdicts(pool, problem, ["a", "b"]) == [C, W]
        assert verdicts(pool, problem, ["a"]) == [C]  # now b is the oldest
        assert verdicts(pool, problem, ["c"]) == [W]
        calls = pool.n_calls
        assert verdicts(pool, problem, ["a", "c"]) == [C, W]
        assert pool.n_calls == calls
        assert verdicts(pool, problem, ["b"]) == [W]
        assert pool.n_calls == calls + 1


def test_threads_may_share_a_pool(pool: VerifierPool) -> None:
    calls = pool.n_calls
    found: list[list[Verdict]] = []
    threads = [
        threading.Thread(target=lambda: found.append(verdicts(pool, COUNTDOWN, ["(9*2)+3", "(9*2)-3"])))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[C, W]] * 4
    assert pool.n_calls - calls == 2


def test_close_ends_the_processes_and_verify_starts_them_anew() -> None:
    pool = VerifierPool()
    assert pool.verify([]) == []
    assert verdicts(pool, MATH, ["\\boxed{1/2}"]) == [C]
    pool.close()
    pool.close()
    assert verdicts(pool, MATH, ["\\boxed{1/3}"]) == [W]
    pool.close()


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from leash_ray.types import Problem\nfrom leash_ray.verify import VerifierPool\n"
        "print(VerifierPool().verify([(Problem.make('t', 'p', 'math', '1'), '1', 'stop')])[0].verdict)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=env, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "CORRECT\n", "")


def test_processes_die_with_their_owner(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, os, sys, time
            sys.path[:0] = json.loads(sys.argv[1])
            from leash_ray.types import Problem
            from leash_ray.verify import VerifierPool
            from leash_ray.verify.settings import VerifyConfig
            if __name__ == "__main__":
                problem = Problem.make("t", "p", "python:test_verify_pool_helpers:says_its_pid", sys.argv[2])
                VerifierPool(VerifyConfig(workers=2)).verify([(problem, str(i), "stop") for i in range(4)])
                print("ready", flush=True)
                time.sleep(60)
            """
        )
    )
    log = tmp_path / "pids"
    paths = json.dumps([str(HERE), str(HERE.parent)])
    owner = subprocess.Popen([sys.executable, script, paths, log], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "ready\n"
    pids = {int(line.split()[1]) for line in log.read_text().splitlines()}
    assert all(psutil.pid_exists(pid) for pid in pids)
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(_runs(pid) for pid in pids):
        time.sleep(0.1)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_reader_that_fails_costs_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from leash_ray.verify.kinds.exact import Exact

    read = Exact.read

    def fails(self: Exact, text: str, thinking: bool = False) -> object:
        if "boom" in text:
            raise AssertionError("no such luck")
        return read(self, text, thinking)

    monkeypatch.setattr(Exact, "read", fails)
    problem = Problem.make("t", "p", "exact", "yes")
    texts = ["<answer>yes</answer>", "boom", "<answer>no</answer>"]
    with VerifierPool() as pool:
        found = pool.verify([(problem, text, "stop") for text in texts])
    assert [v.verdict for v in found] == [C, E, W]
    assert found[1].reason == "AssertionError: no such luck" and found[1].answer is None
