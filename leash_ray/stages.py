"""The stages of a run, each from a config and a run directory: train, sample, reduce, report; and the whole.

The command line and ``jobs/`` call the same functions.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash_ray import cluster
from leash_ray.cluster import Device
from leash_ray.config import RunConfig
from leash_ray.deploy import deploy, resolve_model
from leash_ray.deploy import stop as stop_serving
from leash_ray.errors import RunFailed, UsageError
from leash_ray.files import atomic_path, write_json
from leash_ray.monitor import Monitor
from leash_ray.policy import ServedPolicy
from leash_ray.progress import Progress, follow_training
from leash_ray.run_dir import RunDir, require_free_space
from leash_ray.types import Problem, Verdict

MAY_CHANGE = ("name", "device", "monitor", "ray", "verify", "policies.base.cpus", "policies.trained.cpus")
"""Config keys that say how a run runs and not what it computes: a resumed run may have others."""

Say = Callable[[str], None]


@dataclass
class Session:
    """What the stages of one command share: Ray, served policies, verifiers. Started when first needed."""

    config: RunConfig
    run: RunDir
    say: Say
    _device: Device | None = None
    _policies: dict[str, ServedPolicy] = field(default_factory=dict)
    _verifier: Any = None

    @property
    def device(self) -> Device:
        if self._device is None:
            cluster.connect(self.config.ray.address, self.config.ray.num_cpus)
            self._device = cluster.device(self.config.device)
        return self._device

    @property
    def verifier(self) -> Any:
        if self._verifier is None:
            from leash_ray.verify.remote import RemoteVerifier

            self._verifier = RemoteVerifier.start(self.config.verify)
        return self._verifier

    def serve(self, models: Mapping[str, str], training: bool) -> dict[str, ServedPolicy]:
        """Deploy the policies of ``models`` that are not up yet, after checking that all fits at once."""
        wanted = {name: model for name, model in models.items() if name not in self._policies}
        if wanted:
            line = cluster.require(claims(self.config, [*self._policies, *wanted], self.device, training))
            self.say(f"{line}; starting {' and '.join(wanted)} on Ray Serve (about a minute on a laptop)")
            started_s = time.monotonic()
            self.verifier  # noqa: B018  (its processes start while the engines load)
            policies = {name: self.config.policies[name] for name in wanted}
            self._policies |= deploy(policies, wanted, self.device)
            self.say(f"serving {', '.join(wanted)} after {time.monotonic() - started_s:.0f} s")
        return {name: self._policies[name] for name in models}

    def close(self) -> None:
        if self._verifier is not None:
            self._verifier.stop()
            self._verifier = None
        if self._policies:
            stop_serving(self._policies)
            self._policies = {}


@contextmanager
def session(config: RunConfig, run: RunDir, say: Say) -> Iterator[Session]:
    """A session that is taken down whatever happens, with the run held against other writers."""
    with run.hold():
        current = Session(config, run, say)
        try:
            yield current
        finally:
            current.close()


def claims(config: RunConfig, policies: Sequence[str], device: Device, training: bool) -> list[cluster.Claim]:
    """What the command holds of the cluster while it runs."""
    held = []
    for name in policies:
        policy = config.policies[name]
        replicas = policy.autoscaling.max_replicas if policy.autoscaling else policy.replicas
        gpus = replicas * policy.tensor_parallel_size if device == "gpu" else 0
        held.append(cluster.Claim(f"{replicas} x {name}", replicas * policy.cpus, gpus))
    held.append(cluster.Claim("verifiers", config.verify.actors * config.verify.cpus))
    if training and config.train:
        workers = config.train.workers
        held.append(
            cluster.Claim(f"{workers} x trainer", workers * config.train.cpus_per_worker, workers * (device == "gpu"))
        )
    else:
        from leash_ray.sample import SAMPLING_CPUS

        held.append(cluster.Claim("sampling tasks", SAMPLING_CPUS * config.sampling.in_flight * len(policies)))
    return held


def models_of(config: RunConfig) -> dict[str, str]:
    """Where each policy starts: a trained policy without a model of its own starts as the base.

    Raises:
        UsageError: a model folder is missing.
    """
    base = config.policies[config.base].model
    assert base is not None
    return {name: resolve_model(config.policies[name].model or base) for name in (config.base, config.trained)}


def open_run(config: RunConfig, path: Path, resume: bool) -> RunDir:
    """Make or resume the run directory; checks what can be checked before any work starts."""
    models_of(config)
    return RunDir.create(path, config.model_dump(mode="json"), config.seed, resume=resume, may_change=MAY_CHANGE)


def problems_of(config: RunConfig, run: RunDir) -> list[Problem]:
    """The measured problems, kept in ``problems.parquet`` from the first time on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from leash_ray.tasks import load_problems

    if run.problems_parquet.is_file():
        rows = pq.read_table(run.problems_parquet).to_pylist()
        return [Problem(**{**row, "metadata": json.loads(row["metadata"])}) for row in rows]
    problems = load_problems(config.task)
    table = pa.Table.from_pylist(
        [
            {f: getattr(p, f) for f in ("id", "task", "prompt", "verifier", "reference")}
            | {"metadata": json.dumps(dict(p.metadata))}
            for p in problems
        ]
    )
    with atomic_path(run.problems_parquet) as tmp:
        pq.write_table(table, tmp)
    return problems


