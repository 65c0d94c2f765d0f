"""What a report says in tables and lines, each part in a file. Pure: a support object to text."""

from leash_ray.report.numbers import NATS, Information
from leash_ray.report.parts.answers import entropies_part, quadrants_part, richness_part
from leash_ray.report.parts.chance import chance_part
from leash_ray.report.parts.part import Part
from leash_ray.report.parts.perplexity import perplexity_parts
from leash_ray.report.parts.policies import policies_part
from leash_ray.report.parts.series import history_line, series_part
from leash_ray.report.parts.spread import approximate_part, spread_part
from leash_ray.report.parts.support import support_part, tasks_part
from leash_ray.report.parts.sweep import cover_part, guessing_part, sweep_part
from leash_ray.report.parts.tilt import tilt_part
from leash_ray.report.read import UNITS, Support

__all__ = ["Part", "deciding", "detailed", "history_line"]


def deciding(of: Support, info: Information = NATS, *, every: bool = False) -> list[Part]:
    """What a reader needs to decide. ``every``: all k and verdicts of the policies."""
    more = (approximate_part(of, info), support_part(of), chance_part(of))
    return [policies_part(of, info, every=every), *filter(None, more)]


def detailed(of: Support, info: Information = NATS) -> dict[str, Part]:
    """All else, by name; parts of which nothing was measured are left out."""
    found = [
        *(sweep_part(of, unit) for unit in UNITS),
        cover_part(of),
        guessing_part(of),
        richness_part(of),
        entropies_part(of, info),
        spread_part(of, info),
        quadrants_part(of),
        tilt_part(of, info),
        *perplexity_parts(of),
        series_part(of),
        tasks_part(of),
    ]
    return {part.name: part for part in found if part}
