"""Classifiers in a run: trained on its own documents; scores become quality and tags in the manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Finished
from run_fixture import ask, assert_same_outputs, curate, outputs, run_mixture

from curate.classifiers.buckets import bins
from curate.classifiers.presets import prepare
from curate.classifiers.scoring import sha256
from mixtures.spec import load_mixture


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """A finished run that may be changed."""
    shutil.copytree(finished.root, tmp_path / "run")
    return tmp_path / "run"


def changed(finished: Finished, folder: Path, *pairs: tuple[str, str]) -> Path:
    text = finished.mixture.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "fixture.yaml"
    path.write_text(text)
    return path


def section(finished: Finished) -> str:
    """The `classifiers:` part of the fixture's mixture."""
    text = finished.mixture.read_text()
    return text[text.index("classifiers:") : text.index("limits:")]


def test_every_kept_document_of_its_languages_has_the_score_of_the_published_model(
    finished: Finished,
) -> None:
    root = finished.root
    model = curate_kernels.LanguageModel(root / "classifiers/quality/model.bin")
    documents = pa.concat_tables(
        pq.read_table(path) for path in sorted((root / "documents").glob("*.parquet"))
    )
    texts = prepare(curate_kernels.shorten(documents["text"].combine_chunks(), 8192), "dclm")
    expected = model.predict_proba(texts, ["positive"])["positive"].to_pylist()
    found = {bytes(i): s for i, s in ask(root, "SELECT document_id, score_quality FROM {documents}")}
    scored = 0
    for row, score in zip(documents.to_pylist(), expected, strict=True):
        if row["language"] in ("en", "zxx"):
            assert found[row["document_id"]] == score
            scored += 1
        else:
            assert found[row["document_id"]] is None
    assert scored > 30
    dropped = (
        "SELECT count(score_quality), count(quality) FROM {documents} WHERE status IN ('rules', 'language')"
    )
    assert ask(root, dropped) == [(0, 0)]


