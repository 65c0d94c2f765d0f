"""Verifying completions, each distinct (problem, canonical answer) once, where it can do no harm.

Reading an answer is done here; judging it, where its kind's lane says (:data:`~leash_ray.verify.kinds.base.Lane`):
in processes that may be killed, or in threads that look after a sandbox or a request.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from leash_ray.types import Problem, Verdict
from leash_ray.verify.extract import UNMARKED, opens_thinking
from leash_ray.verify.kinds import Judgement, Reading, kind_of
from leash_ray.verify.kinds.base import Judge, Lane
from leash_ray.verify.processes import Item, Workers
from leash_ray.verify.settings import VerifyConfig
from leash_ray.verify.worker import explain


class Verification(NamedTuple):
    """What is known of one completion after verifying."""

    verdict: Verdict
    answer: str | None
    """Canonical; None with NO_ANSWER and TRUNCATED."""
    reason: str | None = None
    """Why it is ERROR; otherwise, if anything, what decided."""
    stage: str | None = None
    """Which stage of extraction found the answer."""
    leniency: str | None = None
    """With CORRECT: what it would not be right without; None: it is right as it stands, in the format asked for."""


_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_ANSWER = Verification(Verdict.NO_ANSWER, None)
_TRUNCATED = Verification(Verdict.TRUNCATED, None)

Key = tuple[str, str, str]
"""(problem id, verifier, canonical answer)"""


def read_answer(problem: Problem, text: str, finish_reason: str) -> Reading | Verification:
    """What ``text`` answers, or the verification of a text that has no answer.

    ``problem.prompt`` is what the policy was asked: whether it opened the thinking decides what of the text was said.
    """
    kind = kind_of(problem.verifier)
    try:
        reading = kind.read(_without_lone_surrogates(text), opens_thinking(problem.prompt))
    except Exception as e:  # a fault of the reader's: this completion's ERROR, not the run's end
        return Verification(Verdict.ERROR, None, explain(e))
    if finish_reason == "length" and not (reading and reading.delimited):
        return _TRUNCATED
    return reading or _NO_ANSWER


class VerifierPool:
    """Verifies completions; its processes and threads start at the first need.

    One call of :meth:`verify` at a time; other threads wait. Use as a context manager, or call :meth:`close`.
    """

    def __init__(self, settings: VerifyConfig | None = None, max_cache: int = 500_000) -> None:
        """``max_cache``: judgements kept, least recently used dropped first."""
        self.settings, self.max_cache = settings or VerifyConfig(), max_cache
        self.n_calls = 0
        """Distinct answers judged."""
        self.n_cache_hits = 0
        """Completions whose answer was judged before, or beside them in the same call."""
        self.n_errors = 0
        """Distinct answers that ended as ERROR."""
        self.busy_s = 0.0
        """Seconds spent judging, over all processes and threads."""
        self._cache: OrderedDict[Key, Judgement] = OrderedDict()
        self._lock = threading.Lock()
        self._workers: dict[Lane, Workers] = {}
        self._threads: ThreadPoolExecutor | None = None
        self._judges: dict[str, Judge] = {}

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        """Verify completions, each (problem, text, finish_reason); the result has their order.

        An ERROR is not remembered: the same answer is judged again when it comes again.

        Raises:
            RunFailed: no verifier process can be started.
            UsageError: an unknown verifier, or one that cannot work with these settings or on this machine.
        """
        with self._lock:
            return self._verify(items)

    def remember(self, known: Iterable[tuple[Problem, str, Judgement]]) -> None:
        """Take over judgements of canonical answers, such as those that a run has stored, instead of judging again.

        Only of fenced kinds: what others say may depend on more than the answer (a program, an endpoint, a function).
        """
        with self._lock:
            for problem, answer, judgement in known:
                if kind_of(problem.verifier).lane == "fenced" and judgement.verdict is not Verdict.ERROR:
                    self._cache.setdefault((problem.id, problem.verifier, answer), judgement)
            while len(self._cache) > self.max_cache:
                self._cache.popitem(last=False)

    def _verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        cache = self._cache
        out: list[Verification | None] = []
        waiting: dict[Key, tuple[Problem, str, list[tuple[int, Reading]]]] = {}
        for problem, text, finish_reason in items:
            reading = read_answer(problem, text, finish_reason)
            if isinstance(reading, Verification):
                out.append(reading)
                continue
            if len(reading.content) > self.settings.max_answer_chars:
                out.append(self._too_long(reading))
                continue
            key = (problem.id, problem.verifier, reading.answer)
            known = cache.get(key)
            if known is not None:
                cache.move_to_end(key)
                self.n_cache_hits += 1
                out.append(_verification(reading, known))
                continue
            if key in waiting:
                self.n_cache_hits += 1
                waiting[key][2].append((len(out), reading))
            else:
                waiting[key] = (problem, reading.content, [(len(out), reading)])
            out.append(None)
        if waiting:
            work = [Item(problem.verifier, problem.reference, content) for problem, content, _ in waiting.values()]
            for (key, (_, _, places)), judgement in zip(waiting.items(), self._judge(work), strict=True):
                for place, reading in places:
                    out[place] = _verification(reading, judgement)
                if judgement.verdict is Verdict.ERROR:
                    self.n_errors += 1
                else:
                    cache[key] = judgement
            self.n_calls += len(work)
            while len(cache) > self.max_cache:
                cache.popitem(last=False)
        return out  # type: ignore[return-value]  # every place was filled

    def _too_long(self, reading: Reading) -> Verification:
        n = len(reading.content)
        if reading.stage in UNMARKED:  # nobody said that all of this is the answer: a long text merely has none
            reason = f"no answer is marked, and {n} characters are more than max_answer_chars allows for one"
            return Verification(Verdict.NO_ANSWER, None, reason, reading.stage)
        self.n_errors += 1
        reason = f"the answer has {n} characters, more than max_answer_chars allows"
        return Verification(Verdict.ERROR, None, reason, reading.stage)

    def _judge(self, work: list[Item]) -> list[Judgement]:
        lanes: dict[Lane, list[int]] = {}
        for i, item in enumerate(work):
            lanes.setdefault(kind_of(item.verifier).lane, []).append(i)
        judgements: dict[int, Judgement] = {}
        for lane, places in lanes.items():
            run = self._judge_in_threads if lane == "thread" else self._judge_in_processes
            judgements.update(zip(places, run(lane, [work[i] for i in places]), strict=True))
        return [judgements[i] for i in range(len(work))]

    def _judge_in_processes(self, lane: Lane, work: list[Item]) -> list[Judgement]:
        if lane not in self._workers:
            self._workers[lane] = Workers(self.settings, fenced=lane == "fenced")
        try:
            return self._workers[lane].judge(work)
        finally:
            self.busy_s += self._workers[lane].take_busy_s()

    def _judge_in_threads(self, _: Lane, work: list[Item]) -> list[Judgement]:
        for verifier in {item.verifier for item in work} - self._judges.keys():
            self._judges[verifier] = kind_of(verifier).judge_in_thread(self.settings)
        if self._threads is None:
            judge = self.settings.judge
            size = max(self.settings.workers, judge.concurrency if judge else 1)
            self._threads = ThreadPoolExecutor(size, thread_name_prefix="verify")
        started_s = time.perf_counter()
        found = list(self._threads.map(self._judge_one, work))
        self.busy_s += time.perf_counter() - started_s
        return found

    def _judge_one(self, item: Item) -> Judgement:
        try:
            return self._judges[item.verifier](item.reference, item.content)
        except Exception as e:  # a broken reference, too: one answer's failure is its verdict, not the run's end
            return Judgement(Verdict.ERROR, explain(e))

    def close(self) -> None:
        """End processes and threads. The counters and the cache stay; a later :meth:`verify` starts new ones."""
        with self._lock:
            for workers in self._workers.values():
                workers.close()
            for judge in self._judges.values():
                getattr(judge, "close", lambda: None)()
            if self._threads is not None:
                self._threads.shutdown(cancel_futures=True)
            self._workers, self._threads, self._judges = {}, None, {}

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _verification(reading: Reading, judgement: Judgement) -> Verification:
    verdict, reason, better, leniency = judgement
    answer = None if verdict is Verdict.NO_ANSWER else _storable(better or reading.answer)
    if verdict is Verdict.CORRECT and reading.fallback:
        leniency = f"{reading.stage}+{leniency}" if leniency else reading.stage
    leniency = leniency if verdict is Verdict.CORRECT else None
    return Verification(verdict, answer, reason and _storable(reason), reading.stage, leniency)


def _without_lone_surrogates(text: str) -> str:
    """``text`` as Parquet can store it: half a character becomes U+FFFD, two halves that belong together become one."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _storable(text: str) -> str:
    """An answer in which reading or judging made a lone surrogate (from JSON's ``\\ud800``) has it written out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
