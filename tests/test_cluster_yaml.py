"""cluster.yaml by Ray's own schema; no cloud is asked."""

import copy
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray._private.authentication.authentication_token_setup import AUTH_MODE_ENV_VAR
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


@pytest.mark.parametrize("where", [(), ("docker",), ("available_node_types", "gpu_worker")])
def test_a_typo_is_refused(cluster: dict[str, Any], where: tuple[str, ...]) -> None:
    wrong = copy.deepcopy(cluster)
    place = wrong
    for key in where:
        place = place.setdefault(key, {})
    place["max_wrokers"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_wrokers"):
        validate_config(prepare_config(wrong))


def test_workers_have_gpus_and_scale(cluster: dict[str, Any]) -> None:
    worker = cluster["available_node_types"]["gpu_worker"]
    assert worker["resources"]["GPU"] >= 1
    assert 1 <= worker["min_workers"] <= worker["max_workers"] <= cluster["max_workers"]


def test_authentication_stays_on_everywhere(cluster: dict[str, Any]) -> None:
    for side in ("head", "worker"):
        starts = [c for c in cluster[f"{side}_start_ray_commands"] if "ray start" in c]
        assert len(starts) == 1
        assert f"{AUTH_MODE_ENV_VAR}=token ray start" in starts[0]
    # Where Ray looks for the token, on both ends of the copy.
    assert cluster["file_mounts"]["/home/ubuntu/.ray/auth_token"] == os.path.join("~", ".ray", "auth_token")
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()


def test_it_names_the_ray_that_is_pinned(cluster: dict[str, Any]) -> None:
    assert f"ray[default]=={ray.__version__}" in (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    assert f"ray=={ray.__version__}" in (ROOT / "constraints" / "gpu.txt").read_text(encoding="utf-8")
