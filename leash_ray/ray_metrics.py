"""Sampling's numbers as metrics of the Ray cluster, where its Prometheus and Grafana find them. Never fails a run."""

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

TAGS = ("policy", "run")
GAUGES = {
    "completions": "Completions that are there.",
    "tokens_per_s": "Tokens sampled a second, over the last minute.",
    "decided_share": "Share of the problems that have all their samples.",
    "seconds_left": "Seconds until the current round is drawn.",
    "dead_letters": "Completions that could not be had.",
}
ESTIMATE = ("leash_estimate", "Estimates so far, by name, such as problem/SRR and base/pass_at_k/1.", ("name", "run"))
REFRESH_S = 5.0
"""Ray forgets a gauge that is not set again within two of its reports, 20 s; a shard may take longer."""


class RayMetrics:
    """Gauges ``leash_NAME`` and the counter ``leash_tokens``, with a policy's and the run's name as tags, and the gauge
    ``leash_estimate`` with an estimate's and the run's name.

    Use as a context manager: after it the gauges go, as those of a process that has ended. Without a Ray that runs,
    nothing is done.

    Args:
        run: the run's name.
        say: is told, once, if Ray takes no metrics.
    """

    def __init__(self, run: str, say: Callable[[str], None]):
        self._run, self._say = run, say
        self._gauges: dict[str, Any] = {}
        self._tokens: Any = None
        self._estimate: Any = None
        self._estimates: Mapping[str, float | None] = {}
        self._counted: dict[str, float] = {}
        self._last: Mapping[str, Mapping[str, float | None]] = {}
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "RayMetrics":
        self._guarded(self._start)
        return self

    def _start(self) -> None:
        import ray

        if not ray.is_initialized():
            return
        from ray.util.metrics import Counter, Gauge

        self._gauges = {name: Gauge(f"leash_{name}", text, TAGS) for name, text in GAUGES.items()}
        self._tokens = Counter("leash_tokens", "Tokens sampled.", TAGS)
        self._estimate = Gauge(*ESTIMATE)
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._thread.start()

    def set(self, numbers: Mapping[str, Mapping[str, float | None]]) -> None:
        """The numbers of each policy (:meth:`leash_ray.progress.Progress.numbers`); the others keep theirs."""
        self._last = {**self._last, **numbers}
        self._guarded(self._count)
        self._guarded(self._show)

    def set_estimates(self, numbers: Mapping[str, float | None]) -> None:
        """The estimates so far, by name; None: undefined."""
        self._estimates = numbers
        self._guarded(self._show)

    def _count(self) -> None:
        for policy, numbers in self._last.items() if self._tokens is not None else ():
            tokens = numbers.get("tokens") or 0.0
            if (new := tokens - self._counted.get(policy, 0.0)) > 0:
                self._tokens.inc(new, self._tags(policy))
                self._counted[policy] = tokens

    def _show(self) -> None:
        for policy, numbers in self._last.items():
            for name, gauge in self._gauges.items():
                gauge.set(numbers.get(name), self._tags(policy))  # None: nothing is set
        for name, value in self._estimates.items() if self._estimate is not None else ():
            self._estimate.set(value, {"name": name, "run": self._run})

    def _refresh(self) -> None:
        while not self._over.wait(REFRESH_S):
            self._guarded(self._show)

    def _tags(self, policy: str) -> dict[str, str]:
        return {"policy": policy, "run": self._run}

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as e:  # whatever Ray raises: a run is worth more than its curves
            self._gauges, self._tokens, self._estimate = {}, None, None
            self._say(f"warning: Ray takes no metrics ({type(e).__name__}: {e}); the run goes on without them")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=REFRESH_S)
