"""The charts of the report as plotly figures: plain dictionaries, written into the page as JSON.

Colours are names of CSS variables with an `@` before them (`@accent`); the page's script puts the values
in, and again when the reader's theme changes. Categories are positions with tick labels beside them, so
that two names which look alike stay two bars. No text of the data is part of a plotly template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .escaping import MINUS, chart_label, chart_text, percent, short
from .queries import Row

Figure = dict[str, Any]

FUNNEL = (
    ("quarantined", "After quarantine"),
    ("rules", "After rules"),
    ("language", "After language"),
    ("exact", "After exact duplicates"),
    ("near", "Kept"),
)


def funnel(totals: Row) -> Figure:
    """Documents left after every step, and what the step took."""
    left = totals["documents"]
    labels, remaining, removed, colours, notes, hover = (
        ["Read"],
        [left],
        [0],
        ["@kept"],
        [""],
        [f"{left:,} read"],
    )
    for fate, label in FUNNEL:
        taken = totals[fate]
        before, left = left, left - taken
        labels.append(label)
        remaining.append(left)
        removed.append(taken)
        colours.append(f"@{fate}")
        notes.append(f"{MINUS}{short(taken)}  ({percent(taken / before)})" if taken else "none")
        hover.append(f"{left:,} left; {taken:,} removed")
    left_trace = _bars(remaining, "@kept", text=[short(n) for n in remaining], hover=hover)
    left_trace |= {"textposition": "auto", "insidetextanchor": "end"}
    taken_trace = _bars(removed, colours, text=notes, hover=hover) | {"textposition": "outside"}
    return _horizontal(
        [left_trace, taken_trace], labels, longest=totals["documents"] * 1.18, barmode="stack", row=34
    )


def rules(rows: Sequence[Row]) -> Figure:
    """Documents that failed a rule at all, and those that failed it first, on one baseline."""
    shown = [f"{short(r['first'])} first · {short(r['failing'])} in all" for r in rows]
    hover = [f"{r['first']:,} dropped by it; {r['failing']:,} failed it" for r in rows]
    every = _bars([r["failing"] for r in rows], "@faint", text=shown, hover=hover) | {
        "textposition": "outside"
    }
    first = _bars([r["first"] for r in rows], "@rules", text=None, hover=hover)
    longest = max((r["failing"] for r in rows), default=1)
    return _horizontal(
        [every, first], [r["name"] for r in rows], longest=longest * 1.45, barmode="overlay", row=25
    )


def mix(rows: Sequence[Row], order: Sequence[str | None]) -> Figure:
    """Planned and realised share per domain of one stage, in one order of domains for all stages."""
    planned, realised = (sum(r[key] or 0 for r in rows) or 1 for key in ("planned", "realised"))
    by_domain = {r["domain"]: r for r in rows}
    absent = {"planned": 0, "realised": 0}
    values = [by_domain.get(domain, absent) for domain in order]
    pairs = [((r["planned"] or 0) / planned, (r["realised"] or 0) / realised) for r in values]
    hover = [f"planned {percent(p, 2)}, realised {percent(q, 2)}" for p, q in pairs]
    traces = [
        _bars([p for p, _ in pairs], "@faint", text=None, hover=hover),
        _bars([q for _, q in pairs], "@accent", text=[percent(q) for _, q in pairs], hover=hover)
        | {"textposition": "outside"},
    ]
    longest = max((max(pair) for pair in pairs), default=1.0)
    return _horizontal(traces, order, longest=longest * 1.28, barmode="group", row=34)


def lengths(rows: Sequence[Row], column: str, colour: str) -> Figure:
    """Share of kept documents (or of their tokens) by length, in bins of a factor two."""
    if not rows:
        return _figure([], {})
    bins = list(range(rows[0]["bin"], rows[-1]["bin"] + 1))
    counts = {r["bin"]: r[column] for r in rows}
    total = sum(counts.values()) or 1
    heights = [counts.get(b, 0) / total for b in bins]
    hover = [
        f"{_power(b)} to {_power(b + 1)} tokens: {counts.get(b, 0):,} {column} ({percent(height)})"
        for b, height in zip(bins, heights, strict=True)
    ]
    text = [percent(h, 0) if h >= 0.02 else "" for h in heights]
    trace: Figure = {
        "type": "bar",
        "x": bins,
        "y": heights,
        "width": 0.86,
        "marker": {"color": colour, "line": {"width": 0}},
        "text": text,
        "textposition": "outside",
        "cliponaxis": False,
        "textangle": 0,
        "textfont": {"size": 11},
        "constraintext": "none",
        "customdata": [chart_text(note) for note in hover],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    every = max(1, -(-len(bins) // 8))
    ticks = [b for b in range(bins[0], bins[-1] + 2) if (b - bins[0]) % every == 0]
    # A bin's edges are between the bars: the tick of 2^b stands at the left edge of bin b.
    x = {"tickvals": [b - 0.5 for b in ticks], "ticktext": [_power(b) for b in ticks], "showgrid": False}
    layout = {
        "xaxis": x | {"zeroline": False, "linecolor": "@rule", "ticks": "outside", "tickcolor": "@rule"},
        "yaxis": {"visible": False, "range": [0, max(heights) * 1.15], "fixedrange": True},
        "height": 210,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 28},
        "bargap": 0.14,
    }
    return _figure([trace], layout)


def attention(stages: Sequence[Row]) -> Figure:
    """Spread of attention work between sequences, per stage, as a share of one unbroken document's."""
    rows = [s for s in stages if s["work"] and s["length"]]
    traces: list[Figure] = []
    lowest = 1.0
    for i, stage in enumerate(rows):
        p5, p25, p50, p75, p95 = (max(w / stage["length"] ** 2, 1e-9) for w in stage["work"])
        lowest = min(lowest, p5)
        note = f"median {percent(p50)}; half of the sequences {percent(p25)} to {percent(p75)}"
        common = {"type": "scatter", "hoverinfo": "skip", "showlegend": False, "y": [i, i], "mode": "lines"}
        traces.append(common | {"x": [p5, p95], "line": {"color": "@faint", "width": 3}})
        traces.append(common | {"x": [p25, p75], "line": {"color": "@accent", "width": 9}})
        traces.append(
            {
                "type": "scatter",
                "mode": "markers+text",
                "x": [p50],
                "y": [i],
                "text": [chart_text(percent(p50))],
                "textposition": "top center",
                "cliponaxis": False,
                "marker": {"color": "@surface", "size": 9, "line": {"color": "@accent", "width": 2}},
                "customdata": [chart_text(note)],
                "hovertemplate": "%{customdata}<extra></extra>",
            }
        )
    decades = [10.0**-k for k in range(12) if 10.0**-k >= lowest / 10]
    layout = {
        "xaxis": {
            "type": "log",
            "tickvals": decades,
            "ticktext": [percent(d, 0) if d >= 0.01 else f"{100 * d:g} %" for d in decades],
            "gridcolor": "@grid",
            "zeroline": False,
        },
        "yaxis": _names([s["name"] for s in rows]),
        "height": 46 * len(rows) + 44,
        "margin": {"l": 8, "r": 28, "t": 12, "b": 28},
    }
    return _figure(traces, layout)


