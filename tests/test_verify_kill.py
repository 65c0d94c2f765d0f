"""Workers that are killed, hang, crash and pass every limit: one verdict each, the same as without."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from leash_ray.errors import RunFailed, UsageError
from leash_ray.types import Problem, Verdict
from leash_ray.verify import VerifierPool
from leash_ray.verify.processes import Item, Workers
from leash_ray.verify.settings import VerifyConfig

HERE = Path(__file__).parent
C, W, E = Verdict.CORRECT, Verdict.INCORRECT, Verdict.ERROR
ODD = "python:test_verify_pool_helpers:misbehaves"
LIMITS = VerifyConfig(timeout_s=3.0, cpu_s=3.0, memory_mb=1024)


@pytest.fixture(autouse=True)
def _helpers_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    workers = Workers(LIMITS, fenced=False)
    yield workers
    workers.close()


def mixed_completions(n: int, seed: int) -> list[tuple[Problem, str, str]]:
    """A function of the user's, countdown and (1 in 10) math; nearly all answers are distinct."""
    rng = random.Random(seed)
    math = [Problem.make("m", str(i), "math", f"\\frac{{{i}}}{{7}}") for i in range(1, 12)]
    countdown = [
        Problem.make("c", str(i), "reasoning_gym:countdown", f'{{"numbers": [2, 3, {i}], "target": {2 * i + 3}}}')
        for i in range(4, 12)
    ]
    slow = [Problem.make("s", str(i), "python:test_verify_pool_helpers:is_slow", str(i)) for i in range(9)]
    items = []
    for i in range(n):
        if i % 10 == 0:
            problem = rng.choice(math)
            text = (
                f"\\boxed{{\\frac{{{rng.randint(1, 9)}}}{{{rng.choice([7, 8])}}}}}" if i % 20 else f"\\boxed{{x+{i}}}"
            )
        elif i % 2:
            problem = rng.choice(countdown)
            a, b, c = rng.sample([2, 3, rng.randint(4, 12)], 3)
            text = f"{a}{rng.choice('+-*')}{b}{rng.choice('+-*')}{c}"
        else:
            problem = rng.choice(slow)
            text = f"{rng.randint(0, n)}" if rng.random() < 0.8 else problem.reference
        items.append((problem, text, "stop"))
    return items


def test_fifty_kills_in_mid_batch_change_no_verdict() -> None:
    items = mixed_completions(4000, seed=1)
    with VerifierPool(VerifyConfig(workers=2)) as pool:
        undisturbed = pool.verify(items)
        n_calls = pool.n_calls
    assert Counter(v.verdict for v in undisturbed).keys() == {C, W}

    rng = random.Random(2)
    killed = 0
    over = threading.Event()
    with VerifierPool(VerifyConfig(workers=2)) as pool:

        def kill() -> None:
            """One of the processes, each time that some more answers have come."""
            nonlocal killed
            progress = 0
            while not over.is_set() and killed < 50:
                time.sleep(0.001)
                for workers in list(pool._workers.values()):
                    found = len(workers._found)
                    busy = [process for process in list(workers._processes) if process.items]
                    if busy and abs(found - progress) > n_calls / 150:
                        os.kill(rng.choice(busy).pid, signal.SIGKILL)
                        progress = found
                        killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        disturbed = pool.verify(items)
        over.set()
        killer.join()
    assert killed == 50
    assert disturbed == undisturbed
    assert (pool.n_calls, pool.n_errors) == (n_calls, 0)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("hang", "no verdict within 3 s: the verifier was killed"),
        ("stop", "no verdict within 3 s: the verifier was killed"),
        ("close the pipe", "the verifier's process died (signal 9)"),
        ("die", "the verifier's process died (signal 9)"),
        ("exit at once", "the verifier's process died (exit status 0)"),
        ("segfault", "the verifier's process died (signal 11)"),
        ("exit", "SystemExit: "),
        ("interrupt", "KeyboardInterrupt: "),
        ("raise", "RuntimeError: no such luck"),
        ("raise what cannot be shown", "Odd"),
        ("raise much", "RuntimeError: much much"),
        ("recurse", "RecursionError: maximum recursion depth exceeded"),
        ("hog", "MemoryError: more than 1024 MiB"),
        ("hog bit by bit", "MemoryError: more than 1024 MiB"),
        ("babble", "the verifier's process sent what is no judgement"),
        ("babble without end", "the verifier's process sent a judgement that is too long"),
        ("load for ever", "the verifier's process sent what is no judgement"),
    ],
)
def test_each_misdeed_costs_one_error_with_its_reason(workers: Workers, act: str, reason: str) -> None:
    started_s = time.monotonic()
    found = workers.judge([Item(ODD, "right", answer) for answer in ("right", "wrong", act, "right", "left")])
    assert [j.verdict for j in found] == [C, W, E, C, W]
    assert (found[2].reason or "").startswith(reason)
    assert len(found[2].reason or "") <= 500
    assert time.monotonic() - started_s < 30
    assert [j.verdict for j in workers.judge([Item(ODD, "right", "right")])] == [C]


