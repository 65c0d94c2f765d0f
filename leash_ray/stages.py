"""The stages of a run, each from a config and a run directory: train, sample, reduce, report; and the whole.

The command line and ``jobs/`` call the same functions.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import RunConfig, parse_config
from leash_ray.errors import UsageError
from leash_ray.files import atomic_path, parquet_files, write_json
from leash_ray.monitor import Monitor
from leash_ray.progress import follow_training
from leash_ray.run_dir import RunDir
from leash_ray.session import (
    Say,
    Session,
    models_of,
    open_run,
    problems_of,
    prompts_of,
    session,
    training_prompts,
)

if TYPE_CHECKING:
    from leash_ray.estimates import Estimates
    from leash_ray.measure.measuring import Measuring


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """Which rows of completions tables, and how they are read and grouped."""

    first_k: int | None = None
    """Only samples below this index: as if no more had been drawn."""
    where: str | None = None
    """A SQL condition on the rows."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> the tables'."""
    by: tuple[str, ...] = ()
    """Keys of the problems' metadata."""
    drop_duplicates: bool = False
    from_rows: bool = False
    keep_states: bool = False
    quantiles: bool = False
    """Of lengths, surprisal and token entropy; of a run, whose states have them, always."""
    approximate_answers: int | None = None
    """How many distinct answers of a (policy, problem) are kept; None: all."""

    @property
    def is_all(self) -> bool:
        """Whether no row is left out, and no answer."""
        return self.first_k is None and self.where is None and self.approximate_answers is None


def train(current: Session) -> Path:
    """RLVR from the base model; returns the trained model's folder."""
    from leash_ray.rlvr.audit_plan import plan_of, result_path
    from leash_ray.rlvr.traces import traces_for
    from leash_ray.rlvr.trainer import TrainJob, fit

    config, run = current.config, current.run
    if config.train is None:
        raise UsageError("the config has no train section, so there is nothing to train; add one, or run leash sample")
    if (done := run.stage_info("train")) is not None:
        return run.path / done["model"]
    models = models_of(config)
    problems = training_prompts(config, run)
    audit = plan_of(config, prompts_of(config, run, problems_of(config, run)), models)
    traces = traces_for(config.train, problems)
    policy = current.serve({config.trained: models[config.trained]}, training=True)[config.trained]
    policy.check_prompts(problems, config.train.most_tokens)
    if audit is not None:
        policy.check_prompts(audit.problems, config.sampling.max_tokens)
    current.say(
        f"training {config.trained}: {config.train.steps} steps of {config.train.recipe} on {len(problems)} problems"
    )
    started_s = time.monotonic()
    with follow_training(run.metrics_jsonl, config.train.steps, current.say):
        model, steps = fit(
            TrainJob(
                run_path=run.path.resolve(),
                config=config.train,
                monitor=config.monitor,
                run_config=config.model_dump(mode="json"),
                run_name=run.name,
                model=models[config.trained],
                policy=policy,
                problems=problems,
                seed=config.seed if config.train.seed is None else config.train.seed,
                cpu=current.device == "cpu",
                verifier=current.verifier,
                zeta=config.zeta,
                audit=audit,
                traces=traces,
            )
        )
    run.mark_done("train", {"model": str(model.relative_to(run.path.resolve())), "steps": steps})
    if steps < config.train.steps:
        current.say(
            f"the leash guard stopped training after {steps} of {config.train.steps} steps: the lower end of NSCR's "
            f"interval fell below train.audit.guard; {result_path(run.path, steps)} says what was lost"
        )
    current.say(f"trained in {time.monotonic() - started_s:.0f} s: {model}")
    return model


def sample(current: Session) -> Path:
    """Sample both policies on the measured problems; returns the completions' folder."""
    from leash_ray.sampling import stage

    return stage.sample(current, monitor_of=_monitor)


def _monitor(run: RunDir, config: RunConfig) -> Monitor:
    return Monitor(
        run.path,
        wandb_mode=config.monitor.wandb,
        project=config.monitor.project,
        name=run.name,
        config=config.model_dump(mode="json"),
    )


def reduce(current: Session) -> dict[str, Any]:
    """Completions to estimates: writes ``support.json`` and ``per_problem.parquet``, logs the numbers."""
    config = current.config
    current.device  # noqa: B018  (joins Ray as the config says)
    return reduce_run(current.run, config, config.base, config.trained, config.zeta)


