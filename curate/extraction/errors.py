"""What an extractor raises."""

from __future__ import annotations


class ExtractionError(ValueError):
    """Markup that cannot be turned into text: not of its format, undecodable, or hostile. Says why."""
