"""Rule sets and answers to what-if as tables on a console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.stages.rule_sets import Rule, RuleSet, Scope
from curate.what_if import Answer, Cell

#: Rows of an answer that are shown; --json has all.
SHOWN = 40


def limits(low: float | None, high: float | None) -> str:
    """`at least 50 and at most 100000`."""
    parts = [
        f"at least {low:g}" if low is not None else "",
        f"at most {high:g}" if high is not None else "",
    ]
    return " and ".join(filter(None, parts)) or "anything"


def show_sets(console: Console, rule_sets: Sequence[RuleSet]) -> None:
    """A line per set."""
    table = Table("set", "version", "rules", "scope", "source", box=None)
    for rule_set in rule_sets:
        scope = "" if rule_set.scope == Scope() else str(rule_set.scope)
        row = (rule_set.name, str(rule_set.version), str(len(rule_set.rules)), scope, rule_set.source)
        table.add_row(*map(escape, row))
    console.print(table)


def show_set(console: Console, rule_set: RuleSet, language: str | None) -> None:
    """A set with its rows, their bounds by default or for one language."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("set", f"[bold]{escape(rule_set.name)}[/], version {rule_set.version}")
    facts.add_row("source", escape(rule_set.source))
    if rule_set.values_source is not None:
        facts.add_row("values", escape(rule_set.values_source))
    if rule_set.scope != Scope():
        facts.add_row("scope", escape(str(rule_set.scope)))
    if own := languages_of(rule_set):
        facts.add_row("languages", f"with limits of their own: {escape(', '.join(own))} (--language)")
    console.print(facts)
    which = f" for {language}" if language else ""
    table = Table("rule", "signal", f"min{which}", f"max{which}", "scope", "source", box=None)
    for rule in rule_set.rules:
        low, high = rule.bounds(language)
        bounds = ("" if bound is None else f"{bound:g}" for bound in (low, high))
        row = (rule.name.partition(".")[2], rule.signal, *bounds, str(rule.scope), rule.source or "")
        table.add_row(*map(escape, row))
    console.print(table)


def languages_of(rule_set: RuleSet) -> list[str]:
    """Languages with bounds of their own."""
    return sorted({language for rule in rule_set.rules for language, _, _ in rule.by_language})


def reason(rule_set: RuleSet, rule: Rule, value: object, language: str | None) -> str:
    """Why a document failed a rule: the value, the limit, and whose limit it is."""
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    own = language if any(language == row[0] for row in rule.by_language) else None
    for_language = f" for {own}" if own else ""
    source = rule.source or rule_set.source
    return (
        f"{rule.name}: {rule.signal} is {shown}, wanted {limits(*rule.bounds(language))}{for_language} "
        f"({rule_set.name} version {rule_set.version}; {source})"
    )


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as plain values."""
    columns = [name for name in Cell.__dataclass_fields__ if name not in ("tokenized_bytes", "tokens")]
    rows = [
        {"source": source, "language": language} | {name: getattr(cell, name) for name in columns}
        for (source, language), cell in sorted(answer.cells.items())
        if cell.removed or cell.added
    ]
    total = {name: sum(getattr(cell, name) for cell in answer.cells.values()) for name in columns}
    rules = {name: {"failed": before, "would_fail": after} for name, (before, after) in answer.rules.items()}
    return {"total": total, "rules": rules, "rows": rows, "notes": notes(answer)}


def notes(answer: Answer) -> list[str]:
    """What a reader of the numbers has to know."""
    cells = answer.cells.values()
    found = list(answer.notes)
    if not answer.tokenized:
        found.append("no document was tokenized yet: tokens are not known")
    if any(cell.added for cell in cells):
        found.append("tokens of documents that come back are estimates, by the bytes a token of their kind")
        found.append("documents that come back may be duplicates: deduplication has not seen them")
    if any(cell.removed for cell in cells) and answer.tokenized:
        found.append(
            "tokens removed are exact, and those of documents in the mix: a duplicate has none; "
            "where a document goes that stood for duplicates, one of them would take its place"
        )
    return found


def show_answer(console: Console, answer: Answer) -> None:
    """Totals, the rules that changed, and the sources and languages with the most changes."""
    plain = as_json(answer)
    total = plain["total"]
    table = Table("", box=None)
    for head in ("documents", "text bytes", "tokens"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column()
    duplicates = f"{total['removed_duplicates']:,} of them duplicates" if total["removed_duplicates"] else ""
    table.add_row("kept now", f"{total['kept']:,}", "", "", "before deduplication")
    table.add_row("removed", *_amounts(total, "removed", "-", answer.tokenized), duplicates)
    table.add_row("added", *_amounts(total, "added", "+", answer.tokenized), "")
    table.add_row("kept then", f"{total['kept_after']:,}", "", "", "")
    console.print(table)
    table = Table("rule", "fail it now", "would fail it", box=None)
    for name, counts in sorted(plain["rules"].items()):
        table.add_row(escape(name), f"{counts['failed']:,}", f"{counts['would_fail']:,}")
    console.print(table)
    rows = sorted(
        plain["rows"], key=lambda row: (-row["removed"] - row["added"], row["source"], row["language"])
    )
    heads = ("source", "language", "removed", "bytes", "tokens", "added", "bytes", "tokens")
    table = Table(*heads[:2], box=None)
    for head in heads[2:]:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows[:SHOWN]:
        cells = [
            *_amounts(row, "removed", "-", answer.tokenized),
            *_amounts(row, "added", "+", answer.tokenized),
        ]
        table.add_row(escape(row["source"]), escape(row["language"]), *cells)
    if rows:
        console.print(table)
    if len(rows) > SHOWN:
        console.print(f"... and {len(rows) - SHOWN:,} more (--json has all)")
    for note in plain["notes"]:
        console.print(f"note: {note}", style="dim", markup=False, highlight=False)


def _amounts(row: dict[str, Any], kind: str, sign: str, tokenized: bool) -> tuple[str, str, str]:
    """Documents, bytes and tokens; `~` marks an estimate."""
    documents, size, tokens = (row[name] for name in (kind, f"{kind}_bytes", f"{kind}_tokens"))
    if not documents:
        return ("", "", "")
    about = "~" if kind == "added" else ""
    return f"{sign}{documents:,}", f"{sign}{size:,}", f"{about}{sign}{tokens:,}" if tokenized else "?"
