# ruff: noqa: RUF001 (typographic characters are what these names stand for)
r"""The mdoc macros of BSD manual pages (`.Sh`, `.Bl`, `.Fl`, `.Op`, ...), for `roff`.

Macros in a line may call others (`.Op Fl a Ar file` -> `[-a file]`); closing punctuation is set without
a blank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

_CLOSING = frozenset(".,;:?!)]")
_OPENING = frozenset("([")
_ENCLOSED = {
    "Op": ("[", "]"), "Dq": ("“", "”"), "Sq": ("‘", "’"), "Pq": ("(", ")"), "Bq": ("[", "]"),
    "Aq": ("<", ">"),
    "Brq": ("{", "}"), "Qq": ('"', '"'), "Ql": ("‘", "’"), "En": ("", ""), "Eq": ("", ""),
    "Oo": ("[", ""), "Oc": ("", "]"), "Do": ("“", ""), "Dc": ("", "”"), "So": ("‘", ""), "Sc": ("", "’"),
    "Po": ("(", ""), "Pc": ("", ")"), "Bo": ("[", ""), "Bc": ("", "]"), "Ao": ("<", ""), "Ac": ("", ">"),
    "Bro": ("{", ""), "Brc": ("", "}"), "Qo": ('"', ""), "Qc": ("", '"'),
}  # fmt: skip
_CLOSERS = frozenset({"Oc", "Dc", "Sc", "Pc", "Bc", "Ac", "Brc", "Qc"})
_OPENERS = frozenset({"Oo", "Do", "So", "Po", "Bo", "Ao", "Bro", "Qo"})
_TEXT = frozenset(
    [
        "Ad",
        "An",
        "Ar",
        "Cd",
        "Cm",
        "Dv",
        "Em",
        "Er",
        "Ev",
        "Fa",
        "Fd",
        "Fl",
        "Fn",
        "Ft",
        "Ic",
        "In",
        "Li",
        "Lk",
        "Mt",
        "Nm",
        "No",
        "Ns",
        "Pa",
        "Sx",
        "Sy",
        "Tn",
        "Ux",
        "Bx",
        "Nx",
        "Fx",
        "Ox",
        "Dx",
        "Va",
        "Vt",
        "Xr",
        "At",
        "St",
        "Bsx",
        "Xo",
        "Xc",
        "Ms",
        "Ap",
        "Pf",
        "Nd",
        "Lb",
        "Rv",
        "Ex",
        "Tg",
        "Fo",
        "Fc",
        "%A",
        "%B",
        "%C",
        "%D",
        "%I",
        "%J",
        "%N",
        "%O",
        "%P",
        "%Q",
        "%R",
        "%T",
        "%U",
        "%V",
    ]
)
_FIXED = {"Ux": "UNIX", "Bx": "BSD", "Nx": "NetBSD", "Fx": "FreeBSD", "Ox": "OpenBSD", "Dx": "DragonFly BSD",
          "At": "AT&T UNIX", "Bsx": "BSD/OS"}  # fmt: skip
_SILENT = frozenset({"Ns", "No", "Pf", "Xo", "Xc", "Ap"})
_IGNORED = frozenset(["Dd", "Os", "Dt", "Bk", "Ek", "Sm", "Rs", "Re", "Db", "Hf", "Ud"])


class _Page(Protocol):
    blocks: list[str]
    lead: str
    code: list[str] | None

    def arguments(self, rest: str) -> list[str]: ...
    def put(self, piece: str) -> None: ...
    def flush(self) -> None: ...
    def heading(self, macro: str, title: str) -> None: ...
    def tag(self, tag: str) -> None: ...
    def begin_code(self) -> None: ...
    def end_code(self) -> None: ...


class Mdoc:
    """The state that mdoc needs beside the page's: the program's name and the lists that are open."""

    def __init__(self, page: _Page) -> None:
        self.page = page
        self.name = ""
        self.lists: list[tuple[str, int]] = []  # (type, items so far)
        self.displays: list[bool] = []  # whether each open display is code

    def macro(self, name: str, rest: str) -> None:
        """One macro line."""
        page = self.page
        words = page.arguments(rest)
        if name == "Dt" and words:
            page.blocks.append(f"# {words[0]}({words[1]})" if len(words) > 1 else f"# {words[0]}")
        elif name in ("Sh", "Ss"):
            page.heading(name, self.inline(words))
        elif name in ("Pp", "Lp"):
            page.flush()
        elif name == "Bl":
            page.flush()
            self.lists.append((words[0].lstrip("-") if words else "bullet", 0))
        elif name == "El":
            page.flush()
            page.lead = ""
            if self.lists:
                self.lists.pop()
        elif name == "It":
            self._item(words)
        elif name in ("Bd", "D1", "Dl"):
            self._display(name, words)
        elif name == "Ed":
            if self.displays and self.displays.pop():
                page.end_code()
        elif name == "Nd":
            page.put("— " + self.inline(words))
        elif name not in _IGNORED and (name in _TEXT or name in _ENCLOSED):
            page.put(self.inline([name, *words]))

    def _item(self, words: list[str]) -> None:
        page = self.page
        page.flush()
        kind, count = self.lists[-1] if self.lists else ("bullet", 0)
        if self.lists:
            self.lists[-1] = (kind, count + 1)
        if kind in ("bullet", "dash", "hyphen", "item"):
            page.lead = "" if kind == "item" else "- "
        elif kind == "enum":
            page.lead = f"{count + 1}. "
        elif kind == "column":
            page.put(" | ".join(self.inline(cell) for cell in _cells(words)))
        else:
            page.tag(self.inline(words))

    def _display(self, name: str, words: list[str]) -> None:
        page = self.page
        page.flush()
        if name != "Bd":
            page.blocks.append("```\n" + self.inline(words) + "\n```")
            return
        code = bool({"-literal", "-unfilled"} & set(words))
        self.displays.append(code)
        if code:
            page.begin_code()

    def inline(self, words: list[str]) -> str:
        """A line's words and the macros among them, as text."""
        words = list(words)
        tail: list[str] = []
        while words and words[-1] in _CLOSING:  # set after whatever the line's macros close
            tail.append(words.pop())
        out: list[str] = []
        closing: list[str] = []  # what to close at the end of the line
        glue = False
        current = ""
        fresh = False  # a macro whose arguments have not come yet

        def put(piece: str) -> None:
            nonlocal glue
            if out and (glue or piece in _CLOSING):
                out[-1] += piece
            else:
                out.append(piece)
            glue = piece in _OPENING

        for word in (*words, None):
            called = word is not None and (word in _TEXT or word in _ENCLOSED)
            if fresh and (word is None or called or word in _CLOSING):
                if default := self._default(current):
                    put(default)
                fresh = False
            if word is None:
                break
            if word in _CLOSERS:
                if out:
                    out[-1] += _ENCLOSED[word][1]
                else:
                    out.append(_ENCLOSED[word][1])
            elif word in _ENCLOSED:
                before, after = _ENCLOSED[word]
                put(before)
                glue = True
                if word not in _OPENERS:
                    closing.append(after)
            elif word in _TEXT:
                if word in ("Ns", "Ap"):
                    glue = True
                    if word == "Ap":
                        put("'")
                        glue = True
                current, fresh = word, word not in _SILENT
            elif current == "Xr" and not fresh:  # the section of the page just named
                out[-1] += f"({word})"
                current = ""
            else:
                self._argument(word, current, fresh, put)
                if current == "Pf" or (current == "Fl" and word == "-"):
                    glue = True
                fresh = False
        return " ".join(out) + "".join(reversed(closing)) + "".join(reversed(tail))

    def _argument(self, word: str, current: str, fresh: bool, put: Callable[[str], None]) -> None:
        if word in _CLOSING or word in _OPENING:
            put(word)
        elif current == "Fl":
            put("-" + word)
        elif current == "Nm":
            if fresh:
                self.name = self.name or word
            put(word)
        else:
            put(word)

    def _default(self, macro: str) -> str:
        if macro == "Nm":
            return self.name
        if macro == "Ar":
            return "file ..."
        if macro == "Fl":
            return "-"
        return _FIXED.get(macro, "")


def _cells(words: list[str]) -> list[list[str]]:
    cells: list[list[str]] = [[]]
    for word in words:
        if word == "Ta":
            cells.append([])
        else:
            cells[-1].append(word)
    return cells
