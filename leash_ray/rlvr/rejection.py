"""Rejection-sampling fine-tuning: the objective ``rft``. Sample the policy, keep what is correct, learn it by −ln p
(Yuan et al., arXiv 2308.01825; with ``refresh_every``, expert iteration as ReST-EM, arXiv 2312.06585).

Each problem is sampled ``group_size`` times, from random streams named by step and problem, at the policy's version of
that step: 0, which is the base, and with ``refresh_every`` every so many steps the current one. What was kept is the
file ``targets/step-NNNNNN.parquet`` of the run, a completions table, from which a resumed run goes on.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.errors import RunFailed
from leash_ray.files import atomic_path
from leash_ray.rlvr.collectives import all_gather, all_sum
from leash_ray.rlvr.rollouts import Draw, Rollouts, collect, summarise
from leash_ray.rlvr.supervised import Supervised, Target
from leash_ray.types import Problem, Verdict

if TYPE_CHECKING:
    from leash_ray.rlvr.learner import Learner
    from leash_ray.rlvr.sync import WeightSync
    from leash_ray.rlvr.trainer import TrainJob

FOLDER = "targets"


@dataclass(frozen=True, slots=True)
class Kept:
    """A correct completion."""

    problem_id: str
    sample_index: int
    text: str
    token_ids: tuple[int, ...]
    logprob_sum: float
    """Nats, under the policy that drew it."""


class Rejection(Supervised):
    """The objective ``rft`` (:class:`leash_ray.rlvr.objective.Objective`)."""

    def __init__(self, job: "TrainJob", learner: "Learner", sync: "WeightSync", rank: int) -> None:
        super().__init__(job, learner, rank)
        self._sync = sync

    def _first_targets(self) -> tuple[list[Target], int]:
        return [], 0  # the first step draws them

    def step(self, step: int) -> dict[str, float]:
        """Sample where it is due, then one pass over the step's targets."""
        drawn = self._draw(step) if self.draws_at(step) else {}
        return {**super().step(step), **drawn}

    def draws_at(self, step: int) -> bool:
        every = self._job.config.supervised.refresh_every
        return step == 0 or (bool(every) and step % every == 0)

    def _draw(self, step: int) -> dict[str, float]:
        job, config = self._job, self._job.config
        policy = job.policy.at(step, str(self._sync.folder(step)))
        mine = [Draw(p, step) for p in job.problems[self._rank :: config.workers]]
        own: list[Kept] = []
        sums: dict[str, float] = {}
        started_s = time.perf_counter()
        for start in range(0, len(mine), config.prompts_per_step):  # no more text in memory than a step of RLVR has
            draws = mine[start : start + config.prompts_per_step]
            rollouts = collect(
                policy,
                job.verifier.verify,
                draws,
                group_size=config.group_size,
                temperatures=[config.temperature_at(step)] * len(draws),
                max_tokens=config.max_tokens_at(step),
                step=step,
                seed=job.seed,
            )
            own += kept(rollouts, config.supervised.distinct)
            sums = {name: sums.get(name, 0.0) + value for name, value in rollouts.sums.items()}
        found = in_order([k for theirs in all_gather(own) for k in theirs], job.problems)
        if not found:
            raise RunFailed(
                f"none of {config.group_size} completions of each of {len(job.problems)} problems is correct, so there "
                "is nothing to learn; raise train.group_size, or begin from a better base"
            )
        if self._rank == 0:
            write_targets(self._file(step), found, f"rft@{step}")
        self._take(found, step)
        totals = all_sum(sums)
        return {
            **summarise(totals, config.workers),
            "rollout_tokens": totals["tokens"],
            "draw_s": time.perf_counter() - started_s,
        }

    def _take(self, found: Sequence[Kept], step: int) -> None:
        prompts = {p.id: p.prompt for p in self._job.problems}
        ids = {i: tuple(self._learner.tokenizer(prompts[i])["input_ids"]) for i in {k.problem_id for k in found}}
        self._targets = [Target(k.problem_id, k.text, ids[k.problem_id], k.token_ids) for k in found]
        self._drawn_at = step

    def _file(self, step: int) -> Path:
        return self._job.run_path / FOLDER / f"step-{step:06d}.parquet"

    def state(self) -> Mapping[str, Any]:
        return {"drawn_at": self._drawn_at}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._take(read_targets(self._file(state["drawn_at"])), state["drawn_at"])


def kept(rollouts: Rollouts, distinct: bool) -> list[Kept]:
    """The correct completions that ended by themselves; with ``distinct``, the first of each text of a problem."""
    found: list[Kept] = []
    at = 0
    for draw, group in zip(rollouts.draws, rollouts.groups, strict=True):
        seen: set[str] = set()
        for i, text in enumerate(group.texts):
            verdict, part = rollouts.verifications[at + i].verdict, slice(group.offsets[i], group.offsets[i + 1])
            if verdict != Verdict.CORRECT or group.finish_reasons[i] == "length" or (distinct and text in seen):
                continue
            seen.add(text)
            logprob_sum = float(group.logprobs_T[part].sum(dtype="float64"))
            found.append(Kept(draw.problem.id, i, text, tuple(group.token_ids_T[part].tolist()), logprob_sum))
        at += len(group)
    return found


def in_order(found: Sequence[Kept], problems: Sequence[Problem]) -> list[Kept]:
    """By problem, then by sample: the same whatever worker drew them."""
    place = {p.id: i for i, p in enumerate(problems)}
    return sorted(found, key=lambda k: (place[k.problem_id], k.sample_index))


def write_targets(path: Path, found: Sequence[Kept], policy: str) -> None:
    """As a completions table, with the columns that are known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "policy": pa.array([policy] * len(found)),
        "problem_id": pa.array([k.problem_id for k in found]),
        "sample_index": pa.array([k.sample_index for k in found], pa.int32()),
        "verdict": pa.array([Verdict.CORRECT.value] * len(found)),
        "n_tokens": pa.array([len(k.token_ids) for k in found], pa.int32()),
        "logprob_sum": pa.array([k.logprob_sum for k in found], pa.float32()),
        "text": pa.array([k.text for k in found]),
        "token_ids": pa.array([k.token_ids for k in found], pa.list_(pa.int32())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_targets(path: Path) -> list[Kept]:
    """What :func:`write_targets` wrote.

    Raises:
        RunFailed: it is not there any more.
    """
    import pyarrow.parquet as pq

    names = ["problem_id", "sample_index", "text", "token_ids", "logprob_sum"]
    try:
        rows = pq.read_table(path, columns=names).to_pylist()
    except OSError as e:
        raise RunFailed(f"cannot read {path} ({e}), which training learns from: restore it, or start a new run") from e
    return [Kept(r["problem_id"], r["sample_index"], r["text"], tuple(r["token_ids"]), r["logprob_sum"]) for r in rows]
