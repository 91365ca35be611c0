"""Normal form, segmentation and signals: golden values by hand, the definition beside each."""

from __future__ import annotations

import time
import unicodedata

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages.signals import WRITES, add_signals

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
#: Signals of program code are null where no format is given (test_code_signals.py has them).
GENERAL = list(curate_kernels.signal_names())[: list(curate_kernels.signal_names()).index("comment_ratio")]
#: Ratios that are shares of a whole; the others (top n-grams, per-token rates, compression) can exceed 1.
SHARES = [
    name
    for name in GENERAL
    if name.endswith("_ratio")
    and not name.startswith(("top_", "newline_", "hash_", "ellipsis_ratio", "compression_"))
]


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def signals(text: str) -> dict[str, float]:
    return curate_kernels.signals(texts(text)).to_pylist()[0]


def normalize(text: str) -> str:
    return curate_kernels.normalize(texts(text))[0].as_py()


def segments(text: str) -> tuple[int, int]:
    """Tokens, and those among them that are words."""
    row = signals(text)
    return row["segments"], row["word_count"]


class TestNormalize:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("plain\ttext\n", "plain\ttext\n"),
            ("a\r\nb\rc\n", "a\nb\nc\n"),  # CRLF and CR to LF
            ("a\r\r\nb", "a\n\nb"),
            ("a\x85b", "a\nb"),  # NEL is a line end
            ("\ufeffa\ufeffb", "ab"),  # no BOM, wherever
            ("a\x00b\x1b[0m\x7f\x9fc", "ab[0mc"),  # no C0, DEL, C1
            ("cafe\u0301", "caf\u00e9"),  # NFC
            ("e\x01\u0301", "\u00e9"),  # the control goes before the composition
            ("\u1100\u1161\u11a8", "\uac01"),  # Hangul letters compose
            ("q\u0307\u0323", "q\u0323\u0307"),  # marks in canonical order
            ("\u212b \u2126", "\u00c5 \u03a9"),  # singletons
            ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),  # joiners stay
        ],
    )
    def test_golden(self, text: str, expected: str) -> None:
        assert normalize(text) == expected

    def test_nulls_and_slices_are_kept(self) -> None:
        column = texts("x\r", None, "", "e\u0301")
        assert curate_kernels.normalize(column).to_pylist() == ["x\n", None, "", "\u00e9"]
        assert curate_kernels.normalize(column.slice(1)).to_pylist() == [None, "", "\u00e9"]

    @given(TEXT)
    def test_is_nfc_without_controls_and_a_fixed_point(self, text: str) -> None:
        out = normalize(text)
        assert unicodedata.is_normalized("NFC", out)
        assert not [c for c in out if unicodedata.category(c) == "Cc" and c not in "\t\n"]
        assert normalize(out) == out

    def test_marks_in_a_row_are_broken_up_after_thirty(self) -> None:
        # UAX #15, Stream-Safe Text Format: U+034F behind 30 non-starters.
        out = normalize("a" + "\u0323\u0307" * 50)
        assert max(map(len, out.split("\u034f"))) <= 31
        assert normalize(out) == out

    def test_invalid_utf8_in_a_column_is_an_error(self) -> None:
        offsets, values = pa.py_buffer(b"\0" * 8 + b"\2" + b"\0" * 7), pa.py_buffer(b"\xff\xfe")
        broken = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, values])
        for function in (curate_kernels.normalize, curate_kernels.signals):
            with pytest.raises(Exception, match="Invalid UTF8 sequence at string index 0"):
                function(broken)


