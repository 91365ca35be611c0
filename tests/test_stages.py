"""What the per-document stages decide beyond the rule sets."""

from __future__ import annotations

import pytest

from curate.document import Record, batches
from curate.phases.tokenize import tokenizer_of
from curate.stages import NO_LANGUAGE, SourceContext, run_stages
from mixtures.spec import LanguageFilter, LineEdits, Read, Source
from tokenizer import load

REFINEDWEB = LineEdits(rules=("refinedweb",))


def decided(
    texts: list[str], language: LanguageFilter | None, lines: LineEdits | None = None
) -> list[dict[str, object]]:
    read = Read.model_validate({"files": "*"})
    source = Source(read=read, domain="web", language=language, lines=lines or LineEdits())
    records = (Record(f"{n}.txt", text, len(text.encode())) for n, text in enumerate(texts))
    (batch,) = batches("s", records)
    rows: list[dict[str, object]] = run_stages(batch, SourceContext("s", source, ())).to_pylist()
    return rows


@pytest.mark.parametrize("text", ["", "\ufeff", "\x00\x07\x1b"])
def test_a_document_without_text_is_dropped_even_where_there_are_no_rules(text: str) -> None:
    empty, full = decided([text, "some words"], None)
    assert (empty["status"], empty["dropped_by"], empty["text_bytes"]) == ("rules", "text.empty", 0)
    assert (full["status"], full["dropped_by"], full["failed_rules"]) == ("kept", None, [])
    assert full["language"] == NO_LANGUAGE


def test_what_line_rules_cut_is_counted_and_what_comes_later_is_of_the_edited_text() -> None:
    cut, gone, whole = decided(["HOME\nit is so\n3 likes\n", "Menu\n\n12", "it is so"], None, REFINEDWEB)
    assert (cut["text"], cut["text_bytes"]) == ("it is so", 8)
    assert cut["edits"] == [
        {"rule": "refinedweb.counter", "count": 1, "bytes": 9},  # with both its line ends: it is the last
        {"rule": "refinedweb.uppercase", "count": 1, "bytes": 5},
    ]
    assert (gone["text"], gone["dropped_by"], gone["text_bytes"]) == ("", "text.empty", 0)
    assert (whole["text"], whole["edits"], whole["dropped_by"]) == ("it is so", [], None)
    signals = cut["signals"]
    assert isinstance(signals, dict)
    assert signals["text_bytes"] == 22  # as it was


def test_line_rules_can_be_kept_to_languages() -> None:
    english = "The river is deep here, and the children have been told to stay away.\nHOME"
    german = "Der Fluss ist hier tief, und die Kinder sollen nicht zu nahe an das Ufer gehen.\nHOME"

    def edited(lines: LineEdits) -> list[bool]:
        return [row["edits"] != [] for row in decided([english, german], LanguageFilter(), lines)]

    assert edited(REFINEDWEB) == [True, True]
    assert edited(LineEdits(rules=("refinedweb",), languages=("en",))) == [True, False]
    assert edited(LineEdits(rules=("refinedweb",), except_languages=("en",))) == [False, True]


def test_the_languages_that_are_asked_for_decide_before_anything_else() -> None:
    english = "The river is deep here, and the children have been told to stay away from the bank."
    german = "Der Fluss ist hier tief, und die Kinder sollen nicht zu nahe an das Ufer gehen."
    allowed = decided([english, german], LanguageFilter(allow=("en",)))
    assert [row["dropped_by"] for row in allowed] == [None, "language.allow"]
    denied = decided([english, german], LanguageFilter(deny=("en",)))
    assert [row["dropped_by"] for row in denied] == ["language.deny", None]
    unsure = decided(["", german], LanguageFilter(min_score=0.65))
    assert [row["status"] for row in unsure] == ["language", "kept"]


def test_a_tokenizer_without_bos_or_eos_has_a_fingerprint_of_its_own() -> None:
    prints = {
        tokenizer_of("deepseek-v4", bos, eos).fingerprint for bos in (True, False) for eos in (True, False)
    }
    assert len(prints) == 4
    assert tokenizer_of("deepseek-v4", True, True).fingerprint == load("deepseek-v4").fingerprint
