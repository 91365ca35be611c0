"""Line rules: a golden value per rule and check, and the published rules in plain Python beside them."""

from __future__ import annotations

import time

import curate_kernels
import line_rules_reference as reference
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

#: Fragments that the rules look for, with what may stand between them.
FRAGMENTS = (
    *("[1]", "[edit]", "[citation needed]", "[]", "[\u0663]", "[1", "]", "{", "...", ".", "!", "?", '"', "'"),
    *(" ", " ", " ", "\n", "\n", "\n", "\r\n", "\u2028", "\x0b", "\x85", "\t", "\u3000", "\xa0", "\x1f"),
    *("a", "B", "\u00c9", "\u00e9", "\u6f22", "\U0001f642", "word", "the dog ran", "THE DOG", "x" * 1001),
    *("JavaScript", "lorem ipsum", "Terms of Use", "privacy ", "policy", "cookie ", "use", "uses", " of"),
    *(" cookies", "1", "12", "\u0663", "\u00b2", "3 likes", "5,000.1K Views", "7 m ", "comments", "-", "_"),
    *(
        "items in cart",
        "Items in ",
        "Read more...",
        "read more >>",
        "Read ",
        "more",
        "Sign-in",
        "sign-",
        "in",
    ),
)
DOCUMENT = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def measured(*values: str | None, rules: tuple[str, ...] = ()) -> tuple[list[dict], list[dict]]:
    signals, edits = curate_kernels.measure(texts(*values), line_rules=rules)
    return signals.to_pylist(), edits.to_pylist()


def edited(text: str, *rules: str) -> str:
    _, edits = curate_kernels.measure(texts(text), line_rules=rules)
    out, applied = curate_kernels.apply_edits(texts(text), edits)
    assert all(applied.to_pylist())  # no edit is made that another one of its row stands in the way of
    result: str = out[0].as_py()
    return result


def signals(text: str) -> dict:
    return measured(text)[0][0]


def rules_used(text: str, *rules: str) -> list[str]:
    return [edit["rule"] for edit in measured(text, rules=rules)[1]]


