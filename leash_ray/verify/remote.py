"""Verifier pools as Ray actors, for many callers: training workers and sampling tasks.

Problems are routed by their id, so that each distinct (problem, answer) is verified once however many actors and
callers there are.
"""

from collections.abc import Sequence
from typing import Any

from leash_ray.types import Problem
from leash_ray.verify.kinds import Judgement
from leash_ray.verify.pool import Verification, VerifierPool
from leash_ray.verify.settings import VerifyConfig


class VerifierActor:
    """One :class:`VerifierPool` behind an actor handle."""

    def __init__(self, config: VerifyConfig):
        self._pool = VerifierPool(config)

    def verify(self, items: list[tuple[Problem, str, str]]) -> list[Verification]:
        return self._pool.verify(items)

    def remember(self, known: list[tuple[Problem, str, Judgement]]) -> None:
        self._pool.remember(known)

    def counters(self) -> dict[str, float]:
        """Calls of a verifier, answers that were known already, and calls that failed, since the start."""
        pool = self._pool
        return {"n_calls": pool.n_calls, "n_cache_hits": pool.n_cache_hits, "n_errors": pool.n_errors}


class RemoteVerifier:
    """Verifies through actors; can be sent to any process of the cluster."""

    def __init__(self, actors: Sequence[Any]):
        self._actors = list(actors)

    @staticmethod
    def start(config: VerifyConfig) -> "RemoteVerifier":
        """Start ``config.actors`` actors."""
        import ray

        actor = ray.remote(VerifierActor).options(num_cpus=config.cpus, max_restarts=-1, max_task_retries=3)
        return RemoteVerifier([actor.remote(config) for _ in range(config.actors)])

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        """One verification for each (problem, text, finish_reason), in order."""
        import ray

        routes: dict[int, list[int]] = {}
        for i, (problem, _, _) in enumerate(items):
            routes.setdefault(self._actor_of(problem), []).append(i)
        replies = ray.get([self._actors[a].verify.remote([items[i] for i in where]) for a, where in routes.items()])
        verified: dict[int, Verification] = {}
        for where, reply in zip(routes.values(), replies, strict=True):
            verified.update(zip(where, reply, strict=True))
        return [verified[i] for i in range(len(items))]

    def remember(self, known: Sequence[tuple[Problem, str, Judgement]]) -> None:
        """Judgements that the actors need not make; see :meth:`VerifierPool.remember`."""
        import ray

        routes: dict[int, list[tuple[Problem, str, Judgement]]] = {}
        for one in known:
            routes.setdefault(self._actor_of(one[0]), []).append(one)
        ray.get([self._actors[a].remember.remote(of_one) for a, of_one in routes.items()])

    def _actor_of(self, problem: Problem) -> int:
        return int(problem.id, 16) % len(self._actors)

    def counters(self) -> list[dict[str, float]]:
        """Each actor's counters."""
        import ray

        return ray.get([actor.counters.remote() for actor in self._actors])

    def stop(self) -> None:
        """End the actors and their processes."""
        import ray

        for actor in self._actors:
            ray.kill(actor)
