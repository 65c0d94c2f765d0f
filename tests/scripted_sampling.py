"""Sampling without an engine: a policy of known answers behind the real shard maker, files and rounds."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from leash_ray.files import parquet_files
from leash_ray.sampling.budget import Design
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.held import OriginOf, check
from leash_ray.sampling.origin import prompts_hash
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.shard import Shard
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

PROBLEMS = [Problem.make("t", f"question {i}", "math", str(i)) for i in range(6)]
IDS = tuple(problem.id for problem in PROBLEMS)


@dataclass
class Scripted:
    """Sample ``seed + i`` of a prompt is a text of its own, ``yes ...`` with the prompt's probability."""

    chance: Mapping[str, float] = field(default_factory=dict)
    fails: Callable[[SampleRequest], Exception | None] = lambda request: None
    requests: list[SampleRequest] = field(default_factory=list)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        self.requests += requests
        for request in requests:
            if error := self.fails(request):
                raise error
        return [self._batch(request) for request in requests]

    def describe(self) -> dict[str, Any]:
        return {"version": 0, "max_model_len": 64}

    def _batch(self, request: SampleRequest) -> CompletionBatch:
        assert request.seed is not None
        texts = []
        for i in range(request.n):
            digest = hashlib.blake2b(f"{request.prompt} {request.seed + i}".encode(), digest_size=8).hexdigest()
            yes = int(digest, 16) / 16**16 < self.chance.get(request.prompt, 0.5)
            texts.append(f"{'yes' if yes else 'no'} {digest}")
        return CompletionBatch(
            prompt_ids=np.zeros(1, np.int32),
            token_ids_T=np.arange(request.n, dtype=np.int32),
            logprobs_T=np.full(request.n, -0.5, np.float32),
            offsets=np.arange(request.n + 1),
            texts=texts,
            finish_reasons=["stop"] * request.n,
            version=0,
        )


@dataclass
class SaysYes:
    """``yes ...`` is right."""

    fails: Callable[[Problem], Exception | None] = lambda problem: None

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        for problem, _, _ in items:
            if error := self.fails(problem):
                raise error
        return [
            Verification(Verdict.CORRECT if text.startswith("yes") else Verdict.INCORRECT, text) for _, text, _ in items
        ]


def maker(folder: Path, policies: Mapping[str, Any], verifier: Any = None, **given: Any) -> ShardMaker:
    """A shard maker of ``PROBLEMS`` whose completions have the origin {"seed": 0}."""
    origins = {name: {"seed": 0} for name in policies}
    return ShardMaker(
        folder, PROBLEMS, SamplingParams(), 0, policies, verifier or SaysYes(), {}, origins, **{"max_tries": 3, **given}
    )


def wanted_origin(seed: int = 0) -> OriginOf:
    by_id = {problem.id: problem for problem in PROBLEMS}
    return lambda policy, ids: {"seed": seed, "prompts": prompts_hash(by_id[i] for i in ids)}


def rounds_of(
    folder: Path,
    design: Design,
    policies: Sequence[str] = ("base", "trained"),
    problems: Sequence[str] = IDS,
    samples_per_shard: int = 64,
    max_dead_share: float = 0.01,
    said: list[str] | None = None,
) -> Rounds:
    """The rounds that a folder still needs."""
    held = check(folder, wanted_origin(), (said if said is not None else []).append)
    pairs = [(policy, problem) for problem in problems for policy in policies]
    letters = folder.parent / "dead_letters.jsonl"
    return Rounds(held, pairs, design, samples_per_shard, letters, max_dead_share)


def drawing(made: ShardMaker, shuffle: int | None = None) -> Callable[[Sequence[Shard]], Iterator[dict[str, Any]]]:
    """Makes shards one after another, in an order of its own if asked."""

    def make(shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
        order = list(shards)
        if shuffle is not None:
            np.random.default_rng(shuffle).shuffle(order)  # type: ignore[arg-type]
        yield from map(made.make, order)

    return make


def rows_in(folder: Path) -> dict[tuple[str, str, int], tuple[str, str]]:
    """Key -> (text, verdict) of all completions; each key once."""
    rows = [row for path in parquet_files(folder) for row in pq.read_table(path, partitioning=None).to_pylist()]
    found = {(r["policy"], r["problem_id"], r["sample_index"]): (r["text"], r["verdict"]) for r in rows}
    assert len(found) == len(rows)
    return found
