"""Runs that are asked for more: what may grow, what may not, and what the directory says afterwards."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from leash_ray.config import RunConfig, load_config
from leash_ray.errors import UsageError
from leash_ray.problems_file import read_problems
from leash_ray.run_dir import RunDir
from leash_ray.sampling.budget import Design
from leash_ray.sampling.growth import is_part
from leash_ray.sampling.stage import is_sampled
from leash_ray.session import open_run
from leash_ray.verifications import Asked, begin

MODEL = "embedded:countdown"


def config_of(tmp_path: Path, **changes: Any) -> RunConfig:
    """Of four problems in a file, and two policies with models."""
    path = tmp_path / "problems.jsonl"
    if not path.exists():
        path.write_text("".join(f'{{"problem": "{i}+1?", "answer": "{i + 1}"}}\n' for i in range(4)))
    base = tmp_path / "config.yaml"
    base.write_text(
        f"""
task: {{kind: jsonl, path: {path}, limit: 2}}
policies: {{base: {{model: "{MODEL}"}}, trained: {{model: "{MODEL}"}}}}
monitor: {{wandb: "off"}}
sampling: {{n: 8}}
"""
    )
    return load_config(base, changes)


def sampled(tmp_path: Path, config: RunConfig) -> RunDir:
    from leash_ray.sampling.stage import _wanted

    run = open_run(config, tmp_path / "run", resume=False)
    run.mark_done("sample", {"wanted": _wanted(config)})
    run.mark_done("reduce")
    assert is_sampled(config, run)
    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling.n": 9},
        {"sampling.n": None, "sampling.budget": {"first": 8, "max": 64}},
        {"sampling.n": None, "sampling.budget": {"first": 2, "max": 8, "all_reach": 8}},
        {"task.limit": 3},
        {"task.limit": None},
        {"policies.third": {"model": MODEL}, "trained": "third"},
        {"sampling.n": 16, "task.limit": 4, "policies.third": {"model": MODEL}, "base": "third"},
    ],
)
def test_more_of_the_same_is_taken_in(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    before = read_problems(run.problems_parquet)
    new = config_of(tmp_path, **changes)
    with pytest.raises(UsageError, match="Go on with it with `--resume`"):
        open_run(new, run.path, resume=False)
    assert run.config == config_of(tmp_path).model_dump(mode="json")
    open_run(new, run.path, resume=True)
    assert run.config == new.model_dump(mode="json")
    assert not run.stage_done("sample") and not run.stage_done("reduce") and not is_sampled(new, run)
    after = read_problems(run.problems_parquet)
    assert after[:2] == before
    assert len(after) == {None: 4, 2: 2}.get(changes.get("task.limit", 2), changes.get("task.limit", 2))
    grown = run.info["resumed"][-1]["grown"]
    assert all(any(key.startswith(dotted) for dotted in changes) for key in grown) and grown


@pytest.mark.parametrize("changes", [{"sampling.n": 9}, {"task.limit": None}])
def test_what_has_grown_does_not_shrink_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    open_run(config_of(tmp_path, **changes), run.path, resume=True)
    with pytest.raises(UsageError, match="another configuration"):
        open_run(config_of(tmp_path), run.path, resume=True)


def test_policies_that_were_sampled_can_be_compared_again(tmp_path: Path) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    open_run(config_of(tmp_path, **{"policies.third": {"model": MODEL}, "trained": "third"}), run.path, resume=True)
    assert open_run(config_of(tmp_path), run.path, resume=True).config["trained"] == "trained"


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling.n": 7},
        {"sampling.n": None, "sampling.budget": {"first": 4, "max": 64}},  # some would have had only 4
        {"sampling.n": None, "sampling.budget": {"first": 2, "max": 4}},
        {"sampling.n": 9, "sampling.temperature": 0.5},
        {"sampling.n": 9, "seed": 1},
        {"task.limit": 1},
        {"policies.trained.model": "owner/other"},
        {"policies.third": {"model": MODEL}, "policies.trained.dtype": "float32", "trained": "third"},
    ],
)
def test_anything_else_is_refused_and_changes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    with pytest.raises(UsageError, match="another configuration"):
        open_run(config_of(tmp_path, **changes), run.path, resume=True)
    assert run.config == config_of(tmp_path).model_dump(mode="json") and is_sampled(config_of(tmp_path), run)


def test_problems_that_are_others_cannot_be_added_to(tmp_path: Path) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    path = tmp_path / "problems.jsonl"
    path.write_text(path.read_text().replace("1+1?", "new?"))
    with pytest.raises(UsageError, match=r"1 of the 2 problems of .* are not among the 3 that the config"):
        open_run(config_of(tmp_path, **{"task.limit": 3}), run.path, resume=True)


def test_problems_that_were_verified_again_are_not_added_to(tmp_path: Path) -> None:
    run = sampled(tmp_path, config_of(tmp_path))
    begin(run, Asked(options={"strict": True}))
    with pytest.raises(UsageError, match=r"verified again.*leash verify \S+ --undo"):
        open_run(config_of(tmp_path, **{"task.limit": 3}), run.path, resume=True)


def n_of(design: Design, hits: tuple[int, ...]) -> int:
    """Samples of a pair whose CORRECT samples are ``hits``."""
    m = design.stop_after_correct
    return min((e for e in design.ends if m and sum(h < e for h in hits) >= m), default=design.most)


def test_one_design_is_part_of_another_by_brute_force() -> None:
    """Over all ways that up to 6 samples can be right, against all designs with up to three ends up to 6."""
    ends = [e for size in (1, 2, 3) for e in itertools.combinations((1, 2, 4, 6), size)]
    designs = [Design(e, m) for e in ends for m in (None, 1, 2) if m or len(e) == 1]  # as design_of makes them
    sequences = [h for size in range(7) for h in itertools.combinations(range(6), size)]
    n = {design: [n_of(design, hits) for hits in sequences] for design in designs}
    agree = []
    for old, new in itertools.product(designs, designs):
        # design_of makes no design with several ends and no rule to stop: ends before the last would not matter.
        if (old.stop_after_correct is None and len(old.ends) > 1) or (
            new.stop_after_correct is None and len(new.ends) > 1
        ):
            continue
        truly = all(a <= b for a, b in zip(n[old], n[new], strict=True))
        assert is_part(old, new) <= truly, (old, new)
        agree.append(is_part(old, new) == truly)
    assert sum(agree) > 0.9 * len(agree)  # what is refused for nothing are odd cases: more samples at a lower bar


def test_a_larger_generated_set_holds_the_smaller_one(tmp_path: Path) -> None:
    """reasoning-gym's sets grow at their end, so that their size may."""
    tiny = Path(__file__).parent.parent / "jobs" / "configs" / "tiny.yaml"
    changes = {"policies.trained.model": MODEL, "train": None}
    run = open_run(load_config(tiny, changes), tmp_path / "run", resume=False)
    before = read_problems(run.problems_parquet)
    open_run(load_config(tiny, {**changes, "task.size": 9}), run.path, resume=True)
    assert len(before) == 4 and read_problems(run.problems_parquet)[:4] == before
    assert len(read_problems(run.problems_parquet)) == 9
