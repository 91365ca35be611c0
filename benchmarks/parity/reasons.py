"""Why ours and datatrove's differ on a document: known causes, each with the mark by which it is told.

A cause is claimed only where the text has what it is about; what has none of them is `unexplained`, and the
test allows none in English.
"""

from __future__ import annotations

import re

from .compare import UNSPACED, Disagreement

#: An elided word before its noun, which spaCy cuts in these languages and ours, as English, does not.
ELISION = re.compile(r"\b\w{1,4}['\u2019]\w")
ELIDING = ("fr", "it", "ca")

#: Rules that ask about words; the others ask about lines and characters alone.
_WORDS = re.compile(
    r"gopher_quality\.(word_count|mean|hash|ellipsis_ratio|alphabetic)|gopher_quality\.stop|_gram|newlines|sentences"
)


def reason(difference: Disagreement) -> str:
    """The cause of a disagreement."""
    text, language = difference.document.text, difference.document.language
    if not _WORDS.search(difference.rule):
        return "unexplained"
    # spaCy's pipelines for other languages leave such a run whole, as one long word.
    if UNSPACED.search(text):
        return "runs of a script without spaces"
    if language in ELIDING and ELISION.search(text):
        return "elisions (l'eau): two words to datatrove"
    if language != "en":
        return "the language's own tokenizer: abbreviations, hyphens, suffixes"
    return "unexplained"