@pytest.mark.parametrize("act", ["spin", "spin in c"])
def test_cpu_time_is_limited_for_each_call(act: str) -> None:
    # Above the wall limit's reach; other calls before it use up nothing of its time.
    workers = Workers(VerifyConfig(timeout_s=60.0, cpu_s=1.0), fenced=False)
    try:
        calls = [Item(ODD, "right", f"wrong {i}") for i in range(20)]
        workers.judge(calls)
        started_s = time.process_time(), time.monotonic()
        found = workers.judge([*calls, Item(ODD, "right", act), *calls])
        assert [j.verdict for j in found] == [W] * 20 + [E] + [W] * 20
        assert found[20].reason == "more than 1 s of CPU time: the verifier was killed"
        assert time.monotonic() - started_s[1] < 30
    finally:
        workers.close()


@pytest.mark.parametrize("act", ["flood", "return much", "leave a thread"])
def test_what_harms_nobody_is_no_error(act: str) -> None:
    workers = Workers(VerifyConfig(timeout_s=30.0, cpu_s=30.0), fenced=False)
    try:
        assert [j.verdict for j in workers.judge([Item(ODD, "right", act), Item(ODD, "right", "wrong")])] == [C, W]
    finally:
        workers.close()


def test_what_a_killed_function_had_started_is_killed_too(workers: Workers, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    found = workers.judge([Item(ODD, str(pid_file), "leave a process and hang")])
    assert found[0].verdict is E
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_memory_that_earlier_calls_filled_is_no_fault_of_this_one() -> None:
    workers = Workers(VerifyConfig(memory_mb=1024), fenced=False)
    try:
        leak = "python:test_verify_pool_helpers:remembers"
        found = workers.judge([Item(leak, "1", str(i)) for i in range(40)])
        assert [j.verdict for j in found] == [W, C] + [W] * 38
    finally:
        workers.close()


def test_a_limit_below_what_a_process_needs_is_refused() -> None:
    settings = VerifyConfig().model_copy(update={"memory_mb": 64})
    workers = Workers(settings, fenced=True)
    with pytest.raises(UsageError, match=r"verify.memory_mb = 64 leaves no room .* set it to \d+ or more"):
        workers.judge([Item("math", "1", "2")])


@pytest.mark.parametrize("memory_mb", [1024, 4096])
def test_the_limits_of_the_settings_are_enough(memory_mb: int) -> None:
    workers = Workers(VerifyConfig(memory_mb=memory_mb), fenced=True)
    try:
        found = workers.judge(
            [
                Item("math", "\\sqrt{2}", "2^{1/2}"),
                Item("reasoning_gym:countdown", '{"numbers": [2, 3, 9], "target": 21}', "9*2+3"),
            ]
        )
        assert [j.verdict for j in found] == [C, C]
    finally:
        workers.close()


def test_a_verifier_that_comes_later_is_loaded_behind_the_fence_and_in_its_own_time() -> None:
    workers = Workers(VerifyConfig(timeout_s=0.2, cpu_s=1.0), fenced=True)
    try:
        workers.judge([Item("reasoning_gym:countdown", '{"numbers": [2, 3, 9], "target": 21}', "1+1")])
        (process,) = workers._processes
        found = workers.judge([Item("math", "1", "2"), Item("math", "1", "1")])  # importing math-verify takes longer
        assert [j.verdict for j in found] == [W, C]
        assert workers._processes == [process]
    finally:
        workers.close()


def test_what_is_loaded_behind_the_fence_needs_no_folder_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    workers = Workers(VerifyConfig(), fenced=True)
    try:
        workers.judge([Item("math", "1", "1")])
        countdown = Item("reasoning_gym:countdown", '{"numbers": [2, 3, 9], "target": 21}', "9*2+3")
        assert [j.verdict for j in workers.judge([countdown])] == [C]
    finally:
        workers.close()


def test_processes_that_cannot_start_fail_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leash_ray.verify.zygote._BOOT", "raise SystemExit(3)")
    workers = Workers(VerifyConfig(), fenced=True)
    with pytest.raises(RunFailed, match=r"no verifier process can start \(the process that starts .* ended"):
        workers.judge([Item("math", "1", "2")])


def test_the_process_that_starts_others_may_be_killed_too() -> None:
    workers = Workers(VerifyConfig(workers=2), fenced=True)
    try:
        calls = [Item("math", "1", f"{i}") for i in range(200)]
        for _ in range(2):
            assert [j.verdict for j in workers.judge(calls)] == [W, C] + [W] * 198
            assert workers._zygote is not None
            workers._zygote._process.kill()
    finally:
        workers.close()


def test_ctrl_c_in_the_terminal_does_not_reach_them(workers: Workers) -> None:
    workers.judge([Item(ODD, "right", "right")])
    (process,) = workers._processes
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    os.kill(process.pid, signal.SIGINT)
    assert [j.verdict for j in workers.judge([Item(ODD, "right", "right")])] == [C]
    assert workers._processes == [process]


def test_an_interrupted_call_leaves_nothing_for_the_next(workers: Workers) -> None:
    interrupted = threading.Event()

    def interrupt() -> None:
        wait_s = 0.7
        while not interrupted.wait(wait_s):  # again: one that meets a finalizer is lost in it
            os.kill(os.getpid(), signal.SIGINT)
            wait_s = 2.0

    timer = threading.Thread(target=interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.judge([Item(ODD, "right", "right")] + [Item(ODD, "right", "hang")] * 8)
    finally:
        interrupted.set()
        timer.join()
    assert [j.verdict for j in workers.judge([Item(ODD, "right", "left"), Item(ODD, "right", "right")])] == [W, C]