def _bars(values: Sequence[float], colour: Any, text: Sequence[str] | None, hover: Sequence[str]) -> Figure:
    trace: Figure = {
        "type": "bar",
        "orientation": "h",
        "x": list(values),
        "y": list(range(len(values))),
        "marker": {"color": colour, "line": {"width": 0}},
        "customdata": [chart_text(note) for note in hover],
        "hovertemplate": "%{customdata}<extra></extra>",
        "cliponaxis": False,
    }
    # Plotly shrinks labels to the thickness of their bar unless told not to; the blank keeps them off it.
    return (
        trace
        if text is None
        else trace
        | {"text": [f"\u00a0{chart_text(t)}\u00a0" for t in text], "textangle": 0, "constraintext": "none"}
    )


def _horizontal(
    traces: list[Figure], names: Sequence[str | None], *, longest: float, barmode: str, row: int
) -> Figure:
    layout = {
        "barmode": barmode,
        "bargap": 0.32,
        "bargroupgap": 0.06,
        "xaxis": {"visible": False, "range": [0, longest or 1], "fixedrange": True},
        "yaxis": _names(names),
        "height": row * max(1, len(names)) + 12,
        "margin": {"l": 8, "r": 8, "t": 4, "b": 4},
    }
    return _figure(traces, layout)


def _names(names: Sequence[str | None]) -> Figure:
    """A category axis from the top down: positions, with the names as tick labels."""
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [chart_label(name) + "  " for name in names],
        "range": [len(names) - 0.5, -0.5],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }


def _figure(traces: list[Figure], layout: Figure) -> Figure:
    common = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "@ink2", "size": 12.5, "family": "inherit"},
        "showlegend": False,
        "hoverlabel": {
            "bgcolor": "@raised",
            "bordercolor": "@rule",
            "font": {"color": "@ink", "family": "inherit"},
        },
        "hovermode": "closest",
        "dragmode": False,
        "barcornerradius": 2,
    }
    return {"data": traces, "layout": common | layout}


def _power(exponent: int) -> str:
    """2 to the power of `exponent` as tokens are counted: 512, 4K, 1M."""
    value = 1 << max(0, exponent)
    for unit, scale in (("M", 20), ("K", 10)):
        if value >> scale:
            return f"{value >> scale}{unit}"
    return str(value)
