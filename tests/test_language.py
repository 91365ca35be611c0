"""The native fastText model gives the reference's labels and scores, and refuses what is no model."""

# ruff: noqa: RUF001 (sentences in many scripts)

from __future__ import annotations

import math
import random
import struct
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from curate_kernels import LanguageModel
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages import language

# Label and score by fasttext-predict 0.9.2.4 with lid.176.ftz.
GOLDEN = [
    ("The river flows slowly past the old mill and into the sea.", "en", 0.944411),
    ("Le petit chat dort sur le canapé toute la journée.", "fr", 0.973273),
    ("Der alte Mann ging langsam durch den verschneiten Wald.", "de", 0.973369),
    ("El viento mueve las hojas de los árboles en otoño.", "es", 0.966455),
    ("Il treno per la città parte ogni mattina alle otto.", "it", 0.987259),
    ("A menina comprou pão fresco na padaria da esquina.", "pt", 0.613027),
    ("Старый мост через реку закрыли на ремонт до весны.", "ru", 0.843466),
    ("今日は天気がいいので公園を散歩しました。", "ja", 1.000047),
    ("我们明天早上去图书馆看书。", "zh", 0.997511),
    ("오늘은 날씨가 좋아서 산책을 했습니다.", "ko", 0.999877),
    ("ذهب الولد إلى المدرسة في الصباح الباكر.", "ar", 0.994625),
    ("הילדים שיחקו בגינה עד רדת החשכה.", "he", 0.999840),
    ("Η γάτα κοιμάται δίπλα στο παράθυρο.", "el", 0.993335),
    ("बच्चे बगीचे में खेल रहे हैं।", "hi", 0.984624),
    ("เด็กๆ กำลังเล่นอยู่ในสวน", "th", 0.999505),
    ("Kissa nukkuu ikkunan vieressä koko päivän.", "fi", 0.954951),
    ("Dzieci bawią się w ogrodzie po szkole.", "pl", 0.998964),
    ("Çocuklar okuldan sonra bahçede oynuyor.", "tr", 0.994665),
    ("Trẻ em đang chơi trong vườn sau giờ học.", "vi", 0.996702),
    ("குழந்தைகள் தோட்டத்தில் விளையாடுகிறார்கள்.", "ta", 0.998618),
    ("Kæreste ven, jeg har købt brød\nog mælk til i morgen.", "da", 0.972126),
]

# One range of letters per script, for words that no corpus holds.
SCRIPTS = [
    0x61,
    0xE0,
    0x3B1,
    0x430,
    0x561,
    0x5D0,
    0x627,
    0x905,
    0x985,
    0xA05,
    0xA85,
    0xB05,
    0xB85,
    0xC05,
    0xC85,
]
SCRIPTS += [0xD05, 0xD85, 0xE01, 0xE81, 0xF40, 0x1000, 0x10D0, 0x1200, 0x1780, 0x1820, 0x3041, 0x30A1, 0x4E00]
SCRIPTS += [0xAC00, 0x1F600, 0x20000]
SEPARATORS = [" ", "\n", "\r", "\t", "\v", "\f", "\0", "  \n"]


def strings(values: Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.large_string())


def predict(model: LanguageModel, texts: Sequence[str | None]) -> list[tuple[str | None, float | None]]:
    labels, scores = model.predict(strings(texts))
    return list(zip(labels.cast(pa.string()).to_pylist(), scores.to_pylist(), strict=True))


@pytest.fixture(scope="module")
def lid() -> LanguageModel:
    return LanguageModel(language.default_model_path())