def train(current: Session) -> Path:
    """RLVR from the base model; returns the trained model's folder."""
    from leash_ray.rlvr.trainer import TrainJob, fit, last_checkpoint
    from leash_ray.tasks import load_problems

    config, run = current.config, current.run
    if config.train is None:
        raise UsageError("the config has no train section, so there is nothing to train; add one, or run leash sample")
    if run.stage_done("train"):
        return last_checkpoint(run.path, config.train.steps)
    models = models_of(config)
    policy = current.serve({config.trained: models[config.trained]}, training=True)[config.trained]
    problems = load_problems(config.train.task)
    measured = {p.id for p in problems_of(config, run)}
    shared = sum(p.id in measured for p in problems)
    if shared:
        raise UsageError(
            f"{shared} training problems are also measured; give task and train.task splits that do not overlap"
        )
    policy.check_prompts(problems, config.train.max_tokens)
    current.say(f"training {config.trained}: {config.train.steps} steps of GRPO on {len(problems)} problems")
    started_s = time.monotonic()
    with follow_training(run.metrics_jsonl, config.train.steps, current.say):
        model = fit(
            TrainJob(
                run_path=run.path.resolve(),
                config=config.train,
                monitor=config.monitor,
                run_config=config.model_dump(mode="json"),
                run_name=run.name,
                model=models[config.trained],
                policy=config.trained,
                problems=problems,
                seed=config.seed,
                cpu=current.device == "cpu",
                verifier=current.verifier,
            )
        )
    run.mark_done("train", {"model": str(model.relative_to(run.path.resolve())), "steps": config.train.steps})
    current.say(f"trained in {time.monotonic() - started_s:.0f} s: {model}")
    return model


