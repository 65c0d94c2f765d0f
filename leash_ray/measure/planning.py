"""A plan from what was asked and what a pilot run lends."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.stats.plan import Plan, Shares, plan


def make_plan(
    pilot: Path | None,
    shares: str | None,
    *,
    epsilon: float | None = None,
    k: int | None = None,
    n_problems: int | None = None,
    nscr_width: float | None = None,
    power: float | None = None,
    zeta: float = 0.05,
    confidence: float = 0.95,
    policies: int = 2,
    tokens: float | None = None,
    size_bytes: float | None = None,
    tokens_per_s: float | None = None,
) -> Plan:
    """A plan; what is not given comes from ``pilot``.

    Args:
        pilot: a run directory that was reduced.
        shares: "P,E,S", as shares of all problems.

    Raises:
        UsageError: something needed is given by neither, or is out of range; names the option.
    """
    lent = _lent(pilot) if pilot else {}
    if epsilon is None and k is None:
        k = lent.get("k")
    found = nscr_width is not None or power is not None
    if (epsilon is None) == (k is None):
        raise UsageError("give one of --epsilon and --k, or a PILOT run that lends its k")
    if not (n_problems or found or lent):
        raise UsageError("give --n-problems, or --nscr-width or --power to find them by, or a PILOT run")
    if found and not (shares or lent):
        raise UsageError("--nscr-width and --power need --shares P,E,S, or a PILOT run that lends them")
    try:
        return plan(
            epsilon=epsilon,
            samples_per_problem=k,
            # The pilot's problems are what there is; where a number is looked for, it is not held up by them.
            problems=n_problems if n_problems or found else lent.get("problems"),
            shares=_shares(shares) if shares else lent.get("shares"),
            width=nscr_width,
            power=power,
            zeta=zeta,
            level=confidence,
            alpha=1 - confidence,
            policies=policies,
            tokens_per_completion=tokens or lent.get("tokens"),
            bytes_per_completion=size_bytes or lent.get("bytes"),
            tokens_per_s=tokens_per_s,
        )
    except ValueError as e:
        raise UsageError(f"leash plan: {e}") from e


def _shares(text: str) -> Shares:
    try:
        P, E, S = map(float, text.split(","))
        return Shares(P, E, S)
    except ValueError as e:
        raise UsageError(
            f"--shares {text}: give three shares P,E,S that sum to at most 1, such as 0.7,0.02,0.1 ({e})"
        ) from e


def _lent(pilot: Path) -> dict[str, Any]:
    path = pilot / "support.json"
    if not path.is_file():
        raise UsageError(f"{pilot} has no support.json: reduce it first with leash reduce {pilot}")
    support: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    counts, n = support["support"]["problem"], support["n_problems"]
    lent: dict[str, Any] = {"k": support["k"], "problems": n, "shares": Shares(*(counts[g] / n for g in "PES"))}
    policies = list(support["policies"].values())
    lengths = [p["mean_n_tokens"] for p in policies if p.get("mean_n_tokens")]
    if lengths:
        lent["tokens"] = sum(lengths) / len(lengths)
    folder = pilot / "completions"
    files = parquet_files(folder) if folder.is_dir() else []
    completions = sum(p["n_completions"] for p in policies)
    if files and completions:
        lent["bytes"] = sum(f.stat().st_size for f in files) / completions
    return lent
