"""Text and numbers of the data on their way into the page.

The data is hostile: locators, rule names and errors may hold markup, `</script>`, control characters and
marks that turn the direction of the text. Three exits, one for each reader of the page:

* `visible` for HTML: characters that do not print are shown by code point; jinja2 escapes the rest;
* `chart_label` for plotly, which reads a subset of HTML in its labels and decodes `&lt;` back to `<`;
* `script_json` for a JSON block inside a script element.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

from markupsafe import Markup

DASH = "\u2013"  # where there is no figure
MINUS = "\u2212"

#: Format characters that belong to ordinary text: zero-width joiners of Indic scripts and emoji.
_JOINERS = "\u200c\u200d"


def visible(text: str | None, limit: int = 160) -> str:
    """The text with unprintable and direction-changing characters as their code points; cut at `limit`."""
    if text is None:
        return DASH
    if len(text) > limit:
        head = limit * 2 // 3
        text = f"{text[:head]}…{text[-(limit - head - 1) :]}"
    return "".join(_shown(c) for c in text)


def chart_label(text: str | None, limit: int = 44) -> str:
    """`visible` text that plotly shows as it is, without reading tags, entities or links in it."""
    return chart_text(visible(text, limit))


def chart_text(text: str) -> str:
    """Text of our own (`< 0.1 %`) for plotly, which would read its signs as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def script_json(value: Any) -> Markup:
    """JSON that neither ends the script element around it nor opens a comment in it; floats to 6 digits."""
    text = json.dumps(_rounded(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # ASCII by now: json.dumps escapes everything else


def count(value: float | None) -> Markup:
    """A count in three digits (`12.3 M`), the exact value beside it for machines and on hover."""
    if value is None:
        return Markup(DASH)
    exact = round(value)
    return Markup('<data value="{}" title="{}">{}</data>').format(exact, f"{exact:,}", short(exact))


def size(value: float | None) -> Markup:
    """Bytes in decimal units (`12.3 MB`), exact on hover."""
    if value is None:
        return Markup(DASH)
    exact = round(value)
    text = _scaled(exact, ("kB", "MB", "GB", "TB")) if abs(exact) >= 1000 else f"{exact} B"
    return Markup('<data value="{}" title="{} bytes">{}</data>').format(exact, f"{exact:,}", text)


def share(part: float | None, whole: float | None, digits: int = 1) -> Markup:
    """A percentage; a dash where there is nothing to divide by."""
    if part is None or not whole:
        return Markup(DASH)
    return Markup('<data value="{}">{}</data>').format(f"{part / whole:.6g}", percent(part / whole, digits))


def percent(fraction: float, digits: int = 1) -> str:
    """`0.1234` as `12.3 %`; what is not zero never reads as zero, nor what is not all as 100."""
    least = 10.0**-digits
    value = 100 * fraction
    if 0 < value < least:
        return f"< {least:.{digits}f} %"
    if 100 - least < value < 100:
        return f"{100 - least:.{digits}f} %"
    return f"{value:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: +1.52, 0.00."""
    text = f"{difference:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", MINUS)


def short(value: float) -> str:
    """Three significant digits with a unit: 9,500, 45.6 K, 7.89 M, 1.20 B, 3.00 T."""
    if abs(value) >= 10_000:
        return _scaled(value, ("K", "M", "B", "T"))
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _scaled(value: float, units: tuple[str, str, str, str]) -> str:
    scaled = value / 1000
    for unit in units:
        if abs(scaled) < 999.5 or unit == units[-1]:
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:,.{digits}f} {unit}"
        scaled /= 1000
    raise AssertionError("the last unit takes every value")


def _shown(character: str) -> str:
    if character == " " or character.isprintable() or character in _JOINERS:
        return character
    return (
        " "
        if character in "\t\n\r" or unicodedata.category(character) == "Zs"
        else f"\u2039U+{ord(character):04X}\u203a"
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
