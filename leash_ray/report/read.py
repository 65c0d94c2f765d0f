"""Careful reading of a support object, in which any key may be absent and any number may be null."""

from collections.abc import Mapping
from typing import Any

from leash_ray.report.numbers import Estimate
from leash_ray.report.text import is_number

Support = Mapping[str, Any]
ROLES = ("base", "trained")
UNITS = ("problem", "answer")
GROUPS = ("P", "E", "S", "O")
GROUP_WORDS = {"P": "preserved", "E": "expanded", "S": "shrunk", "O": "out of support"}
METRICS = ("SRR", "NDR", "SDS", "NSCR")


def number(tree: Any, *path: str) -> int | float | None:
    """The finite number at ``path`` inside nested mappings, or None."""
    value = branch(tree, *path[:-1]).get(path[-1])
    return value if is_number(value) else None


def branch(tree: Any, *path: str) -> Mapping[str, Any]:
    """The mapping at ``path``, or an empty one."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def name_of(support: Support, role: str) -> str:
    """The policy id that plays ``role``."""
    return str(support.get(role) or role)


def policy(support: Support, role: str) -> Mapping[str, Any]:
    """The estimates of one role, found by policy id or, failing that, by the role's name."""
    policies = branch(support, "policies")
    found = policies.get(name_of(support, role), policies.get(role))
    return found if isinstance(found, Mapping) else {}


def curve(support: Support, role: str, key: str = "pass_at_k") -> dict[int, float]:
    """k -> value for the values that are defined, in the order of k."""
    pairs = {int(k): v for k, v in branch(policy(support, role), key).items() if str(k).isdigit()}
    return {k: float(pairs[k]) for k in sorted(pairs) if is_number(pairs[k])}


def k_grid(support: Support) -> list[int]:
    """Every k that either policy has an entry for, defined or not."""
    grid = {k for role in ROLES for k in branch(policy(support, role), "pass_at_k") if str(k).isdigit()}
    return sorted(int(k) for k in grid)


def interval(tree: Any, *path: str) -> tuple[float, float] | None:
    """The (low, high) at ``path``, or None unless both ends are finite numbers."""
    found = branch(tree, *path[:-1]).get(path[-1])
    if not isinstance(found, list | tuple) or len(found) != 2 or not all(map(is_number, found)):
        return None
    return float(found[0]), float(found[1])


def estimate(tree: Any, *path: str) -> Estimate:
    """The number at ``path``, with its interval at the same path below ``ci``."""
    return Estimate(number(tree, *path), interval(tree, "ci", *path))


def both(support: Support, *path: str) -> list[Estimate]:
    """Base, trained and their difference, of one estimate of policies."""
    change = ("difference", *path)
    return [
        *(estimate(policy(support, role), *path) for role in ROLES),
        Estimate(number(support, *change, "value"), interval(support, *change, "ci")),
    ]


def entries(tree: Any, *path: str) -> dict[float, str]:
    """Place on a curve's axis -> its key, in order."""
    found = {}
    for key in branch(tree, *path):
        try:
            found[float(key)] = str(key)
        except ValueError:
            continue
    return dict(sorted(found.items()))


def confidence(support: Support) -> str:
    """Of the intervals, such as "95%"."""
    level = number(support, "confidence")
    return f"{100 * level:g}%" if level is not None else "95%"


def has_intervals(support: Support) -> bool:
    """Whether any unit of support says how far to trust it."""
    return any(branch(support, "support", unit, "ci") for unit in UNITS)


def errors(support: Support, role: str) -> int:
    """How many completions of a role the verifier could not judge."""
    return int(number(policy(support, role), "verdicts", "ERROR") or 0)


def cuts(sampling: Mapping[str, Any] | None) -> list[str]:
    """The settings in ``sampling`` that themselves cut the support of a policy, such as "top_p 0.95"."""
    sampling = sampling or {}
    neutral = {"top_p": lambda v: v >= 1, "top_k": lambda v: v <= 0, "min_p": lambda v: v <= 0}
    return [
        f"{key} {sampling[key]:g}"
        for key, is_off in neutral.items()
        if is_number(sampling.get(key)) and not is_off(sampling[key])
    ]


def cut_shares(support: Support) -> list[str]:
    """How much of the probability those settings cut at a token, such as "1.8% of base's"; nothing where that was not
    scored."""
    names = [name_of(support, role) for role in ROLES]
    shares = [(name, number(support, "cut", name, "share")) for name in names]
    return [f"{100 * share:.2g}% of {name}'s" for name, share in shares if share is not None]
