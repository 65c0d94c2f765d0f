"""Estimates to readers: a table in the terminal, SVG figures, and one HTML page that opens offline.

>>> write_report(Path("runs/demo"))      # reads the run's files, writes report.html and figures/*.svg
>>> print_report(support)                # the same comparison in the terminal
>>> answer_sentence(support)             # the same in words

Importing this package loads nothing heavy: charts, Jinja and Parquet are loaded when they are used.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files, write_text
from leash_ray.report.sentence import answer_sentence
from leash_ray.report.terminal import print_report

if TYPE_CHECKING:
    from leash_ray.audit import RareVerdict

__all__ = ["answer_sentence", "print_report", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Write ``run_dir/report.html`` and ``run_dir/figures/*.svg`` from what the run left there.

    Only support.json is needed; what else is absent (per_problem.parquet, metrics.jsonl, run.json,
    config.yaml, prompts.json, problems.parquet, completions/) is named on the page instead of shown.

    Raises:
        UsageError: support.json is missing or is not a support object.
    """
    from leash_ray.monitor import read_metrics
    from leash_ray.report.figures import all_figures
    from leash_ray.report.html import render_html
    from leash_ray.report.read import branch
    from leash_ray.report.run_info import read_config, run_info

    run_dir = Path(run_dir)
    support = _support(run_dir)
    prompts = _json(run_dir / "prompts.json")
    trained = branch(_json(run_dir / "stages.json") or {}, "train", "info")
    run = run_info(
        _json(run_dir / "run.json") or {}, read_config(run_dir / "config.yaml"), prompts, trained.get("steps")
    )
    per_problem = None
    if (path := run_dir / "per_problem.parquet").exists():
        import pyarrow.parquet as pq

        per_problem = pq.read_table(path, partitioning=None)
    metrics = read_metrics(run_dir)
    figures = all_figures(support, per_problem, metrics)
    examples = _examples(run_dir, support, per_problem)
    leniency, rare = _verdicts(run_dir)
    page = render_html(support, per_problem, metrics, examples, run, figures, leniency, rare)
    for figure in figures.values():
        path = run_dir / "figures" / f"{figure.name}.svg"
        if figure.svg is not None:
            write_text(path, figure.svg)
        else:
            path.unlink(missing_ok=True)  # of an earlier report: it would no longer agree with this one
    write_text(run_dir / "report.html", page)
    return run_dir / "report.html"


def _support(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "support.json"
    support = _json(path)
    if support is None:
        raise UsageError(
            f"{path} does not exist: there is nothing to report yet. Measure the run's completions first with "
            f"`leash reduce {run_dir}`, or run `leash demo` for the whole way"
        )
    if "support" not in support or "policies" not in support:
        raise UsageError(f"{path} has no 'support' and 'policies': write it again with `leash reduce ... --json`")
    return support


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None when there is no such file."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} is not JSON ({e}): write it again, or remove it") from e
    if not isinstance(value, dict):
        raise UsageError(f"{path} must hold one JSON object: write it again, or remove it")
    return value


def _verdicts(run_dir: Path) -> tuple[dict[str, dict[str, int]], "list[RareVerdict]"]:
    """How correct answers were read, and the rare correct verdicts; nothing where there are no completions."""
    from leash_ray.audit import rare_verdicts
    from leash_ray.report.verdicts import leniency_counts

    files = parquet_files(run_dir / "completions") if (run_dir / "completions").is_dir() else []
    return (leniency_counts(files), rare_verdicts(run_dir)) if files else ({}, [])


def _examples(run_dir: Path, support: Mapping[str, Any], per_problem: Any) -> dict[str, dict[str, Any]]:
    from leash_ray.problems_file import read_problems
    from leash_ray.report.examples import collect_examples
    from leash_ray.report.read import ROLES, name_of
    from leash_ray.report.rows import example_ids

    if per_problem is None or not (run_dir / "completions").is_dir():
        return {}
    prompts = {problem.id: problem.prompt for problem in read_problems(run_dir / "problems.parquet")}
    files = parquet_files(run_dir / "completions")
    if not files:
        return {}
    base, trained = (name_of(support, role) for role in ROLES)
    return collect_examples(files, example_ids(per_problem), prompts, base=base, trained=trained)
