"""What the figures share: data, colours by policy, a log axis of k, curves with bands."""

from collections.abc import Iterable, Sequence
from typing import Any

from leash_ray.report import text as fmt
from leash_ray.report.read import ROLES, Support, entries, estimate, name_of, policy
from leash_ray.report.svg import INK, OTHERS, QUIET, ROLE_COLORS


def data(values: list[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Data(values=values)


def role_color(support: Support) -> Any:
    """By policy name, so that the legend says "trained@200"; two roles of one name share a line anyway."""
    names = [fmt.visible(name_of(support, role)) for role in ROLES]
    return named_color("policy", dict(zip(names, (ROLE_COLORS[role] for role in ROLES), strict=True)))


def named_color(field: str, colors: dict[str, str]) -> Any:
    import altair as alt

    scale = alt.Scale(domain=list(colors), range=list(colors.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(symbolOpacity=1))  # not as pale as a band


METRIC_COLORS = {"SRR": OTHERS[0], "NDR": OTHERS[2], "NSCR": INK}


def curve_points(support: Support, key: str) -> list[dict[str, Any]]:
    """policy, x, value, low, high of both policies' curve, where it is defined; low and high where there is an
    interval."""
    found = []
    for role in ROLES:
        of = policy(support, role)
        for x, name in entries(of, key).items():
            one = estimate(of, key, name)
            if one.value is not None:
                ends = {"low": one.ci[0], "high": one.ci[1]} if one.ci else {}
                found.append({"policy": fmt.visible(name_of(support, role)), "x": x, "value": one.value, **ends})
    return found


def k_axis(ks: Iterable[float], title: str = "k, samples a problem (log scale)", field: str = "x") -> Any:
    """A log2 axis from 1 to the largest k."""
    import altair as alt

    last = int(max(ks))
    ticks = [2**e for e in range(max(last - 1, 1).bit_length() + 1) if 2**e <= last]
    if len(ticks) > 10:
        ticks = ticks[::2]
    return alt.X(
        f"{field}:Q",
        scale=alt.Scale(type="log", base=2, domain=[1, max(last, 2)], nice=False),
        axis=alt.Axis(values=ticks, title=title, format="d", grid=False),
    )


def curve_layers(points: list[dict[str, Any]], x: Any, y: Any, color: Any, *, dots: bool = True) -> list[Any]:
    """A band where there are intervals, a line, and a dot a point."""
    import altair as alt

    layers = []
    if banded := [p for p in points if "low" in p]:
        band = alt.Chart(data(banded)).mark_area(opacity=0.16, line=False)
        layers.append(band.encode(x=x, y=same_axis(y, "low:Q"), y2="high:Q", color=color))
    lines = alt.Chart(data(points)).encode(x=x, y=y, color=color)
    layers.append(lines.mark_line(strokeWidth=2.5))
    if dots:
        layers.append(lines.mark_point(filled=True, size=38, opacity=1))
    return layers


def same_axis(channel: Any, field: str) -> Any:
    """``channel`` with another field."""
    other = channel.copy()
    other["shorthand"] = field
    return other


def ends_said(points: Sequence[dict[str, Any]], axis: str) -> str:
    """The first and the last value of each policy, for those who do not see the curves."""
    said = []
    for name in dict.fromkeys(p["policy"] for p in points):
        own = sorted((p for p in points if p["policy"] == name), key=lambda p: p["x"])
        first, last = own[0], own[-1]
        said.append(
            f"{name} from {fmt.rate(first['value'])} at {axis}={first['x']:g} "
            f"to {fmt.rate(last['value'])} at {axis}={last['x']:g}"
        )
    return "; ".join(said)


def rule(field: str, at: float, **style: Any) -> Any:
    """A straight line across, at one value of ``x`` or ``y``."""
    import altair as alt

    style = {"color": QUIET, "strokeDash": [4, 4], "strokeWidth": 1.2, **style}
    return alt.Chart(data([{field: at}])).mark_rule(**style).encode(**{field: f"{field}:Q"})
