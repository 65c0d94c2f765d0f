"""The support audit while training, by hand: a policy of known answers for an engine, all workers in one process."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scripted_sampling import PROBLEMS, SaysYes, rows_in

from leash_ray import progress
from leash_ray.config import RunConfig
from leash_ray.errors import UsageError
from leash_ray.monitor import Monitor, read_metrics
from leash_ray.progress import audit_line
from leash_ray.rlvr.audit_measure import changes, groups_before
from leash_ray.rlvr.audit_plan import AuditPlan, chosen, completions_folder, plan_of, result_path
from leash_ray.rlvr.guard import guard, raised
from leash_ray.rlvr.sections import AuditConfig
from leash_ray.rlvr.settings import TrainConfig
from leash_ray.rlvr.support_audit import SupportAudit
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.stages import reduce_tables
from leash_ray.types import CompletionBatch, SampleRequest, SamplingParams

NAMES = [problem.id for problem in PROBLEMS]
N = 8


@dataclass
class Versions:
    """A served policy whose version ``v`` answers problem i right from sample ``first_right[v][i]`` of a request's
    stream on (None: never). It tells what it was asked."""

    first_right: Mapping[int, Sequence[int | None]]
    version: int | None = None
    fails: set[int] = field(default_factory=set)
    asked: list[tuple[int, str, int]] = field(default_factory=list)
    """Version, problem id, completions."""
    starts: list[int] = field(default_factory=list)
    """First seeds of the streams: a seed that is near none of them begins another."""

    def at(self, version: int, weights: str | None = None) -> "Versions":
        return Versions(self.first_right, version, self.fails, self.asked, self.starts)

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        version = self.version
        assert version is not None
        if version in self.fails:
            raise ValueError("no such engine")
        return [self._batch(version, request) for request in requests]

    def _batch(self, version: int, request: SampleRequest) -> CompletionBatch:
        i = next(i for i, p in enumerate(PROBLEMS) if p.prompt == request.prompt)
        assert request.seed is not None
        if not any(0 <= request.seed - start < N for start in self.starts):
            self.starts.append(request.seed)
        (first,) = (request.seed - start for start in self.starts if 0 <= request.seed - start < N)
        self.asked.append((version, NAMES[i], request.n))
        right = self.first_right[version][i]
        texts = [f"{'yes' if right is not None and first + s >= right else 'no'} {first + s}" for s in range(request.n)]
        return CompletionBatch(
            prompt_ids=np.zeros(1, np.int32),
            token_ids_T=np.arange(2 * request.n, dtype=np.int32),
            logprobs_T=np.full(2 * request.n, -0.5, np.float32),
            offsets=2 * np.arange(request.n + 1),
            texts=texts,
            finish_reasons=["stop"] * request.n,
            version=version,
        )


BASE = (0, 0, 1, 3, None, None)
"""Problems 0 to 3 are found, the last of them by its fourth sample only."""
SHARPER = (0, 0, 0, None, None, None)
"""Loses problem 3."""
OTHER = (0, None, 0, 7, 6, None)
"""Loses 1, finds 3 again, gains 4."""


def plan(**audit: Any) -> AuditPlan:
    return AuditPlan(
        config=AuditConfig(**{"every": 10, "first": 2, "n": N, **audit}),
        problems=tuple(PROBLEMS),
        base="base",
        trained="trained",
        sampling=SamplingConfig(n=4, samples_per_shard=8),
        origin={"seed": 0, "version": 0},
        shared=4,
    )


@dataclass
class Run:
    """One worker's audit of a run directory, with its metrics."""

    path: Path
    policy: Versions
    audit: SupportAudit
    learner: Any
    monitor: Monitor

    def rows(self) -> list[dict[str, Any]]:
        return read_metrics(self.path, "audit")


def opened(path: Path, policy: Versions, asked: AuditPlan | None = None, steps: int = 30) -> Run:
    learner = SimpleNamespace(kl_coef=0.0)
    monitor = Monitor(path, wandb_mode="off")
    job = SimpleNamespace(
        run_path=path,
        config=SimpleNamespace(workers=1, steps=steps),
        policy=policy,
        verifier=SaysYes(),
        model="m",
        seed=0,
    )

    def log(metrics: Mapping[str, Any], step: int, stage: str = "train") -> None:
        monitor.log(stage, metrics, step)

    audit = SupportAudit(
        job,
        asked or plan(),
        0,
        lambda value: [value],
        log,
        learner,
        lambda step: path / f"v{step}",  # type: ignore[arg-type]
    )
    return Run(path, policy, audit, learner, monitor)