class TestSegments:
    @pytest.mark.parametrize(
        ("text", "tokens", "words"),
        [
            ("", 0, 0),
            ("The cat sat.", 4, 3),
            ("well-known", 3, 2),  # a hyphen between letters splits and is a token
            ("covid-19", 1, 1),  # not before a digit
            ("don't", 2, 2),  # do n't
            ("John\u2019s", 2, 2),  # John \u2019s
            ("rock'n'roll", 1, 1),
            ("(see [1]),", 7, 2),  # ( see [ 1 ] ) ,
            ("U.S. e.g. J.", 3, 3),  # abbreviations of single letters keep their dot
            ("1,000.50 a,b", 4, 3),  # numbers whole; a comma between letters splits
            ("end.Start file.txt", 4, 3),  # a dot between a small and a capital letter
            ("wait... what\u2026", 4, 2),  # wait ... what \u2026
            ("http://a.org/c?d=e, me@x.org.", 4, 2),  # addresses whole, less what follows
            ('href="http://a.org/c', 3, 2),  # what merely holds one is split: href="http://a.org / c
            ("cannot Wed whats", 6, 6),  # can not, We d, what s: the exceptions of spaCy's English
            ("cont'd Inc. vs. e.g.", 4, 4),
            ("24-hour 3--4 (1):", 9, 5),  # 24 - hour, 3 - -4, ( 1 ):
            ("37\u00b0C 5\u2032 9am 13pm", 7, 7),  # 37 \u00b0 C, 5\u2032, 9 am, 13pm
            ("$5 50% 10km", 6, 4),  # $ 5 50 % 10 km
            ("\u6211\u4eec\u3002", 3, 2),  # a Han pronoun, what is behind it, a full stop
            ("\u3072\u3089\u30ab\u30bf\u30ab\u30ca", 2, 2),  # hiragana by its rules, katakana by run
            ("\ud55c\uad6d\uc5b4 \ubb38\uc7a5", 2, 2),  # Hangul by run
            ("\u0e20\u0e32\u0e29\u0e32", 1, 1),  # Thai syllables joined to a word: pha sa
            ("\U0001f600\U0001f600", 2, 2),  # emoji by character; not on datatrove's list of punctuation
            ("-- \u2014 !", 3, 0),
        ],
    )
    def test_golden(self, text: str, tokens: int, words: int) -> None:
        assert segments(text) == (tokens, words)

    @given(
        st.lists(st.from_regex(r"[a-zA-Z]{1,12}", fullmatch=True), max_size=50),
        st.sampled_from(" \n\t\u00a0\u3000"),
    )
    def test_plain_words_are_counted_as_split_does(self, words: list[str], space: str) -> None:
        assert segments(space.join(words)) == (len(words), len(words))


def test_signals_of_prose_by_hand() -> None:
    # Tokens: The cat sat with the hat . To be , or not to be ... # 42 !   (18 tokens)
    text = "The cat sat with the hat.\nTo be, or not to be... # 42!"
    row = signals(text)
    words = ["The", "cat", "sat", "with", "the", "hat", "To", "be", "or", "not", "to", "be", "42"]
    assert len(text) == row["chars"] == row["text_bytes"] == 54
    assert (row["segments"], row["word_count"], row["lines"], row["paragraphs"]) == (18, 13, 2, 1)
    assert row["mean_word_length"] == sum(map(len, words)) / 13
    assert row["stop_word_count"] == 4  # with, the, be, to; case counts, repeats do not
    assert row["alphabetic_word_ratio"] == 12 / 18
    assert row["hash_ratio"] == row["ellipsis_ratio"] == 1 / 18
    assert row["newline_ratio"] == 1 / 18
    assert row["max_line_length"] == len("To be, or not to be... # 42!")
    assert row["mean_line_length"] == (len(text) - 1) / 2
    assert row["digit_ratio"] == 2 / len(text)
    assert row["alphabetic_ratio"] == sum(map(str.isalpha, text)) / len(text)
    assert row["alphanumeric_ratio"] == sum(map(str.isalnum, text)) / len(text)
    assert row["whitespace_ratio"] == sum(map(str.isspace, text)) / len(text)
    assert row["uppercase_ratio"] == 2 / sum(map(str.isalpha, text))
    # The lines end in "." and "!", and have 25 and 28 characters.
    assert row["terminal_punctuation_line_ratio"] == 1.0
    assert row["short_line_ratio"] == 1.0
    # The most frequent 2-gram is "to be" once ("To be" differs), so the first seen, "The cat", counts.
    assert row["top_2_gram_char_ratio"] == len("The cat") / len(text)
    assert row["top_3_gram_char_ratio"] == len("The cat sat") / len(text)
    assert row["top_4_gram_char_ratio"] == len("The cat sat with") / len(text)
    assert row["duplicate_5_gram_char_ratio"] == 0


