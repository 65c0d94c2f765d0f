"""What a reader should hold against a comparison."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report.decide import reach
from leash_ray.report.read import (
    ROLES,
    Support,
    branch,
    curve,
    cut_shares,
    cuts,
    errors,
    has_intervals,
    k_grid,
    name_of,
    number,
)
from leash_ray.report.text import count

FEW_CHANGES = 10
"""Below this many gained and lost problems together, numbers without intervals get a caution."""


def cautions(support: Support, sampling: Mapping[str, Any] | None) -> list[str]:
    """A sentence each. ``sampling``: the run's settings."""
    said = []
    if number(support, "n_problems") == 0:
        said.append("no problem was sampled by both policies.")
    found = reach(support, "problem")
    if found is not None and not has_intervals(support):
        if found.gained + found.lost < FEW_CHANGES:
            said.append(
                f"only {count(found.gained + found.lost)} problems changed sides (E + S < {FEW_CHANGES}): "
                "chance alone could move as many."
            )
        if number(support, "n_problems") != 0:
            said.append("these counts have no intervals and no test against chance: `leash reduce` adds them.")
    if cut := cuts(sampling):
        shares = " and ".join(cut_shares(support))
        much = f"It took {shares} probability at a token." if shares else "`leash score` says how much at a token."
        said.append(
            f"sampling itself cut the support ({', '.join(cut)}): "
            f"a lost answer may be one that was not allowed to appear. {much}"
        )
    failed = {name_of(support, role): errors(support, role) for role in ROLES}
    if any(failed.values()):
        parts = ", ".join(f"{count(n)} of {name}" for name, n in failed.items() if n)
        said.append(f"the verifier failed on some completions ({parts}); they count neither as right nor as wrong.")
    unpaired = branch(support, "n_problems_unpaired")
    alone = {key: number(unpaired, key) or 0 for key in ("base_only", "trained_only", "neither")}
    if any(alone.values()):
        said.append(
            "problems that lack judged completions of a policy were left out "
            f"({count(alone['base_only'])} have the base's only, {count(alone['trained_only'])} the trained policy's "
            f"only, {count(alone['neither'])} neither)."
        )
    undefined = [k for k in k_grid(support) if any(k not in curve(support, role) for role in ROLES)]
    if undefined:
        said.append(f"pass@k is undefined at k = {', '.join(map(str, undefined))}: some problems have fewer samples.")
    return said