class TestC4:
    @pytest.mark.parametrize(
        ("line", "rule"),
        [
            ("It is a " + "w" * 1001 + " word.", "long_word"),
            ("It is a " + "\u00e9" * 1001 + " word.", "long_word"),
            ("A heading without an end", "line_end"),
            ("It goes on and on...", "line_end"),
            ("It goes on and on\u2026", "line_end"),
            ("It is said. \u201cYes\u201d", "line_end"),  # curly quotes do not end a line
            ("A sentence with a citation. [1]", "line_end"),  # ends in a space once the citation is out
            ("Two words.", "few_words"),
            ("Please switch on JavaScript now.", "javascript"),
            ("Read our Privacy Policy first.", "policy"),
            ("Read the terms of use first.", "policy"),
            ("Read the cookie policy first.", "policy"),
            ("This site uses cookies often.", "policy"),
            ("The use of cookies is common.", "policy"),
            ("We use cookies every day.", "policy"),
            ("We use [2]cookies every day.", "policy"),  # looked for without the citation
            (" \t", "white_space"),
        ],
    )
    def test_each_check_cuts_the_line_with_its_line_end(self, line: str, rule: str) -> None:
        text = f"One two three.\n{line}\nFour five six."
        assert edited(text, "c4") == "One two three.\nFour five six."
        assert rules_used(text, "c4") == [f"c4.{rule}"]

    @pytest.mark.parametrize("line", ["He said 'no' twice.", "Is it so?", "It is!", 'She said "go now"'])
    def test_lines_that_end_as_they_should_stay(self, line: str) -> None:
        text = f"{line} One two.\n{line} One two three '"
        assert edited(text, "c4") == text

    def test_checks_come_in_order(self) -> None:
        # No line end, two words, javascript and a phrase at once: the first check takes it.
        assert rules_used("javascript privacy policy {", "c4") == ["c4.line_end"]
        assert rules_used("javascript privacy policy {", "c4_no_punctuation") == [
            "c4_no_punctuation.javascript"
        ]
        assert rules_used("javascript yes.", "c4") == ["c4.few_words"]
        assert rules_used("Our javascript privacy policy.", "c4") == ["c4.javascript"]

    def test_a_bracket_or_lorem_ipsum_counts_only_in_a_line_that_got_so_far(self) -> None:
        assert not signals("function () {\nlorem ipsum")["c4_curly_bracket"]
        assert signals("function () {\nlorem ipsum dolor")["c4_no_punctuation_lorem_ipsum"]
        assert signals("It is {this} one.")["c4_curly_bracket"]
        assert signals("Lorem ipsum dolor sit.")["c4_lorem_ipsum"]
        assert not signals("Use {javascript} for it.")["c4_curly_bracket"]  # the line went before
        assert signals("Our {privacy policy} is it.")["c4_curly_bracket"]  # the bracket comes before

    def test_citations_come_out_of_the_lines_that_stay(self) -> None:
        text = "The sky[1] is[] blue[citation needed].\nHistory[edit]\nIt was so[23]."
        assert edited(text, "c4") == "The sky is blue.\nIt was so."
        assert rules_used(text, "c4").count("c4.citation") == 4
        assert signals(text)["c4_citations"] == 4
        assert edited("A [b1] in [ 2 ] is not [3 one.", "c4") == "A [b1] in [ 2 ] is not [3 one."

    def test_words_are_counted_before_the_citations_come_out(self) -> None:
        assert edited("So [1] [2].", "c4") == "So  ."  # three words, one of them left

    def test_sentences_are_those_of_the_lines_that_stay(self) -> None:
        text = "One is here. Two is here.\nNo end here\nThree is here! Is four here?[1] Five is."
        row = signals(text)
        assert row["c4_sentence_count"] == 5
        assert row["c4_no_punctuation_sentence_count"] == 6
        assert row["c4_removed_line_ratio"] == pytest.approx(1 / 3)
        # A line begins a sentence whatever the line before ended in.
        assert signals("first of the lines,'\nsecond of the lines'")["c4_sentence_count"] == 2
        assert signals('"Who is it?" he asked. "I do not know."')["c4_sentence_count"] == 3

    def test_lines_are_counted_by_the_check_that_cuts_them(self) -> None:
        row = signals("x" * 1001 + "\nno end\nfew.\nuse javascript there.\nwe use cookies here.\n\nIt is so.")
        counted = ("long_word", "unpunctuated", "few_word", "javascript", "policy")
        assert [row[f"c4_{name}_lines"] for name in counted] == [1, 1, 1, 1, 1]
        assert row["c4_removed_line_ratio"] == pytest.approx(5 / 6)

    def test_long_lines_are_those_of_200_characters(self) -> None:
        assert signals("\u00e9" * 200 + "\n" + "a" * 199 + "\n" + "b" * 201)["c4_long_lines"] == 2

    def test_other_line_ends_become_newlines(self) -> None:
        assert edited("One is here.\u2028Two is here.\r\nThree is here.", "c4") == (
            "One is here.\nTwo is here.\nThree is here."
        )

    @given(DOCUMENT)
    @settings(max_examples=400)
    def test_the_edits_give_the_text_that_the_published_rules_give(self, text: str) -> None:
        assert edited(text, "c4") == reference.c4_text(text)
        assert edited(text, "c4_no_punctuation") == reference.c4_text(text, punctuation=False)
        row = signals(text)
        assert (row["c4_lorem_ipsum"], row["c4_curly_bracket"]) == reference.c4_drops(text)
        without = (row["c4_no_punctuation_lorem_ipsum"], row["c4_no_punctuation_curly_bracket"])
        assert without == reference.c4_drops(text, punctuation=False)


