# ruff: noqa: RUF001 (typographic characters are what these names stand for)
"""Scholarly articles in JATS XML to light Markdown.

Kept: title, abstracts, sections as headings by depth, paragraphs, lists, figure and table captions, tables
as rows with ` | `, boxed text, appendices, acknowledgements. Formulae: TeX as `$...$` (in a line) or
`$$...$$`; otherwise MathML as such, in compact form (`<math><mi>x</mi></math>`, no prefixes, no attributes
but those that carry meaning); a formula that exists only as a picture leaves nothing. Dropped: the reference
list, author and journal metadata, footnotes of the title page, pictures. Citation marks in the text stay
as printed.
"""

from __future__ import annotations

import re
from html import escape

from lxml import etree

from curate.extraction.errors import ExtractionError
from curate.extraction.xml_tree import collapse, entity, parse, tag

_ARTICLE = ("article", "sub-article", "response", "book-part", "book")
_DROPPED = frozenset(
    [
        "ref-list",
        "graphic",
        "inline-graphic",
        "media",
        "supplementary-material",
        "object-id",
        "label",
        "fn-group",
        "permissions",
        "front-stub",
        "contrib-group",
        "aff",
        "author-notes",
        "custom-meta-group",
        "alt-text",
        "long-desc",
        "attrib",
        "processing-meta",
        "private-char",
        "textual-form",
        "inline-supplementary-material",
        "table-wrap-foot",
        "sec-meta",
        "glyph-data",
    ]
)
_SECTIONS = frozenset(
    {"sec", "app", "ack", "boxed-text", "abstract", "trans-abstract", "notes", "glossary", "bio"}
)
_CONTAINERS = frozenset(
    [
        "body",
        "back",
        "app-group",
        "floats-group",
        "fig-group",
        "table-wrap-group",
        "disp-quote",
        "statement",
        "def-list",
        "def-item",
        "def",
        "speech",
        "verse-group",
        "alternatives",
        "license",
        "author-comment",
        "question",
        "answer",
        "array",
    ]
)
_BLOCKS = (
    _SECTIONS
    | _CONTAINERS
    | {
        "p",
        "title",
        "list",
        "fig",
        "table-wrap",
        "disp-formula",
        "disp-formula-group",
        "code",
        "preformat",
        "table",
    }
)
_MATH_ATTRIBUTES = frozenset({"open", "close", "separators", "mathvariant", "linethickness", "accent"})
_TEX_BODY = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)


def extract(data: bytes | str) -> str:
    """The article's text. ExtractionError when it is not well-formed XML, or not JATS."""
    root = parse(data)
    articles = [root] if tag(root) in _ARTICLE else list(root.iter("{*}article", "article"))[:1]
    if not articles:
        raise ExtractionError(f"root element is <{tag(root)}>, not a JATS article")
    blocks: list[str] = []
    try:
        _article(articles[0], blocks)
    except RecursionError as error:
        raise ExtractionError("elements nested too deep") from error
    return "\n\n".join(blocks) + "\n" if blocks else ""


def _article(node: etree._Element, out: list[str]) -> None:
    meta = node.find("{*}front/{*}article-meta")
    if meta is not None:
        title = meta.find("{*}title-group/{*}article-title")
        if title is not None and (text := _text(title)):
            out.append(f"# {text}")
        for child in meta:
            if tag(child) in ("abstract", "trans-abstract"):
                _section(child, out, 2)
    for child in node:
        if tag(child) in ("body", "back", "floats-group"):
            _blocks(child, out, 2)
        elif tag(child) in _ARTICLE:
            _article(child, out)


def _blocks(node: etree._Element, out: list[str], level: int) -> None:
    """Append the blocks of an element's content; `level` is the depth of headings in it."""
    loose = [node.text or ""]

    def settle() -> None:
        if text := collapse("".join(loose)):
            out.append(text)
        loose.clear()

    for child in node:
        name = tag(child)
        if name in _BLOCKS:
            settle()
            _block(child, name, out, level)
        elif name not in _DROPPED:
            _inline(child, loose)
        loose.append(child.tail or "")
    settle()


def _block(node: etree._Element, name: str, out: list[str], level: int) -> None:
    if name in _SECTIONS:
        _section(node, out, level)
    elif name == "p":
        _blocks(node, out, level)
    elif name == "title":
        if text := _text(node):
            out.append(text)
    elif name == "list":
        _list(node, out, level)
    elif name in ("fig", "table-wrap"):
        _captioned(node, out, level)
    elif name == "table":
        _table(node, out)
    elif name in ("disp-formula", "disp-formula-group"):
        if text := _formula(node, display=True):
            out.append(text)
    elif name in ("code", "preformat"):
        lines = [line.rstrip() for line in "".join(map(str, node.itertext())).strip("\n").splitlines()]
        if any(lines):
            out.append("\n".join(["```", *lines, "```"]))
    elif name == "def-item":
        term, definition = node.find("{*}term"), node.find("{*}def")
        if term is not None and definition is not None:
            out.append(f"{_text(term)}\n: {_text(definition)}")
    else:
        _blocks(node, out, level)