def test_repeated_ngrams_by_hand() -> None:
    text = " ".join(["a b c d e f"] * 4)  # 24 tokens, 47 characters
    row = signals(text)
    assert row["chars"] == 47
    # "a b" and four others occur 4 times; the first seen is "a b": 3 characters x 4.
    assert row["top_2_gram_char_ratio"] == 12 / 47
    assert row["top_3_gram_char_ratio"] == 5 * 4 / 47
    assert row["top_4_gram_char_ratio"] == 7 * 4 / 47
    # 5-grams: positions 0-5 are new, then a hit at every fifth: 6, 11, 16 (21 has only 3 left): 3 x 5.
    assert row["duplicate_5_gram_char_ratio"] == 15 / 47
    # 6-grams: hits at 6, 12 and 18; 7-grams: 6, 13 (20 has only 4 left); 8-grams: 6, 14; 9: 6, 15; 10: 6.
    assert row["duplicate_6_gram_char_ratio"] == 18 / 47
    assert row["duplicate_7_gram_char_ratio"] == 14 / 47
    assert row["duplicate_8_gram_char_ratio"] == 16 / 47
    assert row["duplicate_9_gram_char_ratio"] == 18 / 47
    assert row["duplicate_10_gram_char_ratio"] == 10 / 47


def test_repeated_lines_and_paragraphs_by_hand() -> None:
    text = "\nab\n\nab\n\n\n\u00e9\nab\n"
    row = signals(text)
    # Cut at runs of newlines as it stands: "", ab, ab, \u00e9, ab, "": three later copies, of 2 + 2 + 0.
    assert row["duplicate_line_ratio"] == 3 / 6
    assert row["duplicate_line_char_ratio"] == 4 / len(text)
    # Stripped and cut at two and more newlines: ab, ab, "\u00e9\nab": one later copy.
    assert row["paragraphs"] == 3
    assert row["duplicate_paragraph_ratio"] == 1 / 3
    assert row["duplicate_paragraph_char_ratio"] == 2 / len(text)
    # FineWeb: non-blank lines only, over the characters that are no newline.
    assert row["duplicate_filled_line_char_ratio"] == 4 / 7
    assert row["lines"] == len(text.splitlines())


def test_marks_at_line_edges_by_hand() -> None:
    row = signals("- one\n  \u2022 two\n\u2014 three ...  \nfour\u2026\nfive.\n")
    assert row["bullet_line_ratio"] == 2 / 5
    assert row["ellipsis_line_ratio"] == 2 / 5
    assert row["terminal_punctuation_line_ratio"] == 1 / 5  # "..." is followed by blanks, \u2026 is none


@given(st.text(st.sampled_from("ab \n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029-"), max_size=40))
def test_lines_are_those_of_splitlines(text: str) -> None:
    row, lines = signals(text), text.splitlines()
    assert row["lines"] == len(lines)
    assert row["max_line_length"] == max(map(len, lines), default=0)
    bullets = sum(line.lstrip().startswith(("-", "\u2022")) for line in lines)
    assert row["bullet_line_ratio"] == (bullets / len(lines) if lines else 0)


def test_signals_of_code_by_hand() -> None:
    blob = "QUJD" * 20
    row = signals(f'<?xml version="1.0"?>\ndata = "{blob}"\n\ufffd')
    assert row["xml_header"] is True
    assert row["encoded_ratio"] == 80 / row["chars"]
    assert row["longest_encoded_run"] == 80
    assert row["replacement_char_ratio"] == 1 / row["chars"]
    assert signals(" " * 90 + "<?xml version=")["xml_header"] is False  # not within 100 characters


