"""How much sampling a question costs: samples for an ε, problems for an interval or for a power, tokens, bytes, hours.

- Samples a problem: k misses rule out probabilities above ε = -ln(ζ) / k (arXiv 2507.14843, appendix C.4), so
  k = ceil(-ln(ζ) / ε).
- Problems for an interval of NSCR: with shares p, e, s, o of P, E, S, O among independent problems, m = p + e + s and
  x = (e - s) / m, the delta method on multinomial counts gives

      Var(NSCR) = ((e + s) / m - x²) / (N m),  width = 2 z sqrt(Var)

- Power of McNemar's exact test: of N problems Binomial(N, e + s) change sides, of which Binomial(·, e / (e + s)) are
  gained; the sum of what is rejected at level α. Exact but for less than 1e-12 of outcomes. Its level is below α,
  since the test is conservative, so the power at e = s is below α too.

Assumptions: problems are independent and alike; the shares are guesses about what k samples a problem will show (take
them from a pilot or from another run at the same k). Variance and power are between problems: k enters by the shares.

Degenerate cases: the width is NaN where m = 0, and 0 where all of m is P, all E or all S. No number of problems shows a
difference that is not there (e = s): the answer is None.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from leash_ray.stats.mcnemar import mcnemar_p

MOST_PROBLEMS = 1_000_000
"""Beyond this many no number of problems for a power is searched."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Assumed shares of problems; they sum to 1 with O, which is what is left."""

    P: float
    E: float
    S: float

    def __post_init__(self) -> None:
        if min(self.P, self.E, self.S) < 0 or self.P + self.E + self.S > 1 + 1e-9:
            raise ValueError(
                f"shares of P, E and S must be >= 0 and sum to at most 1 (O is the rest); got {self.P}, {self.E} and "
                f"{self.S}"
            )

    @property
    def nscr(self) -> float:
        """(E - S) / (P + E + S); NaN if nothing is found."""
        found = self.P + self.E + self.S
        return (self.E - self.S) / found if found else math.nan


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan takes; None: the rate or size it needs was not given."""

    problems: int
    samples_per_problem: int
    policies: int
    completions: int
    tokens: float | None
    size_bytes: float | None
    hours: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """Answers to the questions that were asked; None: not asked, or no number of problems does it."""

    zeta: float
    samples_per_problem: int
    epsilon: float
    """What that many samples allow."""
    problems: int
    """Planned: the largest of those given or needed."""
    problems_for_width: int | None
    nscr_width: float | None
    """Expected width of the interval of NSCR, with the planned problems."""
    problems_for_power: int | None
    power: float | None
    """To see E - S at the assumed shares, with the planned problems."""
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values; undefined is None."""
        out = asdict(self)
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in out.items()}


def samples_for_epsilon(epsilon: float, zeta: float = 0.05) -> int:
    """The fewest samples a problem whose ε is at most ``epsilon``.

    Raises:
        ValueError: epsilon is not positive, or zeta not inside (0, 1).
    """
    _inside("zeta", zeta)
    if not epsilon > 0:
        raise ValueError(f"epsilon must be positive, such as 0.001; got {epsilon}")
    return max(1, math.ceil(-math.log(zeta) / epsilon * (1 - 1e-12)))  # 300 stays 300, however it was rounded


def nscr_width(n_problems: ArrayLike, shares: Shares, level: float = 0.95) -> NDArray[np.float64]:
    """Expected width of the interval of NSCR with that many problems, of any shape; NaN where nothing is found.

    Raises:
        ValueError: level is not inside (0, 1), or fewer than 1 problem.
    """
    _inside("level", level)
    n = np.asarray(n_problems, dtype=np.float64)
    if np.any(n < 1):
        raise ValueError("give at least 1 problem")
    return 2 * float(special.ndtri((1 + level) / 2)) * np.sqrt(_unit_variance(shares) / n)


