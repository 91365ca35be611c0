"""What an extractor raises, and the check of its input that needs no parser."""

from __future__ import annotations


class ExtractionError(ValueError):
    """Markup that cannot be turned into text: not of its format, undecodable, or hostile. Says why."""


def utf8(data: bytes | str) -> str:
    """The text of bytes; text as it is. ExtractionError at the first byte that is not UTF-8."""
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExtractionError(f"not UTF-8 at byte {error.start}") from error
