"""Classifiers are trained the same way every time, say how good they are, and score as the library does."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import curate_kernels
import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from conftest import Finished
from hypothesis import given
from hypothesis import strategies as st
from run_fixture import invoke

from curate.classifiers import ClassifierError, metrics
from curate.classifiers.presets import PRESETS, prepare
from curate.classifiers.samples import Sample, Sampler
from curate.classifiers.training import library, train
from mixtures.classifiers import Training

SETTINGS = Training(dim=8, buckets=500, min_count=1, epochs=10, learning_rate=0.5, held_out=0.25)
OPTIONS = ["--dim", "8", "--buckets", "500", "--min-count", "1", "--epochs", "10"]
OPTIONS += ["--learning-rate", "0.5", "--held-out", "0.25"]
GOOD = ["theorem", "experiment", "measure", "evidence", "average", "river", "because"]
BAD = ["buy", "cheap", "offer", "click", "discount", "river", "now"]


def strings(texts: list[Any]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def texts(words: list[str], count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=rng.randrange(4, 20))) + f" {seed}x{n}" for n in range(count)]


POSITIVE, NEGATIVE = texts(GOOD, 60, 1), texts(BAD, 50, 2)


def sample(by_label: dict[str, list[str]], settings: Training = SETTINGS) -> Sample:
    sampler = Sampler(settings, seed=5, name="t")
    for label, found in by_label.items():
        sampler.add(label, curate_kernels.text_hash(strings(found)), strings(found))
    return sampler.sample()


def trained(folder: Path, by_label: dict[str, list[str]], **changes: Any) -> tuple[Path, dict[str, Any]]:
    settings = SETTINGS.model_copy(update=changes)
    path = folder / "m.bin"
    card = train(
        sample(by_label, settings), settings, name="t", preset="dclm", seed=5, positive=None, into=path
    )
    return path, card


# Scores


@pytest.mark.parametrize("loss", ["softmax", "hs", "ns", "ova"])
def test_the_scores_of_all_labels_are_those_of_the_library(tmp_path: Path, loss: str) -> None:
    path, _ = trained(
        tmp_path, {"a": POSITIVE, "b": NEGATIVE, "c": texts(["und", "der", "die"], 9, 3)}, loss=loss
    )
    reference, model = fasttext.load_model(str(path)), curate_kernels.LanguageModel(path)
    asked = [*POSITIVE, *NEGATIVE, "der river buy", "unknown words"]
    batch = model.predict_proba(strings(asked))
    assert batch.schema.names == model.labels
    for row, text in enumerate(asked):
        expected = dict(zip(*reference.predict(text, k=-1, threshold=-1.0), strict=True))
        for label in model.labels:
            got = batch[label][row].as_py()
            if got is None:
                assert text == "unknown words"
            else:  # the library leaves out what is below 1e-5
                assert got == pytest.approx(expected.get(f"__label__{label}", 0.0), abs=1e-4)


def test_quantised_scores_are_those_of_the_library(tmp_path: Path) -> None:
    wordy = [
        f"{text} {' '.join(f'w{n * 7 + k}' for k in range(5))}" for n, text in enumerate(POSITIVE + NEGATIVE)
    ]
    path, _ = trained(tmp_path, {"a": wordy[:60], "b": wordy[60:]})
    reference = fasttext.load_model(str(path))
    reference.quantize()
    reference.save_model(str(tmp_path / "m.ftz"))
    scores = curate_kernels.LanguageModel(tmp_path / "m.ftz").predict_proba(strings(wordy), ["b"])["b"]
    for text, score in zip(wordy, scores.to_pylist(), strict=True):
        expected = dict(zip(*reference.predict(text, k=-1), strict=True))
        assert score == pytest.approx(expected.get("__label__b", 0.0), abs=1e-4)


def test_labels_are_asked_for_by_name_in_any_order(tmp_path: Path) -> None:
    path, _ = trained(tmp_path, {"a": POSITIVE, "b": NEGATIVE})
    model = curate_kernels.LanguageModel(path)
    batch = model.predict_proba(strings([POSITIVE[0], None, "", "__label__a"]), ["__label__b", "a"])
    assert batch.schema.names == ["b", "a"]
    assert [column.null_count for column in batch.columns] == [3, 3]
    assert batch["a"][0].as_py() + batch["b"][0].as_py() == pytest.approx(1, abs=1e-4)
    assert batch["a"][0].as_py() > 0.8
    with pytest.raises(ValueError, match='no label "c"; known: a, b'):
        model.predict_proba(strings(["x"]), ["c"])


# Preprocessing


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("dclm", "One  two three four"),
        ("fasttext", "  One\r  two\u2028three four \u00a0"),
        ("datatrove", " One\rtwo\u2028three four \u00a0"),
        ("lowercase", "  one\r  two\u2028three four \u00a0"),
    ],
)
def test_presets_are_what_their_definitions_say(preset: str, expected: str) -> None:
    text = " \nOne\r\n\ntwo\u2028three four \u00a0"
    assert prepare(strings([text, None]), preset).to_pylist() == [expected, None]


@given(st.lists(st.text(), max_size=5))
def test_dclm_is_the_published_line_of_python(found: list[str]) -> None:
    """DCLM: strip, splitlines, join by one space."""
    expected = [" ".join(text.strip().splitlines()) for text in found]
    assert prepare(strings(found), "dclm").to_pylist() == expected


def test_a_different_newline_rule_gives_a_different_score(tmp_path: Path) -> None:
    path, _ = trained(tmp_path, {"a": POSITIVE, "b": NEGATIVE})
    model = curate_kernels.LanguageModel(path)
    text = strings(["river\ntheorem\nevidence buy now"])
    score = {preset: model.predict_proba(prepare(text, preset), ["a"])["a"][0].as_py() for preset in PRESETS}
    assert score["dclm"] == score["fasttext"]
    assert abs(score["datatrove"] - score["dclm"]) > 0.01


def test_what_looks_like_a_label_in_a_text_is_none(tmp_path: Path) -> None:
    evil = [f"{text} __label__evil </s> theorem\x00__label__worse\nend" for text in POSITIVE]
    path, card = trained(tmp_path, {"a": evil, "b": NEGATIVE})
    assert sorted(fasttext.load_model(str(path)).labels) == ["__label__a", "__label__b"]
    assert set(card["labels"]) == {"a", "b"}
    assert card["labels"]["a"]["trained_on"] + card["labels"]["a"]["held_out"] == len(POSITIVE)
    assert "end" in fasttext.load_model(str(path)).words, "a literal </s> hides nothing"


# The sample


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 7), st.randoms())
def test_a_sample_does_not_depend_on_order_or_batches(
    numbers: list[int], step: int, rng: random.Random
) -> None:
    settings = Training(documents=12, document_bytes=64)
    shown = [f"text {n}" for n in numbers]
    whole = sample({"a": shown}, settings)
    sampler = Sampler(settings, seed=5, name="t")
    rng.shuffle(shown)
    for start in range(0, len(shown), step):
        part = strings(shown[start : start + step])
        sampler.add("a", curate_kernels.text_hash(part), part)
    parts = sampler.sample()
    assert parts.texts.to_pylist() == whole.texts.to_pylist()
    assert parts.held_out.tolist() == whole.held_out.tolist()
    assert len(whole.texts) == min(12, len(set(numbers))), "each text once"


def test_texts_are_cut_between_characters_and_copies_stay_on_one_side() -> None:
    settings = Training(document_bytes=64, held_out=0.5)
    drawn = sample({"a": ["é" * 40, "x"], "b": ["x", "y"]}, settings)
    assert sorted(drawn.texts.to_pylist()) == ["x", "x", "y", "é" * 32]
    sides = [side for text, side in zip(drawn.texts.to_pylist(), drawn.held_out, strict=True) if text == "x"]
    assert len(sides) == 2
    assert len(set(sides)) == 1


# Training


def test_the_same_texts_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    models = []
    for number, order in enumerate([1, -1]):
        (tmp_path / str(number)).mkdir()
        path, card = trained(tmp_path / str(number), {"a": POSITIVE[::order], "b": NEGATIVE[::order]})
        models.append((path.read_bytes(), card))
    assert models[0] == models[1]


def test_the_card_says_what_the_model_is(tmp_path: Path) -> None:
    path, card = trained(tmp_path, {"a": POSITIVE, "b": NEGATIVE})
    assert card["model"] == {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }
    assert (card["preprocess"]["name"], card["preprocess"]["version"]) == ("dclm", 1)
    assert card["hyperparameters"]["dim"] == 8
    assert card["library"]["name"] == "fasttext-community"
    counts = [sum(row.values()) for row in card["labels"].values()]
    assert counts == [len(POSITIVE), len(NEGATIVE)]
    assert card["held_out"]["documents"] == sum(row["held_out"] for row in card["labels"].values()) > 10
    assert card["held_out"]["labels"]["a"]["auc"] > 0.95


def test_rare_labels_are_shown_as_often_as_frequent_ones(tmp_path: Path) -> None:
    both = {"a": texts(GOOD, 400, 1), "b": texts(BAD, 10, 2)}
    asked = strings(texts(BAD, 30, 9))
    score = []
    for repeat in (1, 100):
        path, _ = trained(tmp_path, both, repeat_up_to=repeat, epochs=1, learning_rate=0.1)
        score.append(np.mean(curate_kernels.LanguageModel(path).predict_proba(asked, ["b"])["b"].to_numpy()))
    assert score[0] < 0.5 < score[1]


@pytest.mark.parametrize(
    ("by_label", "words"),
    [
        ({"a": POSITIVE}, "at least two labels to tell apart; found all of 'a'"),
        ({}, "at least two labels to tell apart; found none"),
        ({"a": POSITIVE, "b": ["", " \n", "__label__x"]}, "no text with words to train on for b"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    tmp_path: Path, by_label: dict[str, list[str]], words: str
) -> None:
    with pytest.raises(ClassifierError, match=words):
        trained(tmp_path, by_label)
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_all_too_rare_are_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="smaller min_count"):
        trained(tmp_path, {"a": POSITIVE, "b": NEGATIVE}, min_count=5000)


# Metrics


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 5 for score, _ in rows])
    positive = np.array([is_it for _, is_it in rows])
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[positive] for b in scores[~positive]]
    found = metrics.auc(scores, positive)
    assert found == (pytest.approx(np.mean(pairs)) if pairs else None)


def test_metrics_by_hand() -> None:
    """Four texts: two of a (one taken for b), two of b; one of b without a known word."""
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [np.nan, np.nan]])
    found = metrics.measure(["a", "b"], np.array([0, 0, 1, 1]), scores, "a")
    assert found["confusion"] == [[1, 1], [0, 1]]
    assert (found["accuracy"], found["unscored"]) == (0.5, 1)
    a, b = found["labels"]["a"], found["labels"]["b"]
    assert (a["precision"], a["recall"], a["f1"], a["auc"]) == (1.0, 0.5, pytest.approx(2 / 3, abs=1e-6), 1.0)
    assert (b["precision"], b["recall"]) == (0.5, 0.5)
    # |0.9 - 1| + |0.4 - 1| + |0.2 - 0| + |0 - 0|, each of weight a quarter
    assert found["calibration"]["ece"] == pytest.approx(0.225)
    assert [row["documents"] for row in found["calibration"]["table"]] == [1, 1, 1, 1]


# The commands


def run(*arguments: object) -> Result:
    return invoke("classifier", *arguments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """The positive texts as Parquet, the negative ones as compressed JSON Lines."""
    good, bad = tmp_path / "good.parquet", tmp_path / "bad.jsonl.gz"
    pq.write_table(pa.table({"text": POSITIVE, "label": ["positive"] * len(POSITIVE)}), good)
    lines = "".join(json.dumps({"text": text, "label": "negative", "n": 1}) + "\n" for text in NEGATIVE)
    bad.write_bytes(gzip.compress(lines.encode()))
    return good, bad


def test_training_from_two_files_and_from_labelled_ones_is_the_same(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    good, bad = files
    one = run("train", tmp_path / "one.bin", "--positive", good, "--negative", bad, *OPTIONS, "--json")
    card = json.loads(one.stdout)
    assert card["label"] == "positive"
    two = run("train", tmp_path / "two.bin", bad, good, *OPTIONS)
    assert two.exit_code == 0, two.output
    assert "ECE" in two.output
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    assert json.loads((tmp_path / "one.bin.json").read_text()) == card
    judged = json.loads(run("eval", tmp_path / "one.bin", good, bad, "--json").stdout)
    assert (judged["preprocess"], judged["label"]) == ("dclm", "positive"), "from the card"
    assert judged["documents"] == len(POSITIVE) + len(NEGATIVE)
    assert judged["labels"]["positive"]["auc"] > 0.95


def test_training_from_the_sources_of_a_run(finished: Finished, tmp_path: Path) -> None:
    root = finished.root
    result = run(
        "train",
        tmp_path / "m.bin",
        "--of",
        f"tables={root}:rows",
        "--of",
        f"web={root}:web",
        *OPTIONS,
        "--json",
    )
    card = json.loads(result.stdout)
    kept = pa.concat_tables(pq.read_table(p, columns=["text"]) for p in (root / "documents").glob("web-*"))
    web = card["labels"]["web"]
    assert web["trained_on"] + web["held_out"] == len(set(kept["text"].to_pylist()))
    assert card["label"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--positive", "{good}"], "at least two labels to tell apart; found all of 'positive'"),
        ([], "no texts: give labelled files"),
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["{good}", "--text", "txt"], "no column 'txt'; did you mean 'text'?"),
        (["{good}", "--label-column", "lable"], "no column 'lable'; did you mean 'label'?"),
        (["{broken}"], "broken.jsonl: cannot be read"),
        (["{note}"], "note.txt: of no known kind"),
        (["--of", "spam"], "write it as LABEL=INPUT"),
        (["--of", "two words={good}"], "'two words' is no label"),
        (["--positive", "{run}:wbe"], "no source 'wbe'; did you mean 'web'?"),
        (["--positive", "{run}:absent"], "no documents of 'absent'"),
    ],
)
def test_bad_inputs_are_told(
    finished: Finished, files: tuple[Path, Path], tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "broken.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": "the line st')
    (tmp_path / "note.txt").write_text("a note")
    names = {
        "good": files[0],
        "broken": tmp_path / "broken.jsonl",
        "note": tmp_path / "note.txt",
        "run": finished.root,
    }
    result = run("train", tmp_path / "m.bin", *(item.format(**names) for item in arguments), *OPTIONS)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "m.bin").exists()


def test_a_model_is_read_as_its_card_says_or_not_at_all(files: tuple[Path, Path], tmp_path: Path) -> None:
    model, card = tmp_path / "m.bin", tmp_path / "m.bin.json"
    good, bad = files
    run("train", model, good, bad, *OPTIONS, "--preprocess", "datatrove")
    assert json.loads(run("eval", model, good, bad, "--json").stdout)["preprocess"] == "datatrove"
    assert "no label 'hq'" in run("eval", model, good, "--label", "hq").stderr
    text = card.read_text()
    card.unlink()
    assert "say how it reads a text with --preprocess" in run("eval", model, good).stderr
    card.write_text(text.replace('"sha256": "', '"sha256": "0'))
    assert "is the card of another model" in run("eval", model, good).stderr
    card.write_text("[]")
    assert "not a classifier's card" in run("eval", model, good).stderr
    model.write_bytes(b"no model")
    card.unlink()
    assert "not a usable fastText model" in run("eval", model, good, "--preprocess", "dclm").stderr
    assert "cannot read the model" in run("eval", tmp_path / "none.bin", good).stderr


def test_another_packages_module_in_place_of_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("fasttext.train_supervised")
    with pytest.raises(ClassifierError, match="pip install --force-reinstall --no-deps fasttext-community=="):
        library()
