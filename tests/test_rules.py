"""Rules: what a file may say, and what a document fails."""

from __future__ import annotations

from pathlib import Path

import curate_kernels
import pyarrow as pa
import pytest

from curate.stages.rules import RuleError, RuleSet, Scope, apply_rules, fingerprint, load_rules, shipped_rules

HEAD = "name: mine\nversion: 1\nsource: a test\n"


def write(folder: Path, body: str, head: str = HEAD) -> str:
    path = folder / "mine.yaml"
    path.write_text(head + body, "utf-8")
    return str(path)


def load(folder: Path, body: str, head: str = HEAD) -> RuleSet:
    return load_rules([write(folder, body, head)])[0]


def batch(**columns: list[float | None]) -> pa.RecordBatch:
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
        ("rules:\n- signal: chars\n  min: '50'\n", 6, "rules.0.min: input should be a valid number"),
        ("rules:\n- signal: chars\n  max: 262,144\n", 6, "rules.0.max: input should be a valid number"),
        ("rules:\n- signal: chars\n  max: .nan\n", 6, "finite"),
        ("rules:\n- {signal: chars, min: 5, max: 4}\n", 5, "min 5 is above max 4"),
        ("rules:\n- {signal: chars}\n", 5, "neither min nor max"),
        ("rules:\n- {signal: chars, min: 1}\n- {signal: chars, max: 9}\n", 6, "mine.chars is there twice"),
        ("rules:\n- {signal: chars, min: 1, min: 2}\n", 5, "key 'min' is there twice"),
        ("rules: &a\n- *a\n", 4, "aliases"),
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
