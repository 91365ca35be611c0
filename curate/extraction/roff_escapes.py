# ruff: noqa: RUF001 (typographic characters are what these names stand for)
r"""Escapes of roff: `\-`, `\(em`, `\[u20AC]`, `\fB`, `\s-1`, `\h'1n'`, `\*(lq` to plain characters.

Names of special characters are those of groff_char(7); accented letters are composed from their two-character
names (`\(:a`, `\['e]`). Fonts, sizes, motions and drawings leave nothing.
"""

from __future__ import annotations

import re
import unicodedata

SPECIAL = {
    "em": "—", "en": "–", "hy": "-", "mi": "−", "lq": "“", "rq": "”", "oq": "‘", "cq": "’", "aq": "'",
    "dq": '"', "Bq": "„", "bq": "‚", "Fo": "«", "Fc": "»", "fo": "‹", "fc": "›", "bu": "•", "ci": "○",
    "co": "©", "rg": "®", "tm": "™", "de": "°", "mu": "×", "di": "÷", "+-": "±", "->": "→", "<-": "←",
    "<>": "↔", "ua": "↑", "da": "↓", "rA": "⇒", "lA": "⇐", "hA": "⇔", "ha": "^", "ti": "~", "rs": "\\",
    "sl": "/", "ba": "|", "bv": "|", "br": "|", "or": "|", "ul": "_", "ru": "_", "rn": "‾", "at": "@",
    "sh": "#", "Do": "$", "ct": "¢", "Po": "£", "Ye": "¥", "Eu": "€", "eu": "€", "Cs": "¤", "sc": "§",
    "ps": "¶", "dg": "†", "dd": "‡", "lB": "[", "rB": "]", "lC": "{", "rC": "}", "la": "⟨", "ra": "⟩",
    "lh": "☜", "rh": "☞", "OK": "✓", "sq": "□", "lz": "◊", "r!": "¡", "r?": "¿", "12": "½", "14": "¼",
    "34": "¾", "S1": "¹", "S2": "²", "S3": "³", "18": "⅛", "38": "⅜", "58": "⅝", "78": "⅞", "<=": "≤",
    ">=": "≥", "!=": "≠", "==": "≡", "~=": "≅", "|=": "≃", "=~": "≅", "ap": "∼", "~~": "≈", "pl": "+",
    "eq": "=", "**": "∗", "if": "∞", "pd": "∂", "gr": "∇", "sr": "√", "is": "∫", "in": "∫", "su": "∑",
    "sum": "∑", "product": "∏", "mo": "∈", "nm": "∉", "sb": "⊂", "sp": "⊃", "ib": "⊆", "ip": "⊇",
    "ca": "∩", "cu": "∪", "es": "∅", "AN": "∧", "OR": "∨", "no": "¬", "tno": "¬", "fa": "∀", "te": "∃",
    "pt": "∝", "md": "⋅", "pc": "·", "fm": "′", "sd": "″", "an": "⎯", "ss": "ß", "ae": "æ", "AE": "Æ",
    "oe": "œ", "OE": "Œ", "/o": "ø", "/O": "Ø", "/l": "ł", "/L": "Ł", "-D": "Ð", "Sd": "ð", "TP": "Þ",
    "Tp": "þ", "oa": "å", "oA": "Å", ".i": "ı", ".j": "ȷ", "ff": "ff", "fi": "fi", "fl": "fl", "Fi": "ffi",
    "Fl": "ffl", "aa": "´", "ga": "`", "ad": "¨", "a^": "^", "a~": "~", "ac": "¸", "ao": "˚", "Of": "ª",
    "Om": "º", "%0": "‰", "lt": "<", "gt": ">", "nb": "⊄", "coproduct": "∐", "integral": "∫",
    "*a": "α", "*b": "β", "*g": "γ", "*d": "δ", "*e": "ε", "*z": "ζ", "*y": "η", "*h": "θ", "*i": "ι",
    "*k": "κ", "*l": "λ", "*m": "μ", "*n": "ν", "*c": "ξ", "*o": "ο", "*p": "π", "*r": "ρ", "*s": "σ",
    "*t": "τ", "*u": "υ", "*f": "φ", "*x": "χ", "*q": "ψ", "*w": "ω", "*D": "Δ", "*G": "Γ", "*L": "Λ",
    "*S": "Σ", "*P": "Π", "*F": "Φ", "*W": "Ω", "*H": "Θ", "*Q": "Ψ", "*C": "Ξ", "*U": "Υ", "ts": "ς",
}  # fmt: skip

