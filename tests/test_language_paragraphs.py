"""The languages of paragraphs, told in the same pass as that of the text, and cleaned words."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from curate_kernels import LanguageModel
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages import language

FIXTURES = Path(__file__).parent / "fixtures"
PROSE = {path.stem: path.read_text("utf-8") for path in sorted((FIXTURES / "prose").glob("*.txt"))}
MODELS = {
    "lid.176": language.default_model_path(),
    "softmax.ftz": FIXTURES / "models" / "softmax.ftz",  # with word bigrams
    "ova.bin": FIXTURES / "models" / "ova.bin",  # likewise
    "hs.ftz": FIXTURES / "models" / "hs.ftz",
}


def strings(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


def shares(text: str, **options: Any) -> dict[str, float]:
    model = LanguageModel(MODELS["lid.176"])
    (row,) = model.identify(strings([text]), **options)["languages"].to_pylist()
    return {item["language"]: item["share"] for item in row}


def letters(word: str) -> str:
    """A word from its first ASCII letter or character beyond ASCII to its last."""
    return re.sub(r"^[\x00-@\[-`{-\x7f]+|[\x00-@\[-`{-\x7f]+$", "", word)


def lower(character: str) -> str:
    code, changed = ord(character), character.lower()
    return changed if len(changed) == 1 and (code < 0x590 or 0x1E00 <= code < 0x2000) else character


def cleaned(text: str) -> str:
    """The definition of cleaned text, in Python."""
    words = [letters(word) for word in re.split("[ \n\r\t\v\f\0]+", text)]
    kept = [
        word
        for word in words
        if not ("://" in word or word.startswith("www.") or re.match(r"[^@]+@(?s:.)[^.]*\.", word))
    ]
    return " ".join("".join(map(lower, word)) for word in kept if word)


def mixed_texts() -> list[str]:
    """Texts of one to six languages, in paragraphs, wrapped lines and lists, and real files of all kinds."""
    rng = random.Random(4)
    paragraphs = [part for text in PROSE.values() for part in text.split("\n\n")]
    texts = [*PROSE.values()]
    for _ in range(150):
        some = rng.choices(paragraphs, k=rng.randrange(1, 9))
        texts.append(rng.choice(["\n\n", "\n", "\n \n\n"]).join(some))
        texts.append("\n\n".join(part[: rng.randrange(5, 90)] for part in some))
    for folder in ("code", "man", "math", "science"):
        texts += [path.read_text("utf-8", "replace") for path in (FIXTURES / folder).rglob("*.*")]
    return texts


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("clean", [False, True])
def test_the_whole_text_gets_the_label_and_score_of_the_reference(name: str, clean: bool) -> None:
    fasttext = pytest.importorskip("fasttext")
    reference, model = fasttext.load_model(str(MODELS[name])), LanguageModel(MODELS[name])
    texts = mixed_texts()
    found = model.identify(strings(texts), clean=clean)
    rows = zip(texts, found["label"].to_pylist(), found["score"].to_pylist(), strict=True)
    for text, label, score in rows:
        ((expected,), (expected_score,)) = reference.predict(
            cleaned(text) if clean else " ".join(text.split("\n"))
        )
        assert f"__label__{label}" == expected, text[:80]
        assert score == pytest.approx(expected_score, abs=1e-4), text[:80]
    labels, scores = model.predict(strings(texts), clean=clean)
    assert labels.to_pylist() == found["label"].to_pylist()
    assert scores.to_pylist() == pytest.approx(found["score"].to_pylist(), abs=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("clean", [False, True])
def test_each_paragraph_gets_the_label_that_it_has_as_a_text(name: str, clean: bool) -> None:
    fasttext = pytest.importorskip("fasttext")
    reference, model = fasttext.load_model(str(MODELS[name])), LanguageModel(MODELS[name])
    rng = random.Random(9)
    lines = [line for text in PROSE.values() for line in map(" ".join, map(str.split, text.split("\n\n")))]
    lines = [line for line in lines if len(letters(line)) >= 50]
    for _ in range(40):
        parts = rng.choices(lines, k=rng.randrange(2, 8))
        sizes: Counter[str] = Counter()
        for part in parts:
            words = cleaned(part).split() if clean else part.split()
            ((label,), (score,)) = reference.predict(" ".join(words))
            known = label.removeprefix("__label__") if score >= 0.4 else "und"
            sizes[known] += sum(len(letters(word).encode()) for word in words)
        (row,) = model.identify(strings(["\n\n".join(parts)]), clean=clean)["languages"].to_pylist()
        found = {item["language"]: item["share"] for item in row}
        whole = sum(sizes.values())
        assert found == pytest.approx({label: size / whole for label, size in sizes.items()}, abs=1e-6)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_mixed_page_shows_its_languages_by_their_shares() -> None:
    page = PROSE["de-wald"] + "\n\n" + PROSE["en-bees"] + "\n\n" + PROSE["ru-les"]
    texts = {"de": "de-wald", "en": "en-bees", "ru": "ru-les"}
    sizes = {
        name: sum(len(letters(word).encode()) for word in PROSE[text].split()) for name, text in texts.items()
    }
    expected = {name: size / sum(sizes.values()) for name, size in sizes.items()}
    assert shares(page) == pytest.approx(expected, abs=1e-6)


def test_lines_are_paragraphs_where_there_are_no_blank_lines() -> None:
    parts = [" ".join(PROSE[name].split()) for name in ("fr-vigne", "es-faro")]
    assert set(shares("\n".join(parts))) == {"fr", "es"}


def test_wrapped_lines_are_judged_together() -> None:
    text = PROSE["en-iron"]
    wrapped = re.sub("(.{40}[^ ]*) ", r"\1\n", text)
    assert wrapped.count("\n") > 3 * text.count("\n")
    assert set(shares(wrapped)) == {"en"}


def test_paragraphs_too_short_to_judge_join_their_neighbours() -> None:
    german = PROSE["de-wald"].split("\n\n")[0]
    assert shares(f"Home\n\nUser Guide\n\n{german}\n\nNext\n\nPrint") == {"de": 1.0}
    # Alone they are the text's only paragraph, and have its label.
    assert shares("Der Wald ist still.") == {"de": 1.0}


def test_a_paragraph_that_scores_low_is_undecided() -> None:
    text = "\n\n".join([PROSE["en-bees"], "xq zv kj wq pf " * 20])
    found = shares(text)
    assert set(found) == {"en", "und"}
    assert shares(text, unsure=0.0).keys() - {"en"} != {"und"}
    assert shares(text, unsure=1.1) == {"und": 1.0}


def test_labels_of_one_name_are_one_language() -> None:
    model = LanguageModel(FIXTURES / "models" / "softmax.ftz")
    text = PROSE["ru-les"] + "\n\n" + PROSE["en-bees"]
    names = ["x" if label.startswith("rus") else label for label in model.labels]
    (row,) = model.identify(strings([text]), names=names)["languages"].to_pylist()
    assert {item["language"] for item in row} == {"x", "eng_Latn"}
    with pytest.raises(ValueError, match=r"1 names for 7 labels"):
        model.identify(strings([text]), names=["x"])


def test_cleaning_leaves_out_addresses_marks_and_capitals() -> None:
    model = LanguageModel(MODELS["lid.176"])
    plain, noisy = (
        strings(["das ist ein kleiner baum"]),
        strings(
            ["** DAS ist, (ein) 2024 https://example.org/this-is-the-way you@example.org [kleiner] Baum!"]
        ),
    )
    assert model.predict(noisy, clean=True)[1].to_pylist() == model.predict(plain)[1].to_pylist()


def test_null_empty_and_wordless_texts_have_defined_languages() -> None:
    model = LanguageModel(MODELS["lid.176"])
    texts = pa.array([None, "", " \n\0\n", "12 + 34 = 46", "https://example.org"], pa.large_string())
    found = model.identify(texts)
    assert found["languages"].to_pylist() == [None, [], [], [], []]
    assert found["label"].to_pylist() == found["score"].to_pylist() == [None] * 5


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=200) | st.sampled_from(list(PROSE.values())), max_size=5), st.booleans())
def test_shares_add_up_to_one_and_do_not_depend_on_the_batch(texts: list[str], clean: bool) -> None:
    texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    model = LanguageModel(MODELS["softmax.ftz"])
    found = model.identify(strings(texts), clean=clean)
    for row, text in enumerate(texts):
        alone = model.identify(strings([text]), clean=clean)
        assert [column[row] for column in found.columns] == [column[0] for column in alone.columns]
        total = [item["share"] for item in found["languages"][row].as_py()]
        assert not total or sum(total) == pytest.approx(1, abs=1e-6)


HOSTILE = {
    "a word": "a" * 500_000,
    "paragraphs of a letter": "a\n\n" * 170_000,
    "emoji": "😀" * 125_000,
    "NULs": "\0" * 500_000,
    "capitals": "ÀÉ" * 125_000,
    "at signs": "a@" * 250_000,
    "colons": ":" * 500_000,
    "line ends": "\n" * 500_000,
    "prose": PROSE["ru-les"] * 200,
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_time_is_linear_in_any_text(unit: str) -> None:
    model = LanguageModel(MODELS["lid.176"])

    def seconds(text: str) -> float:
        column = strings([text])
        started = time.perf_counter()
        model.identify(column)
        return time.perf_counter() - started

    once = min(seconds(unit) for _ in range(3))
    assert seconds(unit * 8) < 8 * 4 * once + 0.05
