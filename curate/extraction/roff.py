# ruff: noqa: RUF001 (typographic characters are what these names stand for)
r"""Manual pages (man and mdoc macros) to plain text with light Markdown.

| roff | text |
|---|---|
| `.TH LS 1` / `.Dt LS 1` | `# LS(1)` |
| `.SH`, `.SS` | `##`, `###` headings |
| `.PP`, blank lines | paragraphs, each one line |
| `.TP` and `.IP` with a tag | the tag on a line, then `: ` and its text |
| `.IP \(bu`, `.IP 1.` | list items `- `, `1. ` |
| `.nf`, `.EX` | fenced code, lines as they are |
| `.TS` tables | one line a row, cells between ` \| ` |
| fonts, indents, registers | nothing |

A page that only names another (`.so man1/x.1`) has no text of its own: the result is empty. Macros that a
page defines for itself are not run; their definitions are skipped. Strings (`.ds`) and the conditionals
that say "for a terminal" are.

Cost: about 5 MB of source a second on one core.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from curate.extraction.errors import ExtractionError, utf8
from curate.extraction.mdoc import Mdoc
from curate.extraction.roff_escapes import COMMENT, plain

_ARGUMENT = re.compile(r'"((?:[^"]|"")*)(?:"|$)|((?:\\ |\S)+)')
_BULLETS = {"•", "*", "-", "o", "·", "+", "—", "–", "○"}
_NUMBER = re.compile(r"\(?\w{1,3}[.)]")
_CONDITION = re.compile(r"(!?)\s*(?:([a-z])(?=\W|$)|'([^']*)'([^']*)'|\"([^\"]*)\"([^\"]*)\"|(\S+))\s*")
_WIDE = re.compile("[\u1100-\u11ff\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef]")
_MARKS = {1: None, 2: None}  # control characters that mark places while a page is in the making
_MDOC = re.compile(r"^\.\s*D[dt]\b", re.MULTILINE)
_MAN = re.compile(r"^\.\s*TH\b", re.MULTILINE)


def extract(data: bytes | str) -> str:
    """The page's text. ExtractionError for bytes that are not UTF-8 or hold a NUL."""
    data = utf8(data)
    if "\0" in data:
        raise ExtractionError(f"NUL character at {data.index(chr(0))}")
    data = data.translate(_MARKS)
    head = data[:65536]
    page = Page(mdoc=_MDOC.search(head) is not None and _MAN.search(head) is None)
    page.feed(_lines(data))
    return page.text()


def _lines(text: str) -> Iterator[str]:
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if "\\\n" in text:
        text = re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1", text)
    return iter(text.split("\n"))


