"""Bytes to text: byte order mark, then UTF-8 when it is valid, then what was declared, then detection.

UTF-8 comes before the declaration because the two can hardly be confused: text in a legacy charset that
happens to be valid multi-byte UTF-8 is vanishingly rare, while pages that are UTF-8 under a wrong header are
common. A charset is decoded as the superset that browsers decode it as (WHATWG: `latin-1` as `cp1252`,
`gb2312` as `gb18030`, `euc-kr` as `cp949`), and named so, by Python's names. Detection is uchardet's (in
resiliparse) on at most 64 KiB.

Costs on one core: UTF-8 5 GB/s when mostly ASCII, a declared single-byte charset 1.4 GB/s; detection only
where both fail.
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16 LE
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

DETECTION_BYTES = 1 << 16

#: A declared or detected charset stands when at most this share of its characters cannot be decoded.
MAX_REPLACED = 0.01
#: The same for the last resort, cp1252: above it, the bytes are not text in any charset we know.
MAX_CONTROLS = 0.10

#: Charsets to the supersets that pages labelled so really use (WHATWG Encoding, section 4.2).
_SUPERSETS = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "big5": "big5hkscs",
}

#: Labels that Python's codecs know under another name.
_LABELS = {
    "x-sjis": "cp932",
    "ks_c_5601-1987": "cp949",
    "windows-949": "cp949",
    "uhc": "cp949",
    "macintosh": "mac-roman",
    "x-mac-roman": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "maccyrillic": "mac-cyrillic",
    "x-euc-jp": "euc-jp",
    "x-gbk": "gb18030",
    "windows-874": "cp874",
    "iso-8859-8-i": "iso-8859-8",
}

#: Families of text charsets among Python's codecs; `utf-7`, `idna` or `unicode_escape` are no charsets of
#: pages.
_FAMILIES = ("ascii", "big5", "cp", "euc", "gb", "hz", "iso2022", "iso8859", "johab", "koi8", "kz", "mac",
             "ptcp", "shift_jis", "tis", "utf-16", "utf-32", "utf-8")  # fmt: skip

#: 7-bit charsets that switch by escape sequences; as ASCII they would read as gibberish.
_ISO_2022 = ((b"\x1b$B", "iso-2022-jp"), (b"\x1b$@", "iso-2022-jp"), (b"\x1b$)C", "iso-2022-kr"))

_META = re.compile(
    rb"""<(?:meta\b[^>]*?|\?xml\b[^>]*?en)(?:charset|coding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I
)

_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f\ufffd]")


class UndecodableError(ValueError):
    """Bytes that are not text in any charset we know."""


def decode(data: bytes, *, declared: str | None = None) -> tuple[str, str]:
    """The text, without its byte order mark, and the charset it was decoded from.

    A few bad bytes become U+FFFD. UndecodableError when more than 10 % of the characters are controls or
    undecodable in every candidate charset.
    """
    for mark, charset in _MARKS:
        if data.startswith(mark) and not (charset == "utf-32-le" and len(data) % 4):
            return data[len(mark) :].decode(charset, "replace"), charset
    if b"\x1b" in data[:DETECTION_BYTES]:
        for escape, charset in _ISO_2022:
            if escape in data and (text := _attempt(data, charset)) is not None:
                return text, charset
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _legacy(data, declared)
    if "\0" in text and (wide := _wide(data)) is not None:
        return wide
    return text, "utf-8"


def declared_in(head: bytes) -> str | None:
    """The charset that an HTML `<meta>` or an XML declaration names in the first 2 KiB, or None."""
    found = _META.search(head, 0, 2048)
    return found[1].decode("ascii") if found else None


def is_binary(data: bytes) -> bool:
    """Whether the first 8 KiB (the window of git and grep) hold a NUL that no UTF-16 or UTF-32 explains."""
    head = data[:8192]
    if b"\0" not in head or any(head.startswith(mark) for mark, _ in _MARKS[1:]):
        return False
    return _wide(head[: len(head) // 4 * 4]) is None


def known_charset(label: str) -> str | None:
    """The Python codec for a charset's label, its superset where there is one; None for what is no charset.

    >>> known_charset("ISO-8859-1"), known_charset("EUC-KR"), known_charset("rot13")
    ('cp1252', 'cp949', None)
    """
    label = label.strip().lower()
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except (LookupError, ValueError):  # ValueError: a NUL in the label
        return None
    return _SUPERSETS.get(name, name) if name.startswith(_FAMILIES) else None


def _legacy(data: bytes, declared: str | None) -> tuple[str, str]:
    candidates = []
    if declared and (known := known_charset(declared)):
        candidates.append(known)
    if (wide := _wide(data)) is not None:
        return wide
    detected = detect_encoding(data, max_len=DETECTION_BYTES, html5_compatible=False)
    candidates += ["utf-8", known_charset(detected or "") or "utf-8"]
    for charset in dict.fromkeys(candidates):
        if (text := _attempt(data, charset)) is not None:
            return text, charset
    text = data.decode("cp1252", "replace")
    if len(_CONTROLS.findall(text)) > MAX_CONTROLS * len(text):
        raise UndecodableError(
            f"not text in any known charset (tried {', '.join(dict.fromkeys(candidates))})"
        )
    return text, "cp1252"


def _attempt(data: bytes, charset: str) -> str | None:
    try:
        text = data.decode(charset, "replace")
    except LookupError:
        return None
    bad = text.count("\ufffd")
    if bad > MAX_REPLACED * len(text):
        return None
    if bad and charset == "utf-8" and 4 * bad > sum(char > "\x7f" for char in text) - bad:
        return None  # ASCII with a few bytes of another charset; true UTF-8 has whole sequences too
    return text


def _wide(data: bytes) -> tuple[str, str] | None:
    """UTF-16 or UTF-32 without a mark: most high bytes of Latin-script text are zero."""
    for charset, unit, zero in (
        ("utf-32-le", 4, 3),
        ("utf-32-be", 4, 0),
        ("utf-16-le", 2, 1),
        ("utf-16-be", 2, 0),
    ):
        if len(data) < 2 * unit or len(data) % unit:
            continue
        sample = data[: DETECTION_BYTES // 4 * 4]
        units = len(sample) // unit
        share = sample[zero::unit].count(0) / units
        others = max(sample[i::unit].count(0) for i in range(unit) if i != zero) if unit == 2 else 0
        if share > 0.7 and others < 0.05 * units:
            try:
                text = data.decode(charset)
            except UnicodeDecodeError:
                continue
            if not _CONTROLS.search(text[:4096]):
                return text, charset
    return None
