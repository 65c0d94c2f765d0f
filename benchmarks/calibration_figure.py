"""The figure of ``calibration.py``: its JSON object to SVG."""

import math
from typing import Any

import altair as alt

from leash_ray.report.svg import render

SHAPES = ("Beta(.3, .7)", "Beta(.1, .5)", "Beta(2, 5)", "paper")
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
"""Okabe and Ito's."""
BAND_COLOR, LINE_COLOR, QUIET = "#E9EEF3", "#9AA5B1", "#52606D"
WIDTH = 800
ROWS = alt.Scale(paddingInner=0.4, paddingOuter=0.2)
"""Rows of marks, each apart from the next."""
ALT = (
    "Calibration against a known truth: coverage of 95% intervals by metric and world, p-values of the "
    "label-permutation null against uniform and its power, bias of soft support, and bias of entropy and richness "
    "against the number of samples."
)


def figure(result: dict[str, Any]) -> str:
    rows = [
        _coverage(result),
        _null(result),
        _soft(result),
        _diversity(result),
    ]
    chart = alt.vconcat(*rows, spacing=34).resolve_scale(color="independent", shape="independent")
    return render(chart, "calibration", ALT)


def _data(values: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=values)


def _titled(text: str, below: str) -> alt.TitleParams:
    return alt.TitleParams(
        text=text, subtitle=below, fontSize=15, fontWeight="bold", subtitleFontSize=12, subtitleColor=QUIET,
        subtitlePadding=4, offset=10, anchor="start",
    )  # fmt: skip


def _shape_color(legend: bool = True) -> alt.Color:
    scale = alt.Scale(domain=list(SHAPES), range=list(COLORS))
    return alt.Color("shape:N", scale=scale, legend=alt.Legend(title=None) if legend else None)


def _band(low: float, high: float, channel: str, scale: alt.Scale) -> alt.Chart:
    ends = {channel: alt.datum(low, scale=scale), f"{channel}2": alt.datum(high)}
    return alt.Chart(_data([{}])).mark_rect(color=BAND_COLOR).encode(**ends)


def _rule(at: float, channel: str, scale: alt.Scale) -> alt.Chart:
    place = {channel: alt.datum(at, scale=scale)}
    return alt.Chart(_data([{}])).mark_rule(color=LINE_COLOR, strokeDash=[4, 3]).encode(**place)


def _offset() -> alt.YOffset:
    """Marks of different shapes beside each other."""
    return alt.YOffset("shape:N", scale=alt.Scale(domain=list(SHAPES)))


def _samples(row: dict[str, Any]) -> str:
    return "n = " + " and ".join(dict.fromkeys(map(str, row["n"])))


def _coverage(result: dict[str, Any]) -> alt.HConcatChart:
    values = [
        {"metric": row["metric"].replace("/", ", "), "shape": row["shape"], "samples": _samples(row),
         "coverage": 100 * row["coverage"], "change": row["change"]}
        for row in result["coverage"]
    ]  # fmt: skip
    order = list(dict.fromkeys(v["metric"] for v in values))
    lowest = min(90.0, math.floor(min(v["coverage"] for v in values)))
    samples = list(dict.fromkeys(v["samples"] for v in values))
    scale = alt.Scale(domain=[lowest, 100], nice=False, zero=False)
    x = alt.X("coverage:Q", scale=scale, title="coverage, %", axis=alt.Axis(grid=False))
    panels = []
    for i, (change, title) in enumerate((("same", "training changed nothing"), ("planted", "planted difference"))):
        y = alt.Y("metric:N", sort=order, title=None, scale=ROWS, axis=alt.Axis(grid=True, labels=not i, ticks=not i))
        points = (
            alt.Chart(_data([v for v in values if v["change"] == change]))
            .mark_point(filled=True, size=34, opacity=1)
            .encode(
                x=x,
                y=y,
                yOffset=_offset(),
                color=_shape_color(),
                shape=alt.Shape(
                    "samples:N",
                    scale=alt.Scale(domain=samples, range=["circle", "triangle-up", "square"]),
                    legend=alt.Legend(title=None),
                ),
            )
        )
        layers = alt.layer(_band(93, 97, "x", scale), _rule(95, "x", scale), points)
        panels.append(layers.properties(width=WIDTH / 2 - 60, height=alt.Step(4.5), title=title))
    n = result["replications"]["coverage"]
    below = f"Share of {n} simulated runs whose interval holds the truth. Shaded: 93 to 97%, what is aimed at."
    return alt.hconcat(*panels, spacing=16).properties(title=_titled("Coverage of 95% intervals", below))


