"""Rules: what a file may say, and what a document fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import curate_kernels
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.stages import stop_words
from curate.stages.rule_sets import Rule, RuleSet, Scope, apply_rules, dump, fingerprint, restore
from curate.stages.rules import RuleError, load_rules, shipped_rules

HEAD = "name: mine\nversion: 1\nsource: a test\n"


def write(folder: Path, body: str, head: str = HEAD) -> str:
    path = folder / "mine.yaml"
    path.write_text(head + body, "utf-8")
    return str(path)


def load(folder: Path, body: str, head: str = HEAD) -> RuleSet:
    return load_rules([write(folder, body, head)])[0]


def batch(**columns: Sequence[float | None]) -> pa.RecordBatch:
    return pa.record_batch({name: pa.array(values, pa.float64()) for name, values in columns.items()})


def test_shipped_sets_load_and_name_their_sources() -> None:
    assert set(shipped_rules()) >= {"gopher_quality", "gopher_repetition", "fineweb", "starcoder", "math"}
    sets = load_rules(shipped_rules())
    assert all(rule_set.source and rule_set.rules for rule_set in sets)
    assert "gopher_repetition.top_2_gram" in {rule.name for rule_set in sets for rule in rule_set.rules}


def test_thresholds_of_gopher_are_those_of_datatrove() -> None:
    quality, repetition = load_rules(["gopher_quality", "gopher_repetition"])
    assert [(rule.signal, rule.min, rule.max) for rule in quality.rules] == [
        ("word_count", 50, 100_000),
        ("mean_word_length", 3, 10),
        ("hash_ratio", None, 0.1),
        ("ellipsis_ratio", None, 0.1),
        ("bullet_line_ratio", None, 0.9),
        ("ellipsis_line_ratio", None, 0.3),
        ("alphabetic_word_ratio", 0.8, None),
        ("alphabetic_word_ratio", 0.75, None),  # ours, for Chinese and Japanese in its place
        ("stop_word_count", 2, None),
    ]
    assert [rule.max for rule in repetition.rules] == [
        *(0.3, 0.2, 0.3, 0.2),
        *(0.20, 0.18, 0.16),
        *(0.15, 0.14, 0.13, 0.12, 0.11, 0.10),
    ]


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        ("rules:\n- {signal: word_count, mim: 3}\n", 5, "unknown key 'mim'; did you mean 'min'"),
        ("rulez: []\nrules: []\n", 4, "unknown key 'rulez'; did you mean 'rules'"),
        ("scope: {language: [en]}\nrules: []\n", 4, "unknown key 'language'; did you mean 'languages'"),
        ("rules:\n- signal: wrod_count\n  min: 1\n", 5, "no signal 'wrod_count'; did you mean 'word_count'"),
        ("rules:\n- {signal: script, min: 1}\n", 5, "the signal script is text"),
        ("rules:\n- signal: chars\n  min: '50'\n", 6, "rules.0.min: input should be a valid number"),
        ("rules:\n- signal: chars\n  max: 262,144\n", 6, "rules.0.max: input should be a valid number"),
        ("rules:\n- signal: chars\n  max: .nan\n", 6, "finite"),
        ("rules:\n- {signal: chars, min: 5, max: 4}\n", 5, "min 5 is above max 4"),
        ("rules:\n- {signal: chars}\n", 5, "neither min nor max"),
        ("rules:\n- {signal: chars, min: 1}\n- {signal: chars, max: 9}\n", 6, "mine.chars is there twice"),
        ("rules:\n- {signal: chars, min: 1, min: 2}\n", 5, "key 'min' is there twice"),
        ("rules: &a\n- *a\n", 4, "aliases"),
        ("? [a, b]\n: 1\n", 4, "a key is a name"),
        ("values: {de: {least: 5}}\nrules:\n- {signal: chars, min: laest}\n", 6, "did you mean 'least'"),
        (
            "values: {de: {least: 5, leats: 9}}\nrules:\n- {signal: chars, min: least}\n",
            4,
            "no rule uses the value 'leats'; did you mean 'least'",
        ),
        ("values: {de: {least: five}}\nrules:\n- {signal: chars, min: least}\n", 4, "valid number"),
        (
            "values: {de: {least: 5}}\nrules:\n- {signal: chars, min: least, max: 4}\n",
            6,
            "min 5 is above max 4 for de",
        ),
        ("values: none.yaml\nrules: []\n", 4, "there is no file 'none.yaml' beside this one"),
        ("rules:\n- {signal: chars, min: true}\n", 5, "valid number"),
        ("scope: {script: [Latn]}\nrules: []\n", 4, "unknown key 'script'; did you mean 'scripts'"),
        ("rules: [\n", 5, ""),
        ("", 1, "field required"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, body: str, line: int, message: str) -> None:
    with pytest.raises(RuleError) as error:
        load(tmp_path, body)
    assert f"mine.yaml:{line}: " in str(error.value)
    assert message in str(error.value)


def test_a_name_that_is_not_shipped_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="'gopher_qualty'; did you mean 'gopher_quality'"):
        load_rules(["gopher_qualty"])
    with pytest.raises(RuleError, match="no such rules file"):
        load_rules([str(tmp_path / "none.yaml")])
    with pytest.raises(RuleError, match="named twice"):
        load_rules(["math", "math"])
    with pytest.raises(RuleError, match="empty"):
        load(tmp_path, "", head="")
    with pytest.raises(RuleError, match="nested too deeply"):
        load(tmp_path, "rules: " + "[" * 1500 + "]" * 1500)


def test_bounds_are_inclusive_and_all_failures_are_listed_in_order(tmp_path: Path) -> None:
    rules = load(
        tmp_path,
        "rules:\n- {signal: chars, min: 10, max: 20}\n"
        "- {name: wordy, signal: word_count, max: 5}\n- {signal: lines, min: 1}\n",
    )
    signals = batch(chars=[10, 20, 9, 21, 9], word_count=[5, 5, 5, 6, 6], lines=[1, 1, 1, 1, 0])
    failed, dropped_by = apply_rules(signals, [rules])
    assert failed.type == pa.list_(pa.string())
    assert failed.to_pylist() == [
        [],
        [],
        ["mine.chars"],
        ["mine.chars", "mine.wordy"],
        ["mine.chars", "mine.wordy", "mine.lines"],
    ]
    assert dropped_by.to_pylist() == [None, None, "mine.chars", "mine.chars", "mine.chars"]


def test_a_null_signal_fails_nothing_and_a_nan_fails(tmp_path: Path) -> None:
    rules = load(tmp_path, "rules:\n- {signal: chars, min: 10}\n- {signal: digit_ratio, max: 1}\n")
    _, dropped_by = apply_rules(batch(chars=[None, float("nan")], digit_ratio=[None, 0]), [rules])
    assert dropped_by.to_pylist() == [None, "mine.chars"]


def test_scopes_limit_where_a_rule_applies(tmp_path: Path) -> None:
    rules = load(
        tmp_path,
        "scope: {domains: [web]}\n"
        "rules:\n- {signal: chars, min: 9, scope: {languages: [en]}}\n"
        "- {signal: lines, min: 9, scope: {except_languages: [zh], formats: [html]}}\n",
    )
    assert rules.scope == Scope(domains=("web",))
    signals = batch(chars=[1] * 4, lines=[1] * 4)
    languages = pa.array(["en", "zh", None, "de"]).dictionary_encode()
    formats = pa.array(["html", "html", "html", "pdf"])
    failed, _ = apply_rules(signals, [rules], domain="web", languages=languages, formats=formats)
    assert failed.to_pylist() == [["mine.chars", "mine.lines"], [], ["mine.lines"], []]
    by_row = pa.array(["web", "code", "code", "web"])
    failed, _ = apply_rules(signals, [rules], domain=by_row, languages=languages, formats=formats)
    assert failed.to_pylist() == [["mine.chars", "mine.lines"], [], [], []]
    assert apply_rules(signals, [rules])[1].null_count == 4


def test_a_language_may_have_bounds_of_its_own(tmp_path: Path) -> None:
    rules = load(
        tmp_path,
        "values:\n  default: {least: 5}\n  no: {least: 7, most: 8}\n  de: {most: 20}\n"
        "rules:\n- {signal: chars, min: least, max: most}\n",
    )
    (rule,) = rules.rules
    assert (rule.min, rule.max) == (5, None)
    # German lacks `least` and has the default; `most` has none, so other languages have no upper bound.
    assert rule.by_language == (("de", 5, 20), ("no", 7, 8))
    assert [rule.bounds(language) for language in ("de", "no", "fr", None)] == [
        (5, 20), (7, 8), (5, None), (5, None),
    ]  # fmt: skip
    languages = pa.array(["de", "de", "de", "no", "no", "no", "fr", "fr", None, None])
    chars = batch(chars=[4, 20, 21, 6, 8, 9, 4, 99, 4, 99])
    failed, _ = apply_rules(chars, [rules], languages=languages)
    assert [bool(row) for row in failed.to_pylist()] == [
        True,
        False,
        True,
        True,
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert apply_rules(chars, [rules], languages=languages.dictionary_encode())[0].equals(failed)
    assert apply_rules(chars, [rules])[1].null_count == 7  # of unknown language: the default


@given(
    st.lists(
        st.tuples(st.sampled_from(["de", "fr", "xx", None]), st.integers(0, 9) | st.none()), max_size=30
    ),
    st.dictionaries(
        st.sampled_from(["de", "fr"]), st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=2
    ),
)
def test_bounds_by_language_are_those_of_each_row(
    rows: list[tuple[str | None, int | None]], table: dict[str, tuple[int, int]]
) -> None:
    by_language = tuple(
        (language, float(low), float(high)) for language, (low, high) in sorted(table.items())
    )
    rule = Rule("a.chars", "chars", 2, 7, Scope(), None, by_language)
    rules = RuleSet("a", 1, "a test", Scope(), (rule,))
    signals = batch(chars=[value for _, value in rows])
    _, dropped_by = apply_rules(signals, [rules], languages=pa.array([name for name, _ in rows], pa.string()))
    for (language, value), outcome in zip(rows, dropped_by.to_pylist(), strict=True):
        low, high = table.get(language or "", (2, 7))
        assert (outcome is None) == (value is None or low <= value <= high)


def test_values_may_lie_in_a_file_beside_the_set(tmp_path: Path) -> None:
    (tmp_path / "table.yaml").write_text("source: somewhere\nvalues:\n  de: {least: 5}\n")
    body = "values: table.yaml\nrules:\n- {signal: chars, min: least}\n"
    rules = load(tmp_path, body)
    assert (rules.rules[0].by_language, rules.values_source) == ((("de", 5, None),), "somewhere")
    inline = load(tmp_path, body.replace("table.yaml", "{de: {least: 5}}"))
    assert fingerprint([rules]) == fingerprint([inline])
    (tmp_path / "table.yaml").write_text("source: somewhere\nvalues:\n  de: {laest: 5}\n")
    with pytest.raises(RuleError, match=r"mine.yaml:6: .*did you mean 'laest'"):
        load(tmp_path, body)
    (tmp_path / "table.yaml").write_text("source: somewhere\nvales: {}\n")
    with pytest.raises(RuleError, match=r"table.yaml:2: unknown key 'vales'; did you mean 'values'"):
        load(tmp_path, body)


def test_scopes_by_script_take_the_script_of_the_text(tmp_path: Path) -> None:
    rules = load(
        tmp_path,
        "rules:\n- {name: latin, signal: chars, min: 9, scope: {scripts: [Latn]}}\n"
        "- {name: other, signal: chars, min: 9, scope: {except_scripts: [Latn]}}\n",
    )
    signals = batch(chars=[1, 1, 1]).append_column("script", pa.array(["Latn", "Cyrl", None]))
    assert apply_rules(signals, [rules])[1].to_pylist() == ["mine.latin", "mine.other", "mine.other"]
    assert apply_rules(batch(chars=[1]), [rules])[1].to_pylist() == ["mine.other"]


def test_rules_bound_booleans_and_integers_of_any_size(tmp_path: Path) -> None:
    rules = load(tmp_path, "rules:\n- {signal: xml_header, max: 0}\n- {signal: chars, max: 1.0e+9}\n")
    signals = pa.record_batch(
        {
            "xml_header": pa.array([True, False, None]),
            "chars": pa.array([1, 2**64 - 1, 2**53 + 1], pa.uint64()),
        }
    )
    assert apply_rules(signals, [rules])[1].to_pylist() == ["mine.xml_header", "mine.chars", "mine.chars"]


def test_rule_sets_are_the_same_after_a_way_through_json() -> None:
    sets = load_rules(shipped_rules())
    assert restore(dump(sets)) == sets
    assert fingerprint(restore(dump(sets))) == fingerprint(sets)


def test_fineweb2_has_the_limits_of_its_own_configurations() -> None:
    (rules,) = load_rules(["fineweb2"])
    by_name = {rule.name.partition(".")[2]: rule for rule in rules.rules}
    # configs/fra_Latn.yml and deu_Latn.yml of huggingface/fineweb-2, at the commit that the file names.
    assert by_name["duplicate_lines"].bounds("fr") == (None, 0.286)
    assert by_name["mean_word_length"].bounds("fr") == (3, 11)
    assert by_name["mean_word_length"].bounds("de") == (0, 14)
    assert by_name["alphabetic_words"].bounds("de") == (0.774, None)
    assert by_name["top_2_gram"].bounds("fr") == (None, 0.081)
    assert by_name["newlines"].bounds("de") == (None, 0.197)
    # datatrove's defaults, for what has no row: English is not in FineWeb-2.
    assert by_name["top_2_gram"].bounds("en") == by_name["top_2_gram"].bounds(None) == (None, 0.2)
    languages = {language for rule in rules.rules for language, _, _ in rule.by_language}
    assert languages == set(stop_words.lists()) - {"en"}
    assert len(languages) == 37


class TestStopWords:
    """Distinct words of the text's language; the lists are data."""

    @pytest.mark.parametrize(
        ("language", "text", "count"),
        [
            ("en", "the cat and the dog and that", 3),
            ("en", "The AND", 0),  # case counts
            ("fr", "L'eau de la mer, l\u2019eau d'un lac", 5),  # l' de la d' un
            ("no", "det er en dag", 3),
            (
                "el",
                "\u03c4\u03bf \u03c3\u03c0\u03af\u03c4\u03b9 \u03ba\u03b1\u03b9 \u03b7",  # to kai i
                3,
            ),
            ("xx", "the of and", None),
            (None, "the of and", None),
            ("en", None, None),
            ("en", "", 0),
        ],
    )
    def test_golden(self, language: str | None, text: str | None, count: int | None) -> None:
        column = stop_words.count(pa.array([text], pa.large_string()), pa.array([language], pa.string()))
        assert column.to_pylist() == [count]

    @given(st.lists(st.sampled_from(["the", "be", "cat", "The", "of.", "'", "d'of"]), max_size=20))
    def test_english_counts_are_those_of_the_other_signal(self, words: list[str]) -> None:
        texts = pa.array([" ".join(words)], pa.large_string())
        signal = curate_kernels.signals(texts)["stop_word_count"]
        assert stop_words.count(texts, pa.array(["en"])).equals(signal)

    def test_lengths_that_differ_are_refused(self) -> None:
        with pytest.raises(ValueError, match="1 texts, but 2 languages"):
            stop_words.count(pa.array(["a"], pa.large_string()), pa.array(["en", "de"]))


