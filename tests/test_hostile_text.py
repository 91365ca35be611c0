# ruff: noqa: RUF001 (the look-alikes are meant)
"""Texts made to break things: every kernel gives a defined answer, in time that grows as the text does."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import curate_kernels
import pyarrow as pa
import pytest
from run_fixture import ask, run_mixture

from curate.stages.language import default_model_path

#: What is repeated: the worst cases of each loop in the kernels that looks ahead, strips or joins.
HOSTILE = {
    "one long line": "word ",
    "one word": "a",
    "one character": "茶",
    "combining marks": "\u0323\u0301",
    "marks on Han": "茶\u0301\u0301\u0301\u0301",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f",
    "NULs": "\0",
    "NULs in words": "a\0",
    "replacement characters": "\ufffd",
    "byte order marks": "\ufeff",
    "Hangul letters": "\u1100\u1161\u11a8",
    "line ends": "\r\n\u2028\x0b",
    "blanks": " \u3000\u00a0",
    "lines of one letter": "a\n",
    "dots": ".",
    "dotted letters": "a.",
    "opening brackets": "(",
    "closing brackets": ")",
    "quotes": "'’",
    "clitics": "'ll",
    "dashes": "-—",
    "dashes and letters": "a--",
    "ats": "@.",
    "addresses": "://",
    "digits and commas": "1,",
    "dollars": "$x ",
    "open formulae": "\\(\\[$$",
    "environments": "\\begin{align}",
    "escapes": "\\u00",
    "base64": "QUJD" * 16 + "\n",
    "almost base64": "QUJD" * 9 + "\n",
    "hex bytes": "1f ",
    "hex numbers": "0x1,",
    "capitals": "İẞ",
    "Han": "人",
    "function characters": "的人人人",
    "Han and hiragana in turn": "人の",
    "hiragana": "あいう",
    "katakana": "カ",
    "Thai vowels in front": "เ",
    "Thai letters": "ก",
    "Thai function words": "ของ",
    "almost Thai function words": "กากา",
    "Thai vowels behind": "กะ" + "ะ" * 50,
    "Lao and Thai in turn": "กກ",
    "Khmer letters below": "ក្",
    "Burmese stacks": "က္",
    "zero-width spaces": "ក\u200b",
    "zero-width spaces alone": "\u200b",
    "right to left": "\u202eا\u0651",
    "private use and unassigned": "\ue000\U0010ffff\ufdd0",
}

#: Every kernel that reads a text, on one column of texts.
Kernel = Callable[[pa.Array], object]


def bands(texts: pa.Array) -> pa.Array:
    return curate_kernels.minhash_bands(texts, bands=4, rows=2)


def pieces(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    ids = pa.array([bytes([row]) * 16 for row in range(len(texts))], pa.binary(16))
    return curate_kernels.fim_pieces(texts, ids, pa.array([1.0] * len(texts)), seed=1)


@pytest.fixture(scope="module")
def model() -> curate_kernels.LanguageModel:
    return curate_kernels.LanguageModel(default_model_path())


@pytest.fixture(scope="module")
def kernels(model: curate_kernels.LanguageModel) -> dict[str, Kernel]:
    return {
        "normalize": curate_kernels.normalize,
        "signals": curate_kernels.signals,
        "minhash_bands": bands,
        "predict": model.predict,
        "fim_pieces": pieces,
        "text_hash": curate_kernels.text_hash,
    }


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.large_string())


def repeated(unit: str, size: int) -> pa.Array:
    """One text of about `size` bytes."""
    return texts(unit * (size // len(unit.encode())))


#: The signals that any text has; others are of some formats only.
MEASURED = [
    name
    for name, value in curate_kernels.signals(texts("plain words")).to_pylist()[0].items()
    if isinstance(value, (int, float))
]


def assert_defined(signals: pa.RecordBatch) -> None:
    """A finite number for every signal that any text has, in every row."""
    for name in MEASURED:
        assert signals[name].null_count == 0, name
        for value in signals[name].to_pylist():
            assert math.isfinite(value), f"{name} is {value}"


def seconds(kernel: Kernel, column: pa.Array, times: int) -> float:
    """The least processor time of some calls."""
    best = math.inf
    for _ in range(times):
        start = time.process_time()
        kernel(column)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize("name", HOSTILE)
def test_every_signal_is_defined(name: str) -> None:
    column = texts(*(HOSTILE[name] * count for count in (1, 2, 3, 1000)), "a " + HOSTILE[name] * 7 + " b")
    signals = curate_kernels.signals(column)
    assert_defined(signals)
    assert signals["chars"].to_pylist() == [len(text) for text in column.to_pylist()]
    normal = curate_kernels.normalize(column)
    assert normal.null_count == 0
    assert curate_kernels.normalize(normal) == normal
    assert_defined(curate_kernels.signals(normal))


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_as_the_text_does(name: str, kernels: dict[str, Kernel]) -> None:
    # Eight times the text: 8 where time is linear, 64 where it is quadratic. Below 2 ms the clock decides.
    small, large = repeated(HOSTILE[name], 64_000), repeated(HOSTILE[name], 512_000)
    for kernel, function in kernels.items():
        least = max(seconds(function, small, 3), 0.002)
        assert seconds(function, large, 2) < 24 * least, kernel


def test_a_line_of_20_megabytes_goes_through_every_kernel(kernels: dict[str, Kernel]) -> None:
    column = repeated("lorem ipsum, dolor 茶 ", 20_000_000)
    start = time.process_time()
    for function in kernels.values():
        function(column)
    assert time.process_time() - start < 60  # some 2 s
    signals = curate_kernels.signals(column)
    assert_defined(signals)
    assert signals["lines"].to_pylist() == [1]


def test_a_million_combining_marks_on_one_letter(kernels: dict[str, Kernel]) -> None:
    column = texts("a" + "\u0323\u0301" * 500_000)
    normal = curate_kernels.normalize(column)
    runs = normal[0].as_py().split("\u034f")
    assert max(map(len, runs)) <= 31  # UAX #15, Stream-Safe Text Format
    for function in kernels.values():
        function(column)
    assert_defined(curate_kernels.signals(normal))
    assert curate_kernels.signals(column)["segments"].to_pylist() == [1]


def test_nulls_stay_null_and_an_empty_text_is_defined(model: curate_kernels.LanguageModel) -> None:
    column = texts(None, "", None, "plain words of English", None)
    assert curate_kernels.normalize(column) == column
    signals = curate_kernels.signals(column)
    for name in MEASURED:
        missing = [value is None for value in signals[name].to_pylist()]
        assert missing == [True, False, True, False, True], name
    assert_defined(signals.filter(column.is_valid()))
    assert [row is None for row in bands(column).to_pylist()] == [True, True, True, False, True]
    language, score = model.predict(column)
    assert language.to_pylist() == [None, None, None, "en", None]
    assert [row is None for row in score.to_pylist()] == [True, True, True, False, True]


def test_null_rows_change_no_other_row() -> None:
    alone, among = texts("one. two", "ของการ"), texts(None, "one. two", None, "ของการ", None)
    signals = curate_kernels.signals(among)
    assert signals.filter(among.is_valid()) == curate_kernels.signals(alone)
    assert bands(among).drop_null() == bands(alone)


# Through a whole run

TINY = """\
name: hostile
data: {data}
sources:
  s:
    read: {read}{filters}
  kept:
    read: {{files: "kept.txt"}}