def test_the_bucket_is_the_twentieth_of_the_bytes_of_a_language_that_score_lower(finished: Finished) -> None:
    """Against the definition, document by document."""
    rows = ask(
        finished.root,
        "SELECT language, score_quality, text_bytes, quality, quality_bucket FROM {documents} "
        "WHERE status IN ('kept', 'duplicate') AND score_quality IS NOT NULL",
    )
    number = bins(np.array([row[1] for row in rows], np.float32))
    assert len({row[4] for row in rows}) > 4
    for row, mine in zip(rows, number, strict=True):
        same = [(b, r[2]) for r, b in zip(rows, number, strict=True) if r[0] == row[0]]
        assert len(same) >= 8, "or the pooled table would count"
        below, total = sum(size for b, size in same if b < mine), sum(size for _, size in same)
        assert row[4] == 20 * below // total
        assert row[3] == pytest.approx((1000 * below // total) / 1000)


def test_tags_say_what_decided_them(finished: Finished) -> None:
    statement = "SELECT DISTINCT source, topic, topic_rule FROM {documents} WHERE source IN ('code', 'rows')"
    rows = ask(finished.root, statement)
    assert sorted(rows) == [("code", "software", "source"), ("rows", "history", "source")]
    odd = """SELECT source, topic, topic_score, topic_rule FROM {documents}
        WHERE (topic IS NULL) <> (topic_rule IS NULL)
           OR (topic_rule = 'model') IS DISTINCT FROM (topic_score IS NOT NULL) AND topic_rule IS NOT NULL
           OR topic = 'other' OR topic_score < 0.5
           OR topic_rule = 'model' AND status IN ('rules', 'language', 'quarantined')"""
    assert ask(finished.root, odd) == []
    kinds = ask(finished.root, "SELECT DISTINCT document_type_rule FROM {documents} ORDER BY 1 NULLS LAST")
    assert kinds == [("source",), (None,)]


def test_the_card_in_the_run_describes_the_model_beside_it(finished: Finished) -> None:
    folder = finished.root / "classifiers/quality"
    card = json.loads((folder / "card.json").read_text())
    assert card["model"]["sha256"] == sha256(str(folder / "model.bin"))
    assert (card["label"], card["seed"]) == ("positive", 7)
    judged = curate(
        "classifier", "eval", folder / "model.bin", "--positive", f"{finished.root}:rows", "--json"
    )
    assert json.loads(judged.stdout)["preprocess"] == "dclm"


def test_a_change_of_one_classifier_trains_that_one_alone(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    mixture = changed(finished, tmp_path, ("epochs: 20", "epochs: 21"))
    ran = run_mixture(mixture, copy)
    assert ran["classify.train"] == ["quality"]
    assert not {"curate", "dedup.exact", "tokenize", "write"} & set(ran)
    run_mixture(mixture, tmp_path / "fresh" / "run")
    assert_same_outputs(copy, outputs(tmp_path / "fresh" / "run"))
    pooled = ("pool_below: 8", "pool_below: 1000")
    ran = run_mixture(changed(finished, tmp_path, pooled, ("epochs: 20", "epochs: 21")), copy)
    assert list(ran) == ["classify.buckets", "manifest", "report"]


def test_without_classifiers_there_is_no_work_and_nothing_else_changes(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    mixture = changed(finished, tmp_path, (section(finished), ""))
    ran = run_mixture(mixture, copy)
    assert set(ran) == {"manifest", "report"}
    assert not (copy / "units/classify.score").exists() or not list((copy / "units/classify.score").iterdir())
    assert list(copy.glob("classif*/**/*.parquet")) == []
    names = pq.read_schema(next(iter((copy / "manifest/documents").glob("*.parquet")))).names
    assert "topic" in names
    assert not [name for name in names if name.startswith(("score_", "quality"))]
    other = {
        name for name in finished.bytes if not name.startswith(("classif", "manifest/documents", "report"))
    }
    assert all((copy / name).read_bytes() == finished.bytes[name] for name in other)


def test_a_model_from_a_file_scores_as_the_trained_one_did(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    """Whole texts are read then; the fixture's are shorter than 8 KiB, but for one."""
    shutil.copy(finished.root / "classifiers/quality/model.bin", tmp_path / "m.bin")
    both = f"""classifiers:
  quality: {{model: {tmp_path}/m.bin, label: __label__positive, languages: [en, zxx], pool_below: 8}}
"""
    run_mixture(changed(finished, tmp_path, (section(finished), both)), copy)
    statement = "SELECT document_id, score_quality, quality_bucket FROM {documents} WHERE text_bytes < 8192"
    assert sorted(ask(copy, statement)) == sorted(ask(finished.root, statement))


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("{model: {folder}/none.bin, label: hq}", "none.bin: cannot read the model"),
        ("{model: {folder}/m.bin, label: hq}", "has no label 'hq'; its labels are"),
        ("{train: {positive: [texts], negative: [absent]}}", "at least two labels to tell apart"),
    ],
)
def test_a_classifier_that_cannot_work_stops_the_run_with_a_word(
    finished: Finished, copy: Path, tmp_path: Path, new: str, words: str
) -> None:
    shutil.copy(finished.root / "classifiers/quality/model.bin", tmp_path / "m.bin")
    part = "classifiers:\n  quality: " + new.replace("{folder}", str(tmp_path)) + "\n"
    mixture = changed(finished, tmp_path, (section(finished), part))
    told = curate("run", mixture, "-o", copy)
    assert told.returncode == 1
    assert words in told.stderr
    assert "Traceback" not in told.stderr


BASE = """\
name: small
sources:
  web: {read: {warc: "web/*.warc.gz"}}
  plos: {read: {jats: "x/*.xml"}, topic: science}
mixture: {weights: {web: 3, plos: 1}}
curriculum: {batch_tokens: 4K, stages: [{length: 4K, share: 1.0}]}
classifiers:
  q: CLASSIFIER
"""


@pytest.mark.parametrize(
    ("classifier", "words"),
    [
        ("{train: {positive: [plso], negative: [web]}}", "no source 'plso'; did you mean 'plos'?"),
        ("{train: {positive: [plos], negative: [plos]}}", "'plos' is under 'positive' already"),
        ("{train: {good: [plos], bad: [web]}}", "no label 'positive' under 'train'"),
        ("{train: {positive: [plos]}}", "classifiers.q.train"),
        ("{}", "one of train, model and learn; none is given"),
        ("{model: a.bin, learn: topic}", "model and learn are given"),
        ("{model: a.bin}", "say which of the model's labels is the score"),
        ("{learn: topic, pool_below: 5}", "means nothing beside 'learn'"),
        ("{learn: topics}", "did you mean 'topic'?"),
        ("{learn: topic, preproces: dclm}", "did you mean 'preprocess'?"),
        ("{learn: topic, training: {epoch: 3}}", "did you mean 'epochs'?"),
        ("{learn: topic}\n  Q-2: {learn: topic}", "'Q-2' is no column's name"),
        ("{learn: topic}\n  r: {learn: topic}", "'q' learns the topic already"),
    ],
)
def test_a_mixture_with_a_wrong_classifier_is_refused(tmp_path: Path, classifier: str, words: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(BASE.replace("CLASSIFIER", classifier))
    with pytest.raises(ValueError, match=r"m\.yaml:[0-9]+") as caught:
        load_mixture(str(path))
    assert words in str(caught.value)


def test_a_wrong_tag_of_a_source_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(BASE.replace("CLASSIFIER", "{learn: topic}").replace("topic: science", "topic: sience"))
    with pytest.raises(ValueError, match="did you mean 'science'"):
        load_mixture(str(path))


def test_the_story_of_a_document_names_its_tags_and_its_quality(finished: Finished) -> None:
    told = curate("explain", finished.root, "interest.py")
    assert "software (source)" in told.stdout
    assert "bucket " in told.stdout
    assert "score_quality 0." in told.stdout
