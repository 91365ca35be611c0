"""The whole story of a document: where it came from, what was measured and decided, where its tokens went."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.run_directory import RunError
from curate.show_rules import reason
from curate.sql import connect
from curate.stages.rule_sets import RuleSet
from mixtures.tags import TAGS

_FATES = {
    "kept": "kept",
    "rules": "dropped by a rule",
    "language": "dropped for its language",
    "duplicate": "dropped as a duplicate",
    "quarantined": "could not be read",
}


@dataclass(frozen=True)
class Story:
    """A document's row, the survivor that stood in for it, and the places of its tokens."""

    row: dict[str, Any]
    survivor: dict[str, Any] | None
    spans: list[dict[str, Any]]


def _rows(result: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, values, strict=True)) for values in result.fetchall()]


def find(run: str, what: str, limit: int = 5) -> list[Story]:
    """Stories of the documents whose id (hex), URL or locator is `what`, or else contains it.

    Raises `RunError` when there is none.
    """
    connection = connect(run)
    tables = {
        row[0]
        for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    }
    table = "documents" if "documents" in tables else "ledger"
    if re.fullmatch("[0-9a-fA-F]{32}", what) and (story := story_of(run, bytes.fromhex(what))) is not None:
        return [story]  # by the files' Bloom filters, not by reading all of them
    is_it = "url = ? OR locator = ?"
    exact = f"SELECT * FROM {table} WHERE {is_it} ORDER BY locator LIMIT ?"
    rows = _rows(connection.execute(exact, [what, what, limit]))
    if not rows:
        part = (
            f"SELECT * FROM {table} WHERE contains(url, ?) OR contains(locator, ?) ORDER BY locator LIMIT ?"
        )
        rows = _rows(connection.execute(part, [what, what, limit]))
    if not rows:
        raise RunError(f"no document of {run} has the id, URL or locator {what!r}, nor one that contains it")
    return [_story(connection, tables, row) for row in rows]


def story_of(run: str, document_id: bytes) -> Story | None:
    """The story of the document with this id; None where the run has no row of it."""
    connection = connect(run)
    tables = {row[0] for row in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    table = "documents" if "documents" in tables else "ledger"
    if table not in tables:
        return None
    rows = _rows(connection.execute(f"SELECT * FROM {table} WHERE document_id = ?", [document_id]))
    return _story(connection, tables, rows[0]) if rows else None


def _story(connection: duckdb.DuckDBPyConnection, tables: set[str], row: dict[str, Any]) -> Story:
    survivor = None
    if row.get("duplicate_of") is not None:
        found = _rows(
            connection.execute("SELECT * FROM documents WHERE document_id = ?", [row["duplicate_of"]])
        )
        survivor = found[0] if found else None
    spans: list[dict[str, Any]] = []
    if "spans" in tables:
        order = "ORDER BY stage, epoch, document_offset, shard, sequence"
        statement = f"SELECT * FROM spans WHERE document_id = ? {order}"
        spans = _rows(connection.execute(statement, [row["document_id"]]))
    return Story(row, survivor, spans)


def show(console: Console, story: Story, rule_sets: tuple[RuleSet, ...]) -> None:
    """Print a story."""
    row = story.row
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("document", row["document_id"].hex())
    for name in ("source", "locator", "url", "repository", "format", "domain", "date", "charset"):
        if row.get(name) is not None:
            facts.add_row(name, escape(str(row[name])))
    if row.get("language") is not None:
        score = row["language_score"]
        facts.add_row("language", f"{row['language']}" + ("" if score is None else f" ({score:.3f})"))
    if len(languages := row.get("languages") or []) > 1:
        shares = (f"{item['language']} {item['share']:.0%}" for item in languages)
        facts.add_row("paragraphs", ", ".join(shares))
    for tag in TAGS:
        if row.get(tag) is not None:
            score = row.get(f"{tag}_score")
            by = row[f"{tag}_rule"] + ("" if score is None else f", {score:.3f}")
            facts.add_row(tag.replace("_", " "), escape(f"{row[tag]} ({by})"))
    if row.get("quality_bucket") is not None:
        scores = [
            f"{name} {row[name]:.4f}" for name in row if name.startswith("score_") and row[name] is not None
        ]
        facts.add_row("quality", f"bucket {row['quality_bucket']} of 0 to 19 ({', '.join(scores)})")
    facts.add_row(
        "read",
        f"{row['bytes']:,} bytes"
        + (f", {row['text_bytes']:,} of text" if row["text_bytes"] is not None else ""),
    )
    facts.add_row("fate", f"[bold]{_FATES[row['status']]}[/]")
    if row["error"] is not None:
        where = f" at byte {row['error_offset']:,}" if row["error_offset"] is not None else ""
        facts.add_row("because", escape(f"{row['error']}{where}"))
    for failed in row["failed_rules"]:
        facts.add_row(
            "failed" if failed != row["dropped_by"] else "dropped by", escape(_reason(failed, row, rule_sets))
        )
    for edit in row.get("edits") or ():
        times = "once" if edit["count"] == 1 else f"{edit['count']:,} times"
        facts.add_row("edited by", escape(f"{edit['rule']}, {times}, {edit['bytes']:,} bytes"))
    if story.survivor is not None:
        facts.add_row(
            "instead",
            f"{escape(story.survivor['locator'])} ({row['duplicate_kind']}, Jaccard {row['jaccard']:.3f})",
        )
    if row.get("tokens") is not None:
        facts.add_row("tokens", f"{row['tokens']:,}")
    console.print(facts)
    if story.spans:
        table = Table(title="in the shards", title_justify="left", box=None)
        for name in ("stage", "epoch", "shard", "sequence", "start", "length", "document_offset"):
            table.add_column(name, justify="left" if name in ("stage", "shard") else "right")
        for span in story.spans[:40]:
            table.add_row(
                *(
                    str(span[name])
                    for name in ("stage", "epoch", "shard", "sequence", "start", "length", "document_offset")
                )
            )
        console.print(table)
        if len(story.spans) > 40:
            console.print(f"... and {len(story.spans) - 40:,} more")
    elif row["status"] == "kept":
        console.print("in no shard: the plan took other documents of its source (see the plan view)")


def _reason(failed: str, row: dict[str, Any], rule_sets: tuple[RuleSet, ...]) -> str:
    """A failed rule with the value that broke it, the limit, and whose limit it is."""
    for rule_set in rule_sets:
        for rule in rule_set.rules:
            if rule.name == failed and row["signals"] is not None and rule.signal in row["signals"]:
                return reason(rule_set, rule, row["signals"][rule.signal], row["language"])
    return failed