def test_the_budget_goes_to_what_is_not_decided_and_the_base_is_drawn_once(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER, 20: OTHER}))
    assert not run.audit.start(0)
    # Rounds end at 2 and 8: problems 0, 1 and 2 are solved within two samples, the others get all eight.
    of_base = {name: 2 if i < 3 else N for i, name in enumerate(NAMES)}
    counts = {name: sum(n for _, asked, n in run.policy.asked if asked == name) for name in NAMES}
    assert counts == of_base
    assert not run.audit.after(5)
    assert not run.audit.after(10)
    assert not run.audit.after(20)
    asked_again = [version for version, _, _ in run.policy.asked[len(NAMES) + 3 :]]
    assert set(asked_again) == {10, 20}
    held = rows_in(completions_folder(tmp_path))
    assert len(held) == sum(of_base.values()) + (3 * 2 + 3 * N) + (2 * 2 + 4 * N)
    assert {policy for policy, _, _ in held} == {"base", "trained@10", "trained@20"}
    start, first, second = run.rows()
    assert [row["step"] for row in run.rows()] == [0, 10, 20]
    assert (start["completions"], start["tokens"]) == (3 * 2 + 3 * N, 2 * (3 * 2 + 3 * N))
    assert (first["completions"], second["completions"]) == (3 * 2 + 3 * N, 2 * 2 + 4 * N)


def test_each_audit_compares_at_equal_k_and_lists_what_was_lost_and_came_back(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER, 20: OTHER}))
    run.audit.start(0)
    run.audit.after(10)
    run.audit.after(20)
    _, first, second = run.rows()
    assert first["k"] == second["k"] == N and first["k_first"] == 2
    assert [first[f"problem/{g}"] for g in "PESO"] == [3, 0, 1, 2]
    assert first["problem/NSCR"] == pytest.approx(-1 / 4)
    assert first["problem/NSCR/low"] < -1 / 4 < first["problem/NSCR/high"]
    assert [second[f"problem/{g}"] for g in "PESO"] == [3, 1, 1, 1]
    # pass@1 over the first round, which all have: the base is right at once twice in two problems, once in a third.
    assert first["base/pass_at_k/1"] == pytest.approx((1 + 1 + 0.5) / 6)
    assert first["trained/pass_at_k/1"] == pytest.approx(3 / 6)
    assert first["trained/coverage_at_k/8"] == pytest.approx(3 / 6)
    assert first["base/coverage_at_k/4"] == pytest.approx(4 / 6)
    assert first["trained/mean_surprisal"] == pytest.approx(0.5)
    assert (first["lost"], first["regained"], first["gained"], first["dropped"]) == (1, 0, 0, 0)
    assert first["changes"] == [{"change": "lost", "problem_id": NAMES[3], "correct": "5 of 8", "answer": "yes 3"}]
    became = {row["change"]: row["problem_id"] for row in second["changes"]}
    assert became == {"lost": NAMES[1], "regained": NAMES[3], "gained": NAMES[4]}
    written = json.loads(result_path(tmp_path, 20).read_text())
    assert written["groups"] == {"P": [NAMES[i] for i in sorted((0, 2, 3), key=lambda i: NAMES[i])],
                                 "E": [NAMES[4]], "S": [NAMES[1]], "O": [NAMES[5]]}  # fmt: skip
    assert {row["prompt"] for row in written["changes"]} == {PROBLEMS[i].prompt for i in (1, 3, 4)}
    said = audit_line(second)
    assert said.startswith("  step 20: audit: pass@1 0.33 (base 0.42), P 3 E 1 S 1 O 1 at k = 8, NSCR 0.00 [")
    assert said.endswith("; lost 1, regained 1")


def test_the_completions_are_a_series_of_checkpoints_to_leash_reduce(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER, 20: OTHER}))
    run.audit.start(0)
    run.audit.after(10)
    run.audit.after(20)
    found = reduce_tables([completions_folder(tmp_path)], "base", "trained", 0.05, {"bootstrap": 100})
    assert found["trained"] == "trained@20" and found["series"]["steps"] == [10, 20]
    assert [found["support"]["problem"][g] for g in "PESO"] == [3, 1, 1, 1]


