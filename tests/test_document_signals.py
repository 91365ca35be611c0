"""Scripts, phrases, sentences, compression and skeletons: golden values, the definition beside each."""

from __future__ import annotations

import math
import re
import time
import unicodedata
from collections import Counter
from itertools import pairwise

import curate_kernels
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
SCRIPTS = [
    *("latin", "cyrillic", "greek", "armenian", "georgian", "hebrew", "arabic", "ethiopic", "devanagari"),
    *("indic", "thai", "lao", "khmer", "burmese", "han", "kana", "hangul", "other_script"),
]


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def signals(text: str) -> dict[str, float]:
    return curate_kernels.signals(texts(text)).to_pylist()[0]


def skeleton(text: str) -> str:
    return curate_kernels.skeletons(texts(text))[0].as_py()


class TestScripts:
    @pytest.mark.parametrize(
        ("text", "script", "ratio"),
        [
            ("\u00c5ngstr\u00f6m 42", "Latn", "latin"),
            ("\u041f\u0440\u0438\u043b\u0438\u0432", "Cyrl", "cyrillic"),
            ("\u03c0\u03b1\u03bb\u03af\u03c1\u03c1\u03bf\u03b9\u03b1", "Grek", "greek"),
            ("\u0561\u0562\u0563", "Armn", "armenian"),
            ("\u10d0\u10d1\u10d2", "Geor", "georgian"),
            ("\u05d2\u05d0\u05d5\u05ea", "Hebr", "hebrew"),
            ("\u0627\u0644\u0645\u062f", "Arab", "arabic"),
            ("\u12a0\u121b\u122d\u129b", "Ethi", "ethiopic"),
            ("\u091c\u094d\u0935\u093e\u0930", "Deva", "devanagari"),
            ("\u099c\u09cb\u09af\u09bc\u09be\u09b0", "Beng", "indic"),
            ("\u0b85\u0bb2\u0bc8", "Taml", "indic"),
            ("\u0e19\u0e49\u0e33\u0e02\u0e36\u0e49\u0e19", "Thai", "thai"),
            ("\u0e99\u0ec9\u0eb3", "Laoo", "lao"),
            ("\u1791\u17b9\u1780", "Khmr", "khmer"),
            ("\u1012\u102e\u101b\u1031", "Mymr", "burmese"),
            ("\u6f6e\u6c50\U00020000", "Hani", "han"),
            ("\uc870\uc11d", "Hang", "hangul"),
            ("\u13e3\u13b3\u13a9", "Cher", "other_script"),
        ],
    )
    def test_golden(self, text: str, script: str, ratio: str) -> None:
        row = signals(text)
        assert row["script"] == script
        assert row["script_ratio"] == row[f"{ratio}_ratio"] == 1
        assert sum(row[f"{name}_ratio"] for name in SCRIPTS) == 1

    def test_japanese_is_han_and_kana(self) -> None:
        row = signals("\u6f6e\u306e\u30d1\u30fc\u30c8 abc")  # 1 Han, 4 kana with the long mark, 3 Latin
        assert (row["script"], row["script_ratio"]) == ("Jpan", 5 / 8)
        assert (row["han_ratio"], row["kana_ratio"], row["latin_ratio"]) == (1 / 8, 4 / 8, 3 / 8)

    @given(TEXT | st.text("abz\u00e9\u0436\u03b1\u05d0\u0e01\u4e00\u3042\uac00 1.", max_size=60))
    def test_shares_are_of_letters_and_add_up(self, text: str) -> None:
        row = signals(text)
        total = sum(row[f"{name}_ratio"] for name in SCRIPTS)
        # Python's isalpha knows the categories L*; Alphabetic, the marks and numerals of words too.
        assert total == pytest.approx(1 if row["alphabetic_ratio"] else 0)
        if any(map(str.isalpha, text)):
            assert row["alphabetic_ratio"] > 0
        latin = sum("LATIN" in unicodedata.name(c, "") for c in text if c.isalpha() and c < "\u0250")
        if latin and all(c < "\u0250" for c in text):
            assert row["script"] == "Latn"