limits: {{quarantine_share: 1}}
mixture: {{weights: {{s: 1, kept: 1}}}}
curriculum:
  batch_tokens: 1K
  stages: [{{length: 256, share: 1}}]
"""


#: All rules, and no document kept: what is kept is tokenized, which takes its time.
FILTERS = """
    rules: [gopher_quality, gopher_repetition, fineweb]
    language: {allow: [gv]}"""


def run(folder: Path, read: str, filters: str = "") -> dict[str, str]:
    """Locator to status of source `s`, after a run over `folder/data`."""
    (folder / "data/kept.txt").write_text("What is kept, so that there is something to pack.\n" * 9)
    mixture = folder / "hostile.yaml"
    mixture.write_text(TINY.format(data=folder / "data", read=read, filters=filters))
    run_mixture(mixture, folder / "run")
    return dict(ask(folder / "run", "SELECT locator, status FROM {documents} WHERE source = 's'"))


def kept_texts(folder: Path) -> dict[str, str]:
    """Locator to text of what source `s` keeps."""
    files = f"read_parquet('{folder}/run/documents/s-*.parquet')"
    statement = f"SELECT locator, text FROM {files} JOIN {{ledger}} USING (document_id)"
    return dict(ask(folder / "run", statement))


def test_every_hostile_text_gets_a_row_with_finite_signals(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [{"id": name, "text": unit * 300} for name, unit in HOSTILE.items()]
    rows.append({"id": "a long line", "text": "lorem ipsum " * 500_000})
    (tmp_path / "data/hostile.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fates = run(tmp_path, '{jsonl: "hostile.jsonl"}', FILTERS)
    assert {locator.removeprefix("hostile.jsonl#") for locator in fates} == {*HOSTILE, "a long line"}
    assert set(fates.values()) == {"language"}
    signals = ask(tmp_path / "run", "SELECT signals FROM {ledger} WHERE source = 's'")
    assert len(signals) == len(fates)
    for (row,) in signals:
        assert all(math.isfinite(row[name]) for name in MEASURED)


def test_lone_surrogates_in_json_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = {
        b"a plain line of words": "a plain line of words",
        b"high \\ud800 alone": "high \ufffd alone",
        b"low \\udc00 alone": "low \ufffd alone",
        b"turned \\udc00\\ud800 round": "turned \ufffd\ufffd round",
        b"a pair \\ud83d\\ude00 of them": "a pair \U0001f600 of them",
        b"another plain line": "another plain line",
    }
    rows = (b'{"id": "%d", "text": "%s"}\n' % (row, text) for row, text in enumerate(lines))
    (tmp_path / "data/broken.jsonl").write_bytes(b"".join(rows))
    assert set(run(tmp_path, '{jsonl: "broken.jsonl"}').values()) == {"kept"}
    kept = kept_texts(tmp_path)
    assert [kept[f"broken.jsonl#{row}"] for row in range(len(lines))] == list(lines.values())


def test_bytes_that_are_no_utf8_cost_no_other_row_and_leave_valid_text(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = [
        b"plain words",
        b"surrogate \xed\xa0\x80 bytes",
        b"no \xff\xfe at all",
        b"caf\xe9",
        b"cut \xe8\x8c",
    ]
    rows = (b'{"id": "%d", "text": "%s"}\n' % (row, text) for row, text in enumerate(lines))
    (tmp_path / "data/broken.jsonl").write_bytes(b"".join(rows))
    (tmp_path / "data/overlong.txt").write_bytes(b"a \xc0\xaf b " * 20)
    fates = run(tmp_path, '{jsonl: "broken.jsonl"}')
    assert set(fates) == {f"broken.jsonl#{row}" for row in range(len(lines))}
    kept = kept_texts(tmp_path)
    assert kept["broken.jsonl#0"] == "plain words"
    assert kept["broken.jsonl#3"] == "café"
    assert set(kept) == {locator for locator, status in fates.items() if status == "kept"}
    for text in kept.values():
        assert text.encode().decode() == text  # no surrogate went through


def test_files_of_invalid_bytes_become_text_or_a_quarantined_row(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    files = {
        "cut.txt": "Über den Wolken 茶".encode()[:-1],
        "overlong.txt": b"a \xc0\xaf b " * 20,
        "surrogates.txt": b"a \xed\xa0\x80 b " * 20,
        "stray.txt": b"\x80\xbf" * 50,
        "latin.txt": "Grüße aus Köln. ".encode("latin-1") * 20,
        "empty.txt": b"",
    }
    for name, data in files.items():
        (tmp_path / "data" / name).write_bytes(data)
    fates = run(tmp_path, '{files: "[celos]*.txt"}')
    assert set(fates) == set(files)
    assert fates["empty.txt"] == "rules"
    kept = kept_texts(tmp_path)
    assert kept["latin.txt"].startswith("Grüße aus Köln.")
    for name in set(files) - set(kept) - {"empty.txt"}:
        assert fates[name] == "quarantined"