def test_what_the_run_would_draw_itself_is_its_own(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER}))
    run.audit.start(0)
    mine, audits = rows_in(tmp_path / "completions"), rows_in(completions_folder(tmp_path))
    # The run wants four samples of each: the shards that begin with two are a part of them, those of eight are not.
    assert mine == {key: row for key, row in audits.items() if key[2] < 2}
    other = opened(tmp_path / "other", Versions({0: BASE}), asked=plan_without_sharing())
    other.audit.start(0)
    assert not (tmp_path / "other" / "completions").exists()


def plan_without_sharing() -> AuditPlan:
    from dataclasses import replace

    return replace(plan(), shared=0)


def test_an_audit_at_the_start_is_the_base_against_itself(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE}), plan(at_start=True))
    run.audit.start(0)
    (row,) = run.rows()
    assert [row[f"problem/{g}"] for g in "PESO"] == [4, 0, 0, 2] and row["problem/NSCR"] == 0
    assert {policy for policy, _, _ in rows_in(completions_folder(tmp_path))} == {"base", "trained@0"}


def test_the_guard_acts_on_the_lower_end_of_the_interval() -> None:
    stop, kl = (AuditConfig(guard=-0.2, action=action) for action in ("stop", "kl"))  # type: ignore[arg-type]
    assert [guard(low, stop) for low in (-0.1, -0.2, -0.21, None)] == [None, None, "stop", None]
    assert guard(-0.5, kl) == "kl" and guard(-0.5, AuditConfig()) is None
    assert [raised(coef, kl) for coef in (0.0, 4e-4, 1e-2)] == [1e-3, 1e-3, 2e-2]


def test_the_guard_stops_and_a_run_that_goes_on_from_there_stays_stopped(tmp_path: Path) -> None:
    asked = plan(guard=-0.5)
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER}), asked)
    run.audit.start(0)
    assert run.audit.after(10)
    assert run.rows()[-1]["guard"] == "stop"
    assert audit_line(run.rows()[-1]).endswith("; the leash guard stops training")
    assert opened(tmp_path, Versions({}), asked).audit.start(10)  # cut off between checkpoint and end
    again = opened(tmp_path, Versions({0: BASE, 10: BASE}), asked)
    assert not again.audit.start(5)  # from an older checkpoint: the audit is done again, and finds what it finds
    assert not result_path(tmp_path, 10).exists()
    assert not again.audit.after(10)
    assert len([key for key in rows_in(completions_folder(tmp_path)) if key[0] == "trained@10"]) == 3 * 2 + 3 * N


def test_the_guard_raises_the_kl_weight(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER, 20: SHARPER, 30: BASE}), plan(guard=-0.5, action="kl"))
    run.audit.start(0)
    assert not run.audit.after(10) and run.learner.kl_coef == 1e-3
    assert not run.audit.after(20) and run.learner.kl_coef == 2e-3
    assert not run.audit.after(30) and run.learner.kl_coef == 2e-3
    assert [row["kl_coef"] for row in run.rows()[1:]] == [1e-3, 2e-3, 2e-3]
    assert json.loads(result_path(tmp_path, 20).read_text())["guard"]["action"] == "kl"


def test_a_failed_audit_is_told_and_counted_and_the_next_one_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER, 20: OTHER}, fails={0, 10}))
    assert not run.audit.start(0) and not run.audit.after(10)
    assert [row["failures"] for row in run.rows()] == [1, 2] and not result_path(tmp_path, 10).exists()
    assert "audit failed, 2 so far" in audit_line(run.rows()[-1])
    run.policy.fails.clear()
    assert not run.audit.after(20)  # the base is drawn now: its weights come back into the replicas for that
    assert [version for version, _, _ in run.policy.asked].index(20) > 0 and run.policy.asked[0][0] == 0
    row = run.rows()[-1]
    assert [row[f"problem/{g}"] for g in "PESO"] == [3, 1, 1, 1] and row["failures"] == 2
    # Nothing came before: what is lost, is lost since the base.
    assert (row["lost"], row["gained"], row["regained"]) == (1, 1, 0)
    assert capsys.readouterr().err.count("training goes on") == 2