def test_phrases_are_counted_in_any_case() -> None:
    row = signals(
        "Lorem IPSUM. Enable JavaScript: this site uses cookies. Read more... Catalog in; analog input.\n"
        "Privacy Policy | Terms of Use {} {"
    )
    assert row["lorem_ipsum_count"] == 1
    assert row["javascript_count"] == 1
    assert row["policy_phrase_count"] == 3  # uses cookies, privacy policy, terms of use
    # "enable javascript" and "read more"; "log in" is inside of other words.
    assert row["boilerplate_phrase_count"] == 2
    assert row["curly_bracket_count"] == 2  # left ones


@given(st.text("abcdefghijklmnopqrstuvwxyz ,.\u00e9", max_size=200), st.integers(0, 5), st.booleans())
def test_a_phrase_is_found_wherever_it_stands(around: str, count: int, upper: bool) -> None:
    phrase = " lorem ipsum; "
    text = phrase.join([around] * (count + 1))
    found = signals(text.upper() if upper else text)["lorem_ipsum_count"]
    assert found == text.count("lorem ipsum")


class TestMadlad:
    GOOD = "The tide rises twice on most days of the year."  # 46 characters, one capital

    def ratios(self, text: str) -> dict[str, float]:
        return {name: value for name, value in signals(text).items() if name.startswith("madlad_")}

    def test_a_good_text_has_no_questionable_sentence(self) -> None:
        row = self.ratios(" ".join([self.GOOD] * 6))
        assert row.pop("madlad_sentences") == 6
        assert set(row.values()) == {0}

    @pytest.mark.parametrize(
        ("sentence", "reason"),
        [
            # Over half of 12 words and more begin with a capital.
            ("Home News Sport Weather Shop Travel Money Health Food about and the rest here.", "list_case"),
            ("Tides rise.", "abnormal_length"),  # fewer than 20 characters
            ("so " * 165 + "on it.", "abnormal_length"),  # 501 characters: more than 500
            # 7 of 34 characters are of 0-9{}+/()>: over a fifth
            ("call (02) 99 or see a/b for tides.", "technical"),
            ("The tide table is an mp3 for your ears.", "cursed"),
            ("The table is yours to ownload at once.", "cursed"),
            ("We found it on the list of the day |", "cursed"),  # at the end, as the document ends here
            (
                "This line is spaced a b c d e f g h out.",
                "cursed",
            ),  # nine times a space and a character
            ("Its letters are, ab, cd, ef, gh, and so on.", "cursed"),
        ],
    )
    def test_each_reason(self, sentence: str, reason: str) -> None:
        row = self.ratios(" ".join([self.GOOD] * 4 + [sentence]))
        assert row["madlad_sentences"] == 5
        assert row["madlad_questionable_sentence_ratio"] == 1 / 5
        reasons = ("list_case", "abnormal_length", "technical", "cursed")
        assert {name for name in reasons if row[f"madlad_{name}_ratio"]} == {reason}
        assert row[f"madlad_{reason}_ratio"] == 1 / 5
        both = row["madlad_listed_or_cursed_ratio"]
        assert both == (1 / 5 if reason in ("list_case", "cursed") else 0)

    @pytest.mark.parametrize(
        "sentence",
        [
            "Home News Sport Weather Shop Travel and the rest of it is here.",  # 6 of 12 is not over half
            "Tides rise at one o.",  # 20 characters
            "so " * 164 + "on them.",  # 500 characters
            "call (02) 99 or see a/b for a tide.",  # 7 of 35 is not over a fifth
            "The first | is not at the end of the line.",
            "This line is spaced a b c d e f g.",
        ],
    )
    def test_limits_are_not_reached(self, sentence: str) -> None:
        row = self.ratios(" ".join([self.GOOD] * 4 + [sentence]))
        assert (row["madlad_sentences"], row["madlad_questionable_sentence_ratio"]) == (5, 0)

    def test_sentences_end_at_marks_before_white_space(self) -> None:
        assert self.ratios("One... two?! e.g. three.four\nfive")["madlad_sentences"] == 4
        # Ideographic marks need no white space; one at the end ends nothing more.
        assert self.ratios("\u6f6e\u3002\u6c50\uff01\uff1f\u6c34\u3002")["madlad_sentences"] == 3
        assert self.ratios("")["madlad_sentences"] == 0

    @given(
        st.lists(st.from_regex(r"[A-Za-z,'\")]{0,5}[a-z][.!?]{0,3}[\")]?", fullmatch=True), max_size=20),
        st.sampled_from([" ", "\n", "  \n\n", "\u00a0"]),
    )
    def test_sentences_are_cut_as_datamap_cuts_them(self, words: list[str], space: str) -> None:
        text = space.join(words)
        parts = [part for part in re.split(r"[.!?]+\s+", text) if part.strip()]
        assert self.ratios(text)["madlad_sentences"] == len(parts)

    @given(
        st.lists(st.sampled_from(["Tide", "rises", "mp3", "2/3", "now.", "why?", "\u6f6e\u3002", "a\u00a0b"]))
    )
    def test_parts_bound_the_whole(self, words: list[str]) -> None:
        row = self.ratios(" ".join(words))
        parts = [
            row[f"madlad_{name}_ratio"] for name in ("list_case", "abnormal_length", "technical", "cursed")
        ]
        whole = row["madlad_questionable_sentence_ratio"]
        assert max(parts) <= whole <= min(1, sum(parts) + 1e-12)
        ends = [word for word in words[:-1] if word.endswith((".", "?", "\u3002"))]
        assert row["madlad_sentences"] == len(ends) + bool(words)


