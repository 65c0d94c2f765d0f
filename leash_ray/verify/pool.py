"""Verifying in processes of its own: a verifier that hangs, crashes or is killed costs one ERROR, not the run.

Each distinct (problem, canonical answer) is judged once. Judgements are sent in chunks, because one message for each
would cost as much as a judgement; when a chunk hits its time limit or its process dies, its items are judged again one
by one, so that only the item at fault becomes ERROR.
"""

import logging
import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from leash_ray.errors import RunFailed
from leash_ray.types import Problem, Verdict
from leash_ray.verify.canonical import canonical
from leash_ray.verify.extract import extract
from leash_ray.verify.verifiers import Judgement
from leash_ray.verify.worker import Item, judge_chunk, start

log = logging.getLogger(__name__)

_CHUNK = 32
_ATTEMPTS = 3
_START_S = 120.0
"""How long new processes may take to import what they need, on a busy machine."""


class Verification(NamedTuple):
    """What is known of one completion after verifying."""

    verdict: Verdict
    answer: str | None
    """Canonical; None with NO_ANSWER and TRUNCATED."""
    reason: str | None = None
    """Why it is ERROR."""


_NO_ANSWER = Verification(Verdict.NO_ANSWER, None)
_TRUNCATED = Verification(Verdict.TRUNCATED, None)


def read_answer(problem: Problem, text: str, finish_reason: str) -> str | Verification:
    """The canonical answer in ``text``, or the verification of a text that has none."""
    answer, delimited = extract(text, problem.verifier)
    if finish_reason == "length" and not delimited:
        return _TRUNCATED
    if answer is None:
        return _NO_ANSWER
    return canonical(problem.verifier, answer) or _NO_ANSWER


