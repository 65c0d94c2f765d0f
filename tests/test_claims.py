"""What a command asks of the cluster, and whether it fits: policies at the same time, or one after another."""

from pathlib import Path
from typing import Any

import pytest

from leash_ray import cluster
from leash_ray.claims import claims, policy_claims
from leash_ray.cluster import Claim
from leash_ray.config import RunConfig, load_config
from leash_ray.errors import UsageError
from leash_ray.run_dir import RunDir
from leash_ray.session import Session

TINY = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"


def config_of(**changes: Any) -> RunConfig:
    of_policies = {f"policies.{name}.{key}": value for name in ("base", "trained") for key, value in changes.items()}
    own = {"sampling.in_flight": 3, "verify": {"actors": 2, "cpus": 0.25}, "train.workers": 1}
    return load_config(TINY, {**own, **of_policies})


def test_what_is_claimed_by_hand() -> None:
    config = config_of(cpus=2.0, gpus=1.0, tensor_parallel_size=4)
    verifiers = Claim("verifiers", 0.5)
    *held, sampling = claims(config, ["base", "trained"], "gpu", training=False)
    assert held == [Claim("1 x base", 2.0, 4.0), Claim("1 x trained", 2.0, 4.0), verifiers]
    assert sampling.cpus == pytest.approx(0.6)  # 0.1 x 3 shards x 2 policies
    *held, sampling = claims(config, ["base"], "cpu", training=False)
    assert held == [Claim("1 x base", 2.0), verifiers]
    assert sampling.cpus == pytest.approx(0.3)
    many = config_of(replicas=2)
    *_, sampling = claims(many, ["base", "trained"], "cpu", training=False)
    assert sampling.cpus == pytest.approx(1.2)  # of each replica
    settings = config.train.model_copy(update={"cpus_per_worker": 0.4, "gpus_per_worker": 0.3})  # type: ignore[union-attr]
    config = config.model_copy(update={"train": settings})
    trainer = Claim("1 x trainer", 0.4, 0.3)
    assert claims(config, ["trained"], "gpu", training=True) == [Claim("1 x trained", 2.0, 4.0), verifiers, trainer]


def test_every_replica_is_claimed_and_of_autoscaled_ones_as_many_as_there_may_be() -> None:
    assert policy_claims(config_of(replicas=3, cpus=2.0), ["base"], "cpu") == [Claim("3 x base", 6.0)]
    growing = config_of(autoscaling={"min_replicas": 1, "max_replicas": 4}, gpus=0.5)
    assert policy_claims(growing, ["base"], "gpu") == [Claim("4 x base", 1.6, 2.0)]


class Deploying:
    """Serve's part: what is up, and what was up each time that something was started."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.seen: list[list[str]] = []

    def deploy(self, policies: Any, models: Any, device: str, run_token: str) -> dict[str, Any]:
        self.up += models
        self.seen.append(sorted(self.up))
        return dict.fromkeys(models)

    def stop(self, names: Any, run_token: str) -> None:
        self.up = [name for name in self.up if name not in names]


@pytest.fixture
def deploying(monkeypatch: pytest.MonkeyPatch) -> Deploying:
    """On a cluster of 4 CPUs."""
    import ray

    made = Deploying()
    monkeypatch.setattr("leash_ray.session.deploy", made.deploy)
    monkeypatch.setattr("leash_ray.session.stop_serving", made.stop)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(ray, "nodes", list)
    return made


def session_of(config: RunConfig, tmp_path: Path) -> Session:
    run = RunDir.create(tmp_path / "run", config.model_dump(mode="json"), 0, resume=False, may_change=())
    return Session(config, run, lambda line: None, _device="cpu", _verifier=object())


def test_both_at_the_same_time_where_they_fit(deploying: Deploying, tmp_path: Path) -> None:
    current = session_of(config_of(cpus=1.0), tmp_path)
    current.serve({"trained": "t"}, training=True)
    current.serve({"base": "b"}, training=False)
    assert deploying.seen == [["trained"], ["base", "trained"]]


def test_one_after_another_where_only_one_fits(deploying: Deploying, tmp_path: Path) -> None:
    """Also after training, which leaves the trained one up."""
    config = config_of(cpus=2.5)
    in_turn = config.model_copy(update={"sampling": config.sampling.model_copy(update={"concurrent": False})})
    current = session_of(in_turn, tmp_path)
    for name in ("trained", "base", "trained"):
        current.serve({name: name}, training=False)
    assert deploying.seen == [["trained"], ["base"], ["trained"]]


def test_the_refusal_of_two_names_the_way_to_have_one_at_a_time(deploying: Deploying, tmp_path: Path) -> None:
    current = session_of(config_of(cpus=2.5), tmp_path)
    current.serve({"trained": "t"}, training=False)
    with pytest.raises(UsageError, match=r"1 x base 2\.5 CPU, .*cannot fit; .*, or set sampling\.concurrent: false"):
        current.serve({"base": "b"}, training=False)
    with pytest.raises(UsageError, match="cannot fit") as refusal:
        session_of(config_of(cpus=5.0), tmp_path / "other").require(["base"], training=False)
    assert "concurrent" not in str(refusal.value)  # it would not help
    assert deploying.seen == [["trained"]]


def test_a_line_says_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0})
    line = cluster.require([Claim("1 x base", 0.5, 1.0), Claim("verifiers", 0.5)])
    assert line == "asks Ray for 1 of 4 logical CPUs and 1 of 1 GPUs (1 x base 0.5 CPU 1 GPU, verifiers 0.5 CPU)"
    assert cluster.require([Claim("1 x base", 64)], wait=True).startswith("asks Ray for 64 of 4 logical CPUs")
