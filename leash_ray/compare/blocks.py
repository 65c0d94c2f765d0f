"""The numbers that are compared, each as a function of means over problems of some columns.

So all of them can be resampled with the same weights of problems, which pairs the recipes: a problem that is hard for
one is hard for the other. Shapes: N problems; D columns; M statistics of a block; Q half problems.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from leash_ray.compare.runs import ComparedRun
from leash_ray.measure.pair import Floats
from leash_ray.stats.bootstrap import Statistic
from leash_ray.stats.passk import pass_at_k, powers_of_two_up_to
from leash_ray.stats.support import METRICS, support_metrics

SHARE, CHANGE, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, np.inf)
"""Least and largest possible values."""
COUNTS = ("P", "E", "S", "net")
"""Of a unit of support, before its metrics; net: E - S."""
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Some numbers of one run, or of one policy of it."""

    name: str
    measures: tuple[str, ...]
    """Names of the statistics, [M]."""
    values: Floats
    """[N, D]"""
    statistic: Statistic
    """Means of the columns, [..., D], to statistics, [..., M]."""
    halves: Floats
    """Half a problem of each of these kinds more than was seen, [Q, D]: what Jeffreys' prior adds, so that an event
    that was not seen is not taken for impossible. Not in the estimates, only in their intervals."""
    bounds: tuple[tuple[float, float], ...]
    """Least and largest possible value of each statistic, [M]."""
    stored: tuple[Path | None, ...] = ()
    """Where in support.json each statistic's interval is, [M]; None: nowhere."""


def _means(means: Floats) -> Floats:
    return means


def _support(n_problems: int) -> Callable[[Floats], Floats]:
    def statistic(m: Floats) -> Floats:
        P, E, S = m[..., 0], m[..., 1], m[..., 2]
        counts = [n_problems * x for x in (P, E, S, E - S)]
        metrics = support_metrics(P, E, S)
        return np.stack([*counts, *(metrics[name] for name in METRICS)], axis=-1)

    return statistic


def _ratio(m: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return m[..., :1] / m[..., 1:]


def blocks_of(run: ComparedRun, ks: Sequence[int]) -> list[Block]:
    """Of a run's trained policy against its base. ``ks``: where pass@k is looked at."""
    table, n = run.table, len(run.table)
    found = [
        support_block("problem", np.stack([(table["group"] == g).to_numpy() for g in "PES"], axis=1).astype(float))
    ]
    if "answers_P" in table.columns:
        found.append(
            support_block("answer", table.select("answers_P", "answers_E", "answers_S").to_numpy().astype(float))
        )
    found += policy_blocks(run, "trained", ks)
    shares = [_shares(run, role, ks) for role in ("base", "trained")]
    one, zero = np.ones(len(ks)), np.zeros(len(ks))
    paths = tuple(("difference", "pass_at_k", str(k), "ci") for k in ks)
    halves = np.stack([one, -one, zero])
    found.append(Block("gain_at_k", _names(ks), shares[1] - shares[0], _means, halves, (CHANGE,) * len(ks), paths))
    assert all(len(block.values) == n for block in found)
    return found


def policy_blocks(run: ComparedRun, role: str, ks: Sequence[int]) -> list[Block]:
    """Of one policy alone."""
    table = run.table
    policy = str(run.support[role])
    ci: Path = ("policies", policy, "ci")
    nothing = np.zeros((0, 2))

    def column(name: str) -> Floats:
        return np.asarray(table[f"{name}_{role}"].cast(float).fill_null(np.nan).to_numpy(), dtype=np.float64)

    halves = np.stack([np.ones(len(ks)), np.zeros(len(ks))])
    paths = tuple((*ci, "pass_at_k", str(k)) for k in ks)
    found = [Block("pass_at_k", _names(ks), _shares(run, role, ks), _means, halves, (SHARE,) * len(ks), paths)]
    for name in ("answer_entropy", "token_entropy"):
        found.append(_mean(name, column(name), ((*ci, name),)))
    tokens = column("n_tokens") if f"n_tokens_{role}" in table.columns else np.full(len(table), np.nan)
    surprisal = np.stack([np.where(tokens > 0, column("surprisal") * tokens, 0.0), tokens], axis=1)
    surprisal[np.isnan(tokens)] = np.nan
    found.append(
        Block(
            "mean_surprisal", ("mean_surprisal",), surprisal, _ratio, nothing, (POSITIVE,), ((*ci, "mean_surprisal"),)
        )
    )  # fmt: skip
    if "answers_P" in table.columns:
        distinct = table["answers_P"] + table["answers_S" if role == "base" else "answers_E"]
        path = (*ci, "distinct_correct_at_k", str(run.k_answers))
        found.append(_mean("distinct_correct_answers", distinct.to_numpy().astype(float), (path,)))
    return found


def _mean(name: str, values: Floats, stored: tuple[Path | None, ...]) -> Block:
    return Block(name, (name,), values[:, None], _means, np.zeros((0, 1)), (POSITIVE,), stored)


def support_block(name: str, counts_N3: Floats) -> Block:
    """Of one unit of support: how many units of each problem are in P, E and S, [N, 3]."""
    reached = max(1.0, float((counts_N3.sum(axis=1) > 0).sum()))
    size = max(counts_N3.sum() / reached, 1.0)  # units of a problem that has any: they come and go together
    paths = (None,) * len(COUNTS) + tuple(("support", name, "ci", metric) for metric in METRICS)
    most = float(len(counts_N3)) if name == "problem" else np.inf
    bounds = ((0.0, most),) * 3 + ((-most, most),) + (SHARE,) * 3 + (CHANGE,)
    return Block(
        name, (*COUNTS, *METRICS), counts_N3, _support(len(counts_N3)), size * np.eye(3), bounds, paths
    )  # fmt: skip


def _names(ks: ArrayLike) -> tuple[str, ...]:
    return tuple(str(k) for k in np.asarray(ks))


def _shares(run: ComparedRun, role: str, ks: Sequence[int]) -> Floats:
    return pass_at_k(run.table[f"n_{role}"].to_numpy(), run.table[f"c_{role}"].to_numpy(), list(ks))


def grid(runs: Sequence[ComparedRun]) -> list[int]:
    """Where pass@k is known of all runs."""
    return powers_of_two_up_to(min(run.k_answers for run in runs))


def named(blocks: Sequence[Block]) -> Iterator[tuple[int, str, str]]:
    """(place among all statistics, block, measure)."""
    place = 0
    for block in blocks:
        for measure in block.measures:
            yield place, block.name, measure
            place += 1