def reduce_run(
    run: RunDir,
    config: RunConfig,
    base: str,
    trained: str,
    zeta: float,
    scores: Sequence[Path] = (),
    rows: "RowsAsked | None" = None,
) -> dict[str, Any]:
    """A run's completions to estimates, which are written into it and logged; the run must be held by the caller.

    Args:
        scores: scores tables beside those that the run itself has.
        rows: how they are read and grouped.
    """
    import pyarrow.parquet as pq

    from leash_ray.measure.measuring import groups_by, measuring_of
    from leash_ray.problems_file import read_problems
    from leash_ray.scoring.cut import cut_json, is_cut

    rows = replace(rows or RowsAsked(), keep_states=True, quantiles=True)
    known = read_problems(run.problems_parquet)
    measuring = replace(measuring_of(config.measure, zeta, known), by=groups_by(rows.by, known))
    estimates = _estimates([run.completions], base, trained, measuring, [*_scores_of(run), *scores], rows)
    support = estimates.to_json()
    if is_cut(config.sampling.params) and (cut := cut_json(parquet_files(run.completions))):
        support["cut"] = cut
    with atomic_path(run.per_problem_parquet) as tmp:
        pq.write_table(estimates.per_problem, tmp)
    write_json(run.support_json, support)
    with _monitor(run, config) as monitor:
        monitor.summary(flat(support))
    run.mark_done("reduce")
    return support


def reduce_tables(
    paths: Sequence[Path | str],
    base: str,
    trained: str,
    zeta: float,
    changes: Mapping[str, Any] | None = None,
    problems: Path | None = None,
    scores: Sequence[Path] = (),
    rows: "RowsAsked | None" = None,
) -> dict[str, Any]:
    """Estimates of any completions tables; where the only path is a run, they are also written into it, unless only
    some of its rows were asked for.

    Args:
        changes: keys of the config's ``measure`` section.
        problems: what is known of the problems of tables without a run (:mod:`leash_ray.measure.problems`).
        scores: scores tables, for perplexities.
        rows: which rows, and how they are read and grouped.
    """
    rows = rows or RowsAsked()
    changed = {f"measure.{key}": value for key, value in (changes or {}).items()}
    from leash_ray.config import merged, validate
    from leash_ray.measure.measuring import groups_by, measuring_of
    from leash_ray.measure.problems import read_known_problems
    from leash_ray.measure.settings import MeasureConfig

    if is_run(paths):
        run = RunDir.open(paths[0])
        config = parse_config(run.config, str(run.config_yaml), changed)
        if rows.is_all:
            with run.hold():
                return reduce_run(run, config, base, trained, zeta, scores, rows)
        from leash_ray.problems_file import read_problems

        settings, known = config.measure, read_problems(run.problems_parquet)
        paths, scores = [run.completions], [*_scores_of(run), *scores]
    else:
        settings = validate(MeasureConfig, merged({}, changes or {}), "leash reduce")
        known = read_known_problems(problems) if problems else []
    measuring = replace(measuring_of(settings, zeta, known), by=groups_by(rows.by, known))
    return _estimates(paths, base, trained, measuring, scores, rows).to_json()


def is_run(paths: Sequence[Path | str]) -> bool:
    """Whether the only path is a run directory."""
    return len(paths) == 1 and (Path(paths[0]) / "run.json").is_file()


def _estimates(
    paths: Sequence[Path | str],
    base: str,
    trained: str,
    measuring: "Measuring",
    scores: Sequence[Path],
    rows: RowsAsked,
) -> "Estimates":
    from leash_ray.reduce import Reading, reduce_paths, worth_ray
    from leash_ray.reducers.registry import ESTIMATED, KEPT, with_bounded_answers

    reducers: tuple[str, ...] = KEPT if rows.quantiles else ESTIMATED
    if rows.approximate_answers is not None:
        reducers = with_bounded_answers(reducers, rows.approximate_answers)
    found = reduce_paths(
        paths,
        base=base,
        trained=trained,
        measuring=measuring,
        parallel=worth_ray(paths),
        from_rows=rows.from_rows,
        keep_states=rows.keep_states,
        drop_duplicates=rows.drop_duplicates,
        reading=Reading(
            columns=rows.columns,
            first_k=rows.first_k,
            where=rows.where,
            reducers=reducers,
        ),
    )
    if not scores:
        return found
    from leash_ray.measure.scores import perplexity_json, read_scores

    groups = dict(zip(*(found.per_problem[c].to_pylist() for c in ("problem_id", "group")), strict=True))
    return replace(found, perplexity=perplexity_json(read_scores(scores), groups, base=base, trained=found.trained))


def _scores_of(run: RunDir) -> list[Path]:
    folder = run.path / "scores"
    return parquet_files(folder) if folder.is_dir() else []


def flat(support: Mapping[str, Any]) -> dict[str, float]:
    """The estimates as flat names for W&B, such as ``support/problem/S`` and ``policies/base/pass_at_k/1``."""
    found: dict[str, float] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}/{key}" if prefix else str(key), inner)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix] = value
        elif isinstance(value, list) and "ci" in prefix.split("/"):
            found[f"{prefix}/low"], found[f"{prefix}/high"] = value

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
            if not run.stage_done("train"):
                if config.sampling.concurrent:
                    current.serve(models_of(config), training=True)  # start both at once
                else:
                    current.require([config.base], training=False)  # refused before training, not after
            train(current)
        sample(current)
        current.close()  # the reducers get the machine to themselves
        support = reduce(current)
        page = report(run)
    return support, page
