"""The commands about measuring: ``leash reduce`` and ``leash plan``."""

import json
from pathlib import Path
from typing import Any

import click

from leash_ray.cli_options import example, run_path
from leash_ray.errors import RunFailed, UsageError


@click.command(epilog=example("leash reduce runs/demo/completions --base base --trained trained --json"))
@click.argument("paths", nargs=-1)
@click.option("--base", help="Policy id of the base. [default: the run's, else base]")
@click.option("--trained", help="Policy id of the trained policy. [default: the run's, else trained]")
@click.option("--zeta", type=float, help="1 - confidence of epsilon = -ln(zeta)/k. [default: the run's, else 0.05]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
@click.option("--details", is_flag=True, help="Print every table, not only those that decide.")
@click.option("--bits", is_flag=True, help="Print entropies in bits (JSON has nats).")
@click.option("--cluster-by", metavar="KEY", help="Resample problems with an equal KEY of their metadata together.")
@click.option("--guess-rate", "rates", multiple=True, metavar="[TASK=]RATE", help="Chance that a blind guess is right.")
@click.option("--above-guessing", is_flag=True, default=None, help="Count as found what guessing does not explain.")
@click.option("--bootstrap", type=click.IntRange(100), metavar="N", help="Replicates of the bootstrap.")
@click.option("--confidence", type=float, metavar="LEVEL", help="Of all intervals, such as 0.95.")
@click.option("--problems", metavar="FILE", help="What is known of the problems: Parquet or JSONL with problem_id.")
@click.option("--scores", multiple=True, metavar="FILE", help="Scores tables, for perplexities of given texts.")
@click.option("--by", multiple=True, metavar="KEY", help="Measure problems apart by KEY of their metadata, too.")
@click.option("--k", type=click.IntRange(1), help="As if only the first K samples of each problem had been drawn.")
@click.option("--step", type=int, help="The checkpoint TRAINED@STEP.")
@click.option("--filter", "where", metavar="SQL", help="Only rows of which it holds, such as 'n_tokens < 100'.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="How the tables name a column.")
@click.option("--drop-duplicates", is_flag=True, help="Take the first copy of a sample that occurs more than once.")
@click.option("--from-rows", is_flag=True, help="Read all rows, also where the state of a shard is kept beside it.")
@click.option("--keep-states", is_flag=True, help="Keep states beside Parquet files, as is always done in a run.")
@click.option("--quantiles", is_flag=True, help="Of lengths, surprisal and token entropy; of a run, always.")
@click.option(
    "--approximate-answers",
    type=click.IntRange(16),
    metavar="N",
    help="Keep N answers of a problem, estimate the rest.",
)
@click.option("--check", is_flag=True, help="Compare the kept states with the rows, and print what differs.")
@click.option("--config", hidden=True, help="The run of this config, in place of PATHS (for jobs/).")
@click.option("--run", "run", hidden=True, help="This run, in place of PATHS (for jobs/).")
def reduce(
    paths: tuple[str, ...],
    base: str | None,
    trained: str | None,
    zeta: float | None,
    as_json: bool,
    details: bool,
    bits: bool,
    rates: tuple[str, ...],
    problems: str | None,
    scores: tuple[str, ...],
    by: tuple[str, ...],
    k: int | None,
    step: int | None,
    where: str | None,
    columns: tuple[str, ...],
    drop_duplicates: bool,
    from_rows: bool,
    keep_states: bool,
    quantiles: bool,
    approximate_answers: int | None,
    check: bool,
    config: str | None,
    run: str | None,
    **measure: Any,
) -> None:
    """Measure support, pass@k, entropies and what chance gives, from completions tables, wherever they came from.

    PATHS are run directories, folders of Parquet, files (Parquet, JSONL, CSV), globs, or addresses such as
    s3://bucket/completions. Checkpoints (policies named trained@STEP) are
    measured as a series, too. docs/measuring.md explains every number.
    """
    if config or run:
        from leash_ray.config import load_config

        paths = (*paths, str(run_path(load_config(config).name if config else "", run)))
    if not paths:
        raise UsageError("give PATHS: a run directory, folders of Parquet, files or globs")
    if zeta is not None and not 0 < zeta < 1:
        raise UsageError(f"--zeta must lie between 0 and 1, not {zeta}")
    if check:
        _check(paths)
        return
    asked = _config_of(paths)
    base, trained = base or asked.get("base", "base"), trained or asked.get("trained", "trained")
    if step is not None:
        trained = f"{trained.partition('@')[0]}@{step}"
    if base == trained:
        raise UsageError(f"--base and --trained must name two different policies, not {base} twice")
    if problems and asked:
        raise UsageError(f"--problems is for tables without a run; {paths[0]} has its own problems.parquet")
    changes = {key: value for key, value in measure.items() if value is not None}
    if rates:
        changes["guess_rate"] = _rates(rates)
    from leash_ray import stages

    rows = stages.RowsAsked(
        k, where, _columns(columns), by, drop_duplicates, from_rows, keep_states, quantiles, approximate_answers
    )
    support = stages.reduce_tables(
        [p if "://" in p else Path(p) for p in paths],
        base,
        trained,
        zeta or asked.get("zeta", 0.05),
        changes,
        Path(problems) if problems else None,
        [Path(p) for p in scores],
        rows,
    )
    if as_json:
        click.echo(json.dumps(support))
        return
    from leash_ray.prompting.record import read_prompts
    from leash_ray.report import print_report

    prompts = read_prompts(Path(paths[0])) if asked else None
    print_report(support, sampling=asked.get("sampling"), prompts=prompts, details=details, bits=bits)
    if asked and rows.is_all:
        click.echo(f"\nresults are in {paths[0]}; next: leash report {paths[0]}")


def _check(paths: tuple[str, ...]) -> None:
    from leash_ray.reduce import compare, worth_ray
    from leash_ray.stages import is_run

    tables = [str(Path(paths[0]) / "completions")] if is_run(paths) else list(paths)
    if differing := compare(tables, parallel=worth_ray(tables)):
        raise RunFailed(
            f"the kept states differ from the rows: {'; '.join(differing)}. Delete the folders _state beside the "
            "shards, then reduce again"
        )
    click.echo("kept states and rows agree")


def _columns(given: tuple[str, ...]) -> dict[str, str]:
    from leash_ray.reducers import READ_COLUMNS

    found = {}
    for one in given:
        ours, equals, theirs = one.partition("=")
        if not equals or not theirs or ours not in READ_COLUMNS:
            raise UsageError(f"--column {one}: give OURS=THEIRS with OURS one of {', '.join(READ_COLUMNS)}")
        found[ours] = theirs
    return found


def _config_of(paths: tuple[str, ...]) -> dict[str, Any]:
    """The config of the run that is the only path; empty where it is none."""
    if len(paths) != 1 or not (Path(paths[0]) / "run.json").is_file():
        return {}
    from leash_ray.run_dir import RunDir

    return RunDir.open(paths[0]).config


def _rates(given: tuple[str, ...]) -> float | dict[str, float]:
    found: dict[str, float] = {}
    for one in given:
        task, equals, rate = one.rpartition("=")
        try:
            found[task if equals else ""] = float(rate)
        except ValueError as e:
            raise UsageError(f"--guess-rate {one}: give a number such as 0.25, or TASK=0.25") from e
    if "" in found and len(found) > 1:
        raise UsageError("--guess-rate: give one rate for all tasks, or TASK=RATE for each")
    return found.get("", found)


@click.command(epilog=example("leash plan runs/pilot --epsilon 1e-3 --nscr-width 0.05 --power 0.8 --tokens-per-s 4000"))
@click.argument("pilot", required=False)
@click.option("--epsilon", type=float, help="Largest probability that k misses may still allow.")
@click.option("--k", type=click.IntRange(1), help="Samples a problem, in place of --epsilon.")
@click.option("--n-problems", type=click.IntRange(1), help="Problems there are. [default: the pilot's]")
@click.option("--nscr-width", type=float, metavar="WIDTH", help="Find the problems for an interval of NSCR this wide.")
@click.option("--power", type=float, help="Find the problems to see E - S with this power, such as 0.8.")
@click.option("--shares", metavar="P,E,S", help="Assumed shares, such as 0.7,0.02,0.1. [default: the pilot's]")
@click.option("--zeta", default=0.05, show_default=True, type=float, help="1 - confidence of epsilon.")
@click.option("--confidence", default=0.95, show_default=True, type=float, help="Interval's; 1 - the test's.")
@click.option("--policies", default=2, show_default=True, type=click.IntRange(1), help="Policies to sample.")
@click.option("--tokens", type=float, metavar="N", help="Mean tokens a completion. [default: the pilot's]")
@click.option("--bytes", "size_bytes", type=float, metavar="N", help="Mean bytes a completion. [default: the pilot's]")
@click.option("--tokens-per-s", type=float, metavar="N", help="Of all replicas together; gives hours.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of a table.")
def plan(pilot: str | None, as_json: bool, shares: str | None, **asked: Any) -> None:
    """How many samples, problems, tokens, bytes and hours does an answer take?

    PILOT is a run that was reduced: it lends its shares of P, E and S, tokens and bytes a completion, and its number of
    problems.
    """
    from leash_ray.measure.planning import make_plan
    from leash_ray.report.plan import print_plan

    found = make_plan(Path(pilot) if pilot else None, shares, **asked)
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        print_plan(found)
