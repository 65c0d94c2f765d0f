"""Off-policy seeding: solutions from elsewhere, and continuations of their beginnings, in the policy's own groups.

- Traces take the place of ``per_group`` of a group's completions (mixed-policy GRPO: LUFFY, arXiv 2504.14945). They are
  verified like any completion, and those that are not correct are refused. Advantages are over the mixed group; the
  trace's tokens are learnt with the shaped ratio p/(p + γ), since how likely they were to their author is not known.
- Hints: ``prefix_share`` of a group continues a prefix of a solution, drawn by the policy itself (BREAD, arXiv
  2506.17211: branched rollouts where the policy's own fail). The prefix is part of what is asked: it is not learnt
  from, only the continuation is, whose log-probabilities are the policy's own. Prefix-RFT (arXiv 2507.01679) learns the
  prefix, too; here that is what traces are for.

With ``groups: unsolved`` both are for groups without any success of their own: where the policy succeeds, it learns
from itself. Assumption: a solution's text is what the policy could have written; what its tokenizer cannot cut cleanly
is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leash_ray.policy import Policy
from leash_ray.rlvr.mixing import Mixture, Piece
from leash_ray.rlvr.rollouts import Draw, Verify
from leash_ray.rlvr.sections import SeedingConfig
from leash_ray.rlvr.traces import Traces, solution_ids
from leash_ray.seeds import stream_seed
from leash_ray.types import CompletionBatch, SampleRequest, SamplingParams, Verdict

SUMS = ("foreign_tokens", "traces_used", "traces_refused", "hinted", "hinted_correct", "hint_tokens", "hints_refused")
"""What is counted, over this worker's groups."""