def test_the_longest_word_is_between_white_space() -> None:
    assert signals("a bcd\u00e9-f\u3000ghi")["longest_word_length"] == 6


class TestDensity:
    def test_compression_is_that_of_the_block_format(self) -> None:
        assert signals("tide")["compression_ratio"] == 5 / 4  # a token and four literals
        # A literal, a match of 94 with one byte of length, five last literals: see lz.rs.
        assert signals("a" * 100)["compression_ratio"] == 11 / 100

    def test_only_the_first_64_kib_are_compressed(self) -> None:
        sample = "".join(chr(97 + (i * i * 7919 >> 3) % 26) for i in range(1 << 16))
        assert signals(sample)["compression_ratio"] == signals(sample + "a" * 5000)["compression_ratio"]

    def test_entropy_and_unique_words_by_hand(self) -> None:
        row = signals("tide and tide, and Tide.")  # tide 2, and 2, Tide 1; marks are no words
        assert row["unique_word_ratio"] == 3 / 5
        expected = -2 * (2 / 5) * math.log2(2 / 5) - (1 / 5) * math.log2(1 / 5)
        assert row["word_entropy"] == pytest.approx(expected)
        assert signals("same " * 50)["word_entropy"] == 0

    @given(st.lists(st.from_regex(r"[a-zA-Z]{1,12}", fullmatch=True), max_size=60), st.integers(1, 4))
    def test_entropy_is_that_of_the_counts(self, words: list[str], times: int) -> None:
        words = words * times
        row = signals(" ".join(words))
        counts = Counter(words).values()
        shares = [count / len(words) for count in counts]
        assert row["word_entropy"] == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-9)
        assert row["unique_word_ratio"] == (len(counts) / len(words) if words else 0)

    @given(TEXT)
    def test_a_copy_never_compresses_worse(self, text: str) -> None:
        once, many = signals(text), signals(text * 8)
        assert many["compression_ratio"] <= once["compression_ratio"] + 1e-9
        assert once["compression_ratio"] <= 2


