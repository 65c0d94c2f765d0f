"""Reduced runs of several recipes and seeds from one base, of samples written as letters."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from leash_ray import stages
from leash_ray.config import parse_config
from leash_ray.problems_file import write_problems
from leash_ray.run_dir import RunDir
from leash_ray.types import Problem

BASE_MODEL = "the-base"
TASK = {"kind": "jsonl", "path": "unused.jsonl"}
VERDICTS = {".": "INCORRECT", "-": "NO_ANSWER", "!": "ERROR"}
Samples = Mapping[str, str]
"""Problem -> its samples in order: a letter is a CORRECT answer, "." a wrong one, "-" none, "!" an ERROR."""


def problem(name: str, **parts: Any) -> Problem:
    return Problem.make("t", name, parts.get("verifier", "math"), name, parts.get("metadata"))


def make(
    path: Path,
    base: Samples,
    trained: Samples,
    *,
    seed: int = 0,
    train: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    steps: Sequence[float] = (),
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
    reduce: bool = True,
    problems: Sequence[Problem] | None = None,
) -> Path:
    """A run at ``path``.

    Args:
        train: keys of the train section; None: it was trained elsewhere.
        config: dotted keys of the config.
        steps: tokens of each training step, for metrics.jsonl.
        metadata: of problems, by name.
    """
    raw: dict[str, Any] = {
        "task": TASK,
        "seed": seed,
        "policies": {"base": {"model": BASE_MODEL}, "trained": {"model": "a-model"}},
        "sampling": {"n": max(map(len, base.values()))},
        "measure": {"bootstrap": 400},
        "monitor": {"wandb": "off"},
    }
    if train is not None:
        raw |= {"train": {"task": TASK, **train}}
        raw["policies"]["trained"] = {}
    run = RunDir.create(path, parse_config(raw, "made", config).model_dump(mode="json"), seed)
    known = problems or [problem(name, metadata=(metadata or {}).get(name)) for name in base]
    ids = {p.reference: p.id for p in known}
    write_problems(run.problems_parquet, known)
    rows = [
        (policy, "t", ids[name], i, VERDICTS.get(s, "CORRECT"), None if s in "-!" else s, 2, -1.0)
        for policy, samples in (("base", base), ("trained", trained))
        for name, of in samples.items()
        for i, s in enumerate(of)
    ]
    names = ("policy", "task", "problem_id", "sample_index", "verdict", "answer", "n_tokens", "logprob_sum")
    frame = pl.DataFrame(rows, schema=list(names), orient="row").with_columns(
        pl.col("sample_index", "n_tokens").cast(pl.Int32), pl.col("logprob_sum").cast(pl.Float32)
    )
    frame.write_parquet(run.completions / "all.parquet")
    run.metrics_jsonl.write_text(
        "".join(
            json.dumps({"time": 0.0, "stage": "train", "step": i, "n_tokens": n, "rollout_tokens": 2 * n}) + "\n"
            for i, n in enumerate(steps, 1)
        )
    )
    run.mark_done("sample", {})
    if reduce:
        stages.reduce_tables([run.path], "base", "trained", 0.05)
    return run.path


def drawn(rng: np.random.Generator, p: Sequence[float], n: int = 16) -> dict[str, str]:
    """Samples of problems with solve rates ``p``; correct answers are a, b or c."""
    letters = np.array(list("abc."))
    return {f"p{i:03}": "".join(rng.choice(letters, n, p=[x / 2, x / 4, x / 4, 1 - x])) for i, x in enumerate(p)}


def study(folder: Path, recipes: Mapping[str, float], seeds: int = 3, n_problems: int = 60, n: int = 16) -> list[Path]:
    """A run of each recipe and seed; a recipe's number is how much sharper than the base it is: solve rates are tilted
    by it, and rare problems are lost the more."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 1.5, n_problems)
    base = drawn(rng, p, n)
    made = []
    for i, (name, strength) in enumerate(recipes.items()):
        for seed in range(seeds):
            moved = np.log(p / (1 - p)) * (1 + strength) + strength + rng.normal(0, 0.3)
            trained = drawn(rng, 1 / (1 + np.exp(-moved)), n)
            made.append(
                make(
                    folder / f"{name}-seed{seed}",
                    base,
                    trained,
                    seed=seed,
                    train={"lr": 1e-4 * (i + 1)},
                    steps=[100, 50],
                )
            )
    return made
