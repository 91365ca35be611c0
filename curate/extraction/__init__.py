"""Markup to readable text with light Markdown: HTML, JATS, roff (man and mdoc), Mallard.

Every extractor is `extract(data: bytes | str) -> str` and raises ExtractionError for input that is
hostile or not of its format. None of them reads a file or the network.
"""

from __future__ import annotations

from collections.abc import Callable

from curate.extraction import html, jats, mallard, roff
from curate.extraction.errors import ExtractionError

EXTRACTED: dict[str, Callable[[bytes | str], str]] = {
    "html": html.extract,
    "jats": jats.extract,
    "mallard": mallard.extract,
    "roff": roff.extract,
}

__all__ = ["EXTRACTED", "ExtractionError", "extract"]


def extract(form: str, data: bytes | str) -> str:
    """The text of a document of format `form`, a key of `EXTRACTED`. ExtractionError when there is none."""
    return EXTRACTED[form](data)
