"""Bytes to text: byte order mark, then UTF-8 when it is valid, then what was declared, then detection.

UTF-8 comes before the declaration because the two can hardly be confused: text in a legacy charset that
happens to be valid multi-byte UTF-8 is vanishingly rare, while pages that are UTF-8 under a wrong header are
common. Names are Python codec names, lower case, mapped as browsers map them (WHATWG: `latin-1` ->
`windows-1252`, `gb2312` -> `gbk`). Detection is uchardet's (in resiliparse) on at most 64 KiB.

Costs: valid UTF-8 1-10 GB/s, a declared legacy charset 100-500 MB/s, detection about 1 ms a document.
"""

from __future__ import annotations

import codecs
import re

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

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
#: The same for the last resort, windows-1252: above it, the bytes are not text in any charset we know.
MAX_CONTROLS = 0.10

#: 7-bit charsets that switch by escape sequences; as ASCII they would read as gibberish.
_ISO_2022 = ((b"\x1b$B", "iso-2022-jp"), (b"\x1b$@", "iso-2022-jp"), (b"\x1b$)C", "iso-2022-kr"))

_META = re.compile(rb"""<(?:meta\b[^>]*?|\?xml\b[^>]*?en)(?:charset|coding)\s*=\s*["']?\s*([\w.:-]{2,40})""", re.I)

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
    """Whether the first 64 KiB hold a NUL byte that no UTF-16 or UTF-32 explains."""
    head = data[:DETECTION_BYTES]
    if b"\0" not in head or any(head.startswith(mark) for mark, _ in _MARKS[1:]):
        return False
    return _wide(head[: len(head) // 4 * 4]) is None


def _legacy(data: bytes, declared: str | None) -> tuple[str, str]:
    candidates = []
    if declared and (known := map_encoding_to_html5(declared, fallback_utf8=False)):
        candidates.append(known.lower())
    if (wide := _wide(data)) is not None:
        return wide
    candidates += ["utf-8", (detect_encoding(data, max_len=DETECTION_BYTES) or "utf-8").lower()]
    for charset in dict.fromkeys(candidates):
        if (text := _attempt(data, charset)) is not None:
            return text, charset
    text = data.decode("windows-1252", "replace")
    if len(_CONTROLS.findall(text)) > MAX_CONTROLS * len(text):
        raise UndecodableError(f"not text in any known charset (tried {', '.join(dict.fromkeys(candidates))})")
    return text, "windows-1252"


def _attempt(data: bytes, charset: str) -> str | None:
    try:
        text = data.decode(charset, "replace")
    except LookupError:
        return None
    bad = text.count("\ufffd")
    return text if bad <= MAX_REPLACED * len(text) else None


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