class VerifierPool:
    """Verifies completions in ``workers`` processes, which start at the first need and are replaced when they die.

    One call of :meth:`verify` at a time; other threads wait. Use as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        workers: int = 1,
        timeout_s: float = 5.0,
        max_cache: int = 200_000,
        memory_bytes: int = 8 << 30,
    ) -> None:
        """``timeout_s``: for one answer. ``max_cache``: verifications kept, least recently used dropped first.
        ``memory_bytes``: address space of one process; a verifier that wants more fails."""
        assert workers > 0
        assert timeout_s > 0
        self.workers, self.timeout_s, self.max_cache, self.memory_bytes = workers, timeout_s, max_cache, memory_bytes
        self.n_calls = 0
        """Distinct answers judged."""
        self.n_cache_hits = 0
        """Completions whose answer was judged before, or beside them in the same call."""
        self.n_errors = 0
        """Distinct answers that ended as ERROR."""
        self.busy_s = 0.0
        """Seconds that the processes spent judging, together."""
        self._cache: OrderedDict[tuple[str, str], Verification] = OrderedDict()
        self._lock = threading.Lock()
        self._pool: Any = None
        self._warmed: set[str] = set()

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        """Verify completions, each (problem, text, finish_reason); the result has their order.

        An ERROR is not remembered: the same answer is judged again when it comes again.

        Raises:
            RunFailed: no verifier process can be started.
        """
        with self._lock:
            return self._verify(items)

    def _verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        cache = self._cache
        out: list[Verification | None] = []
        waiting: dict[tuple[str, str], tuple[Problem, list[int]]] = {}
        for problem, text, finish_reason in items:
            answer = read_answer(problem, text, finish_reason)
            if isinstance(answer, Verification):
                out.append(answer)
                continue
            key = (problem.id, answer)
            known = cache.get(key)
            if known is not None:
                cache.move_to_end(key)
                self.n_cache_hits += 1
            elif key in waiting:
                waiting[key][1].append(len(out))
                self.n_cache_hits += 1
            else:
                waiting[key] = (problem, [len(out)])
            out.append(known)
        if waiting:
            work = [(problem.verifier, problem.reference, key[1]) for key, (problem, _) in waiting.items()]
            for (key, (_, places)), (verdict, reason) in zip(waiting.items(), self._judge(work), strict=True):
                verification = Verification(verdict, key[1], reason)
                for place in places:
                    out[place] = verification
                if verdict is Verdict.ERROR:
                    self.n_errors += 1
                else:
                    cache[key] = verification
            self.n_calls += len(work)
            while len(cache) > self.max_cache:
                cache.popitem(last=False)
        return out  # type: ignore[return-value]  # every place was filled

    def _judge(self, work: list[Item]) -> list[Judgement]:
        self._start({verifier for verifier, _, _ in work})
        judgements: list[Judgement | None] = [None] * len(work)
        chunks = list(self._chunks(work))
        suspects: list[int] = []
        for chunk, result in zip(chunks, self._run([[work[i] for i in chunk] for chunk in chunks]), strict=True):
            if isinstance(result, list):
                for i, judgement in zip(chunk, result, strict=True):
                    judgements[i] = judgement
            elif len(chunk) == 1:
                judgements[chunk[0]] = Judgement(Verdict.ERROR, result)
            else:
                suspects += chunk
        for i, result in zip(suspects, self._run([[work[i]] for i in suspects]), strict=True):
            judgements[i] = result[0] if isinstance(result, list) else Judgement(Verdict.ERROR, result)
        return judgements  # type: ignore[return-value]  # every place was filled

    def _chunks(self, work: list[Item]) -> Iterator[list[int]]:
        """Indices of ``work`` that go together. Python verifiers go alone: theirs may take seconds each."""
        together = [i for i, item in enumerate(work) if not item[0].startswith("python:")]
        size = max(1, min(_CHUNK, -(-len(together) // self.workers)))
        yield from (together[i : i + size] for i in range(0, len(together), size))
        yield from ([i] for i, item in enumerate(work) if item[0].startswith("python:"))

    def _run(self, chunks: list[list[Item]]) -> list[list[Judgement] | str]:
        """Each chunk's judgements, or what went wrong with it. A pool that breaks is replaced, and goes on."""
        from pebble import ProcessExpired

        results: list[list[Judgement] | str | None] = [None] * len(chunks)
        for _ in range(_ATTEMPTS):
            places = [i for i, result in enumerate(results) if result is None]
            try:
                futures = [self._pool.schedule(judge_chunk, args=[chunks[i]], timeout=self.timeout_s) for i in places]
            except RuntimeError:  # it broke while idle
                self._restart()
                continue
            # A backstop only: a process killed in the middle of a message could leave its pool waiting for ever.
            patience_s = _START_S + len(places) * (self.timeout_s + 5.0)  # 5: to kill and to start again
            for i, future in zip(places, futures, strict=True):
                try:
                    results[i], busy_s = future.result(patience_s)
                    self.busy_s += busy_s
                except FutureTimeout:
                    if not future.done():
                        break
                    results[i] = f"no verdict within {self.timeout_s:g} s: the verifier was killed"
                except ProcessExpired as e:
                    cause = f"signal {-e.exitcode}" if e.exitcode < 0 else f"exit status {e.exitcode}"
                    results[i] = f"the verifier's process died ({cause})"
                except (BrokenProcessPool, CancelledError):
                    break
                except Exception as e:  # such as an answer that cannot be sent
                    results[i] = f"{type(e).__name__}: {e}"[:500]
            else:
                return results  # type: ignore[return-value]  # every place was filled
            log.warning("the verifier processes stopped answering: starting them anew")
            self._restart()
        raise RunFailed(f"the verifier processes broke {_ATTEMPTS} times: is there memory for {self.workers}?")

    def _restart(self) -> None:
        verifiers = self._warmed
        self._stop()
        self._start(verifiers)

    def _start(self, verifiers: set[str]) -> None:
        if self._pool is not None and verifiers <= self._warmed:
            return
        from pebble import ProcessExpired, ProcessPool

        verifiers = verifiers | self._warmed
        self._stop()
        self._warmed = verifiers
        # Forked from a clean server: no threads or locks of this process come along, and a replacement for a killed
        # process starts in milliseconds, because the server has imported already.
        context = multiprocessing.get_context("forkserver")
        heavy = {"reasoning_gym": "reasoning_gym", "math": "math_verify"}
        kinds = {verifier.partition(":")[0] for verifier in verifiers}
        context.set_forkserver_preload(["leash_ray.verify.worker", *sorted(heavy[k] for k in kinds if k in heavy)])
        self._pool = ProcessPool(
            max_workers=self.workers,
            context=context,
            initializer=start,
            initargs=[sorted(verifiers), self.memory_bytes],
        )
        try:
            self._pool.schedule(judge_chunk, args=[[]], timeout=_START_S).result(_START_S)
        except (BrokenProcessPool, FutureTimeout, ProcessExpired) as e:
            self._stop()
            raise RunFailed(
                f"no verifier process could start ({e}). In a script of your own, call this under "
                "`if __name__ == '__main__':`, and keep the script in a file; or else look for a lack of memory"
            ) from e

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        self._warmed = set()
        if pool is not None:
            pool.stop()
            pool.join()

    def close(self) -> None:
        """End the processes. The counters and the cache stay; a later :meth:`verify` starts new processes."""
        with self._lock:
            self._stop()

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
