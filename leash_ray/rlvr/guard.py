"""The leash guard: what training does when it may have lost more of the base's reach than it is allowed to."""

from leash_ray.rlvr.sections import AuditConfig


def guard(nscr_low: float | None, audit: AuditConfig) -> str | None:
    """``stop`` or ``kl`` where the guard acts, else None.

    NSCR = (E − S)/(P + E + S) is 0 where as much was gained as lost and −1 where all was lost. The guard looks at the
    lower end of its interval: with few problems it acts early rather than late.

    Args:
        nscr_low: None: undefined, as where neither policy solved anything; then the guard does not act.
    """
    if audit.guard is None or nscr_low is None or nscr_low >= audit.guard:
        return None
    return audit.action


def raised(kl_coef: float, audit: AuditConfig) -> float:
    """The weight of the KL term after the guard has acted: ``kl_factor`` times as large, at least ``kl_least``."""
    return max(audit.kl_least, audit.kl_factor * kl_coef)