class Seeding:
    """Puts traces and hinted completions into groups.

    Args:
        tokenizer: the policy's.
        seed: the run's; which trace, and how much of it, is drawn from streams named by step, turn and problem.
    """

    def __init__(self, config: SeedingConfig, traces: Traces, tokenizer: Any, verify: Verify, seed: int) -> None:
        self._config, self._traces, self._tokenizer = config, traces, tokenizer
        self._verify, self._seed = verify, seed

    def into(self, mixture: Mixture, policy: Policy, step: int, max_tokens: int) -> dict[str, float]:
        """Seed the groups; returns ``SUMS``."""
        sums = dict.fromkeys(SUMS, 0.0)
        at = [g for g, draw in enumerate(mixture.own.draws) if draw.problem.id in self._traces]
        if self._config.groups == "unsolved":
            at = [g for g in at if not _is_solved(mixture, g)]
        if self._config.per_group:
            self._put_traces(mixture, at, step, max_tokens, sums)
        if n := self._config.hinted(len(mixture.own.groups[0])):
            self._put_hinted(mixture, at, policy, step, n, max_tokens, sums)
        return sums

    def _put_traces(
        self, mixture: Mixture, at: Sequence[int], step: int, max_tokens: int, sums: dict[str, float]
    ) -> None:
        chosen: list[tuple[int, str, list[int]]] = []
        for g in at:
            draw = mixture.own.draws[g]
            for text in self._some("trace", draw, step, self._config.per_group):
                ids = self._ids(mixture.own.groups[g], draw, text)
                if ids is None or len(ids) > max_tokens:
                    sums["traces_refused"] += 1
                else:
                    chosen.append((g, text, ids))
        if not chosen:
            return
        verified = self._verify([(mixture.own.draws[g].problem, text, "stop") for g, text, _ in chosen])
        for (g, text, ids), verification in zip(chosen, verified, strict=True):
            if verification.verdict != Verdict.CORRECT:
                sums["traces_refused"] += 1
                continue
            mixture.put(g, Piece(ids, [0.0] * len(ids), text, "stop", verification, foreign=True))
            sums["traces_used"] += 1
            sums["foreign_tokens"] += len(ids)

    def _put_hinted(
        self,
        mixture: Mixture,
        at: Sequence[int],
        policy: Policy,
        step: int,
        n: int,
        max_tokens: int,
        sums: dict[str, float],
    ) -> None:
        """One prefix a group, continued ``n`` times."""
        hints = {g: self._hint(mixture.own.groups[g], mixture.own.draws[g], step) for g in at}
        sums["hints_refused"] += sum(hint is None for hint in hints.values())
        prefixes = {g: hint for g, hint in hints.items() if hint is not None}
        temperatures = mixture.own.temperatures
        for temperature in dict.fromkeys(temperatures[g] for g in prefixes):
            of = [g for g in prefixes if temperatures[g] == temperature]
            requests = [
                SampleRequest(
                    mixture.own.draws[g].problem.prompt + prefixes[g],
                    n,
                    stream_seed(self._seed, "hint", step, mixture.own.draws[g].epoch, mixture.own.draws[g].problem.id),
                )
                for g in of
            ]
            drawn = policy.sample(requests, SamplingParams(temperature=temperature, max_tokens=max_tokens))
            self._put_continuations(mixture, dict(zip(of, drawn, strict=True)), sums)

    def _put_continuations(
        self, mixture: Mixture, drawn: Mapping[int, CompletionBatch], sums: dict[str, float]
    ) -> None:
        continued: list[tuple[int, list[int], list[float], str, str, int]] = []
        for g, batch in drawn.items():
            sums["hint_tokens"] += len(batch.token_ids_T)
            prompt_ids = mixture.own.groups[g].prompt_ids.tolist()
            asked = batch.prompt_ids.tolist()
            if asked[: len(prompt_ids)] != prompt_ids:
                sums["hints_refused"] += 1
                continue
            given = asked[len(prompt_ids) :]
            for i in range(len(batch)):
                part = slice(batch.offsets[i], batch.offsets[i + 1])
                ids = [*given, *batch.token_ids_T[part].tolist()]
                logprobs = [0.0] * len(given) + batch.logprobs_T[part].tolist()
                continued.append((g, ids, logprobs, self._text(ids), batch.finish_reasons[i], len(given)))
        if not continued:
            return
        verified = self._verify([(mixture.own.draws[g].problem, text, why) for g, _, _, text, why, _ in continued])
        for (g, ids, logprobs, text, why, n_given), verification in zip(continued, verified, strict=True):
            mixture.put(g, Piece(ids, logprobs, text, why, verification, given=n_given))
            sums["hinted"] += 1
            sums["hinted_correct"] += verification.verdict == Verdict.CORRECT

    def _hint(self, group: CompletionBatch, draw: Draw, step: int) -> str | None:
        """The beginning of one of the problem's solutions; None: it has none that can be cut."""
        (text,) = self._some("hint", draw, step, 1)
        ids = self._ids(group, draw, text)
        if ids is None or len(ids) < 3:  # at least a token to give and one to find, beside end-of-sequence
            return None
        longest = min(len(ids) - 2, max(1, int(self._config.prefix_most * (len(ids) - 1))))
        n = int(self._stream("prefix", draw, step).integers(1, longest + 1))
        prefix = self._text(ids[:n])
        return prefix if prefix and text.startswith(prefix) else None

    def _some(self, what: str, draw: Draw, step: int, n: int) -> list[str]:
        texts = self._traces[draw.problem.id]
        return [texts[i] for i in self._stream(what, draw, step).permutation(len(texts))[:n].tolist()]

    def _stream(self, what: str, draw: Draw, step: int) -> np.random.Generator:
        return np.random.default_rng(stream_seed(self._seed, what, step, draw.epoch, draw.problem.id))

    def _ids(self, group: CompletionBatch, draw: Draw, text: str) -> list[int] | None:
        """None: after this prompt, as the sampler was given it, there is no such completion."""
        prompt_ids, ids = solution_ids(self._tokenizer, draw.problem.prompt, text)
        return ids if prompt_ids == group.prompt_ids.tolist() else None

    def _text(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _is_solved(mixture: Mixture, g: int) -> bool:
    size = len(mixture.own.groups[0])
    return any(v.verdict == Verdict.CORRECT for v in mixture.own.verifications[g * size : (g + 1) * size])


def metrics_of(sums: Mapping[str, float], n_tokens: float) -> dict[str, float]:
    """Over all workers, as a step's metrics. Undefined shares are NaN.

    Args:
        sums: of all workers.
        n_tokens: that the step learnt from.
    """
    hinted = sums["hinted"]
    return {
        "foreign_token_share": sums["foreign_tokens"] / n_tokens if n_tokens else float("nan"),
        "traces_used": sums["traces_used"],
        "traces_refused": sums["traces_refused"],
        "hinted": hinted,
        "hinted_correct_share": sums["hinted_correct"] / hinted if hinted else float("nan"),
        "hints_refused": sums["hints_refused"],
    }
