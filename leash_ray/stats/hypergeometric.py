r"""The chance that k of n samples miss all c marked ones: C(n-c, k) / C(n, k), the kernel of every estimate at k.

pass@k is one minus it (arXiv 2107.03374, eq. 1); so are expected distinct answers at k (rarefaction: Hurlbert, Ecology
52, 1971) and what a permutation of labels gives by chance.

Numerics: the product of min(c, k) factors where that is short; otherwise Loader's identity ("Fast and Accurate
Computation of Binomial Probabilities", 2000), by which a hypergeometric probability is a quotient of binomial ones
whose logarithms are small::

    C(n-c, k) / C(n, k) = (1-p)^c b(k; n-c, p) / b(k; n, p),    p = k/n

A difference of log-gammas would lose ten digits at n = 1,000,000.

Degenerate cases: 1 where c = 0 or k = 0; 0 where k > n - c; NaN where k > n, which nothing is known about.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SHORT = 64
"""Factors that are multiplied one by one."""
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_STIRLING_TABLE = np.array(
    [0.0] + [math.lgamma(n + 1) - 0.5 * math.log(2 * math.pi * n) - n * (math.log(n) - 1) for n in range(1, 17)]
)
"""ln n! - ln(sqrt(2 pi n) (n/e)^n) for n = 1 .. 16, where the series is not exact enough."""


def log_miss(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """ln(C(n-c, k) / C(n, k)): of ``n`` samples ``c`` are marked, and ``k`` drawn without replacement are all unmarked.

    Args:
        n, c, k: integers >= 0 with c <= n, of shapes that broadcast.

    Returns:
        Their broadcast shape. -inf where k > n - c, NaN where k > n. Relative error of the probability's complement is
        below 1e-11 for n up to 1,000,000.
    """
    n_, c_, k_ = np.broadcast_arrays(*(np.asarray(x, dtype=np.int64) for x in (n, c, k)))
    out = np.zeros(n_.shape)
    out[k_ > n_ - c_] = -np.inf
    out[k_ > n_] = np.nan
    few, many = np.minimum(c_, k_), np.maximum(c_, k_)  # the formula is symmetric in c and k
    proper = (few > 0) & (k_ <= n_ - c_)
    short = proper & (few <= _SHORT)
    out[short] = _by_factors(n_[short], few[short], many[short])
    long = proper & ~short
    out[long] = _by_loader(n_[long].astype(np.float64), c_[long].astype(np.float64), k_[long].astype(np.float64))
    return out


def miss(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """C(n-c, k) / C(n, k). Arguments as of :func:`log_miss`."""
    return np.asarray(np.exp(log_miss(n, c, k)))


def hit(n: ArrayLike, c: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    """1 - C(n-c, k) / C(n, k), also where that is tiny. Arguments as of :func:`log_miss`."""
    return np.asarray(-np.expm1(log_miss(n, c, k)) + 0.0)


def _by_factors(n: NDArray[np.int64], few: NDArray[np.int64], many: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum over i < few of ln(1 - many / (n - i))."""
    total = np.zeros(len(n))
    for i in range(int(few.max(initial=0))):
        at = few > i
        total[at] += np.log1p(-many[at] / (n[at] - i))
    return total


def _by_loader(n: NDArray[np.float64], c: NDArray[np.float64], k: NDArray[np.float64]) -> NDArray[np.float64]:
    p = k / n
    rest = n - c
    # ln b(k; m, p) = stirling error - deviance - half the log of 2 pi k (m-k) / m; k and p are the same in both.
    log_quotient = (
        _stirling_error(rest)
        - _stirling_error(rest - k)
        - _stirling_error(n)
        + _stirling_error(n - k)
        - _deviance(k, rest * p)
        - _deviance(rest - k, rest * (1 - p))
        + 0.5 * (np.log(rest / n) - np.log(np.maximum(rest - k, 1) / (n - k)))
    )
    # Where nothing is left over (k = n - c), b(k; k, p) = p^k: the general form has 0/0 there.
    exact = rest == k
    log_full = k * np.log(p) - _log_binomial_at_mean(k, n)
    return np.asarray(c * np.log1p(-p) + np.where(exact, log_full, log_quotient))


def _log_binomial_at_mean(k: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln b(k; n, k/n)."""
    errors = _stirling_error(n) - _stirling_error(k) - _stirling_error(n - k)
    return np.asarray(errors - 0.5 * np.log(2 * np.pi * k * ((n - k) / n)))


def _stirling_error(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln n! - ln(sqrt(2 pi n) (n/e)^n)."""
    small = np.minimum(n, len(_STIRLING_TABLE) - 1).astype(np.int64)
    x = np.maximum(n, len(_STIRLING_TABLE) - 1)
    series = np.zeros_like(x)
    for a in reversed(_STIRLING):
        series = a + series / (x * x)
    return np.where(n < len(_STIRLING_TABLE) - 1, _STIRLING_TABLE[small], series / x)


def _deviance(x: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """x ln(x / mean) + mean - x, without cancellation where x is near its mean."""
    d = (x - mean) / np.maximum(x + mean, 1e-300)
    near = np.abs(d) < 0.1
    # Loader's series: (x - mean) d + 2 x sum over j >= 1 of d^(2j+1) / (2j+1).
    term = 2 * x * d
    total = (x - mean) * d
    for j in range(1, 12):
        term = term * d * d
        total = total + term / (2 * j + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = np.where(x > 0, x * np.log(np.where(x > 0, x, 1) / mean), 0.0) + mean - x
    return np.where(near, total, plain)
