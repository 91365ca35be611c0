"""`report.html`: what came in, what was kept, what was dropped and why, and how it was packed.

One self-contained page from the manifests of a finished run: plotly.js (4.8 MB) is inlined once, nothing
is loaded from anywhere, and a content policy in the page forbids any script but its own three. The bytes
are a function of the manifests, the name of the mixture and the version of plotly. 100,000 documents
take about a second.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import fsspec
import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from . import charts, escaping
from .manifests import open_manifests
from .queries import FATES, Row, gather

__all__ = ["ALARM_SHARE", "render", "write_report"]

#: A source that loses more than this share of its good documents to deduplication is shown in alarm.
ALARM_SHARE = 0.5

FATE_NAMES = {
    "kept": "kept",
    "rules": "rules",
    "language": "language",
    "exact": "exact duplicate",
    "near": "near duplicate",
    "quarantined": "quarantined",
}

_HERE = Path(__file__).parent


def write_report(run: str) -> bytes:
    """The report of a run as the bytes of `report.html`. `run` is its folder or an fsspec URL.

    Raises FileNotFoundError for a run without manifests, ValueError for manifests that cannot be read.
    """
    return render(run).encode()


def render(run: str) -> str:
    """The report of a run as HTML; see `write_report`."""
    connection = open_manifests(run)
    try:
        data = gather(connection)
    finally:
        connection.close()
    data["mix"] = _mix(data["plan"], data["stages"])
    figures = escaping.script_json(_charts(data))
    scripts = {
        "plotly": Markup(get_plotlyjs()),
        "figures": figures,
        "boot": Markup((_HERE / "charts.js").read_text()),
    }
    return (
        _environment()
        .get_template("report.html")
        .render(
            run=_name(run),
            fates=FATES,
            fate_names=FATE_NAMES,
            alarm_share=ALARM_SHARE,
            css=Markup((_HERE / "report.css").read_text()),
            policy=" ".join(_hash(scripts[script]) for script in ("plotly", "boot")),
            rule_table=_rule_table(data["rules_by_domain"]),
            **scripts,
            **data,
        )
    )


def _name(run: str) -> str:
    """The mixture's name, as the run directory says it, or else the folder's: a copy reads the same."""
    filesystem, root = fsspec.core.url_to_fs(run.rstrip("/"))
    if filesystem.exists(f"{root}/run.json"):
        return str(json.loads(filesystem.cat_file(f"{root}/run.json"))["name"])
    return str(root).rpartition("/")[2]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": escaping.visible,
        "count": escaping.count,
        "size": escaping.size,
        "percent": escaping.percent,
        "short": escaping.short,
        "points": escaping.points,
    }
    environment.globals["share"] = escaping.share
    return environment


def _hash(script: str) -> str:
    """A script's source in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _charts(data: dict[str, Any]) -> dict[str, charts.Figure]:
    """Every chart by the id of its element; a chart of nothing is left out, and so is its element."""
    figures: dict[str, charts.Figure] = {}
    if data["totals"]["documents"]:
        figures["chart-funnel"] = charts.funnel(data["totals"])
    if data["rules"]:
        figures["chart-rules"] = charts.rules(data["rules"])
    for i, stage in enumerate(data["mix"]):
        figures[f"chart-mix-{i}"] = charts.mix(stage["rows"], stage["order"])
    if data["lengths"]:
        figures["chart-lengths-documents"] = charts.lengths(data["lengths"], "documents", "@accent")
        figures["chart-lengths-tokens"] = charts.lengths(data["lengths"], "tokens", "@second")
    if any(stage["work"] for stage in data["stages"]):
        figures["chart-attention"] = charts.attention(data["stages"])
    return figures


def _mix(rows: list[Row], stages: list[Row]) -> list[Row]:
    """The mixture by stage, in the curriculum's order: totals, and one row per domain with its shares."""
    planned_by_domain: dict[str | None, int] = {}
    for row in rows:
        planned_by_domain[row["domain"]] = planned_by_domain.get(row["domain"], 0) + (row["planned"] or 0)
    order = sorted(planned_by_domain, key=lambda domain: (-planned_by_domain[domain], domain or ""))
    known = [stage["name"] for stage in stages]
    names = sorted(
        {row["stage"] for row in rows},
        key=lambda name: (known.index(name) if name in known else len(known), name or ""),
    )
    mix = []
    for name in names:
        inside = sorted(
            (row for row in rows if row["stage"] == name), key=lambda row: order.index(row["domain"])
        )
        totals = {key: sum(row[key] or 0 for row in inside) for key in ("planned", "realised")}
        for row in inside:
            row["shares"] = [(row[key] or 0) / (totals[key] or 1) for key in ("planned", "realised")]
            row["difference"] = 100 * (row["shares"][1] - row["shares"][0])
        mix.append({"name": name, "rows": inside, "order": order} | totals)
    return mix


def _rule_table(rows: list[Row], most_rules: int = 15, most_domains: int = 8) -> dict[str, Any]:
    """First failing rules by domain: shares of the domain's drops, for the domains and rules with most."""
    by_rule: dict[str | None, int] = {}
    by_domain: dict[str | None, int] = {}
    cells: dict[tuple[str | None, str | None], int] = {}
    for row in rows:
        by_rule[row["rule"]] = by_rule.get(row["rule"], 0) + row["documents"]
        by_domain[row["domain"]] = by_domain.get(row["domain"], 0) + row["documents"]
        cells[row["rule"], row["domain"]] = row["documents"]
    rules = sorted(by_rule, key=lambda rule: (-by_rule[rule], rule or ""))[:most_rules]
    domains = sorted(by_domain, key=lambda domain: (-by_domain[domain], domain or ""))[:most_domains]
    return {
        "domains": [{"name": domain, "documents": by_domain[domain]} for domain in domains],
        "rows": [
            {"name": rule, "cells": [(cells.get((rule, d), 0), by_domain[d]) for d in domains]}
            for rule in rules
        ],
    }