def varied_texts() -> Iterator[str]:
    """Files of the standard library and slices of them, random words of 31 scripts, and oddities."""
    rng = random.Random(7)
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:150]
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        yield text
        for _ in range(4):
            start = rng.randrange(len(text) + 1)
            yield text[start : start + rng.randrange(1, 300)]
    for _ in range(600):
        first = rng.choice(SCRIPTS)
        words = [
            "".join(chr(first + rng.randrange(20)) for _ in range(rng.randrange(1, 9))) for _ in range(30)
        ]
        yield "".join(word + rng.choice(SEPARATORS) for word in words)
    for text, *_ in GOLDEN:
        yield from (
            text,
            text.upper(),
            text.replace(" ", "\0"),
            text[::-1],
            f"{text} __label__en __label__no",
        )
    yield from [
        "",
        " \n\0",
        "😀",
        "\ufeff\u200b",
        "<think>",
        "12345",
        "a" * 1_000_000,
        "중" * 300_000,
        "hello " * 170_000,
    ]


def test_labels_and_scores_are_those_of_the_reference_on_golden_sentences(lid: LanguageModel) -> None:
    for (_, label, score), got in zip(GOLDEN, predict(lid, [text for text, *_ in GOLDEN]), strict=True):
        assert got[0] == label
        assert got[1] == pytest.approx(score, abs=1e-4)


def test_labels_and_scores_are_those_of_the_reference_on_varied_texts(lid: LanguageModel) -> None:
    fasttext = pytest.importorskip("fasttext")
    reference = fasttext.load_model(str(language.default_model_path()))
    texts = list(varied_texts())
    assert len(texts) > 1000
    (prior_label,), (prior,) = reference.predict("")
    for text, (label, score) in zip(texts, predict(lid, list(texts)), strict=True):
        (expected,), (expected_score,) = reference.predict(text.replace("\n", " "))
        if label is None:  # nothing is known but the end of the line
            label, score = prior_label.removeprefix("__label__"), prior
        assert f"__label__{label}" == expected, text[:80]
        assert score == pytest.approx(expected_score, abs=1e-4), text[:80]


def test_a_text_without_a_known_feature_is_null(lid: LanguageModel) -> None:
    assert predict(lid, [None, "", " \n\t\0", "</s>", "𠀀", "__label__en"]) == [(None, None)] * 6


def test_an_end_of_line_mark_in_the_text_hides_nothing(lid: LanguageModel) -> None:
    text = "Le petit chat dort sur le canapé."
    assert predict(lid, [f"</s> {text}"]) == predict(lid, [text])


def test_a_result_does_not_depend_on_the_batch(lid: LanguageModel) -> None:
    texts: list[str | None] = [*(text for text, *_ in GOLDEN), None, ""]
    alone = [predict(lid, [text])[0] for text in texts]
    assert predict(lid, texts) == alone
    column = strings(["x", *texts, "y"]).slice(1, len(texts))
    labels, scores = lid.predict(column)
    assert list(zip(labels.to_pylist(), scores.to_pylist(), strict=True)) == alone
    assert [len(part) for part in lid.predict(strings([]))] == [0, 0]


def test_identify_names_languages() -> None:
    found = language.identify(strings([GOLDEN[0][0], None, "", "😀"]))
    assert (found.language.type, found.score.type) == (pa.string(), pa.float32())
    assert found.language.to_pylist() == [GOLDEN[0][1], "und", "und", "und"]
    assert found.score.to_pylist()[1:] == [0, 0, 0]
    assert found.languages.to_pylist()[0] == [{"language": "en", "share": 1.0}]
    assert found.languages.to_pylist()[1:3] == [[], []]


