"""Metrics for Ray's Prometheus: what is set, that it stays set, and that nothing about it fails a run.

That Ray exports them is tested with a real run in ``test_sampling_stage.py``.
"""

import time
from typing import Any

import pytest
import ray.util.metrics

from leash_ray import ray_metrics
from leash_ray.ray_metrics import RayMetrics

Numbers = dict[str, dict[str, float | None]]


class Metric:
    """Takes what Ray's metrics take."""

    broken = False
    made: dict[str, "Metric"]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]):
        self.tag_keys, self.values = tag_keys, []
        Metric.made[name] = self

    def set(self, value: float | None, tags: dict[str, str]) -> None:
        if Metric.broken:
            raise RuntimeError("no agent")
        assert set(tags) == set(self.tag_keys)
        self.values.append((tags.get("policy") or tags["name"], value))

    inc = set
    values: list[tuple[str, Any]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Metric]:
    Metric.broken, Metric.made = False, {}
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray.util.metrics, "Gauge", Metric)
    monkeypatch.setattr(ray.util.metrics, "Counter", Metric)
    return Metric.made


def of(policy: str, tokens: int, left_s: float | None = 1.0) -> Numbers:
    return {policy: {"completions": 10, "tokens": tokens, "tokens_per_s": 5.0, "seconds_left": left_s}}


def test_gauges_are_set_and_tokens_are_counted_once(made: dict[str, Metric]) -> None:
    with RayMetrics("r", print) as metrics:
        metrics.set(of("base", 100))
        metrics.set(of("base", 160, left_s=None))
        metrics.set(of("trained", 7))  # its turn: base keeps its numbers
    assert made["leash_completions"].values == [("base", 10), ("base", 10), ("base", 10), ("trained", 10)]
    assert made["leash_tokens"].values == [("base", 100), ("base", 60), ("trained", 7)]
    assert made["leash_seconds_left"].values[:2] == [("base", 1.0), ("base", None)]  # Ray sets nothing for None


def test_estimates_are_one_gauge_by_name(made: dict[str, Metric]) -> None:
    with RayMetrics("r", print) as metrics:
        metrics.set_estimates({"problem/SRR": 0.5, "problem/SDS": None})
    assert made["leash_estimate"].values == [("problem/SRR", 0.5), ("problem/SDS", None)]


def test_gauges_stay_set_while_a_shard_takes_long_and_no_longer(
    made: dict[str, Metric], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_metrics, "REFRESH_S", 0.01)
    with RayMetrics("r", print) as metrics:
        metrics.set(of("base", 100))
        deadline = time.monotonic() + 10
        while len(made["leash_tokens_per_s"].values) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    n = len(made["leash_tokens_per_s"].values)
    time.sleep(0.05)
    assert len(made["leash_tokens_per_s"].values) == n and made["leash_tokens"].values == [("base", 100)]


@pytest.mark.parametrize("at_start", [True, False])
def test_what_ray_refuses_is_said_once_and_fails_nothing(
    made: dict[str, Metric], monkeypatch: pytest.MonkeyPatch, at_start: bool
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("bad name")

    if at_start:
        monkeypatch.setattr(ray.util.metrics, "Gauge", refuse)
    Metric.broken = True
    said: list[str] = []
    with RayMetrics("r", said.append) as metrics:
        metrics.set(of("base", 1))
        metrics.set(of("base", 2))
    why = "ValueError: bad name" if at_start else "RuntimeError: no agent"
    assert said == [f"warning: Ray takes no metrics ({why}); the run goes on without them"]


def test_without_a_running_ray_nothing_is_made(made: dict[str, Metric], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with RayMetrics("r", print) as metrics:
        metrics.set(of("base", 1))
    assert made == {}