_ACCENTS = {"'": "\u0301", "`": "\u0300", "^": "\u0302", ":": "\u0308", "~": "\u0303", ",": "\u0327",
            "v": "\u030c", "o": "\u030a", '"': "\u030b", "-": "\u0304", ".": "\u0307"}  # fmt: skip

#: Strings that the man macros define.
STRINGS = {"R": "®", "Tm": "™", "lq": "“", "rq": "”", "S": "", "L<": "<", "R>": ">", "Ba": "|", "Ne": "≠",
           "Ge": "≥", "Le": "≤", "Gt": ">", "Lt": "<", "Pm": "±", "If": "∞", "Pi": "π", "Na": "NaN",
           "q": '"', "Rq": "”", "Lq": "“", "Am": "&"}  # fmt: skip

_ONE = {"-": "-", "e": "\\", "\\": "\\", " ": " ", "~": " ", "0": " ", "'": "´", "`": "`", ".": ".", "_": "_",
        "t": "\t", "E": "\\"}  # fmt: skip

_ESCAPE = re.compile(
    r"""\\(?:
      \((?P<two>..)
    | \[(?P<name>[^\]\n]*)\]
    | [fFgkmMnVY](?:\[[^\]\n]*\]|\(..|[+-]?.)
    | s(?:\[[^\]\n]*\]|\([+-]?..|[+-]?\(..|[+-]?'[^'\n]*'|[+-]?[1-3]?[0-9])
    | \*(?:\[(?P<str>[^\]\n]*)\]|\((?P<str2>..)|(?P<str1>.))
    | N'(?P<code>\d{1,3})'
    | C'(?P<cname>[^'\n]*)'
    | Z'(?P<zero>[^'\n]*)'
    | o'(?P<over>[^'\n]*)'
    | [ABDHLRSXbhlvwx](?:'[^'\n]*'|"[^"\n]*"|\|?[^\s\\]*(?=\s|$|\\))
    | z(?P<z>.)
    | (?P<one>.|$)
    )""",
    re.VERBOSE | re.DOTALL,
)

COMMENT = re.compile(r'(?<!\\)((?:\\\\)*)\\["#].*')


def plain(text: str, strings: dict[str, str], depth: int = 0) -> str:
    """The text without its escapes. `strings` are the page's own (`.ds`); they may refer to one another."""

    def one(match: re.Match[str]) -> str:
        whole = match[0]
        if (known := _CACHE.get(whole)) is not None:
            return known
        kind = match.lastgroup
        if kind in ("str", "str1", "str2"):
            value = strings.get(match[kind])
            value = STRINGS.get(match[kind], "") if value is None else value
            return plain(value, strings, depth + 1) if "\\" in value and depth < 8 else value
        found = _character(match, kind)
        if len(_CACHE) < 4096:
            _CACHE[whole] = found
        return found

    return _ESCAPE.sub(one, text)


_CACHE: dict[str, str] = {}


def _character(match: re.Match[str], kind: str | None) -> str:
    if kind is None:
        return ""
    value = match[kind]
    if kind in ("two", "name", "cname"):
        return _named(value)
    if kind == "code":
        return chr(int(value)) if int(value) >= 32 else ""
    if kind == "over":
        return value[:1]
    if kind == "one":
        return _ONE.get(value, "")
    return str(value) if kind in ("zero", "z") else ""


def _named(name: str) -> str:
    if name in SPECIAL:
        return SPECIAL[name]
    if re.fullmatch(r"u[0-9A-F]{4,6}(?:_[0-9A-F]{4,6})*", name):
        codes = [int(part, 16) for part in name[1:].split("_")]
        valid = all(code < 0x110000 and not 0xD800 <= code < 0xE000 and code >= 32 for code in codes)
        return "".join(map(chr, codes)) if valid else ""
    if len(name) == 2 and name[0] in _ACCENTS:
        composed = unicodedata.normalize("NFC", name[1] + _ACCENTS[name[0]])
        return composed if len(composed) == 1 else name[1]
    if found := re.fullmatch(r"char(\d{1,3})", name):
        return chr(int(found[1])) if int(found[1]) >= 32 else ""
    return name if len(name) == 1 else ""