def test_one_workers_failure_is_everybodys(tmp_path: Path) -> None:
    run = opened(tmp_path, Versions({0: BASE, 10: SHARPER}))
    run.audit._gather = lambda value: [value, (None, "ValueError: the other worker")]
    assert run.audit._guarded(10, lambda: run.audit._audit(10)) is None
    assert run.rows()[0]["error"] == "ValueError: the other worker"


def test_changes_between_two_audits_by_hand() -> None:
    before = {"a": "P", "b": "S", "c": "P", "d": "E", "e": "O"}
    now = {"a": "S", "b": "P", "c": "P", "d": "O", "e": "E", "new": "S"}
    assert changes(before, now) == {"lost": ["a", "new"], "regained": ["b"], "gained": ["e"], "dropped": ["d"]}
    assert groups_before(Path("/nowhere"), 5) == {}


def test_the_held_out_problems_are_always_the_same_ones() -> None:
    problems = [SimpleNamespace(id=i) for i in range(50)]
    few = chosen(problems, 10, 3)  # type: ignore[arg-type]
    assert few == chosen(problems, 10, 3) != chosen(problems, 10, 4)  # type: ignore[arg-type]
    assert [p.id for p in few] == sorted({p.id for p in few}) and len(few) == 10
    assert chosen(problems, None, 3) == chosen(problems, 80, 3) == tuple(problems)  # type: ignore[arg-type]
    assert not plan().is_due(5, 25) and plan().is_due(20, 25) and plan().is_due(25, 25)


def config(**changed: Any) -> RunConfig:
    task = {"kind": "reasoning_gym", "dataset": "countdown", "prompt": "compact"}
    policies = {"base": {"model": "embedded:countdown"}, "trained": {}}
    raw = {
        "name": "r",
        "task": {**task, "split": [90, 100]},
        "train": {"task": {**task, "split": [0, 90]}, "audit": {}},
        "policies": policies,
        **changed,
    }
    return RunConfig.model_validate_json(json.dumps(raw))


def test_the_base_is_the_runs_own_only_where_it_would_be_drawn_just_so() -> None:
    asked = {"base": PROBLEMS, "trained": PROBLEMS}
    models = {"base": "hub/name", "trained": "hub/name"}
    found = plan_of(config(), asked, models)
    assert found is not None and found.shared == 256 and found.problems == tuple(PROBLEMS)
    differ = config(policies={"base": {"model": "embedded:countdown"}, "trained": {"dtype": "float32"}})
    assert plan_of(differ, asked, models).shared == 0  # type: ignore[union-attr]
    assert plan_of(config(), {**asked, "base": PROBLEMS[:3]}, models).shared == 0  # type: ignore[union-attr]
    assert plan_of(config(sampling={"budget": {}}), asked, models).shared == 0  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="temperature 0"):
        plan_of(config(sampling={"n": 1, "temperature": 0.0}), asked, models)


def test_settings_that_cannot_work_are_refused() -> None:
    task = {"kind": "reasoning_gym", "dataset": "countdown"}
    for audit, kl, why in (
        ({"first": 9, "n": 8}, {}, "first"),
        ({"guard": -0.1, "action": "kl"}, {"track": False}, "reference policy"),
        ({"guard": -0.1, "action": "kl"}, {"estimator": "k1"}, "would change nothing"),
    ):
        with pytest.raises(ValueError, match=why):
            TrainConfig.model_validate({"task": task, "audit": audit, "kl": kl})
    TrainConfig.model_validate({"task": task, "audit": {"guard": -0.1}, "kl": {"track": False}})


def test_audits_are_said_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    said: list[str] = []
    with Monitor(tmp_path, wandb_mode="off") as monitor:
        monitor.log("audit", {"completions": 9, "n_problems": 3, "seconds": 1.0}, step=0)  # of an earlier try
        time.sleep(0.01)
        with progress.follow_training(monitor.path, 4, said.append):
            monitor.log("train", {"reward_mean": 0.5}, step=1)
            monitor.log("train", {"reward_mean": 0.75}, step=2)
            monitor.log("audit", {"error": "RunFailed: gone", "failures": 1}, step=2)
    assert said == [
        "  step 2/4: reward 0.750, entropy – nats, KL –, – s a step",
        "  step 2: audit failed, 1 so far (RunFailed: gone); training goes on",
    ]
