"""`curate trace`: from a token to its document, its text and its ledger row."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from curate.trace import Excerpt, Trace

console = Console()


@click.command()
@click.argument("run_directory")
@click.argument("place", metavar="SHARD:SEQUENCE:OFFSET")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def trace(run_directory: str, place: str, as_json: bool) -> None:
    """The document that a token of a shard came from, its text around it, and why it is in the mix.

    SEQUENCE is the row in the shard, OFFSET the token in reading order, both from 0; `.arrow` may be
    left out.

    \b
    curate trace runs/v4 64K-00000-0000:3:1200
    """
    from curate.explain import show
    from curate.rules_in_force import rules_of_source
    from curate.run_directory import open_run
    from curate.trace import trace as follow

    run = open_run(run_directory)
    found = follow(run, place)
    if as_json:
        click.echo(json.dumps(_plain(found), ensure_ascii=False, default=str))
        return
    _print(found)
    if found.story is None:
        console.print("no row of this document in the run's ledger: run `curate verify` to see what is wrong")
        return
    console.print()
    show(console, found.story, rules_of_source(run, found.source))


def _plain(found: Trace) -> dict[str, object]:
    values = asdict(found)
    values["document_id"] = found.document_id.hex()
    row = found.story.row if found.story else None
    values["story"] = row and {
        name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()
    }
    return values


def _print(found: Trace) -> None:
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("token", f"{found.token} {escape(repr(found.tokens.here))}")
    facts.add_row(
        "place",
        f"{escape(found.shard)}, sequence {found.sequence}, token {found.offset} (stage {found.stage})",
    )
    first, last = found.piece[0], found.piece[1] - 1
    if found.padding:
        facts.add_row("this is padding", f"behind document {found.document_id.hex()}, the last one before it")
    else:
        facts.add_row("document", found.document_id.hex())
    facts.add_row("source", escape(found.source))
    if (row := found.story.row if found.story else None) is not None:
        facts.add_row("locator", escape(str(row["locator"])))
    if found.position is not None:
        where = f"token {found.position:,}"
        if row is not None and row.get("tokens") is not None:
            where += f" of {row['tokens']:,}"
        if found.text is not None and found.text.character is not None:
            where += f", about character {found.text.character:,} of its text"
        facts.add_row("position", where)
        if found.text is not None and found.text.fim:
            facts.add_row("order", "split for fill-in-the-middle: prefix, suffix, middle")
    facts.add_row("here", f"tokens {first:,} to {last:,} of the document, epoch {found.epoch}")
    console.print(facts)
    console.print("\n[dim]decoded[/]")
    _print_excerpt(found.tokens)
    if found.text is not None and found.text.excerpt is not None:
        console.print("\n[dim]in its text[/]")
        _print_excerpt(found.text.excerpt)
    elif not found.padding:
        why = "its text is not in documents/" if found.text is None else "a control token"
        console.print(f"\n[dim]not in its text:[/] {why}", highlight=False)


#: Control characters by their pictures, so that a page's text cannot steer the terminal.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= dict.fromkeys([*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)


def _print_excerpt(excerpt: Excerpt) -> None:
    parts = (excerpt.before, excerpt.here, excerpt.after)
    before, here, after = (escape(part.translate(_PICTURES)) for part in parts)
    console.print(f"{before}[bold reverse]⟦{here}⟧[/]{after}", highlight=False, soft_wrap=True)