class TestRefinedWeb:
    @pytest.mark.parametrize(
        ("line", "rule"),
        [
            ("SHOUTING at ALL", "uppercase"),  # 11 of 15
            ("20240131", "digits"),
            ("\u0661\u0662\u00b2", "digits"),
            ("3 likes", "counter"),
            ("* 3.5K Followers *", "counter"),
            ("1,024 comments!", "counter"),
            ("Home", "one_word"),
            ("3 items in cart", "one_word"),
            ("Read more...", "read_more"),
            ("Sign-in ", "one_word"),
            ("items in cart", "items_in_cart"),
        ],
    )
    def test_each_rule_cuts_the_line(self, line: str, rule: str) -> None:
        text = f"first line here\n{line}\nlast line here"
        if line == "3 items in cart":  # the phrase goes, the 3 stays
            assert edited(text, "refinedweb") == "first line here\n3\nlast line here"
        else:
            assert edited(text, "refinedweb") == "first line here\nlast line here"
            assert rules_used(text, "refinedweb") == [f"refinedweb.{rule}"]

    @pytest.mark.parametrize(
        "line", ["Half UP", "3 likes to dogs", "likes 3", "3likes", "x3 likes", "12 34", "A.B. c d"]
    )
    def test_what_only_looks_like_it_stays(self, line: str) -> None:
        text = f"first line here\n{line}\nlast line here"
        kept = line if len(line.split()) > 1 else None
        expected = "\n".join(filter(None, ["first line here", kept, "last line here"]))
        assert edited(text, "refinedweb") == expected

    def test_phrases_come_out_of_short_lines_only(self) -> None:
        ten = "one two three four five six seven items in cart"
        assert edited(ten, "refinedweb") == "one two three four five six seven"
        eleven = "zero " + ten
        assert edited(eleven, "refinedweb") == eleven
        assert edited("The news of today Read more...", "refinedweb") == "The news of today"
        assert edited("The news of today Read more >>", "refinedweb") == "The news of today"
        assert edited("Sign-in here for it", "refinedweb") == "here for it"
        assert edited("Please Sign-in here", "refinedweb") == "Please Sign-in here"

    def test_empty_lines_stay_and_white_space_around_the_text_goes(self) -> None:
        assert edited("\n\n one line \n\n\nHOME\ntwo lines\n \nMENU\n", "refinedweb") == (
            "one line \n\n\ntwo lines"
        )

    def test_a_first_line_is_judged_without_the_white_space_that_stripping_took(self) -> None:
        # The capitals go first; then the digits are first and stripped, so that they are digits alone.
        assert edited("HOME PAGE\n  1234\nit is so", "refinedweb") == "it is so"
        assert edited("it is so\n  1234 5\nnext line", "refinedweb") == "it is so\n  1234 5\nnext line"

    def test_removed_words_are_a_share_of_all(self) -> None:
        row = signals("one two three four\nHOME\n5 likes\nred items in cart now\n- - -")
        # HOME; 5 likes; items in cart: 6 of 12 that begin with a letter or digit.
        assert row["refinedweb_removed_word_ratio"] == pytest.approx(6 / 12)
        assert row["refinedweb_uppercase_lines"] == 1
        assert row["refinedweb_counter_lines"] == 1
        assert row["refinedweb_phrases"] == 1

    @given(DOCUMENT)
    @settings(max_examples=600)
    def test_the_edits_give_the_text_that_the_published_rules_give(self, text: str) -> None:
        expected = reference.refinedweb_text(text)
        assert edited(text, "refinedweb") == expected
        before, after = reference.words(text), reference.words(expected)
        ratio = (before - after) / max(before, 1)
        assert signals(text)["refinedweb_removed_word_ratio"] == pytest.approx(ratio)


@given(DOCUMENT)
@settings(max_examples=200)
def test_profiles_together_cut_what_any_of_them_cuts(text: str) -> None:
    def cut(*rules: str) -> set[int]:
        edits = measured(text, rules=rules)[1]
        return {at for edit in edits for at in range(edit["start"], edit["end"])}

    assert cut("c4", "refinedweb") == cut("c4") | cut("refinedweb")
    edited(text, "c4", "c4_no_punctuation", "refinedweb")


@given(st.lists(st.none() | DOCUMENT, max_size=5))
def test_rows_do_not_depend_on_their_batch_and_signals_not_on_the_edits_asked_for(
    values: list[str | None],
) -> None:
    rules = ("c4", "refinedweb")
    rows, edits = measured(*values, rules=rules)
    assert curate_kernels.signals(texts(*values)).to_pylist() == rows
    for row, value in enumerate(values):
        alone, of_it = measured(value, rules=rules)
        assert alone == [rows[row]]
        assert [edit | {"row": row} for edit in of_it] == [edit for edit in edits if edit["row"] == row]


def test_a_text_of_nothing_has_nothing_to_cut() -> None:
    names = [name for name in curate_kernels.signal_names() if name.startswith(("c4_", "refinedweb_"))]
    rows, edits = measured("", None, rules=("c4", "refinedweb"))
    assert [rows[0][name] for name in names] == [0] * len(names)
    assert [rows[1][name] for name in names] == [None] * len(names)
    assert edits == []
    assert edited(" \n\n", "c4") == edited(" \n\n", "refinedweb") == ""


def test_profiles_are_known_by_name() -> None:
    assert curate_kernels.line_rule_names() == ["c4", "c4_no_punctuation", "refinedweb"]
    with pytest.raises(ValueError, match='no line rules "c5"; known: c4, c4_no_punctuation, refinedweb'):
        curate_kernels.measure(texts("a"), line_rules=["c5"])


HOSTILE = (
    "[1]",
    "[",
    "[1",
    "[1].\n",
    "\n",
    " \n",
    "\u2028",
    "a\n",
    "A B\n",
    "k",
    "use cookies ",
    "{",
    "1 ",
    "x",
)
HOSTILE += ("\u3000", "\u00e9", "items in cart", "Read more...", "Sign-in\n", "3 likes\n", "Lorem ipsum.\n")


@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_linear_on_hostile_texts(unit: str) -> None:
    # 1 MB takes a tenth of a second at the slowest, most of it for other signals; quadratic would be an hour.
    column = texts(unit * ((1 << 20) // len(unit.encode())))
    start = time.process_time()
    _, edits = curate_kernels.measure(column, line_rules=["c4", "c4_no_punctuation", "refinedweb"])
    curate_kernels.apply_edits(column, edits)
    assert time.process_time() - start < 3