class Page:
    """One page in the making: finished blocks, the paragraph being filled, and what is pending."""

    def __init__(self, mdoc: bool) -> None:
        self.blocks: list[str] = []
        self.words: list[str] = []  # pieces of the current paragraph, joined by blanks
        self.glue = False  # the next piece follows without a blank (`\c`)
        self.lead = ""  # what the next paragraph begins with: a bullet or ": "
        self.code: list[str] | None = None  # lines of the code block being collected
        self.awaiting: str | None = None  # macro whose argument is the next line: TP, TQ, SH, SS
        self.strings: dict[str, str] = {}
        self.link = ""
        self.branches: list[bool] = []  # results of .ie, for .el
        self.lines: Iterator[str] = iter(())
        self.mdoc = Mdoc(self) if mdoc else None

    def text(self) -> str:
        """The finished text."""
        self.end_code()
        self.flush()
        body = "\n\n".join(self.blocks)
        # A tag and its text, and neighbouring tags, belong together.
        body = body.replace("\n\n\x01", "\n").replace("\x01", "")
        if "\x02" in body:  # links that were never closed
            body = body.replace("\x02 ", "").replace("\x02", "").strip("\n")
        return body + "\n" if body else ""

    def feed(self, lines: Iterator[str]) -> None:
        """Take lines until they end."""
        self.lines = lines
        for line in lines:
            if line[:1] in (".", "'"):
                self.control(line)
            elif self.code is not None:
                self.code.append(self.plain(line) if "\\" in line else line)
            elif line:
                self.filled(line)
            else:
                self.flush()

    def plain(self, text: str) -> str:
        """The text without comments and escapes."""
        if '\\"' in text or "\\#" in text:
            text = COMMENT.sub(r"\1", text)
        return plain(text, self.strings)

    def filled(self, line: str) -> None:
        """A line of running text."""
        glue = False
        if "\\" in line:
            glue = line.endswith("\\c")
            line = self.plain(line)
        if line[:1] == " " and self.words:
            self.flush()  # a leading blank breaks the line
        self.put(line.strip())
        self.glue = glue

    def put(self, piece: str) -> None:
        """Add a piece of text, or give it to the macro that waits for it."""
        if self.code is not None:
            self.code.append(piece)
        elif self.awaiting is not None:
            macro, self.awaiting = self.awaiting, None
            self.tag(piece) if macro in ("TP", "TQ") else self.heading(macro, piece)
        elif piece:
            if self.words and (self.glue or (_WIDE.match(self.words[-1][-1:]) and _WIDE.match(piece))):
                self.words[-1] += piece
            else:
                self.words.append(piece)
            self.glue = False

    def flush(self) -> None:
        """End the paragraph."""
        if self.words:
            self.blocks.append(self.lead + " ".join(self.words))
            self.words.clear()
            self.lead = ""
        self.glue = False

    def heading(self, macro: str, title: str) -> None:
        """A section (`SH`) or subsection (`SS`)."""
        self.end_code()
        self.flush()
        self.lead = ""
        if title := " ".join(title.split()):
            self.blocks.append(f"{'###' if macro in ('SS', 'Ss') else '##'} {title}")

    def tag(self, tag: str) -> None:
        """The tag of a list item; its text follows."""
        self.flush()
        tag = " ".join(tag.split())
        if tag in _BULLETS:
            self.lead = "- "
        elif _NUMBER.fullmatch(tag) and any(char.isdigit() for char in tag):
            self.lead = tag + " "
        elif tag:
            tight = "\x01" if self.lead == "\x01: " else ""
            self.blocks.append(tight + tag)
            self.lead = "\x01: "

    def begin_code(self) -> None:
        """Lines from here on are kept as they are."""
        if self.code is None:
            self.flush()
            self.code = []

    def end_code(self) -> None:
        """Close the code block, if one is open."""
        if self.code is None:
            return
        lines = [line.rstrip() for line in self.code]
        self.code = None
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:
            lines.pop(0)
        if lines:
            self.lead = ""
            self.blocks.append("\n".join(["```", *lines, "```"]))

    def control(self, line: str) -> None:
        """A line that begins with a dot or an apostrophe."""
        name, _, rest = line[1:].lstrip().partition(" ")
        if "\t" in name:
            name, _, rest = line[1:].lstrip().partition("\t")
        if name.startswith(("\\", "")) and (not name or name.startswith('\\"')):
            return
        if '\\"' in rest:
            rest = COMMENT.sub(r"\1", rest)
        handler = _MACROS.get(name)
        if handler is not None and not (self.mdoc and name in _MAN_ONLY):
            handler(self, rest)
        elif self.mdoc is not None:
            self.mdoc.macro(name, rest)
        elif name[:2] in ("if", "ie", "el"):  # `.if\n`, `.el\{`
            _MACROS[name[:2]](self, name[2:] + " " + rest)

    def arguments(self, rest: str) -> list[str]:
        """A macro's arguments, quotes undone, escapes resolved."""
        rest = rest.strip(" \t")
        if '"' in rest or "\\ " in rest:
            found = [
                (m[1].replace('""', '"') if m[1] is not None else m[2]) for m in _ARGUMENT.finditer(rest)
            ]
        else:
            found = rest.split()
        return [self.plain(one) for one in found] if "\\" in rest else found


# Macros of the man package and the requests of roff that matter to text


