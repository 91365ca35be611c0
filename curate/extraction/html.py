"""Web pages to light Markdown: the main content by resiliparse, its headings, lists and code kept.

Formulae are written out before extraction, so that their letters are not strung together: TeX from MathML
annotations, MathJax scripts and KaTeX as `$...$` or `$$...$$`, other MathML as its text between dollars.

Cost: about 25 MB of HTML a second on one core. Deep pages are refused, because the extraction takes time
quadratic in depth (10,000 nested elements: 4 s).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from curate.extraction.errors import ExtractionError, utf8

#: Elements nested deeper are refused. Browsers stop at 512; real pages stay below 100.
MAX_DEPTH = 256
_TOO_DEEP = ">".join(["*"] * MAX_DEPTH)

#: Servers have padded pages with NULs; a page of more than a tenth of them is no page.
MAX_NULS = 0.1

#: Page furniture that the main-content heuristic keeps: headers and footers that documentation tools write.
FURNITURE = [".navheader", ".navfooter", ".headerlink"]

#: How much of a list is looked at to tell whether it is navigation.
SAMPLED_ELEMENTS = 300

#: Classes of what mathematics scripts render beside the source of a formula.
_RENDERED = frozenset({"katex-html", "MathJax_Preview", "MathJax", "mwe-math-fallback-image-inline"})

_FORMULA_MARKS = ("<math", "<MATH", "math/tex", "MathJax", "katex")
_PIECE = re.compile(r"(</?(?:h[1-6]|p|ul|ol|li|pre|br)(?:\s[^>]*)?/?>)")
_EDGES = re.compile(r"[ \xa0]*\n[ \xa0]*")
_CELLS = re.compile(r"\t[\t \xa0]*")
_HOLLOW = frozenset({"-", "#", "##", "###", "####", "#####", "######"})
_MANY_LINES = re.compile(r"\n{3,}")


def extract(data: bytes | str) -> str:
    """The main content of a page, empty when it has none. Bytes are taken as UTF-8.

    ExtractionError for bytes that are not UTF-8, NUL characters in quantity, or elements nested more than 256
    deep.
    """
    data = utf8(data)
    if "\0" in data:
        if data.count("\0") > MAX_NULS * len(data):
            raise ExtractionError(f"{data.count(chr(0))} NUL characters in {len(data)}: not a page")
        data = data.replace("\0", "")
    tree = HTMLTree.parse(data)
    # Every level needs an opening tag, so that few tags cannot nest deep: most pages end the check here.
    if data.count("<") - data.count("</") >= MAX_DEPTH and _too_deep(tree):
        raise ExtractionError(f"elements nested more than {MAX_DEPTH} deep")
    if any(mark in data for mark in _FORMULA_MARKS):
        _write_formulae(tree)
    if "<ul" in data or "<UL" in data:
        _sink_lists(tree)
    return to_markdown(
        extract_plain_text(
            tree,
            preserve_formatting="minimal_html",
            main_content=True,
            list_bullets=True,
            alt_texts=False,
            links=False,
            form_fields=False,
            noscript=False,
            skip_elements=FURNITURE,
        )
    )


def _too_deep(tree: HTMLTree) -> bool:
    document = tree.document
    return document is not None and document.query_selector(_TOO_DEEP) is not None


def _sink_lists(tree: HTMLTree) -> None:
    """Keep the lists of shallow pages.

    Resiliparse takes every `ul` less than three levels below the body for navigation, which costs plain
    documentation pages all their lists. Those that are not mostly links are moved down, into boxes.
    """
    for shallow in _shallow_lists(tree):
        links = (node for node in islice(_elements(shallow), SAMPLED_ELEMENTS) if node.tag == "a")
        if shallow.parent is None or 2 * sum(len(link.text) for link in links) > len(shallow.text):
            continue
        box: Any = tree.create_element("div")
        shallow.parent.replace_child(box, shallow)
        for _ in range(2):
            inner: Any = tree.create_element("div")
            box.append_child(inner)
            box = inner
        box.append_child(shallow)


def _shallow_lists(tree: HTMLTree) -> list[Any]:
    found = []
    level = [tree.body] if tree.body is not None else []
    for _ in range(3):
        children = [child for node in level for child in _children(node)]
        found += [child for child in children if child.tag == "ul"]
        level = [child for child in children if child.tag != "ul"]
    return found


# Walking: resiliparse's own element lists take time quadratic in their length to go through.


def _children(node: Any) -> Iterator[Any]:
    child = node.first_element_child
    while child is not None:
        yield child
        child = child.next_element_sibling


def _elements(root: Any) -> Iterator[Any]:
    """All elements below `root`, in document order."""
    pending = [_children(root)]
    while pending:
        node = next(pending[-1], None)
        if node is None:
            pending.pop()
        else:
            yield node
            pending.append(_children(node))


# Formulae


def _write_formulae(tree: HTMLTree) -> None:
    """Replace formulae in the tree by text nodes with their TeX; drop what only renders them again."""
    if tree.body is None:
        return
    scripts, formulae, rendered = [], [], []
    for node in _elements(tree.body):
        if node.tag == "math":
            formulae.append(node)
        elif node.tag == "script" and (node.getattr("type") or "").startswith("math/tex"):
            scripts.append(node)
        elif _RENDERED.intersection((node.getattr("class") or "").split()):
            rendered.append(node)
    for script in scripts:
        _replace(tree, script, _dollars(script.text, "display" in script.getattr("type")))
    for math in formulae:
        annotation = math.query_selector('annotation[encoding="application/x-tex"]')
        source = annotation.text if annotation is not None else math.getattr("alttext")
        source = source or " ".join(math.text.split())
        _replace(tree, math, _dollars(source, math.getattr("display") == "block"))
    for node in rendered:
        if node.parent is not None and "$" not in node.text:
            node.decompose()


def _replace(tree: Any, node: Any, text: str) -> None:
    if node.parent is not None:
        node.parent.replace_child(tree.create_text_node(text), node)


def _dollars(source: str, display: bool) -> str:
    source = " ".join(source.split()).strip("$")
    if not source:
        return ""
    return f" $${source}$$ " if display else f"${source}$"


# Resiliparse's reduced HTML to Markdown


def to_markdown(reduced: str) -> str:
    """Headings, lists, code blocks and line breaks of resiliparse's `minimal_html` as Markdown."""
    out: list[str] = []
    lists: list[int] = []  # per open list: the next number, or 0 for bullets
    code = False
    for piece in _PIECE.split(reduced):
        if not piece.startswith("<") or _PIECE.fullmatch(piece) is None:
            text = _text(piece, code, bool(lists))
            out.append(text.removeprefix("\n") if out and out[-1] == "\n" else text)
            continue
        closing = piece[1] == "/"
        name = piece.strip("</>").split()[0]
        if name == "pre":
            out.append("\n```\n" if closing else "\n\n```\n")
            if not closing:
                out.append("")
            code = not closing
        elif name == "br":
            out.append("" if out and out[-1].endswith("\n") else "\n")
        elif name in ("ul", "ol"):
            if closing:
                if lists:
                    lists.pop()
                out.append("" if lists else "\n\n")
            else:
                out.append("" if lists else "\n")
                lists.append(1 if name == "ol" else 0)
        elif name == "li" and not closing:
            number = lists[-1] if lists else 0
            if number:
                lists[-1] += 1
            indent = "  " * (len(lists) - 1)
            mark = f"{number}. " if number else "- "
            out.append(f"\n{indent}{mark}")
        elif name[0] == "h" and not closing:
            out.append(f"\n\n{'#' * int(name[1])} ")
        elif name != "li":
            out.append("\n\n" if not lists else "\n")
    return _tidy("".join(out))


def _text(piece: str, code: bool, in_list: bool) -> str:
    piece = html.unescape(piece) if "&" in piece else piece
    if code:
        return piece.strip("\n")
    if in_list:
        return " ".join(piece.split()) if piece.strip() else ""
    if not piece.strip():
        return "\n" if "\n" in piece else ""
    piece = _EDGES.sub("\n", piece).strip(" \xa0")
    return "\n".join(_row(line) if "\t" in line else line for line in piece.split("\n"))


def _row(line: str) -> str:
    """A table row, whose cells resiliparse sets apart by tabs."""
    return _CELLS.sub(" | ", line.strip(" \t\xa0"))


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    kept = [line for line in lines if line not in _HOLLOW]
    text = _MANY_LINES.sub("\n\n", "\n".join(kept)).strip("\n")
    return text + "\n" if text else ""
