"""The nouns of leash_ray, and the one Arrow schema that separates sampling from measuring.

A worked example::

    problem = Problem.make(task="countdown", prompt="2 3 9=21:", verifier="reasoning_gym:countdown",
                           reference='{"numbers": [2, 3, 9], "target": 21}')
    batch = policy.sample([SampleRequest(problem.prompt, n=4, seed=7)], params)[0]   # CompletionBatch
    # verified and tabulated, each of the 4 completions is one row of COMPLETIONS_SCHEMA:
    # policy="base", problem_id=problem.id, sample_index=0..3, verdict="CORRECT", answer="9*2+3", ...
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import pyarrow as pa


class Verdict(StrEnum):
    """What a verifier says of one completion."""

    CORRECT = "CORRECT"
    INCORRECT = "INCORRECT"
    NO_ANSWER = "NO_ANSWER"
    """Nothing could be extracted."""
    TRUNCATED = "TRUNCATED"
    """The length limit was hit before an answer."""
    ERROR = "ERROR"
    """The verifier failed or was killed: neither right nor wrong; it can be verified again."""


GUESS_RATE = "guess_rate"
"""Key of a problem's metadata: the chance that a blind guess is right, where its task knows it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One prompt with a verifier."""

    id: str
    """Hash of the content (task, key, verifier, reference): the same problem has the same id everywhere."""
    task: str
    """Task name, a label to group by."""
    prompt: str
    """The text that the policy continues, exactly as it is tokenized."""
    verifier: str
    """Which verifier decides, such as ``reasoning_gym:countdown`` or ``math``."""
    reference: str
    """What the verifier compares with: JSON for reasoning-gym entries, the answer's text for math."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """Anything else worth grouping by (difficulty, source index)."""

    @staticmethod
    def make(
        task: str,
        prompt: str,
        verifier: str,
        reference: str,
        metadata: Mapping[str, object] | None = None,
        key: object = None,
    ) -> "Problem":
        """Build a problem and its id.

        ``key`` is the JSON-able content that identifies the problem; by default the prompt and the
        reference. Tasks pass a key where wording or order may differ between equal problems.
        """
        content = key if key is not None else [prompt, reference]
        name = verifier.partition("?")[0]  # options say how strictly it is verified, not what it asks
        blob = json.dumps([task, name, content], sort_keys=True, ensure_ascii=False)
        digest = hashlib.blake2b(blob.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        return Problem(digest, task, prompt, verifier, reference, dict(metadata or {}))


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a policy samples. top_p, top_k and min_p other than these defaults cut support themselves."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    min_p: float = 0.0
    max_tokens: int = 32


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """``n`` completions of one prompt. Sample i of the request has its own random stream, ``seed + i``."""

    prompt: str
    n: int
    seed: int | None = None
    """None: the engine's own stream (faster, not reproducible)."""


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """The n completions of one request, as columns. T: all sampled tokens of the batch together."""

    prompt_ids: np.ndarray
    """int32; the prompt as the policy tokenized it, once for all completions."""
    token_ids_T: np.ndarray
    """int32; sampled ids of all completions, one after another, end-of-sequence included."""
    logprobs_T: np.ndarray
    """float32; ln p of each sampled token under the policy's sampling distribution (nats)."""
    offsets: np.ndarray
    """int64 [n + 1]; completion i is ``token_ids_T[offsets[i]:offsets[i + 1]]``."""
    texts: list[str]
    """Decoded completions without special tokens."""
    finish_reasons: list[str]
    """``stop`` or ``length``, one a completion."""
    version: int
    """The policy's version (weight syncs so far) when the request began."""
    replica: str = ""
    """Which of the policy's replicas drew them."""

    def __len__(self) -> int:
        return len(self.texts)


_LABEL = pa.dictionary(pa.int32(), pa.string())

COMPLETIONS_SCHEMA = pa.schema(
    [
        pa.field("policy", _LABEL, nullable=False),
        pa.field("task", _LABEL),
        pa.field("problem_id", _LABEL, nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("verdict", _LABEL, nullable=False),
        pa.field("answer", pa.string()),
        pa.field("n_tokens", pa.int32()),
        pa.field("logprob_sum", pa.float32()),
        pa.field("entropy_sum", pa.float32()),
        pa.field("text", pa.string()),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("finish_reason", _LABEL),
        pa.field("policy_version", pa.int32()),
        pa.field("reason", pa.string()),
        pa.field("stage", _LABEL),
        pa.field("leniency", _LABEL),
    ]
)
"""The completions table. Key: (policy, problem_id, sample_index). ``reason`` says why a verdict is ERROR, or what
decided it; ``stage`` which stage of extraction found the answer; ``leniency``, of a CORRECT one, what it would not be
right without (a format that was not asked for, or a processing of the answer; null: nothing).
Only policy, problem_id, sample_index and verdict are needed to measure support."""

VERDICT_COLUMNS = ("verdict", "answer", "reason", "stage", "leniency")
"""What verifying decides: the columns that verifying again replaces."""

REQUIRED_COLUMNS = ("policy", "problem_id", "sample_index", "verdict")