def test_signals_of_mathematics_by_hand() -> None:
    text = "so $a^2$ \u2264 \\[b\\] and \\alpha, not $5 or $6"
    row = signals(text)
    assert row["formula_count"] == 2
    assert row["formula_ratio"] == len("$a^2$" + "\\[b\\]" + "\\alpha") / len(text)
    assert row["maths_symbol_ratio"] == 1 / len(text)
    assert row["maths_ratio"] == len("$a^2$" + "\\[b\\]" + "\\alpha" + "\u2264") / len(text)


def test_an_empty_text_has_zero_everywhere_and_a_null_has_null() -> None:
    empty, null = curate_kernels.signals(texts("", None)).to_pylist()
    # Stripped and split, an empty text is one empty paragraph, as re.split has it.
    assert {name: value for name, value in empty.items() if value} == {
        "paragraphs": 1,
        "script": "Zyyy",  # ISO 15924: undetermined
    }
    assert set(null.values()) == {None}


def test_columns_are_those_that_are_named() -> None:
    batch = add_signals(pa.record_batch({"text": texts("a b")}))
    assert tuple(batch.schema.names) == ("text", *WRITES)
    assert batch.schema.field("mean_word_length").type == pa.float64()
    assert batch.schema.field("word_count").type == pa.int64()
    with pytest.raises(ValueError, match="already has"):
        add_signals(batch)


@given(TEXT | st.text("ab.\u2026' -\n#\u4e00\u0e01\u0e40\u0301\U0001f600\\$0x1f,", max_size=200))
@settings(max_examples=400)
def test_no_text_breaks_the_promises(text: str) -> None:
    row = signals(text)
    assert row["chars"] == len(text)
    assert row["text_bytes"] == len(text.encode())
    assert row["word_count"] <= row["segments"] <= row["chars"]
    for name in SHARES:
        assert 0 <= row[name] <= 1, name


HOSTILE = {
    "one line": "word " * 1_000_000,
    "no blank": "a" * 5_000_000,
    "marks": "a" + "\u0301\u0323" * 1_000_000,
    "emoji": "\U0001f468\u200d" * 1_000_000,
    "NULs": "\0" * 2_000_000,
    "brackets": "(" * 2_000_000,
    "closing brackets": "a" + ")" * 2_000_000,
    "dots": "a" + "." * 2_000_000,
    "dotted": ".a" * 1_000_000,
    "dashes": "a" + "-" * 2_000_000,
    "apostrophes": "'" * 2_000_000,
    "dollars": "$x " * 700_000,
    "backslashes": "\\(\\[" * 500_000,
    "environments": "\\begin{align}" * 150_000 + "\\end{no}",
    "hex": "1f " * 700_000,
    "base64": ("QUJD" * 16 + "\n") * 80_000,
    "newlines": "\n" * 2_000_000,
    "thai": "\u0e40\u0e01" * 1_000_000,
    "ats": "@" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear_on_hostile_text(name: str) -> None:
    # 2 MB take about a second at the slowest (2 million tokens, all alike); quadratic would be hours.
    column = texts(HOSTILE[name])
    start = time.process_time()
    curate_kernels.normalize(column)
    row = curate_kernels.signals(column).to_pylist()[0]
    curate_kernels.minhash_bands(column, bands=2, rows=2)
    assert time.process_time() - start < 10
    assert row["chars"] == len(HOSTILE[name])


def test_a_line_is_short_by_all_its_characters_white_space_included() -> None:
    # FineWeb, section 3.6: the length of a line is that of the line, not of what stripping leaves.
    assert signals(" " * 29 + "a\n" + " " * 30 + "b\n" + "c" * 31)["short_line_ratio"] == 1 / 3
    assert signals(" " * 29 + "é\n" + " " * 30 + "é\n" + "é" * 31)["short_line_ratio"] == 1 / 3
