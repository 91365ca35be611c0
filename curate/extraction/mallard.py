"""Mallard help pages (GNOME) to light Markdown.

Titles become headings by their depth, lists `- ` or `1. `, definition lists a term and `: ` text, code blocks
fences, tables rows with ` | `; the text of links is kept, metadata (`info`) and media are dropped. Links
without text of their own leave nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from curate.extraction.errors import ExtractionError
from curate.extraction.xml_tree import collapse, entity, parse, tag

_DROPPED = frozenset({"info", "media", "links", "revision", "desc", "license", "credit"})
_BLOCKS = frozenset(
    [
        "p",
        "title",
        "subtitle",
        "list",
        "steps",
        "terms",
        "item",
        "code",
        "screen",
        "section",
        "note",
        "example",
        "quote",
        "synopsis",
        "listing",
        "figure",
        "table",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "comment",
        "cite",
        "tree",
        "div",
        "page",
        "div",
    ]
)


def extract(data: bytes | str) -> str:
    """The page's text. ExtractionError when it is not well-formed XML, or not Mallard."""
    root = parse(data)
    if tag(root) not in ("page", "section", "cache", "stack"):
        raise ExtractionError(f"root element is <{tag(root)}>, not a Mallard page")
    blocks: list[str] = []
    try:
        _blocks(root, blocks, 1)
    except RecursionError as error:
        raise ExtractionError("elements nested too deep") from error
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _blocks(node: etree._Element, out: list[str], level: int) -> None:
    """Append the blocks of an element's content."""
    loose = [node.text or ""]  # text outside any block

    def settle() -> None:
        if text := collapse("".join(loose)):
            out.append(text)
        loose.clear()

    for child in node:
        name = tag(child)
        if name in _DROPPED:
            pass
        elif name in _BLOCKS:
            settle()
            _HANDLERS.get(name, _container)(child, out, level)
        else:
            _inline(child, loose)
        loose.append(child.tail or "")
    settle()


def _container(node: etree._Element, out: list[str], level: int) -> None:
    _blocks(node, out, level)


def _section(node: etree._Element, out: list[str], level: int) -> None:
    _blocks(node, out, level + 1)


def _title(node: etree._Element, out: list[str], level: int) -> None:
    parent = node.getparent()
    if title := _text(node):
        heading = parent is not None and tag(parent) in ("page", "section", "stack")
        out.append(f"{'#' * min(level, 6)} {title}" if heading else title)


def _paragraph(node: etree._Element, out: list[str], level: int) -> None:
    if any(tag(child) in _BLOCKS for child in node):
        _blocks(node, out, level)
    elif text := _text(node):
        out.append(text)


def _list(node: etree._Element, out: list[str], level: int) -> None:
    numbered = tag(node) == "steps" or node.get("type") == "numbered"
    items: list[str] = []
    number = 0
    for child in node:
        if tag(child) == "title":
            _title(child, out, level)
        elif tag(child) == "item":
            number += 1
            mark = f"{number}. " if numbered else "- "
            inner: list[str] = []
            _blocks(child, inner, level)
            if inner:
                items.append(mark + _hang("\n\n".join(inner), len(mark)))
    if items:
        loose = any("\n\n" in item for item in items)
        out.append(("\n\n" if loose else "\n").join(items))


def _terms(node: etree._Element, out: list[str], level: int) -> None:
    for child in node:
        if tag(child) == "title" and tag(node) == "terms":
            _title(child, out, level)
        elif tag(child) == "item":
            titles = [_text(title) for title in child if tag(title) == "title"]
            inner: list[str] = []
            for title in [title for title in child if tag(title) == "title"]:
                tail = title.tail
                child.remove(title)
                if tail and tail.strip():
                    inner.append(collapse(tail))
            _blocks(child, inner, level)
            lines = [title for title in titles if title]
            if inner:
                lines.append(": " + _hang("\n\n".join(inner), 2))
            if lines:
                out.append("\n".join(lines))


def _code(node: etree._Element, out: list[str], _: int) -> None:
    parts: list[str] = []
    _gather(node, parts)
    lines = [line.rstrip() for line in "".join(parts).strip("\n").splitlines()]
    if any(lines):
        out.append("\n".join(["```", *lines, "```"]))


def _table(node: etree._Element, out: list[str], level: int) -> None:
    rows = []
    for child in node:
        if tag(child) == "title":
            _title(child, out, level)
    for row in node.iter("{*}tr"):
        cells = (collapse(" ".join(_cell(cell))) for cell in row if tag(cell) in ("td", "th"))
        if line := " | ".join(cells).strip(" |"):
            rows.append(line)
    if rows:
        out.append("\n".join(rows))


def _cell(node: etree._Element) -> list[str]:
    inner: list[str] = []
    _blocks(node, inner, 1)
    return inner


def _hang(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width).replace("\n" + " " * width + "\n", "\n\n")


def _text(node: etree._Element) -> str:
    parts = [node.text or ""]
    for child in node:
        _inline(child, parts)
        parts.append(child.tail or "")
    return collapse("".join(parts))


def _inline(node: etree._Element, parts: list[str]) -> None:
    name = tag(node)
    if not name:
        parts.append(entity(node))
    elif name == "guiseq":  # File > Save
        steps = [_text(child) for child in node]
        parts.append(" ▸ ".join(step for step in steps if step) or (node.text or ""))
    elif name == "keyseq":
        keys = [_text(child) for child in node]
        parts.append("+".join(key for key in keys if key) or (node.text or ""))
    elif name not in _DROPPED:
        parts.append(node.text or "")
        for child in node:
            _inline(child, parts)
            parts.append(child.tail or "")


def _gather(node: etree._Element, parts: list[str]) -> None:
    parts.append(node.text or "")
    for child in node:
        if tag(child):
            _gather(child, parts)
        else:
            parts.append(entity(child))
        parts.append(child.tail or "")


_HANDLERS: dict[str, Callable[[etree._Element, list[str], int], None]] = {
    "title": _title,
    "subtitle": _title,
    "p": _paragraph,
    "section": _section,
    "list": _list,
    "steps": _list,
    "terms": _terms,
    "tree": _list,
    "code": _code,
    "screen": _code,
    "table": _table,
}