def test_another_model_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "no_such_language_package"
    (package / "resources").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(language, "PACKAGE", package.name)
    find = language.default_model_path.__wrapped__
    with pytest.raises(FileNotFoundError, match="install"):
        find()
    (package / "resources" / "lid.176.ftz").write_bytes(b"another")
    with pytest.raises(ValueError, match="SHA-256"):
        find()
    monkeypatch.setattr(language, "PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(FileNotFoundError, match="install"):
        find()


# Models made by hand: the file format, and every loss and matrix that the reference has.

HIERARCHICAL, NEGATIVE, SOFTMAX, ONE_VS_ALL = 1, 2, 3, 4
WORDS = [b"</s>", b"red", b"green", "blåbær".encode(), b"x"]
LABELS = [b"__label__a", "__label__ß".encode(), b"__label__c"]


@dataclass(frozen=True)
class Recipe:
    """A small model with random weights."""

    loss: int = SOFTMAX
    dim: int = 5
    word_n: int = 2
    min_n: int = 2
    max_n: int = 3
    bucket: int = 50
    quantized: bool = False
    norms: bool = False
    pruned: bool = False

    def build(self) -> bytes:
        rng = np.random.default_rng(3)
        header = (self.dim, 5, 5, 1, 5, self.word_n, self.loss, 3, self.bucket, self.min_n, self.max_n, 100)
        kept: list[int] = rng.permutation(self.bucket)[:20].tolist() if self.pruned else []
        out = struct.pack("<ii12id", 793712314, 12, *header, 1e-4)
        entries = [(word, 0) for word in WORDS] + [(label, 1) for label in LABELS]
        out += struct.pack(
            "<iiiqq", len(entries), len(WORDS), len(LABELS), 99, len(kept) if self.pruned else -1
        )
        for rank, (word, kind) in enumerate(entries):
            out += word + b"\0" + struct.pack("<qb", 100 - 7 * rank, kind)
        for row, bucket in enumerate(kept):
            out += struct.pack("<ii", bucket, row)
        rows = len(WORDS) + (20 if self.pruned else self.bucket)
        return out + self._matrix(rng, rows) + self._matrix(rng, len(LABELS))

    def _matrix(self, rng: np.random.Generator, rows: int) -> bytes:
        shape = struct.pack("<qq", rows, self.dim)
        if not self.quantized:
            return b"\0" + shape + rng.normal(size=(rows, self.dim)).astype("<f4").tobytes()
        parts, last = -(-self.dim // 2), self.dim - (self.dim - 1) // 2 * 2
        out = b"\1" + struct.pack("<?", self.norms) + shape + struct.pack("<i", rows * parts)
        out += rng.integers(0, 256, rows * parts, np.uint8).tobytes()
        out += (
            struct.pack("<4i", self.dim, parts, 2, last)
            + rng.normal(size=self.dim * 256).astype("<f4").tobytes()
        )
        if self.norms:
            out += rng.integers(0, 256, rows, np.uint8).tobytes() + struct.pack("<4i", 1, 1, 1, 1)
            out += rng.uniform(0.5, 2, 256).astype("<f4").tobytes()
        return out


RECIPES = [
    Recipe(),
    Recipe(loss=HIERARCHICAL, dim=16),
    Recipe(loss=NEGATIVE, word_n=1),
    Recipe(loss=ONE_VS_ALL, word_n=4, dim=40),
    Recipe(max_n=0, min_n=0, word_n=3),
    Recipe(min_n=1, max_n=6),
    Recipe(quantized=True),
    Recipe(quantized=True, norms=True, dim=17),
    Recipe(quantized=True, norms=True, pruned=True, loss=HIERARCHICAL),
    Recipe(quantized=True, pruned=True, loss=ONE_VS_ALL, min_n=0, max_n=0),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_every_kind_of_model_agrees_with_the_reference(recipe: Recipe, tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    path = tmp_path / "model.bin"
    path.write_bytes(recipe.build())
    model, reference = LanguageModel(path), fasttext.load_model(str(path))
    assert model.labels == ["a", "ß", "c"]
    rng = random.Random(1)
    vocabulary = [word.decode() for word in WORDS[1:]] + [
        "other",
        "été",
        "中文",
        "__label__a",
        "__label__q",
        "a",
    ]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randrange(1, 9))) for _ in range(100)]
    for text, (label, score) in zip(texts, predict(model, list(texts)), strict=True):
        labels, scores = reference.predict(text)
        if label is not None:
            assert (f"__label__{label}",) == labels, text
            assert score == pytest.approx(scores[0], abs=1e-4), text


def test_one_dense_model_by_hand(tmp_path: Path) -> None:
    """Words 1, 2 and the end of line average to (2, 1); softmax of (2, 1) is 1 / (1 + e^-1) for label 0."""
    out = struct.pack("<ii12id", 793712314, 12, 2, 5, 5, 1, 5, 1, SOFTMAX, 3, 0, 0, 0, 100, 1e-4)
    out += struct.pack("<iiiqq", 5, 3, 2, 9, -1)
    for word, kind in [(b"</s>", 0), (b"w1", 0), (b"w2", 0), (b"__label__yes", 1), (b"__label__no", 1)]:
        out += word + b"\0" + struct.pack("<qb", 1, kind)
    out += b"\0" + struct.pack("<qq6f", 3, 2, 1, 0, 2, 1, 3, 2)
    out += b"\0" + struct.pack("<qq4f", 2, 2, 1, 0, 0, 1)
    (tmp_path / "m.bin").write_bytes(out)
    ((label, score),) = predict(LanguageModel(tmp_path / "m.bin"), ["w1 unknown\nw2"])
    assert label == "yes"
    assert score == pytest.approx(1 / (1 + math.exp(-1)) + 1e-5, abs=1e-6)


# What is no model


def load(data: bytes, folder: Path) -> LanguageModel:
    path = folder / "m.ftz"
    path.write_bytes(data)
    return LanguageModel(path)


@pytest.mark.parametrize("recipe", [RECIPES[0], RECIPES[8]], ids=["dense", "quantised"])
def test_a_model_cut_anywhere_or_longer_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    data = recipe.build()
    for length in [*range(0, len(data), 37), len(data) - 1]:
        with pytest.raises(ValueError, match=r"not a usable fastText model: .* \(at byte \d+ of \d+\)"):
            load(data[:length], tmp_path)
    with pytest.raises(ValueError, match="1 bytes follow"):
        load(data + b"\0", tmp_path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0, 1, "magic number"),
        (4, 13, "version 13"),
        (8, 0, "dimension is 0"),
        (8, 2**30, "dimension is"),
        (28, 2**30, "n-grams of"),
        (32, 9, "loss 9"),
        (36, 1, "model kind 1"),
        (40, 0, "in 0 buckets"),
        (40, 2**31 - 1, "rows"),
        (48, 1000, "n-grams of 1000"),
        (64, 2**31 - 1, "dictionary size is 2147483647"),
        (64, -1, "dictionary size is -1"),
        (68, 4, "4 words"),
    ],
)
def test_a_header_that_makes_no_sense_is_named(offset: int, value: int, message: str, tmp_path: Path) -> None:
    data = bytearray(RECIPES[0].build())
    struct.pack_into("<i", data, offset, value)
    with pytest.raises(ValueError, match=message):
        load(bytes(data), tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = bytearray(RECIPES[0].build())
    struct.pack_into("<f", data, len(data) - 4, math.nan)
    with pytest.raises(ValueError, match="not finite"):
        load(bytes(data), tmp_path)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(RECIPES),
    st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=8)), max_size=4),
)
def test_a_damaged_model_is_refused_or_predicts(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(recipe.build())
    for at, patch in damage:
        at %= 400 if at % 2 else len(data)  # the header and dictionary as often as the rest
        data[at : at + len(patch)] = patch
    try:
        model = load(bytes(data), tmp_path_factory.mktemp("damaged"))
    except ValueError as error:
        refused = str(error)
        assert "not a usable fastText model" in refused
    else:
        assert len(predict(model, ["red green x", "</s> blåbær", ""])) == 3


def test_what_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.ftz"):
        LanguageModel(tmp_path / "nothing.ftz")
    with pytest.raises((OSError, ValueError)):
        LanguageModel(tmp_path)
