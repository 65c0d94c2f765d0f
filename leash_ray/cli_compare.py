"""``leash compare``: several recipes from one base, side by side."""

import json
from pathlib import Path

import click

from leash_ray.cli_options import example
from leash_ray.errors import UsageError


@click.command(epilog=example("leash compare runs/grpo-seed* runs/dapo-seed* runs/sft-seed* --out runs/compared"))
@click.argument("paths", nargs=-1, metavar="RUN...")
@click.option(
    "--group-by",
    default="recipe",
    show_default=True,
    metavar="HOW",
    help="What makes runs seeds of one recipe: recipe (train sections that differ in seeds alone), name (run names "
    "less -seedN), run (each alone), or a config key such as train.lr.",
)
@click.option("--k", type=click.IntRange(1), help="Measure all at the first K samples of each problem.")
@click.option("--shared-problems", is_flag=True, help="Measure all on the problems that all runs have.")
@click.option("--allow", multiple=True, metavar="SETTING", help="Accept that the runs differ in SETTING.")
@click.option("--details", is_flag=True, help="Print every table, with each seed's numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write the page there.")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE", help="Write the main figure there, as SVG.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write compare.json, page and figures.")
def compare(
    paths: tuple[str, ...],
    group_by: str,
    k: int | None,
    shared_problems: bool,
    allow: tuple[str, ...],
    details: bool,
    as_json: bool,
    html: Path | None,
    figure: Path | None,
    out: Path | None,
) -> None:
    """Compare recipes trained from one base: what each keeps, loses and gains, and which differ.

    RUN: run directories that were reduced, folders of them, or globs. Runs of one recipe with different seeds are taken
    together. docs/comparing.md explains every number.
    """
    if not paths:
        raise UsageError("give two or more runs, such as runs/grpo-seed* runs/dapo-seed*")
    for path, is_there in ((html, Path.is_dir), (figure, Path.is_dir), (out, Path.is_file)):
        if path is not None and is_there(path):
            kind = "a folder; give a file" if is_there is Path.is_dir else "a file; give a folder"
            raise UsageError(f"{path} is {kind}")
    from leash_ray.compare import Asked, compare_runs
    from leash_ray.report.compare import print_comparison, write_comparison, write_figure, write_page

    found = compare_runs(paths, Asked(group_by, k, shared_problems, allow))
    made = []
    if out:
        made.append(str(write_comparison(found, out)))
    if html:
        write_page(found, html)
        made.append(str(html))
    if figure:
        write_figure(found, figure)
        made.append(str(figure))
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
        return
    print_comparison(found, details=details)
    if made:
        click.echo(f"\nresults are in {out or made[0]}: open {' and '.join(made)}")
    else:
        click.echo("\nnothing was written; --out DIR keeps the numbers, a page and figures")