def _title(page: Page, rest: str) -> None:
    names = page.arguments(rest)
    if names and names[0]:
        page.blocks.append(f"# {names[0]}({names[1]})" if len(names) > 1 and names[1] else f"# {names[0]}")


def _section(macro: str) -> Callable[[Page, str], None]:
    def handle(page: Page, rest: str) -> None:
        page.end_code()
        page.flush()
        if title := " ".join(page.arguments(rest)):
            page.heading(macro, title)
        else:
            page.awaiting = macro

    return handle


def _paragraph(page: Page, _: str) -> None:
    page.flush()
    page.lead = ""
    page.awaiting = None


def _tagged(page: Page, _: str) -> None:
    page.end_code()
    page.flush()
    page.awaiting = "TP"


def _indented(page: Page, rest: str) -> None:
    page.flush()
    page.awaiting = None
    arguments = page.arguments(rest)
    if arguments and arguments[0].strip():
        page.tag(arguments[0])
    elif page.lead != "\x01: ":
        page.lead = ""


def _font(page: Page, rest: str) -> None:
    if words := page.arguments(rest):
        page.put(" ".join(words))
        page.glue = rest.endswith("\\c")


def _alternating(page: Page, rest: str) -> None:
    if words := page.arguments(rest):
        page.put("".join(words))
        page.glue = rest.endswith("\\c")


def _break(page: Page, _: str) -> None:
    if page.code is None and page.awaiting is None:
        page.flush()


def _no_fill(page: Page, _: str) -> None:
    page.begin_code()


def _fill(page: Page, _: str) -> None:
    page.end_code()


def _space(page: Page, _: str) -> None:
    if page.code is not None:
        page.code.append("")
    elif page.awaiting is None:
        page.flush()


def _open_link(page: Page, rest: str) -> None:
    page.link = " ".join(page.arguments(rest))
    page.words.append("\x02")  # where the link's own text begins


def _close_link(page: Page, rest: str) -> None:
    after = "".join(page.arguments(rest))
    link, page.link = page.link, ""
    if "\x02" not in page.words:  # its text was taken for a tag, or it was never opened
        page.put(link + after)
        return
    start = len(page.words) - 1 - page.words[::-1].index("\x02")
    own = " ".join(page.words[start + 1 :])
    del page.words[start:]
    page.put((f"{own} <{link}>" if own and own != link else link) + after)


def _define_string(page: Page, rest: str) -> None:
    name, _, value = rest.strip().partition(" ")
    value = value.lstrip(" ").removeprefix('"')
    if len(page.strings) < 1024 and len(value) < 4096:
        page.strings[name] = value


def _skip_definition(page: Page, rest: str) -> None:
    end = "." + (rest.split()[1] if len(rest.split()) > 1 else ".")
    for line in page.lines:
        if line.rstrip() == end or line.replace(" ", "") == end:
            return


def _skip_until(ends: tuple[str, ...]) -> Callable[[Page, str], None]:
    def handle(page: Page, _: str) -> None:
        for line in page.lines:
            if line.strip() in ends:
                return

    return handle


def _if(page: Page, rest: str) -> None:
    _conditional(page, rest)


def _if_else(page: Page, rest: str) -> None:
    page.branches.append(_conditional(page, rest))


def _else(page: Page, rest: str) -> None:
    taken = page.branches.pop() if page.branches else False
    _branch(page, rest.lstrip(), not taken)


def _conditional(page: Page, rest: str) -> bool:
    rest = rest.lstrip()
    found = _CONDITION.match(rest)
    if found is None:
        return False
    if found[2]:
        true = found[2] == "n"  # a terminal, not a typesetter
    elif found[3] is not None:
        true = page.plain(found[3]) == page.plain(found[4])
    elif found[5] is not None:
        true = page.plain(found[5]) == page.plain(found[6])
    else:
        true = False  # registers: none is kept
    true ^= found[1] == "!"
    _branch(page, rest[found.end() :], true)
    return true