def test_variants_of_other_systems_by_hand() -> None:
    row = signals("The tide\n the tide\nThe tide \n\nturns to the Sea of THE\n")
    # DCLM: occurrences in any case: The, the, The, to, the, of, THE.
    assert row["stop_word_occurrences"] == 7
    # Non-blank lines, stripped: The tide (twice), the tide, turns...: three different of four.
    assert row["unique_line_ratio"] == 3 / 4
    assert row["repeated_line_ratio"] == 2 / 4
    assert row["repeated_line_char_ratio"] == 16 / (16 + 8 + len("turns to the Sea of THE"))


@given(st.lists(st.text("ab \t", max_size=4), max_size=12))
def test_repeated_lines_are_those_of_a_count(lines: list[str]) -> None:
    row = signals("\n".join(lines))
    counts = Counter(line.strip() for line in lines if line.strip())
    total = sum(counts.values())
    repeated = [(line, count) for line, count in counts.items() if count > 1]
    share = sum(count for _, count in repeated) / total if total else 0
    assert row["repeated_line_ratio"] == share
    chars = sum(len(line) * count for line, count in counts.items())
    of = sum(len(line) * count for line, count in repeated)
    assert row["repeated_line_char_ratio"] == (of / chars if chars else 0)
    assert row["unique_line_ratio"] == (len(counts) / total if total else 0)


class TestSkeleton:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("  the\t tide \n\n\x0c turns ", "the tide\nturns"),  # white space
            ("tide 12 of 1,000.50 on 2024-01-02, 5:30", "tide <num> of <num> on <num>, <num>"),
            ("v2.3 sha256sum 3rd \u0663", "v<num> sha<num>sum <num>rd <num>"),  # inside words, any digits
            ("1 2  3", "<num>"),  # the same placeholder behind a space
            ("1, 2", "<num>, <num>"),
            ("1\n2 3\n4", "<num>"),  # like lines are one
            ("met Ada King Lovelace in \u00c9vian", "met <name> in <name>"),
            ("O'Neil's Jean-Luc, McX2", "<name>, <name>"),
            ("iPhone l'Or\u00e9al x_Y 5G", "iPhone l'Or\u00e9al x_Y <num>G"),  # capitals inside words
            (
                'a "b c" (\u201cd\u201d) \u201ee\u201c \u00abf g\u00bb \u300ch\u300d',
                "a <quote> (<quote>) <quote>",
            ),
            ('5" and 6" x" y', '<num>" and <num>" x" y'),  # behind a word character
            ('an " open\nquote "', 'an " open\nquote "'),  # before white space, or over two lines
            ('a "b\nc" d', 'a "b\nc" d'),
            ("at http://a.b/c?d=1. and (www.x.org/Y) or https://", "at <url>. and (<url>) or https://"),
            ("mail a.b+c@d-e.org, not a@b or @c", "mail <mail>, not a@b or @c"),
            ("\u6f6e\u6c50 12 \u6708", "\u6f6e\u6c50 <num> \u6708"),
            ("", ""),
            ("\n \n", ""),
        ],
    )
    def test_golden(self, text: str, expected: str) -> None:
        assert skeleton(text) == expected

    def test_a_row_repeated_counts_once_however_often(self) -> None:
        page = "tide table\n{}\nend of table"
        rows = [f"{place} {n}:00" for n, place in enumerate(["Ada", "New Bern", "Rye"])]
        assert skeleton(page.format("\n".join(rows))) == "tide table\n<name> <num>\nend of table"
        hashes = {signals(page.format("\n".join(rows[:n])))["skeleton_hash"] for n in (1, 2, 3)}
        assert len(hashes) == 1

    def test_pages_of_one_template_share_a_hash_and_prose_does_not(self) -> None:
        # The manual pages of coreutils, as man shows their first lines.
        manual = (
            "# SHA{0}SUM(1)\n\n## NAME\n\nsha{0}sum - compute and check SHA{0} message digest\n\n"
            "## SYNOPSIS\n\nsha{0}sum [OPTION]... [FILE]...\n\n## DESCRIPTION\n\n"
            "Print or check SHA{0} ({0}-bit) checksums.\n"
        )
        pages = [manual.format(bits) for bits in (256, 384, 512)]
        other = manual.format(256).replace("message digest", "file sizes")
        hashes = [signals(page)["skeleton_hash"] for page in (*pages, other)]
        assert len(set(hashes[:3])) == 1
        assert hashes[3] != hashes[0]

    def test_little_is_kept_of_a_page_of_names(self) -> None:
        row = signals("Home News Sport\nWeather Shop\nTravel")
        assert row["skeleton_kept_ratio"] == 0
        assert signals("tide 1")["skeleton_kept_ratio"] == len("tide ") / len("tide 1")

    def test_lines_are_hashed_where_enough_is_kept(self) -> None:
        text = "Home\nthe tide turns at 5 o'clock\nthe sea is calm"
        line = "the tide turns at <num> o'clock"
        found = curate_kernels.skeleton_lines(texts(text, None, ""))
        assert found.type == pa.list_(pa.uint64())
        assert found.to_pylist() == [[xxhash.xxh3_64_intdigest(line.encode())], None, []]
        assert len(curate_kernels.skeleton_lines(texts(text), min_kept=15)[0]) == 2

    @given(TEXT | st.text("aB1 \n\"\u201c\u201d@.-'/w:h<>\u4e00", max_size=120))
    @settings(max_examples=300)
    def test_the_hash_is_that_of_the_skeleton(self, text: str) -> None:
        row, made = signals(text), skeleton(text)
        assert row["skeleton_hash"] == (xxhash.xxh3_64_intdigest(made.encode()) if made else 0)
        assert 0 <= row["skeleton_kept_ratio"] <= 1
        assert "\n\n" not in made
        assert "  " not in made
        assert made == made.strip(" \n")
        lines = made.split("\n")
        assert all(line != after for line, after in pairwise(lines))

    @given(
        st.lists(st.sampled_from(["the", "tide {}", "met {}", "at {},", "\nrow", "\u6f6e"]), min_size=1),
        st.data(),
    )
    def test_what_is_masked_does_not_matter(self, words: list[str], data: st.DataObject) -> None:
        template = " ".join(words)
        fillings = st.sampled_from(["Ada", "Jean-Luc", "X", "\u00c9vian", "New Bern"])
        numbers = st.sampled_from(["1", "22", "1,000.5", "2024-01-02"])
        for kind in (fillings, numbers):
            one, two = ([data.draw(kind) for _ in range(template.count("{}"))] for _ in range(2))
            assert skeleton(template.format(*one)) == skeleton(template.format(*two))