def _null(result: dict[str, Any]) -> alt.HConcatChart:
    words = {"p_E": "E", "p_S": "S", "p_net": "E − S"}
    curves = result["null_ecdf"]
    # KS band that all of the lines together leave with a chance of 5%.
    least = min(row["replications"] for row in curves)
    band = math.sqrt(-0.5 * math.log(0.05 / len(curves) / 2) / least)
    top = max(band * 1.4, *(abs(y - i / 50) for row in curves for i, y in enumerate(row["ecdf"])))
    panels = []
    for i, (p, word) in enumerate(words.items()):
        values = [
            {"shape": row["shape"], "p": j / (len(row["ecdf"]) - 1), "off": y - j / (len(row["ecdf"]) - 1)}
            for row in curves
            if row["p"] == p
            for j, y in enumerate(row["ecdf"])
        ]
        scale = alt.Scale(domain=[-top, top], nice=False)
        y = alt.Y(
            "off:Q",
            scale=scale,
            title="ECDF − uniform" if not i else None,
            axis=alt.Axis(labels=not i, tickCount=5, format="+.2f"),
        )
        lines = (
            alt.Chart(_data(values))
            .mark_line(strokeWidth=1.8)
            .encode(x=alt.X("p:Q", title="p", axis=alt.Axis(grid=False, tickCount=5)), y=y, color=_shape_color(False))
        )
        layers = alt.layer(_band(-band, band, "y", scale), _rule(0, "y", scale), lines)
        panels.append(layers.properties(width=165, height=150, title=word))
    power = [
        {"test": words[row["p"].partition("/")[0]], "lost": 100 * row["lost"], "power": 100 * row["rejected"]}
        for row in result["power"]
    ]
    scale = alt.Scale(domain=[0, 100])
    x = alt.X("lost:Q", title="problems lost, %", axis=alt.Axis(grid=False, tickCount=4))
    shown = alt.Chart(_data(power)).encode(
        x=x,
        y=alt.Y("power:Q", title="rejected at 5%, %", scale=scale),
        color=alt.Color(
            "test:N",
            scale=alt.Scale(domain=list(words.values()), range=["#D55E00", "#0072B2", "#1F2933"]),
            legend=alt.Legend(title=None, orient="none", legendX=105, legendY=60, direction="vertical"),
        ),
    )
    lines = alt.layer(_rule(5, "y", scale), shown.mark_line(strokeWidth=2), shown.mark_point(filled=True, size=36))
    panels.append(lines.properties(width=150, height=150, title="power: paper, n = 256"))
    below = (
        "Randomised p-values where nothing changed, against uniform. Shaded: where all lines stay 19 times of 20 if "
        "they are uniform. Right: exact tests."
    )
    chart = alt.hconcat(*panels, spacing=22).resolve_scale(color="independent")
    return chart.properties(title=_titled("Chance: the label-permutation null, unit problem", below))