def problems_for_width(width: float, shares: Shares, level: float = 0.95) -> int | None:
    """The fewest problems whose expected interval of NSCR is no wider than ``width``; None if nothing is ever found.

    Raises:
        ValueError: width is not positive, or level not inside (0, 1).
    """
    _inside("level", level)
    if not width > 0:
        raise ValueError(f"width must be positive, such as 0.05; got {width}")
    variance = _unit_variance(shares)
    if math.isnan(variance):
        return None
    z = float(special.ndtri((1 + level) / 2))
    return max(1, math.ceil(variance * (2 * z / width) ** 2 * (1 - 1e-12)))


def mcnemar_power(n_problems: int, shares: Shares, alpha: float = 0.05) -> float:
    """Probability that McNemar's exact two-sided test of E against S rejects at level ``alpha``.

    Raises:
        ValueError: alpha is not inside (0, 1), or fewer than 1 problem.
    """
    _inside("alpha", alpha)
    if n_problems < 1:
        raise ValueError(f"give at least 1 problem; got {n_problems}")
    moved = min(1.0, shares.E + shares.S)
    if moved == 0:
        return 0.0
    law = stats.binom(n_problems, moved)
    m_M = np.arange(int(law.ppf(5e-13)), int(law.isf(5e-13)) + 1)
    most_M = _rejected_up_to(m_M, alpha)
    gained = shares.E / (shares.E + shares.S)
    reject_M = stats.binom.cdf(most_M, m_M, gained) + stats.binom.sf(m_M - most_M - 1, m_M, gained)
    return float((law.pmf(m_M) * np.where(most_M >= 0, reject_M, 0.0)).sum())


