"""datatrove's side of the parity test: its own filters, rule by rule, over texts that it is given.

Run by its own interpreter (`benchmarks/.venvs/datatrove`): reads JSON lines `{"text", "language"}` (ISO
639-1) and prints one of `{"filter": {"reason": first failure or null, "rules": {name: failed}}}` each. Every
filter gets a Document of its own with the same text. A rule alone is the filter, its other thresholds off;
null where the filter is not defined (it divides by a number of words that is 0).

The words are those of datatrove's tokenizer for the language. They are computed once per text and not once
per rule: the filters ask for the same list each time.
"""

from __future__ import annotations

import json
import sys
import warnings
from functools import cache, lru_cache
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

words = lru_cache(4)(gopher_quality_filter.split_into_words)
for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
    module.split_into_words = words

#: The thresholds of each filter, all off.
QUALITY_OFF: dict[str, Any] = dict.fromkeys(
    (
        "min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length",
        "max_symbol_word_ratio", "max_bullet_lines_ratio", "max_ellipsis_lines_ratio",
        "max_non_alpha_words_ratio", "min_stop_words",
    )
)  # fmt: skip
REPETITION_OFF: dict[str, Any] = {
    **dict.fromkeys(("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")),
    "top_n_grams": (),
    "dup_n_grams": (),
}
FINEWEB_OFF: dict[str, Any] = {
    "line_punct_thr": -1.0,
    "short_line_thr": float("inf"),
    "char_duplicates_ratio": float("inf"),
    "new_line_ratio": float("inf"),
}

#: Our rule: the thresholds to leave on.
QUALITY: dict[str, dict[str, Any]] = {
    "word_count": {"min_doc_words": 50, "max_doc_words": 100_000},
    "mean_word_length": {"min_avg_word_length": 3, "max_avg_word_length": 10},
    "hash_ratio": {"max_symbol_word_ratio": 0.1},
    "ellipsis_ratio": {"max_symbol_word_ratio": 0.1},
    "bullet_lines": {"max_bullet_lines_ratio": 0.9},
    "ellipsis_lines": {"max_ellipsis_lines_ratio": 0.3},
    "alphabetic_words": {"max_non_alpha_words_ratio": 0.8},
    "stop_words": {"min_stop_words": 2},
}
REPETITION: dict[str, dict[str, Any]] = {
    "duplicate_paragraphs": {"dup_para_frac": 0.3},
    "duplicate_paragraph_chars": {"dup_para_char_frac": 0.2},
    "duplicate_lines": {"dup_line_frac": 0.3},
    "duplicate_line_chars": {"dup_line_char_frac": 0.2},
    **{f"top_{n}_gram": {"top_n_grams": ((n, limit),)} for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16))},
    **{f"duplicate_{n}_gram": {"dup_n_grams": ((n, (20 - n) / 100),)} for n in range(5, 11)},
}
FINEWEB: dict[str, dict[str, Any]] = {
    "punctuated_lines": {"line_punct_thr": 0.12},
    "short_lines": {"short_line_thr": 0.67},
    "duplicate_line_chars": {"char_duplicates_ratio": 0.01},
    "newlines": {"new_line_ratio": 0.3},
}
#: C4's checks of lines stay on, since what drops a document depends on the lines that got past them; what
#: is off is the other reasons to drop it.
C4_OFF: dict[str, Any] = {"min_num_sentences": -1, "filter_lorem_ipsum": False, "filter_curly_bracket": False}
C4: dict[str, dict[str, Any]] = {
    "lorem_ipsum": {"filter_lorem_ipsum": True},
    "curly_bracket": {"filter_curly_bracket": True},
    "sentences": {"min_num_sentences": 5},
}
FILTERS = {
    "gopher_quality": (GopherQualityFilter, QUALITY_OFF, QUALITY),
    "gopher_repetition": (GopherRepetitionFilter, REPETITION_OFF, REPETITION),
    "c4": (C4QualityFilter, C4_OFF, C4),
    "fineweb": (FineWebQualityFilter, FINEWEB_OFF, FINEWEB),
}

#: datatrove's reason: our rule.
REASONS = {
    "gopher_short_doc": "word_count",
    "gopher_long_doc": "word_count",
    "gopher_below_avg_threshold": "mean_word_length",
    "gopher_above_avg_threshold": "mean_word_length",
    "gopher_too_many_hashes": "hash_ratio",
    "gopher_too_many_ellipsis": "ellipsis_ratio",
    "gopher_too_many_bullets": "bullet_lines",
    "gopher_too_many_end_ellipsis": "ellipsis_lines",
    "gopher_below_alpha_threshold": "alphabetic_words",
    "gopher_enough_stop_words": "stop_words",
    "dup_para_frac": "duplicate_paragraphs",
    "dup_para_char_frac": "duplicate_paragraph_chars",
    "dup_line_frac": "duplicate_lines",
    "dup_line_char_frac": "duplicate_line_chars",
    **{f"top_{n}_gram": f"top_{n}_gram" for n in (2, 3, 4)},
    **{f"duplicated_{n}_n_grams": f"duplicate_{n}_gram" for n in range(5, 11)},
    "lorem_ipsum": "lorem_ipsum",
    "curly_bracket": "curly_bracket",
    "too_few_sentences": "sentences",
    "line_punct_ratio": "punctuated_lines",
    "short_line_ratio": "short_lines",
    "char_dup_ratio": "duplicate_line_chars",
    "list_ratio": "newlines",
    "empty": "empty",
}


@cache
def whole(name: str, language: str) -> Any:
    """A filter with its defaults; the stop words are English, so they are asked of English only."""
    kind, _, _ = FILTERS[name]
    english = {} if name != "gopher_quality" or language == "en" else {"min_stop_words": None}
    return kind(language=language, **english)


@cache
def alone(name: str, rule: str | None, language: str) -> Any:
    """A filter with one rule, or with none."""
    kind, off, rules = FILTERS[name]
    return kind(language=language, **(off | (rules[rule] if rule else {})))


def first_failure(step: Any, text: str) -> str | None:
    """The name of the first rule that the text fails."""
    outcome = step.filter(Document(text=text, id=""))
    return None if outcome is True else REASONS[outcome[1]]


def fails(name: str, rule: str, text: str, language: str) -> bool | None:
    if rule == "stop_words" and language != "en":
        return None
    try:
        found = first_failure(alone(name, rule, language), text)
    except ZeroDivisionError:
        return None
    if found is not None and found != rule:
        return None  # of two rules under one threshold the other came first, or the text is empty
    return found == rule


def main() -> None:
    warnings.simplefilter("ignore")  # numpy's mean of nothing
    for line in sys.stdin:
        document = json.loads(line)
        text, language = document["text"], document["language"]
        answer = {
            name: {
                "reason": first_failure(whole(name, language), text),
                "rules": {rule: fails(name, rule, text, language) for rule in rules},
            }
            for name, (_, _, rules) in FILTERS.items()
        }
        # The text as C4's filter leaves it with no reason to drop it: what its lines were cut to.
        left = Document(text=text, id="")
        alone("c4", None, language).filter(left)
        answer["c4_text"] = left.text
        print(json.dumps(answer))


if __name__ == "__main__":
    main()
