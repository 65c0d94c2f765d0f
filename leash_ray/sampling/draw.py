"""What a task does with a shard: draw, verify, write. One problem that cannot be had does not hold up the others."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from leash_ray.errors import RunFailed, UsageError
from leash_ray.policy import DeadlyRequest, Policy, RequestFailed, ServedPolicy
from leash_ray.sampling.causes import innermost, root_cause
from leash_ray.sampling.dead_letters import DeadLetter
from leash_ray.sampling.held import correct_of
from leash_ray.sampling.manifest import write_new
from leash_ray.sampling.origin import prompts_hash
from leash_ray.sampling.shard import Gap, Shard
from leash_ray.sampling.table import tabulate
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification
from leash_ray.verify.remote import RemoteVerifier

T = TypeVar("T")
Work = Callable[[Sequence[Problem]], Sequence[T]]
"""Problems -> one result each."""


def draw(
    policy: Policy, shard: Shard, problems: Sequence[Problem], params: SamplingParams, seed: int
) -> list[CompletionBatch]:
    """The shard's completions, one batch a problem. The stream is named by what it is for: not by the shard."""
    requests = [
        SampleRequest(
            problem.prompt,
            shard.n_samples,
            stream_seed(seed, "sample", shard.policy, problem.id) + shard.first_sample,
        )
        for problem in problems
    ]
    return policy.sample(requests, params)


@dataclass(frozen=True, slots=True)
class ShardMaker:
    """Makes shards of some problems. Sent to Ray Data's tasks as it is."""

    folder: Path
    problems: Sequence[Problem]
    params: SamplingParams
    seed: int
    policies: Mapping[str, ServedPolicy]
    verifier: RemoteVerifier
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Policy -> what it is asked in place of each problem's own prompt."""
    origins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Policy -> what its completions are made with."""
    max_tries: int = 1

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One shard as JSON -> what was made of it, as JSON, or why nothing of the kind can be made.

        A UsageError travels as text: Ray would wrap it in an error of its own, with a trace.
        """
        (shard,) = map(Shard.from_json, batch["shard"].to_pylist())
        try:
            return pa.table({"made": [json.dumps(self.make(shard))], "refused": [""]})
        except UsageError as e:
            return pa.table({"made": [""], "refused": [str(innermost(e))]})

    def make(self, shard: Shard) -> dict[str, Any]:
        """Write the shard's file, without the problems that could not be had.

        Returns, as JSON-able values: ``shard`` (what was written, as JSON), ``policy``, ``completions``, ``tokens``, a
        count of each verdict, ``correct`` (problem id -> indices of its CORRECT samples) and ``dead`` (dead letters).

        Raises:
            RunFailed: the policy is gone, or the disk is full.
            UsageError: the verifiers cannot work as they are configured.
        """
        dead: list[DeadLetter] = []
        policy = self.policies[shard.policy]
        asked = self._asked(shard)
        drawn = self._each("policy", shard, asked, lambda some: draw(policy, shard, some, self.params, self.seed), dead)
        batch_of = {problem.id: batch for problem, batch in drawn}
        verified = self._each("verifier", shard, [p for p, _ in drawn], lambda some: self._verify(some, batch_of), dead)
        problems = [problem for problem, _ in verified]
        batches = [batch_of[problem.id] for problem in problems]
        verdicts = [one for _, of_problem in verified for one in of_problem]
        written = replace(shard, problems=tuple(problem.id for problem in problems))
        counts = Counter(v.verdict.value for v in verdicts)
        correct: dict[str, list[int]] = {}
        if problems:
            table = tabulate(written, problems, batches, verdicts)
            origin = {**self.origins.get(shard.policy, {}), "prompts": prompts_hash(problems)}
            write_new(self.folder, written, table, origin)
            correct = correct_of(table)
        return {
            "shard": written.to_json(),
            "policy": shard.policy,
            "completions": written.n_rows,
            "tokens": int(sum(len(b.token_ids_T) for b in batches)),
            **{v.value: counts[v.value] for v in Verdict},
            "correct": correct,
            "dead": [letter.to_json() for letter in dead],
        }

    def _verify(self, problems: Sequence[Problem], drawn: Mapping[str, CompletionBatch]) -> list[list[Verification]]:
        items = [
            (problem, text, reason)
            for problem in problems
            for text, reason in zip(drawn[problem.id].texts, drawn[problem.id].finish_reasons, strict=True)
        ]
        found = iter(self.verifier.verify(items))
        return [[next(found) for _ in drawn[problem.id].texts] for problem in problems]

    def _each(
        self, stage: str, shard: Shard, problems: Sequence[Problem], work: Work[T], dead: list[DeadLetter]
    ) -> list[tuple[Problem, T]]:
        """(problem, result) of ``work`` on all problems at once or, where that fails, on one after another, so that
        only what fails by itself is given up."""
        if len(problems) > 1:
            try:
                return list(zip(problems, work(problems), strict=True))
            except Exception as e:
                _raise_if_general(e)
        found: list[tuple[Problem, T]] = []
        for problem in problems:
            result = self._alone(stage, shard, problem, work)
            if isinstance(result, DeadLetter):
                dead.append(result)
            else:
                found.append((problem, result))
        return found

    def _alone(self, stage: str, shard: Shard, problem: Problem, work: Work[T]) -> T | DeadLetter:
        tries, failure = 0, None
        while tries < self.max_tries and not isinstance(failure, DeadlyRequest):
            try:
                return work([problem])[0]
            except Exception as e:
                _raise_if_general(e)
                tries, failure = tries + 1, e
        assert failure is not None
        gap = Gap(shard.policy, problem.id, shard.first_sample, shard.end_sample)
        return DeadLetter.of(gap, stage, root_cause(failure), tries)

    def _asked(self, shard: Shard) -> list[Problem]:
        """The shard's problems as its policy is asked them."""
        place = {problem.id: i for i, problem in enumerate(self.problems)}
        found = [self.problems[place[problem_id]] for problem_id in shard.problems]
        if shard.policy not in self.prompts:
            return found
        prompts = self.prompts[shard.policy]
        return [replace(problem, prompt=prompts[place[problem.id]]) for problem in found]


def _raise_if_general(error: Exception) -> None:
    """Pass on what is no problem's own fault: settings that cannot work, a full disk, a policy that is gone."""
    if isinstance(error, UsageError | OSError | MemoryError) and not isinstance(error, TimeoutError):
        raise error
    if isinstance(error, RunFailed) and not isinstance(error, RequestFailed):
        raise error