def problems_for_power(shares: Shares, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """The fewest problems from which on the test has at least that power; None if there is no such number.

    Power rises with the number of problems in a saw-tooth, so a number that reaches it may be followed by one that does
    not. None also where more than :data:`MOST_PROBLEMS` are needed.

    Raises:
        ValueError: power or alpha is not inside (0, 1).
    """
    _inside("power", power)
    _inside("alpha", alpha)
    if shares.E == shares.S:
        return None
    # Doubling, then bisection, as if it rose steadily; then the saw-tooth around the place found.
    high = 1
    while mcnemar_power(high, shares, alpha) < power:
        high *= 2
        if high > MOST_PROBLEMS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mcnemar_power(middle, shares, alpha) >= power else (middle, high)
    # Teeth show only where nearly every problem changes sides; else chance in how many do smooths them away.
    moved = shares.E + shares.S
    if moved < 0.7 or high * moved * (1 - moved) > 4:
        return high
    reach = min(2 * high + 20, 400)
    last_below = max(
        (n for n in range(max(1, high - reach), high + reach) if mcnemar_power(n, shares, alpha) < power), default=0
    )
    return last_below + 1


def cost(
    problems: int,
    samples_per_problem: int,
    *,
    policies: int = 2,
    tokens_per_completion: float | None = None,
    bytes_per_completion: float | None = None,
    tokens_per_s: float | None = None,
) -> Cost:
    """Completions, tokens, bytes and hours of sampling.

    Args:
        problems, samples_per_problem, policies: whose product is the number of completions.
        tokens_per_completion: mean, as sampled.
        bytes_per_completion: mean, as stored.
        tokens_per_s: of all replicas together.

    Raises:
        ValueError: a number that is not positive.
    """
    for name, value in (
        ("problems", problems),
        ("samples_per_problem", samples_per_problem),
        ("policies", policies),
        ("tokens_per_completion", tokens_per_completion),
        ("bytes_per_completion", bytes_per_completion),
        ("tokens_per_s", tokens_per_s),
    ):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive; got {value}")
    completions = problems * samples_per_problem * policies
    tokens = None if tokens_per_completion is None else completions * tokens_per_completion
    return Cost(
        problems=problems,
        samples_per_problem=samples_per_problem,
        policies=policies,
        completions=completions,
        tokens=tokens,
        size_bytes=None if bytes_per_completion is None else completions * bytes_per_completion,
        hours=None if tokens is None or tokens_per_s is None else tokens / tokens_per_s / 3600,
    )


def plan(
    *,
    epsilon: float | None = None,
    samples_per_problem: int | None = None,
    problems: int | None = None,
    shares: Shares | None = None,
    width: float | None = None,
    power: float | None = None,
    zeta: float = 0.05,
    level: float = 0.95,
    alpha: float = 0.05,
    policies: int = 2,
    tokens_per_completion: float | None = None,
    bytes_per_completion: float | None = None,
    tokens_per_s: float | None = None,
) -> Plan:
    """One plan for all targets: samples a problem from ``epsilon``; problems from ``width``, ``power`` and ``shares``.

    Args:
        epsilon: target ε; or ``samples_per_problem``, exactly one of the two.
        problems: as many as there are, or at least to take; needed without ``width`` and ``power``.
        shares: assumed shares; needed for ``width`` and ``power``.
        width: target width of the interval of NSCR at ``level``.
        power: target power of McNemar's test at ``alpha``.
        zeta, level, alpha: 1 - confidence of ε, confidence of the interval, level of the test.
        policies, tokens_per_completion, bytes_per_completion, tokens_per_s: as of :func:`cost`.

    Raises:
        ValueError: something needed is missing, cannot be reached, or is out of range.
    """
    if (epsilon is None) == (samples_per_problem is None):
        raise ValueError("give either a target epsilon or the samples per problem")
    if shares is None and (width is not None or power is not None):
        raise ValueError("a target width or power needs assumed shares of P, E and S: take them from a pilot run")
    k = samples_for_epsilon(epsilon, zeta) if epsilon is not None else int(samples_per_problem or 0)
    _inside("zeta", zeta)
    for_width = for_power = None
    if shares is not None and width is not None:
        for_width = problems_for_width(width, shares, level)
        if for_width is None:
            raise ValueError(
                "with shares of P, E and S all 0 NSCR is undefined: no number of problems gives it an interval"
            )
    if shares is not None and power is not None:
        for_power = problems_for_power(shares, power, alpha)
        if for_power is None:
            raise ValueError(
                f"no number of problems up to {MOST_PROBLEMS:,} gives that power: E and S differ too little; got "
                f"{shares.E} and {shares.S}"
            )
    planned = max((n for n in (problems, for_width, for_power) if n is not None), default=0)
    if not planned:
        raise ValueError("give the number of problems, or a target width or power to find it by")
    costs = cost(
        planned,
        k,
        policies=policies,
        tokens_per_completion=tokens_per_completion,
        bytes_per_completion=bytes_per_completion,
        tokens_per_s=tokens_per_s,
    )
    return Plan(
        zeta=zeta,
        samples_per_problem=k,
        epsilon=-math.log(zeta) / k,
        problems=planned,
        problems_for_width=for_width,
        nscr_width=None if shares is None else float(nscr_width(planned, shares, level)),
        problems_for_power=for_power,
        power=None if shares is None else mcnemar_power(planned, shares, alpha),
        cost=costs,
    )


def _unit_variance(shares: Shares) -> float:
    """N Var(NSCR)."""
    found = shares.P + shares.E + shares.S
    if not found:
        return math.nan
    return max(0.0, (shares.E + shares.S) / found - shares.nscr**2) / found


def _rejected_up_to(m_M: NDArray[np.int64], alpha: float) -> NDArray[np.int64]:
    """Of m changed problems: the largest count of the rarer side that the test rejects; -1: none."""
    # The quantile is off by one where rounding says so: look below and above it, and let the test itself decide.
    guess = stats.binom.ppf(alpha / 2, m_M, 0.5).astype(np.int64)
    out = np.full(len(m_M), -1)
    for step in (-2, -1, 0, 1):
        count = guess + step
        fits = (count >= 0) & (2 * count < m_M)
        rejects = fits & (mcnemar_p(np.where(fits, count, 0), np.where(fits, m_M - count, 0)) <= alpha)
        out = np.where(rejects, count, out)
    return out


def _inside(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1; got {value}")