def sample(current: Session) -> Path:
    """Sample both policies on the measured problems; returns the completions' folder."""
    from leash_ray.sample import missing_shards, plan_shards, sample_shards

    config, run = current.config, current.run
    if run.stage_done("sample"):
        return run.completions
    models = models_of(config)
    version = 0
    if config.policies[config.trained].model is None:
        assert config.train is not None
        if not run.stage_done("train"):
            raise UsageError(f"{run.path} has no trained model yet: run leash train first, with the same --run")
        models[config.trained] = str(run.path.resolve() / (run.stage_info("train") or {})["model"])
        version = config.train.steps
    problems = problems_of(config, run)
    shards = plan_shards(
        [config.base, config.trained], len(problems), config.sampling.n, config.sampling.samples_per_shard
    )
    missing = missing_shards(run.completions, shards)
    total = {name: config.sampling.n * len(problems) for name in (config.base, config.trained)}
    require_free_space(run.path, 200 * sum(s.n_rows for s in missing), "the completions")
    if missing:
        served = current.serve(models, training=False)
        for policy in served.values():
            policy.check_prompts(problems, config.sampling.max_tokens)
        if version:  # the trained policy may have been deployed before it was trained
            served[config.trained] = ServedPolicy(config.trained, version, models[config.trained])
            served[config.trained].load_weights(models[config.trained], version)
        done = Counter(total)
        done.subtract({s.policy: 0 for s in shards})
        for shard in missing:
            done[shard.policy] -= shard.n_rows
        current.say(
            f"sampling {config.sampling.n} completions of {len(problems)} problems from each of "
            f"{config.base} and {config.trained} ({len(shards) - len(missing)} of {len(shards)} shards are there)"
        )
        progress = Progress(total, done, current.say)
        with _monitor(current) as monitor:
            for i, row in enumerate(
                sample_shards(
                    missing, run.completions, problems, config.sampling, config.seed, served, current.verifier
                ),
                1,
            ):
                progress.add(row["policy"], row["completions"], row["tokens"], row[Verdict.CORRECT], row[Verdict.ERROR])
                monitor.log("sample", progress.metrics(), step=i)
        current.say(progress.summary())
    run.mark_done("sample", {"completions": sum(total.values())})
    return run.completions


def _monitor(current: Session) -> Monitor:
    config = current.config
    return Monitor(
        current.run.path,
        wandb_mode=config.monitor.wandb,
        project=config.monitor.project,
        name=current.run.name,
        config=config.model_dump(mode="json"),
    )


def reduce(current: Session) -> dict[str, Any]:
    """Completions to estimates: writes ``support.json`` and ``per_problem.parquet``, logs the numbers."""
    config, run = current.config, current.run
    current.device  # noqa: B018  (joins Ray as the config says)
    support = _reduce_run(run, config.base, config.trained, config.zeta)
    with _monitor(current) as monitor:
        monitor.summary(flat(support))
    return support


def _reduce_run(run: RunDir, base: str, trained: str, zeta: float) -> dict[str, Any]:
    import pyarrow.parquet as pq

    from leash_ray.reduce import reduce_paths

    estimates = reduce_paths([run.completions], base=base, trained=trained, zeta=zeta)
    support = estimates.to_json()
    with atomic_path(run.per_problem_parquet) as tmp:
        pq.write_table(estimates.per_problem, tmp)
    write_json(run.support_json, support)
    run.mark_done("reduce")
    return support


def reduce_tables(paths: Sequence[Path], base: str, trained: str, zeta: float) -> dict[str, Any]:
    """Estimates of any completions tables; where the only path is a run, they are also written into it."""
    from leash_ray.reduce import reduce_paths

    if len(paths) == 1 and (paths[0] / "run.json").is_file():
        return _reduce_run(RunDir.open(paths[0]), base, trained, zeta)
    return reduce_paths(paths, base=base, trained=trained, zeta=zeta).to_json()


def flat(support: Mapping[str, Any]) -> dict[str, float]:
    """The estimates as flat names for W&B, such as ``support/problem/S`` and ``policies/base/pass_at_k/1``."""
    found: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}/{key}" if prefix else str(key), inner)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix] = value

    walk("", {k: support[k] for k in ("n_problems", "k", "epsilon", "support", "policies")})
    return found


def report(run: RunDir) -> Path:
    """Write ``report.html`` from the run's files."""
    from leash_ray.report import write_report

    return write_report(run.path)


def whole(config: RunConfig, path: Path, resume: bool, say: Say) -> tuple[dict[str, Any], Path]:
    """Train (where the config has a train section), sample, reduce, report. Returns the estimates and the page."""
    run = open_run(config, path, resume)
    with session(config, run, say) as current:
        if config.train and config.policies[config.trained].model is None:
            models = models_of(config)
            if not (run.stage_done("train") and run.stage_done("sample")):
                current.serve(models, training=not run.stage_done("train"))
            train(current)
        sample(current)
        current.close()  # the reducers get the machine to themselves
        support = reduce(current)
        page = report(run)
    return support, page


__all__ = ["RunFailed", "Session", "flat", "open_run", "reduce", "report", "sample", "session", "train", "whole"]