HOSTILE = {
    "one line": "word " * 1_000_000,
    "no blank": "a" * 5_000_000,
    "one name": "A" * 5_000_000,
    "one number": "1" * 5_000_000,
    "marks": "a" + "\u0301\u0323" * 1_000_000,
    "emoji": "\U0001f468\u200d" * 1_000_000,
    "NULs": "\0" * 2_000_000,
    "quotes": '"' * 2_000_000,
    "open quotes": " \u201ca" * 700_000,
    "local parts": "a-" * 1_000_000 + "@",
    "ats": "a@" * 1_000_000,
    "dots": "w.w." * 500_000,
    "hosts": "www.(" * 500_000,
    "numbers": "1." * 1_000_000,
    "lines": "1\n" * 1_000_000,
    "two lines": "a\nb\n" * 500_000,
    "curses": "mp3" * 700_000,
    "marks of sentences": "\u3002" * 700_000,
    "phrases": "use cookies " * 170_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_is_linear_on_hostile_text(name: str) -> None:
    # 2 MB take a fraction of a second; quadratic would be hours.
    column = texts(HOSTILE[name])
    start = time.process_time()
    curate_kernels.signals(column)
    curate_kernels.skeletons(column)
    curate_kernels.skeleton_lines(column)
    assert time.process_time() - start < 10
