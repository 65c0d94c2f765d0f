"""The command ``leash score``."""

import json
from pathlib import Path

import click

from leash_ray.cli_options import example, overrides_of, run_path, say
from leash_ray.errors import UsageError


@click.command(epilog=example("leash score runs/mine --texts references.jsonl --under base --under trained"))
@click.argument("run")
@click.option("--policy", "policies", multiple=True, metavar="POLICY", help="Whose completions. [default: all]")
@click.option(
    "--under", multiple=True, metavar="POLICY", help="Score under this policy, into RUN/scores. [default: their own]"
)
@click.option("--texts", metavar="FILE", help="Score these texts: JSONL of problem (its id or prompt), text, source.")
@click.option("--model", metavar="MODEL", help="Score under this model: a folder or a hub name; with --name.")
@click.option("--name", metavar="POLICY", help="What the --model is called in tables, such as trained@200.")
@click.option("--temperature", default=1.0, show_default=True, type=float, help="Of scores in RUN/scores.")
@click.option("--actors", type=click.IntRange(1), help="Copies of the model. [default: one a GPU, or a node without]")
@click.option("--batch-tokens", type=click.IntRange(1), help="Tokens of one forward pass, padding included.")
@click.option("--accept-gap", is_flag=True, help="Fill entropies though ln p is not what sampling stored.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of the last line.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config key (dotted).")
def score(
    run: str,
    policies: tuple[str, ...],
    under: tuple[str, ...],
    texts: str | None,
    model: str | None,
    name: str | None,
    temperature: float,
    actors: int | None,
    batch_tokens: int | None,
    accept_gap: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Score what is there by teacher forcing: exact token entropy, log-probability, perplexity.

    RUN's completions get their exact token entropies (at the temperature that they were sampled at, over the whole
    vocabulary: top_p, top_k and min_p do not apply). With --under, completions of any policy are scored under another
    one too; with --texts, given texts. Both go into RUN/scores, where leash reduce finds them.

    Stopped by Ctrl-C, the same command goes on.
    """
    from leash_ray.config import parse_config
    from leash_ray.run_dir import RunDir
    from leash_ray.scoring.run import Asked, score_run

    if not temperature > 0:
        raise UsageError(f"--temperature must be above 0, not {temperature:g}")
    opened = RunDir.open(run_path("", run))
    config = parse_config(opened.config, str(opened.config_yaml), overrides_of(overrides))
    asked = Asked(
        policies=policies,
        under=under,
        model=model,
        name=name,
        texts=Path(texts) if texts else None,
        temperature=temperature,
        actors=actors,
        limits={"batch_tokens": batch_tokens} if batch_tokens else {},
        accept_gap=accept_gap,
    )
    try:
        with opened.hold():
            results = score_run(opened, config, asked, say)
    except KeyboardInterrupt:
        say("stopped: what was scored is kept; the same command goes on")
        raise
    if as_json:
        click.echo(json.dumps({name: result.to_json() for name, result in results.items()}))
        return
    places = []
    if any(result.is_own for result in results.values()):
        places.append(f"entropies are in {opened.completions}")
    if any(result.in_table for result in results.values()):
        places.append(f"scores are in {opened.path / 'scores'}")
    click.echo(f"{' and '.join(places)}; next: leash reduce {opened.path}")
