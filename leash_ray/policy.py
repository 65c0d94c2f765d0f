"""A policy is anything with ``sample``; callers do not know where generation runs.

:class:`ServedPolicy` is the one that counts: a Ray Serve handle to vLLM replicas (:mod:`leash_ray.serving`).
"""

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from leash_ray.errors import RunFailed, UsageError
from leash_ray.sampling.causes import root_cause
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

T = TypeVar("T")

SYNC_TIMEOUT_S = 600.0
RETRY_WAITS_S = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0)
"""Waits before each try while nobody answers: Serve replaces a dead replica sooner, but a node may have to come."""
MAX_ERRORS = 2
"""Errors of the replica's own that a request may have: it answers, and would answer the same."""
MAX_DEATHS = 4
"""Replicas that may die while they have a request, before the request is taken for what kills them."""
SPREAD_S = 5.0
"""From its second death on, a request waits up to this for each of them, so that not all that were on the replica are
there when the one that kills it comes back."""


class RequestFailed(RunFailed):
    """Replicas are there, and answer others, but not this request."""


class DeadlyRequest(RequestFailed):
    """Replicas die while they have this request."""


class Policy(Protocol):
    """Draws completions."""

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        """One batch of ``request.n`` completions for each request, in order."""
        ...


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    """A client of the Serve deployment of one policy. Cheap to make, and to send to any process of the cluster.

    A replica that dies takes its requests with it: they are drawn again, from the same random streams, when Serve has
    brought it back. It comes back with the weights it was deployed with, so its version is checked before it samples,
    and the right weights are handed to it.
    """

    name: str
    app: str
    """Name of the Serve application; each run has its own, so that runs of one cluster stay apart."""
    version: int | None = None
    """The only version whose completions are wanted; None: whatever is served."""
    weights: str | None = None
    """Hugging Face folder with that version's weights, on storage that the replicas see."""
    replicas: int = 1
    """The most that it may have. With several, each prompt has a replica of its own, where its prefix is cached."""

    def at(self, version: int, weights: str | None = None) -> "ServedPolicy":
        """The same policy, pinned to one version."""
        return replace(self, version=version, weights=weights)

    @property
    def _handle(self) -> "DeploymentHandle":
        from ray import serve

        return serve.get_deployment_handle(deployment_name(self.name), self.app)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        """One batch of completions a request.

        Raises:
            ValueError, TypeError: the engine refuses a request.
            RequestFailed: it fails at one (DeadlyRequest: replicas die of it).
            RunFailed: the policy did not come back, or has another version and its weights are not known here.
        """

        found: dict[int, CompletionBatch] = {}

        def draw() -> list[CompletionBatch] | None:
            for places, batches in self._ask({i: r for i, r in enumerate(requests) if i not in found}, params):
                if batches is None:
                    if self.weights is None or self.version is None:
                        raise RunFailed(f"policy {self.name!r} no longer has version {self.version} (it was restarted)")
                    self.load_weights(self.weights, self.version)
                    return None
                found.update(zip(places, batches, strict=True))
            return [found[i] for i in range(len(requests))]

        return self._until_answered("sampled", draw)

    def _ask(
        self, requests: Mapping[int, SampleRequest], params: SamplingParams
    ) -> Iterator[tuple[Sequence[int], list[CompletionBatch] | None]]:
        """(places, batches) of one call after the other. What has answered is yielded before an error is raised.

        No deadline: only the caller knows how long its completions take. A replica that dies is an error.
        """
        together = [list(requests)] if self.replicas == 1 else [[i] for i in requests]
        calls = [
            self._handle.options(session_id=_session(requests[places[0]].prompt)).sample.remote(
                [requests[i] for i in places], params, self.version
            )
            for places in together
        ]
        error = None
        for places, call in zip(together, calls, strict=True):
            try:
                yield places, call.result()
            except Exception as e:
                error = error or e
        if error is not None:
            raise error

    def load_weights(self, path: str, version: int) -> None:
        """Give every replica the weights in the Hugging Face folder ``path``; their version becomes ``version``.

        Raises:
            RunFailed: a replica did not take them.
        """

        def push() -> bool | None:
            loaded = self._handle.broadcast("load_weights", path, version).results(timeout_s=SYNC_TIMEOUT_S)
            return True if loaded and all(v == version for v in loaded) else None

        self._until_answered(f"given the weights of version {version}", push)

    def _until_answered(self, what: str, ask: Callable[[], T | None]) -> T:
        """``ask`` until it answers, or it is clear that it will not."""
        from ray.exceptions import ActorDiedError, RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        failure, n_errors, n_deaths = "no replica took it", 0, 0
        waits_s = iter(RETRY_WAITS_S)
        while (wait_s := next(waits_s, None)) is not None:
            time.sleep(wait_s)
            try:
                answer = ask()
                if answer is not None:
                    return answer
            except RayTaskError as e:  # the replica lives: it has answered with an error
                if isinstance(e.cause, ValueError | TypeError):
                    raise
                failure, n_errors = root_cause(e), n_errors + 1
                if n_errors == MAX_ERRORS:
                    raise RequestFailed(f"policy {self.name!r} could not be {what}: {failure}") from e
            except ActorDiedError as e:
                failure, n_deaths = root_cause(e), n_deaths + 1
                if n_deaths == MAX_DEATHS:
                    raise DeadlyRequest(
                        f"policy {self.name!r} could not be {what}: {n_deaths} replicas died of it, or of what they "
                        f"had beside it ({failure})"
                    ) from e
                waits_s = iter(RETRY_WAITS_S)  # Serve holds the next try until a replica is there
                if n_deaths > 1:
                    self._wait_until_there()
                    time.sleep(random.uniform(0, SPREAD_S * n_deaths))
            except (RayError, RayServeException, TimeoutError) as e:
                failure = root_cause(e)
        raise RunFailed(f"policy {self.name!r} could not be {what}: {failure}")

    def _wait_until_there(self) -> None:
        """Until a replica answers, or it is clear that none comes soon."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        with contextlib.suppress(RayError, RayServeException, TimeoutError):
            self.describe()

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


def _session(prompt: str) -> str:
    """Names the replica that a prompt goes to: the same one for all its samples, while it lives."""
    return hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def app_name(policy: str, run_token: str) -> str:
    """Name of a policy's Serve application in the run that ``run_token`` names."""
    return f"leash-{run_token}-{policy}"


def deployment_name(policy: str) -> str:
    return f"PolicyServer:{policy}"
