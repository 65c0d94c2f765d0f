"""One policy after another on a whole run: what is up at any time, and that the table is that of both at once."""

from pathlib import Path

import pytest
from scripted_sampling import rows_in

from leash_ray import stages
from leash_ray.config import load_config
from leash_ray.run_dir import RunDir
from leash_ray.session import open_run, session

TINY = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"
BUDGET = {"first": 4, "grow": 4, "max": 64}


def up() -> tuple[list[str], float]:
    """This run's policies that Serve has, and the CPUs that are free."""
    import ray
    from ray import serve

    apps = [app for app in serve.status().applications if app.split("-")[-1] in ("base", "trained")]
    return [app.split("-")[-1] for app in apps], ray.available_resources()["CPU"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_training_then_base_then_trained_give_the_table_of_both_at_once(ray_session: None, tmp_path: Path) -> None:
    steps = {"train.steps": 4, "train.checkpoint_every": 4, "monitor.wandb": "off"}
    shared = {"sampling.budget": BUDGET, "sampling.n": None, "ray.num_cpus": 4}
    seen: list[tuple[list[str], float]] = []

    def say(line: str) -> None:
        print(line)
        if line.startswith("serving "):
            seen.append(up())

    in_turn = load_config(TINY, {**steps, **shared, "sampling.concurrent": False})
    stages.whole(in_turn, tmp_path / "turns", False, say)
    assert [policies for policies, _ in seen] == [["trained"], ["base"], ["trained"]]
    assert seen[1][1] == seen[2][1]  # what the base held is free again
    assert up()[0] == []

    model = tmp_path / "turns" / RunDir.open(tmp_path / "turns").stages["train"]["info"]["model"]
    trained = {"train": None, "policies.trained.model": str(model), "monitor.wandb": "off"}
    at_once = load_config(TINY, {**trained, **shared})
    seen.clear()
    with session(at_once, open_run(at_once, tmp_path / "at-once", resume=False), say) as current:
        stages.sample(current)
    assert [sorted(policies) for policies, _ in seen] == [["base", "trained"]]

    rows = rows_in(tmp_path / "turns" / "completions")
    assert rows == rows_in(tmp_path / "at-once" / "completions")
    assert len(rows) > 2 * 4 * 4 and len({text for text, _ in rows.values()}) > 10