def test_nothing_to_apply_keeps_everything() -> None:
    failed, dropped_by = apply_rules(batch(chars=[1, 2]), [])
    assert (failed.to_pylist(), dropped_by.to_pylist()) == ([[], []], [None, None])
    failed, dropped_by = apply_rules(
        curate_kernels.signals(pa.array([], pa.large_string())), load_rules(["math"])
    )
    assert (len(failed), len(dropped_by)) == (0, 0)


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"gopher_quality.word_count needs the signal word_count"):
        apply_rules(batch(chars=[1]), load_rules(["gopher_quality"]))


def test_rules_meet_real_signals() -> None:
    prose = (
        "The river rises in the hills to the north of the town and runs with little haste to the sea. "
        "Boats that once carried timber have given way to rowers, and the old mill is now a library where "
        "children read about the floods that used to cover these fields each spring."
    )
    texts = pa.array([prose, "short", "spam and eggs " * 100, ""], pa.large_string())
    sets = load_rules(["gopher_quality", "gopher_repetition"])
    _, dropped_by = apply_rules(curate_kernels.signals(texts), sets, languages=pa.array(["en"] * 4))
    assert dropped_by.to_pylist() == [
        None,
        "gopher_quality.word_count",
        "gopher_quality.stop_words",
        "gopher_quality.word_count",
    ]


def test_the_fingerprint_changes_with_what_decides_and_nothing_else(tmp_path: Path) -> None:
    first = fingerprint([load(tmp_path, "rules:\n- {signal: chars, min: 1, source: here}\n")])
    assert first == fingerprint([load(tmp_path, "# a remark\nrules: [{signal: chars, min: 1.0}]\n")])
    assert first != fingerprint([load(tmp_path, "rules:\n- {signal: chars, min: 2}\n")])
    assert first != fingerprint(
        [load(tmp_path, "rules:\n- {signal: chars, min: 1, scope: {formats: [c]}}\n")]
    )
    assert len(first) == 32
    sets = load_rules(["math", "fineweb"])
    assert fingerprint(sets) != fingerprint(sets[::-1])