def _section(node: etree._Element, out: list[str], level: int) -> None:
    name = tag(node)
    title = node.find("{*}title")
    label = node.find("{*}label")
    heading = _text(title) if title is not None else ""
    if not heading and name in ("abstract", "trans-abstract"):
        heading = "Abstract"
    elif not heading and name == "ack":
        heading = "Acknowledgements"
    if label is not None and heading and name in ("sec", "app"):
        heading = f"{_text(label)} {heading}"
    inner: list[str] = []
    if title is not None:
        # Its text is the heading; what follows it in the section stays.
        node.replace(title, _tail_only(title))
    _blocks(node, inner, level + 1)
    if inner:
        if heading:
            out.append(f"{'#' * min(level, 6)} {heading}")
        out.extend(inner)


def _tail_only(node: etree._Element) -> etree._Element:
    empty = etree.Element("named-content")
    empty.tail = node.tail
    return empty


def _list(node: etree._Element, out: list[str], level: int) -> None:
    numbered = node.get("list-type") in (
        "order",
        "arabic",
        "alpha-lower",
        "alpha-upper",
        "roman-lower",
        "roman-upper",
    )
    items = []
    number = 0
    for item in node:
        if tag(item) != "list-item":
            continue
        number += 1
        label = item.find("{*}label")
        mark = f"{_text(label)} " if label is not None and _text(label) not in ("", "•") else ""
        mark = mark or (f"{number}. " if numbered else "- ")
        inner: list[str] = []
        _blocks(item, inner, level)
        if inner:
            items.append(mark + "\n".join(inner).replace("\n", "\n  "))
    if items:
        out.append("\n".join(items))


def _captioned(node: etree._Element, out: list[str], level: int) -> None:
    label, caption = node.find("{*}label"), node.find("{*}caption")
    parts = [_text(label)] if label is not None else []
    if caption is not None:
        inner: list[str] = []
        _blocks(caption, inner, level)
        parts += inner
    if text := " ".join(
        part if part.endswith((".", "!", "?", ":")) else part + "." for part in parts if part
    ):
        out.append(text)
    for table in node.iter("{*}table"):
        _table(table, out)


def _table(node: etree._Element, out: list[str]) -> None:
    rows = []
    for row in node.iter("{*}tr"):
        cells = (_text(cell) for cell in row if tag(cell) in ("td", "th"))
        if (line := " | ".join(cells)).strip(" |"):
            rows.append(line.strip(" "))
    if rows:
        out.append("\n".join(rows))


# Text inside a block


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
    elif name in ("inline-formula", "disp-formula", "math", "tex-math"):
        parts.append(_formula(node, display=name == "disp-formula"))
    elif name == "break":
        parts.append(" ")
    elif name in ("sup", "sub"):
        parts.append(_script(node, "^" if name == "sup" else "_"))
    elif name not in _DROPPED:
        parts.append(node.text or "")
        for child in node:
            _inline(child, parts)
            parts.append(child.tail or "")
        if name in _BLOCKS:
            parts.append(" ")


def _script(node: etree._Element, mark: str) -> str:
    """`10<sup>-3</sup>` -> `10^-3`; citation marks set as superscripts stay bare."""
    text = _text(node)
    if not text or any(tag(child) == "xref" for child in node):
        return text
    if not text[0].isalnum() and text[0] not in "-−+":
        return text
    return mark + (text if len(text) == 1 or text.lstrip("-−+").isalnum() else "{" + text + "}")


def _formula(node: etree._Element, *, display: bool) -> str:
    """TeX between dollars, or else compact MathML, or else the formula's own text."""
    name = tag(node)
    tex = node if name == "tex-math" else next(node.iter("{*}tex-math"), None)
    if tex is not None:
        source = "".join(map(str, tex.itertext()))
        body = _TEX_BODY.search(source)
        source = collapse((body[1] if body else source).strip()).strip("$").strip()
        if not source:
            return ""
        return f"$${source}$$" if display else f"${source}$"
    math = node if name == "math" else next(node.iter("{*}math"), None)
    if math is not None:
        return _mathml(math)
    return _plain(node)


def _plain(node: etree._Element) -> str:
    parts = [node.text or ""]
    for child in node:
        if tag(child) not in _DROPPED:
            _inline(child, parts)
        parts.append(child.tail or "")
    return collapse("".join(parts))


def _mathml(node: etree._Element) -> str:
    name = tag(node)
    if not name:
        return escape(entity(node), quote=False)
    if name in ("annotation", "annotation-xml"):
        return ""
    attributes = "".join(
        f' {key}="{escape(str(value))}"' for key, value in node.attrib.items() if key in _MATH_ATTRIBUTES
    )
    inner = escape(collapse(node.text or ""), quote=False)
    inner += "".join(_mathml(child) for child in node)
    if not inner and name in ("mtext", "mspace") and _in_row(node):
        return ""  # spacing; elsewhere an empty child holds a place (base, index, exponent)
    if name in ("mrow", "semantics", "mstyle", "mpadded") and not attributes and len(node) < 2:
        return inner  # grouping of nothing
    return f"<{name}{attributes}>{inner}</{name}>"


def _in_row(node: etree._Element) -> bool:
    parent = node.getparent()
    return parent is not None and tag(parent) in ("math", "mrow", "mtd")
