"""A policy is anything with ``sample``; callers do not know where generation runs.

:class:`ServedPolicy` is the one that counts: a Ray Serve handle to vLLM replicas (:mod:`leash_ray.serving`).
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from leash_ray.errors import RunFailed, UsageError
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

REQUEST_TIMEOUT_S = 3600.0
SYNC_TIMEOUT_S = 600.0
RETRY_WAITS_S = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0)
"""Serve needs about a minute to replace a dead replica."""


class Policy(Protocol):
    """Draws completions."""

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        """One batch of ``request.n`` completions for each request, in order."""
        ...


class ServedPolicy:
    """A client of the Serve deployment of one policy. Cheap to make, in any process of the cluster.

    Args:
        name: of the policy.
        version: the only version whose completions are wanted; None: whatever is served.
        weights: Hugging Face folder with that version's weights, on storage that the replicas see.
    """

    def __init__(self, name: str, version: int | None = None, weights: str | None = None):
        self.name, self.version, self.weights = name, version, weights

    @property
    def _handle(self) -> "DeploymentHandle":
        from ray import serve

        return serve.get_deployment_handle(deployment_name(self.name), app_name(self.name))

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        """One batch of completions a request.

        A replica that dies takes its requests with it: they are drawn again, from the same random streams, when
        Serve has brought it back. It comes back with the weights it was deployed with, so its version is checked,
        and the right weights are handed to it.

        Raises:
            RunFailed: the policy did not come back, or keeps answering with another version.
        """
        from ray.exceptions import RayError, RayTaskError

        failure = "it never answered"
        for wait_s in RETRY_WAITS_S:
            try:
                batches = self._handle.sample.remote(list(requests), params).result(timeout_s=REQUEST_TIMEOUT_S)
                if self.version is None or all(batch.version == self.version for batch in batches):
                    return batches
                failure = f"it answers with version {batches[0].version}, not {self.version}"
                if self.weights is None:
                    break
                self.load_weights(self.weights, self.version)
            except RayError as e:
                if isinstance(e, RayTaskError) and isinstance(e.cause, ValueError):
                    raise  # the request itself is wrong: it would fail again
                failure = str(e).strip().splitlines()[-1]
                time.sleep(wait_s)
        raise RunFailed(f"policy {self.name!r} cannot be sampled: {failure}")

    def load_weights(self, path: str, version: int) -> None:
        """Give every replica the weights in the Hugging Face folder ``path``; their version becomes ``version``.

        Raises:
            RunFailed: a replica did not take them.
        """
        loaded = self._handle.broadcast("load_weights", path, version).results(timeout_s=SYNC_TIMEOUT_S)
        if not loaded or any(v != version for v in loaded):
            raise RunFailed(f"policy {self.name!r} did not take the weights of version {version} (replicas: {loaded})")

    def describe(self) -> dict[str, Any]:
        """``version`` and ``max_model_len`` (tokens) of one replica."""
        return self._handle.describe.remote().result(timeout_s=SYNC_TIMEOUT_S)

    def check_prompts(self, problems: Sequence[Problem], max_tokens: int) -> None:
        """Refuse prompts that leave no room for ``max_tokens`` in the context, before anything is sampled.

        Raises:
            UsageError: names the longest prompt and the numbers.
        """
        limit = self.describe()["max_model_len"]
        lengths = self._handle.count_tokens.remote([p.prompt for p in problems]).result(timeout_s=SYNC_TIMEOUT_S)
        too_long = [(n, p) for n, p in zip(lengths, problems, strict=True) if n + max_tokens > limit]
        if too_long:
            longest, problem = max(too_long, key=lambda pair: pair[0])
            raise UsageError(
                f"{len(too_long)} of {len(problems)} prompts do not fit policy {self.name!r}: problem {problem.id} has "
                f"{longest} tokens, with max_tokens {max_tokens} more than the context of {limit}; "
                "raise max_model_len, lower max_tokens, or leave long problems out"
            )


def app_name(policy: str) -> str:
    return f"policy-{policy}"


def deployment_name(policy: str) -> str:
    return f"PolicyServer:{policy}"
