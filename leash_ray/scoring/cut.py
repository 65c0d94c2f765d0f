"""How much of a distribution sampling itself cut: top_p, top_k and min_p.

They cut something at every token, since every token of a vocabulary of V has some probability: top_p up to 1 - 1/V the
least likely ones, top_k below V all but k. So what tells is not at how many tokens, but how much. Where a share m of
the probability is kept, the probability of what is drawn is divided by m. So with ln p of a completion under what was
sampled from (``logprob_sum``, which sampling stores) and under the whole distribution (teacher forcing, at the same
temperature),

    cut, in nats a token = mean over the sampled tokens of -ln m = (stored - scored) / tokens >= 0

(1 - exp(-cut) as a share; near the mean of 1 - m where that is small). vLLM tells one of the two alone: its
``logprobs_mode`` is that of the engine.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leash_ray.types import SamplingParams

SCORED = b"leash_scored"
"""Metadata of a shard: policy -> the model and temperature of its entropies, and ``cut_nats`` over ``cut_tokens`` where
sampling was cut; as JSON."""


def is_cut(sampling: SamplingParams) -> bool:
    """Whether sampling cut the distribution, so that the stored ln p is of another one than the model's."""
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


def most_cut_nats(sampling: SamplingParams) -> float:
    """The most that can be cut at a token: top_p keeps at least that share; top_k and min_p have no such limit."""
    return math.inf if sampling.top_k > 0 or sampling.min_p > 0 else -math.log(sampling.top_p)


def cut_json(shards: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Policy -> ``nats_a_token`` that sampling cut, that as a ``share`` of the probability, and the ``n_tokens`` that
    it is the mean of, from what scoring has left in the shards. Policies without scored completions are left out."""
    import pyarrow.parquet as pq

    nats: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for shard in shards:
        for policy, mark in json.loads((pq.read_schema(shard).metadata or {}).get(SCORED, b"{}")).items():
            nats[policy] += mark.get("cut_nats", 0.0)
            tokens[policy] += mark.get("cut_tokens", 0)
    means = {policy: nats[policy] / n for policy, n in sorted(tokens.items()) if n}
    return {p: {"nats_a_token": x, "share": -math.expm1(-x), "n_tokens": tokens[p]} for p, x in means.items()}
