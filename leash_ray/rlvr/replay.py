"""Replay: problems that were solved before come up again, with a rare correct completion of theirs in the group.

The buffer keeps one completion a problem: of all correct ones that the policy drew, the least likely when it was
drawn, with its log-probabilities then. ``replay`` problems of a step are reviews, drawn the more often the less of
their latest group was correct, so that what is about to be lost is looked after first. If the group of a review does
not hold the kept completion, it takes the place of one. It is off-policy with a known author, an earlier version of
this policy: its ratio is the plain p/p_old, with clipping as for any completion (as RLEP, arXiv 2507.07451, and
ExGRPO, arXiv 2510.02245, §3, take it), and it is not "foreign".

Assumption: versions are near enough for the ratio to say something; where p has fallen far below p_old, the ratio takes
the gradient with it. What is kept was verified when it was drawn, and is not verified again.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from leash_ray.rlvr.book import Book
from leash_ray.rlvr.mixing import Mixture, Piece
from leash_ray.rlvr.rollouts import Draw, Rollouts
from leash_ray.seeds import stream_seed
from leash_ray.types import Problem, Verdict
from leash_ray.verify import Verification

REVIEW = -1
"""The epoch of a review, which is beside the turns that every problem has."""


@dataclass(frozen=True, slots=True)
class Rare:
    """A correct completion."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    answer: str | None
    step: int
    """0-based; the version that drew it."""

    @property
    def logprob_sum(self) -> float:
        """Nats."""
        return sum(self.logprobs)


@dataclass(slots=True)
class Buffer:
    """Rare correct completions by problem, the same on every worker; the problem that came in first goes first."""

    bound: int
    of: dict[str, Rare] = field(default_factory=dict)

    def add(self, found: Mapping[str, Rare]) -> None:
        """Keep what is rarer than what there is."""
        for problem_id in sorted(found):  # in whatever order workers had them
            new, old = found[problem_id], self.of.get(problem_id)
            if old is None or new.logprob_sum < old.logprob_sum:
                self.of[problem_id] = new
        while len(self.of) > self.bound:
            del self.of[next(iter(self.of))]

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            i: [_packed(r.token_ids, np.int32), _packed(r.logprobs, np.float32), r.text, r.answer, r.step]
            for i, r in self.of.items()
        }

    @classmethod
    def restored(cls, bound: int, state: Mapping[str, Any]) -> "Buffer":
        of = {
            i: Rare(tuple(_unpacked(ids, np.int32)), tuple(_unpacked(logprobs, np.float32)), text, answer, step)
            for i, (ids, logprobs, text, answer, step) in state.items()
        }
        return cls(bound, of)


def _packed(values: Sequence[float], dtype: Any) -> str:
    return base64.b64encode(np.array(values, dtype).tobytes()).decode()


def _unpacked(text: str, dtype: Any) -> list[Any]:
    return list(np.frombuffer(base64.b64decode(text), dtype).tolist())


def with_reviews(
    draws: Sequence[Draw], n: int, buffer: Buffer, book: Book, problems: Mapping[str, Problem], step: int, seed: int
) -> list[Draw]:
    """A step's draws, the last ``n`` of them replaced by reviews; fewer where the buffer has fewer problems that do not
    come up anyway.

    A problem's weight is 1 − (c + ½)/(n + 1) of its latest group: never 0, nor 1.
    """
    coming = {d.problem.id for d in draws}
    there = [i for i in buffer.of if i not in coming and i in problems]
    n = min(n, len(draws), len(there))
    if not n:
        return list(draws)
    records = [book.record(i) for i in there]
    weights = np.array([1.0 - (r.last_c + 0.5) / (r.last_n + 1.0) for r in records])
    rng = np.random.default_rng(stream_seed(seed, "review", step))
    chosen = rng.choice(len(there), n, replace=False, p=weights / weights.sum())
    return [*draws[: len(draws) - n], *(Draw(problems[there[i]], REVIEW) for i in chosen.tolist())]


def put_rare(mixture: Mixture, buffer: Buffer) -> dict[str, float]:
    """Put kept completions into the groups of reviews; sums over this worker's."""
    sums = {"reviews": 0.0, "reviews_correct": 0.0, "reviewed": 0.0, "replayed": 0.0}
    size = len(mixture.own.groups[0])
    for g, draw in enumerate(mixture.own.draws):
        if draw.epoch != REVIEW:
            continue
        verdicts = [v.verdict for v in mixture.own.verifications[g * size : (g + 1) * size]]
        sums["reviews"] += 1
        sums["reviewed"] += sum(v != Verdict.ERROR for v in verdicts)
        sums["reviews_correct"] += verdicts.count(Verdict.CORRECT)
        rare, group = buffer.of[draw.problem.id], mixture.own.groups[g]
        if any(
            tuple(group.token_ids_T[group.offsets[i] : group.offsets[i + 1]].tolist()) == rare.token_ids
            for i in range(size)
        ):
            continue
        verification = Verification(Verdict.CORRECT, rare.answer)
        mixture.put(g, Piece(rare.token_ids, rare.logprobs, rare.text, "stop", verification))
        sums["replayed"] += 1
    return sums


def rare_of(rollouts: Rollouts, step: int) -> dict[str, Rare]:
    """The least likely correct completion of each problem that ended by itself, of the policy's own."""
    found: dict[str, Rare] = {}
    at = 0
    for draw, group in zip(rollouts.draws, rollouts.groups, strict=True):
        for i in range(len(group)):
            verification = rollouts.verifications[at + i]
            if verification.verdict != Verdict.CORRECT or group.finish_reasons[i] == "length":
                continue
            part = slice(group.offsets[i], group.offsets[i + 1])
            ids, logprobs = group.token_ids_T[part].tolist(), group.logprobs_T[part].tolist()
            new = Rare(tuple(ids), tuple(logprobs), group.texts[i], verification.answer, step)
            if draw.problem.id not in found or new.logprob_sum < found[draw.problem.id].logprob_sum:
                found[draw.problem.id] = new
        at += len(group)
    return found


def rarest(found: Sequence[Mapping[str, Rare]]) -> dict[str, Rare]:
    """Of each problem, the least likely."""
    least: dict[str, Rare] = {}
    for problem_id, rare in (item for one in found for item in one.items()):
        if problem_id not in least or rare.logprob_sum < least[problem_id].logprob_sum:
            least[problem_id] = rare
    return least


def metrics_of(sums: Mapping[str, float], buffer: Buffer) -> dict[str, float]:
    """Over all workers, as a step's metrics; an undefined share is NaN."""
    reviewed = sums["reviewed"]
    return {
        "reviews": sums["reviews"],
        "review_correct_share": sums["reviews_correct"] / reviewed if reviewed else float("nan"),
        "replayed": sums["replayed"],
        "replay_buffer": float(len(buffer.of)),
    }