def _branch(page: Page, body: str, taken: bool) -> None:
    if not body.startswith("\\{"):
        if taken and body:
            _again(page, body)
        return
    body = body[2:].removesuffix("\\")
    if taken:
        if body.strip():
            _again(page, body)
        return  # the lines of the block follow; its `\}` is no character
    depth = 1 + body.count("\\{") - body.count("\\}")
    while depth > 0:
        line = next(page.lines, None)
        if line is None:
            return
        depth += line.count("\\{") - line.count("\\}")


def _again(page: Page, line: str) -> None:
    if line[:1] in (".", "'"):
        page.control(line)
    else:
        page.filled(line)


def _table(page: Page, _: str) -> None:
    page.end_code()
    page.flush()
    separator, form, cells, rows = "\t", True, "", []
    for line in page.lines:
        if line.startswith(".TE"):
            break
        if form:
            if line.rstrip().endswith(";") and (found := re.search(r"tab\s*\((.)\)", line)):
                separator = found[1]
            form = not line.rstrip().endswith(".")
        elif line.startswith(".T&"):
            form = True
        elif cells or not line.startswith((".", "'")):
            cells += line
            if cells.count("T{") > cells.count("T}"):  # a cell of several lines
                cells += " "
                continue
            row, cells = cells, ""
            if row.strip("_=- \t"):
                rows.append(_row(page, row, separator))
    if rows:
        page.blocks.append("\n".join(rows))


def _row(page: Page, row: str, separator: str) -> str:
    row = re.sub(r"T\{(.*?)T\}", lambda cell: re.sub(r"(?:^|\s)\.[A-Za-z]{1,2}(?=\s|$)", " ", cell[1]), row)
    cells = (" ".join(page.plain(cell).split()) for cell in row.split(separator))
    return " | ".join(cell if cell not in ("_", "=", "\\_") else "" for cell in cells).strip(" |")


def _nothing(page: Page, rest: str) -> None:
    """A request that has no text: fonts, indents, registers, page layout."""


_MACROS: dict[str, Callable[[Page, str], None]] = {
    "Sh": _section("SS"), "Ip": _indented,  # as pages made by Perl's tools define them
    "TH": _title, "SH": _section("SH"), "SS": _section("SS"),
    "PP": _paragraph, "P": _paragraph, "LP": _paragraph, "HP": _paragraph, "Sp": _paragraph,
    "TP": _tagged, "TQ": _tagged, "IP": _indented,
    "B": _font, "I": _font, "SM": _font, "SB": _font, "R": _font, "CW": _font,
    "BR": _alternating, "BI": _alternating, "RB": _alternating, "RI": _alternating,
    "IB": _alternating, "IR": _alternating, "OP": _font, "SY": _font,
    "YS": _paragraph, "br": _break, "sp": _space, "RS": _break, "RE": _break,
    "nf": _no_fill, "fi": _fill, "EX": _no_fill, "EE": _fill, "Vb": _no_fill, "Ve": _fill,
    "UR": _open_link, "MT": _open_link, "UE": _close_link, "ME": _close_link,
    "ds": _define_string, "ds1": _define_string, "de": _skip_definition, "de1": _skip_definition,
    "am": _skip_definition, "ig": _skip_definition, "TS": _table, "EQ": _skip_until((".EN",)),
    "PS": _skip_until((".PE",)), "if": _if, "ie": _if_else, "el": _else,
    "so": _nothing, "IX": _nothing, "PD": _nothing, "ft": _nothing, "in": _nothing, "ad": _nothing,
    "na": _nothing, "hy": _nothing, "nh": _nothing, "ne": _nothing, "nr": _nothing, "ti": _nothing,
    "tr": _nothing, "ta": _nothing, "DT": _nothing, "rr": _nothing, "rm": _nothing, "ll": _nothing,
    "": _nothing,
}  # fmt: skip

#: Names that mdoc pages use for macros of their own.
_MAN_ONLY = frozenset({"Sh", "Ip", "Sp", "B", "I", "R", "P", "TH", "SH", "SS", "OP", "SM"})