def _soft(result: dict[str, Any]) -> alt.VConcatChart:
    words = {"hard": "as drawn", "jeffreys": "soft, Jeffreys", "beta": "soft, Beta fitted", "joint": "soft, joint"}
    values = [
        {"prior": words.get(row["prior"], row["prior"]), "group": row["group"], "shape": row["shape"],
         "samples": _samples(row), "bias": row["bias"], "change": row["change"]}
        for row in result["soft"]
    ]  # fmt: skip
    order = list(dict.fromkeys(v["prior"] for v in values))
    reach = max(10, math.ceil(max(abs(v["bias"]) for v in values)))
    scale = alt.Scale(type="symlog", constant=1, domain=[-reach, reach], nice=False)
    samples = list(dict.fromkeys(v["samples"] for v in values))
    rows = []
    for j, (change, title) in enumerate((("same", "training changed nothing"), ("planted", "planted difference"))):
        panels = []
        for i, group in enumerate("PESO"):
            x = alt.X(
                "bias:Q",
                scale=scale,
                title="% of problems" if j else None,
                axis=alt.Axis(labels=bool(j), ticks=bool(j), values=[-10, -3, 0, 3, 10], grid=False),
            )
            y = alt.Y(
                "prior:N", sort=order, title=None, scale=ROWS, axis=alt.Axis(grid=True, labels=not i, ticks=not i)
            )
            points = (
                alt.Chart(_data([v for v in values if v["group"] == group and v["change"] == change]))
                .mark_point(filled=True, size=34, opacity=1)
                .encode(
                    x=x,
                    y=y,
                    yOffset=_offset(),
                    color=_shape_color(False),
                    shape=alt.Shape(
                        "samples:N", scale=alt.Scale(domain=samples, range=["circle", "triangle-up"]), legend=None
                    ),
                )
            )
            layers = alt.layer(_band(-1, 1, "x", scale), _rule(0, "x", scale), points)
            name = f"{group}, {title}" if not i else group
            panels.append(layers.properties(width=163, height=alt.Step(5.5), title=name))
        rows.append(alt.hconcat(*panels, spacing=14))
    below = "Expected count less the true count of problems with p above ε. Shaded: within 1%. Marks as above."
    return alt.vconcat(*rows, spacing=8).properties(title=_titled("Bias of support against the truth at ε", below))


def _diversity(result: dict[str, Any]) -> alt.HConcatChart:
    colors = {"plug-in": "#D55E00", "Miller-Madow": "#E69F00", "Chao-Shen": "#0072B2", "observed": "#D55E00",
              "Chao1": "#0072B2"}  # fmt: skip
    panels = []
    for what, names in (("answer entropy", ["plug-in", "Miller-Madow", "Chao-Shen"]),
                        ("distinct correct answers", ["observed", "Chao1"])):  # fmt: skip
        values = [
            {"estimator": row["estimator"], "n": row["n"][0], "bias": row["bias_percent"], "shape": row["shape"]}
            for row in result["diversity"]
            if row["estimator"] in names
        ]
        shapes = list(dict.fromkeys(v["shape"] for v in values))
        ticks = sorted({v["n"] for v in values})[::2]
        scale = alt.Scale(zero=True)
        encoded = alt.Chart(_data(values)).encode(
            x=alt.X(
                "n:Q",
                scale=alt.Scale(type="log", base=2),
                axis=alt.Axis(values=ticks, format="d", grid=False),
                title="n, samples a problem",
            ),
            y=alt.Y("bias:Q", title="bias, % of the truth" if what == "answer entropy" else None, scale=scale),
            color=alt.Color(
                "estimator:N",
                scale=alt.Scale(domain=names, range=[colors[name] for name in names]),
                legend=alt.Legend(title=None),
            ),
        )
        dash = alt.StrokeDash(
            "shape:N",
            scale=alt.Scale(domain=shapes, range=[[1, 0], [5, 3]]),
            legend=alt.Legend(title=None, symbolStrokeColor=QUIET, symbolType="stroke", symbolSize=300),
        )
        layers = alt.layer(
            _rule(0, "y", scale),
            encoded.mark_line(strokeWidth=2).encode(strokeDash=dash),
            encoded.mark_point(filled=True, size=30, opacity=1),
        )
        panels.append(layers.properties(width=WIDTH / 2 - 60, height=190, title=what))
    below = "Means over problems of base's answers. Chao1 estimates a lower bound: rare answers leave no trace."
    chart = alt.hconcat(*panels, spacing=30).resolve_scale(color="independent", strokeDash="independent")
    return chart.properties(title=_titled("Entropy and richness against the number of samples", below))
