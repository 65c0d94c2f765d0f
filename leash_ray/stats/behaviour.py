"""Which of the paper's four behaviours a pair of policies shows, and whether the data decide it.

Source: Wu et al., "The Invisible Leash" (arXiv 2507.14843), after definition 3.3: by retention and discovery::

                 NDR low                NDR high
    SRR high     support-constrained    expansion
    SRR low      redistribution         exploration

("support-constrained optimization", "genuine capability expansion", "inefficient redistribution", "aggressive
exploration" in full). The paper gives no cut-offs; these are ours: retention is high where less than a tenth of the
base's support is lost (SRR > 0.9), discovery is high where at least a tenth of the trained policy's support is new
(NDR >= 0.1). The paper calls 0.90-0.99 high retention and NDR up to 0.04 rare. One fraction for both makes the table
symmetric: swapping the policies turns lost into new, so expansion becomes redistribution (which in this table is plain
shrinkage), and the other two stay as they are.

A label holds only if the intervals of SRR and NDR both lie on one side of their cut-offs; otherwise the answer is
"undecided", beside the label that the point estimates suggest. The sign of NSCR (net expansion or shrinkage) is judged
by its interval in the same way.

Assumptions: the intervals have their level. Two of them must hold at once, so at 95% each the label is right at least
90% of the time.

Degenerate cases: SRR or NDR undefined (a policy found nothing): no behaviour can be named, "undefined". An interval
with a NaN end decides nothing, and neither does one that leaves its own estimate on the other side of the cut-off.
"""

import math
from dataclasses import dataclass

SUPPORT_CONSTRAINED = "support-constrained"
EXPANSION = "expansion"
REDISTRIBUTION = "redistribution"
EXPLORATION = "exploration"
UNDECIDED = "undecided"
UNDEFINED = "undefined"

CUT = 0.1
"""Share of the base's support lost, and of the trained policy's support new, from which on it is much."""

_LABELS = {
    (True, False): SUPPORT_CONSTRAINED,
    (True, True): EXPANSION,
    (False, False): REDISTRIBUTION,
    (False, True): EXPLORATION,
}
"""(retention is high, discovery is high)."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The verdict in words."""

    label: str
    """One of the four where the intervals support it; else "undecided" or "undefined"."""
    suggested: str
    """What the point estimates say, or "undefined"."""
    possible: tuple[str, ...]
    """All labels that the intervals leave open."""
    net: str
    """By the interval of NSCR: "net expansion", "net shrinkage", "undecided" or "undefined"."""


def behaviour(
    SRR: float, SRR_ci: Interval, NDR: float, NDR_ci: Interval, NSCR: float, NSCR_ci: Interval, *, cut: float = CUT
) -> Behaviour:
    """Name the behaviour.

    Args:
        SRR, NDR, NSCR: point estimates; NaN where undefined.
        SRR_ci, NDR_ci, NSCR_ci: (low, high) of each.
        cut: the share from which on a loss, or a gain, is much.

    Raises:
        ValueError: the cut is not inside (0, 1), or an interval's low is above its high.
    """
    if not 0 < cut < 1:
        raise ValueError(f"cut is a share of the support: give a value between 0 and 1, such as 0.1; got {cut}")
    for name, (low, high) in (("SRR", SRR_ci), ("NDR", NDR_ci), ("NSCR", NSCR_ci)):
        if low > high:
            raise ValueError(f"the interval of {name} is given as (low, high); got ({low}, {high})")
    suggested, label = UNDEFINED, UNDEFINED
    possible: tuple[str, ...] = ()
    if not (math.isnan(SRR) or math.isnan(NDR)):
        suggested = _LABELS[_keeps(SRR, cut), _discovers(NDR, cut)]
        keeps = {_keeps(x, cut) for x in SRR_ci} if not any(map(math.isnan, SRR_ci)) else {True, False}
        discovers = {_discovers(x, cut) for x in NDR_ci} if not any(map(math.isnan, NDR_ci)) else {True, False}
        possible = tuple(name for (k, d), name in _LABELS.items() if k in keeps and d in discovers)
        label = possible[0] if possible == (suggested,) else UNDECIDED
    return Behaviour(label, suggested, possible, _net(NSCR, NSCR_ci))


def _keeps(srr: float, cut: float) -> bool:
    return 1 - srr < cut - 1e-12  # a tenth lost is much, also where 1 - 0.9 is rounded down


def _discovers(ndr: float, cut: float) -> bool:
    return ndr >= cut - 1e-12


def _net(nscr: float, ci: Interval) -> str:
    if math.isnan(nscr):
        return UNDEFINED
    if ci[0] > 0:
        return "net expansion"
    if ci[1] < 0:
        return "net shrinkage"
    return UNDECIDED
