"""The training curves: small multiples of what the trainer logged at each step."""

from collections.abc import Mapping, Sequence
from typing import Any

from leash_ray.report.svg import TRAINED, Figure, figure, missing
from leash_ray.report.text import is_number

PANELS = {
    "reward_mean": "reward",
    "entropy": "token entropy, nats",
    "response_length": "response length, tokens",
    "kl": "KL to the base, nats",
    "grad_norm": "gradient norm",
    "clip_fraction": "clip fraction",
    "loss": "loss",
    "group_signal_share": "groups with signal, share",
}
REQUIRED = ("reward_mean", "entropy", "response_length", "kl", "grad_norm", "clip_fraction")
"""The curves that a reader misses when they are not there."""
MAX_POINTS = 400


def training_series(metrics: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """(step, value) of one logged number, in order. A step logged twice (a resumed run) counts once, last."""
    found: dict[int, float] = {}
    for row in metrics:
        step, value = row.get("step"), row.get(key)
        if row.get("stage", "train") == "train" and is_number(step) and is_number(value):
            found[int(step)] = float(value)
    return sorted(found.items())


def thin(series: list[tuple[int, float]], limit: int = MAX_POINTS) -> list[tuple[int, float]]:
    """At most ``limit`` points: means over runs of neighbours, so that no stretch is left out."""
    size = -(-len(series) // limit)
    chunks = [series[i : i + size] for i in range(0, len(series), size)] if size > 1 else [[p] for p in series]
    return [(chunk[len(chunk) // 2][0], sum(v for _, v in chunk) / len(chunk)) for chunk in chunks]


def smooth(series: list[tuple[int, float]], share: float = 0.08) -> list[tuple[int, float]]:
    """A centred moving mean whose window is ``share`` of the series, cut short at both ends."""
    half = max(1, round(len(series) * share / 2))
    windows = ((step, series[max(0, i - half) : i + half + 1]) for i, (step, _) in enumerate(series))
    return [(step, sum(v for _, v in window) / len(window)) for step, window in windows]


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """One small panel a metric; those that were not logged are named under the figure."""
    import altair as alt

    name, title = "training", "Training curves"
    if not metrics:
        return missing(name, title, "No training was logged for this run (metrics.jsonl is missing or empty).")
    series = {key: thin(training_series(metrics, key)) for key in PANELS}
    drawn = {key: points for key, points in series.items() if points}
    if not drawn:
        return missing(name, title, "The log has no training steps.")
    absent = [PANELS[key] for key in REQUIRED if key not in drawn]
    panels, said = [], []
    for key, points in drawn.items():
        label = PANELS[key]
        values = [
            {"step": step, "raw": raw, "mean": mean}
            for (step, raw), (_, mean) in zip(points, smooth(points), strict=True)
        ]
        x = alt.X("step:Q", axis=alt.Axis(title=None, grid=False, tickCount=4, format="d"), scale=alt.Scale(nice=False))
        chart = alt.Chart(alt.Data(values=values)).encode(x=x)
        flat = len({raw for _, raw in points}) == 1
        scale = alt.Scale(zero=flat)
        y = [alt.Y(f"{k}:Q", axis=alt.Axis(title=None, tickCount=4), scale=scale) for k in ("raw", "mean")]
        if len(points) == 1:
            layer = chart.mark_point(filled=True, color=TRAINED, size=50).encode(y=y[0])
        else:
            layer = alt.layer(
                chart.mark_line(color=TRAINED, opacity=0.35, strokeWidth=1).encode(y=y[0]),
                chart.mark_line(color=TRAINED, strokeWidth=2).encode(y=y[1]),
            )
        panels.append(layer.properties(width=262, height=120, title=label))
        said.append(f"{label} from {points[0][1]:.3g} to {points[-1][1]:.3g}")
    steps = sorted({step for points in drawn.values() for step, _ in points})
    note = f"Steps {steps[0]:,} to {steps[-1]:,}. Thin: as logged; thick: moving mean."
    if absent:
        note += f" Not logged, so not drawn: {', '.join(absent)}."
    chart = alt.concat(*panels, columns=3, spacing={"row": 58, "column": 46}, align="all", bounds="flush")
    return figure(name, title, chart, f"Training curves: {'; '.join(said)}.", note)
