"""Phases `classify.*`: models that score and tag the kept documents, and quality buckets from the scores.

1. `classify.train`: a model per classifier that the mixture wants trained on its own documents, from a keyed
   sample; published with its card under `classifiers/<name>/`.
2. `classify.score`: for each documents file `classified/` (a column `score_<name>` per quality classifier,
   and the tags that no rule decided) and `classified_histogram/` (documents and bytes per language and
   score).
3. `classify.buckets`: from the histograms alone, `classifiers/cuts.parquet`: percentile cut points per
   language.

The manifest joins them into `quality` and `quality_bucket`. Memory: 1 holds the sample and the model
(`curate/classifiers/training.py`), 2 the models and a row group of texts (8 MB), 3 the histograms (40 bytes a
language, classifier and bin). A mixture without `classifiers` has no unit of any of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage
from curate.classifiers import buckets, scoring, training
from curate.classifiers.presets import PRESETS
from curate.classifiers.samples import Sampler
from curate.document import ID
from curate.phases import Phase, Result, inputs_of
from curate.run_directory import Run, Unit
from curate.stages.tags import FIELDS
from mixtures.classifiers import Classifier
from mixtures.spec import Mixture

CUTS = "classifiers/cuts.parquet"
MIN_SCORE = 0.5  # of a tag, where the mixture gives none
MIN_DOCUMENTS = 50
#: What a tag's model calls the documents that no rule tagged: it has to tell the known values from these
#: too, so that not everything is forced into one of a few.
OTHER = "other"


def quality_classifiers(mixture: Mixture) -> dict[str, Classifier]:
    """The classifiers whose score counts for quality."""
    return {name: spec for name, spec in mixture.classifiers.items() if spec.scores_quality}


def classified_schema(mixture: Mixture) -> pa.Schema:
    """The columns of `classified/`."""
    scores = [pa.field(f"score_{name}", pa.float32()) for name in quality_classifiers(mixture)]
    learned = {spec.learn for spec in mixture.classifiers.values() if spec.learn}
    tags = [field for field in FIELDS if any(field.name.startswith(tag) for tag in learned)]
    return pa.schema([pa.field("document_id", ID), *scores, *tags])


# Training


def plan_train(run: Run) -> list[Unit]:
    records = run.records("curate")
    units = []
    for name, spec in run.mixture.classifiers.items():
        if spec.kind == "model":
            continue
        sources = {source for names in (spec.train or {}).values() for source in names}
        mine = [record for record in records if spec.learn or record.figures["source"] in sources]
        payload = {
            "classifier": spec.model_dump(mode="json", exclude={"pool_below", "min_score"}),
            "preset": PRESETS[spec.preprocess],
            "library": training.library_version(),
        }
        size = sum(record.figures["kept_bytes"] for record in mine)
        units.append(Unit(name, payload, inputs_of(mine, "documents/"), size))
    return units


def work_train(run: Run, unit: Unit) -> Result:
    name, spec = unit.name, run.mixture.classifiers[unit.name]
    sampler = Sampler(spec.settings, seed=run.mixture.seed, name=name)
    for path, _ in unit.inputs:
        for label, hashes, texts in labelled(run.url(path), spec, sampler):
            sampler.add(label, hashes, texts)
    sample = sampler.sample()
    if spec.learn:
        sample = sample.of_labels_from(MIN_DOCUMENTS if spec.min_documents is None else spec.min_documents)
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        model = Path(folder) / "model.bin"
        card = training.train(
            sample,
            spec.settings,
            name=name,
            preset=spec.preprocess,
            seed=run.mixture.seed,
            positive=None if spec.learn else spec.positive,
            into=model,
        )
        with (
            model.open("rb") as source,
            storage.publishing(run.root, f"classifiers/{name}/model.bin") as publication,
        ):
            while block := source.read(1 << 22):
                publication.sink.write(block)
    text = json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False).encode()
    outputs = (publication.result(), storage.publish_bytes(run.root, f"classifiers/{name}/card.json", text))
    held_out = {key: card["held_out"][key] for key in ("documents", "accuracy", "macro_f1")}
    return Result(outputs, {"documents": card["data"]["documents"], "held_out": held_out})


def labelled(url: str, spec: Classifier, sampler: Sampler) -> Iterator[tuple[str, pa.Array, pa.Array]]:
    """Label, text hashes and texts of a documents file; only what the sampler still wants is read."""
    by_source = {source: label for label, names in (spec.train or {}).items() for source in names}
    given = spec.learn or "source"
    fs, path = storage.filesystem(url)
    with fs.open(path, "rb") as source:
        parquet = pq.ParquetFile(source)
        for group in range(parquet.metadata.num_row_groups):
            facts = parquet.read_row_group(group, columns=["text_hash", "language", given]).combine_chunks()
            labels = facts[given].combine_chunks()
            if not spec.learn:
                index = pc.index_in(labels, pa.array(list(by_source), pa.string()))
                labels = pa.array(list(by_source.values()), pa.string()).take(index)
            if spec.learn:
                labels = pc.fill_null(labels, OTHER)
            labels = pc.if_else(eligible(facts["language"].combine_chunks(), spec), labels, None)
            draws = sampler.draws(facts["text_hash"].combine_chunks()) if len(facts) else np.array([])
            wanted = {
                label: np.flatnonzero(
                    pc.fill_null(pc.equal(labels, label), False).to_numpy(zero_copy_only=False)
                    & sampler.wants(label, draws)
                )
                for label in labels.drop_null().unique().to_pylist()
            }
            if not any(map(len, wanted.values())):
                continue
            texts = parquet.read_row_group(group, columns=["text"])["text"].combine_chunks()
            hashes = facts["text_hash"].combine_chunks()
            for label, rows in wanted.items():
                if len(rows):
                    yield label, hashes.take(pa.array(rows)), texts.take(pa.array(rows))


def eligible(languages: pa.Array, spec: Classifier) -> pa.Array:
    """Which documents are in a language that the classifier is for."""
    if spec.languages is None:
        return pa.repeat(pa.scalar(True), len(languages))
    return pc.is_in(languages, pa.array(spec.languages, languages.type))


# Scores


@lru_cache(maxsize=64)
def _external(path: str, size: int, label: str) -> str:
    """The sha256 of a model that the mixture names, which has to be one and to have the label."""
    del size  # a part of the cache's key
    digest = scoring.sha256(path)
    scoring.check_label(path, scoring.load(path, digest), label)
    return digest


def models(mixture: Mixture) -> dict[str, str]:
    """The sha256 of every model that the mixture names by path. ClassifierError where one cannot be used."""
    return {
        name: _external(spec.model, storage.size(spec.model) or 0, spec.positive)
        for name, spec in mixture.classifiers.items()
        if spec.model is not None
    }


def plan_score(run: Run) -> list[Unit]:
    if not run.mixture.classifiers:
        return []
    trained = inputs_of(run.records("classify.train"), "classifiers/")
    named = tuple(path for path in trained if path[0].endswith("/model.bin"))
    return [
        Unit(record.unit, {}, (*inputs_of([record], "documents/"), *named), record.figures["kept_bytes"])
        for record in run.records("curate")
    ]


def work_score(run: Run, unit: Unit) -> Result:
    checksums = dict(unit.inputs[1:])
    loaded = {}
    for name, spec in run.mixture.classifiers.items():
        path = spec.model or run.url(own := f"classifiers/{name}/model.bin")
        stamp = models(run.mixture)[name] if spec.model else checksums[own]
        loaded[name] = scoring.load(path, stamp)
    schema = classified_schema(run.mixture)
    parts, histograms = [schema.empty_table()], [buckets.HISTOGRAM.empty_table()]
    text_bytes = 0
    fs, path = storage.filesystem(run.url(unit.inputs[0][0]))
    with fs.open(path, "rb") as source:
        parquet = pq.ParquetFile(source)
        read = [
            "document_id",
            "language",
            "text",
            *(n for n in schema.names if n in parquet.schema_arrow.names),
        ]
        for group in range(parquet.metadata.num_row_groups):
            table = parquet.read_row_group(group, columns=list(dict.fromkeys(read))).combine_chunks()
            if not len(table):
                continue
            sizes = pc.binary_length(table["text"]).to_numpy()
            text_bytes += int(sizes.sum())
            columns = {"document_id": table["document_id"].combine_chunks()}
            for name, spec in run.mixture.classifiers.items():
                if spec.learn:
                    columns |= _tagged(table, spec, loaded[name])
                    continue
                scores = _scored(table, spec, loaded[name])
                columns[f"score_{name}"] = scores
                numbers = scores.to_numpy(zero_copy_only=False)
                histograms.append(buckets.histogram(name, table["language"].combine_chunks(), numbers, sizes))
            parts.append(pa.table([columns[name] for name in schema.names], schema=schema))
    table, histogram = pa.concat_tables(parts), buckets.summed(pa.concat_tables(histograms))
    outputs = (
        storage.publish_table(run.root, f"classified/{unit.name}.parquet", table),
        storage.publish_table(run.root, f"classified_histogram/{unit.name}.parquet", histogram),
    )
    return Result(outputs, {"documents": len(table), "text_bytes": text_bytes})


def _scored(table: pa.Table, spec: Classifier, model: Any) -> pa.Array:
    mask = eligible(table["language"].combine_chunks(), spec)
    return spread(scoring.score(model, _texts(table, spec, mask), spec.preprocess, spec.positive), mask)


def _texts(table: pa.Table, spec: Classifier, mask: pa.Array) -> pa.Array:
    """The texts that a classifier is shown, as long as those that it was trained on."""
    texts = table["text"].combine_chunks().filter(mask)
    return texts if spec.reads_bytes is None else curate_kernels.shorten(texts, spec.reads_bytes)


def _tagged(table: pa.Table, spec: Classifier, model: Any) -> dict[str, pa.Array]:
    """The tag's three columns: a rule's where there is one, else the model's where it is sure enough."""
    tag = spec.learn
    value, rule = (table[f"{tag}{part}"].combine_chunks() for part in ("", "_rule"))
    mask = pc.and_(eligible(table["language"].combine_chunks(), spec), pc.is_null(value))
    label, score = scoring.best(model, _texts(table, spec, mask), spec.preprocess)
    least = MIN_SCORE if spec.min_score is None else spec.min_score
    sure = pc.greater_equal(score, pa.scalar(least, pa.float32()))
    sure = pc.fill_null(pc.and_(sure, pc.not_equal(label, OTHER)), False)
    label, score = (pc.if_else(sure, part, None) for part in (label, score))
    by_model = spread(label, mask)
    return {
        f"{tag}": pc.coalesce(value, by_model),
        f"{tag}_score": spread(score, mask),
        f"{tag}_rule": pc.coalesce(rule, pc.if_else(pc.is_valid(by_model), "model", None).cast(pa.string())),
    }


def spread(values: pa.Array, mask: pa.Array) -> pa.Array:
    """The values at the true places of a mask, null elsewhere."""
    chosen = mask.to_numpy(zero_copy_only=False)
    return values.take(pa.array(np.where(chosen, np.cumsum(chosen) - 1, 0), mask=~chosen))


# Buckets


def plan_buckets(run: Run) -> list[Unit]:
    if not quality_classifiers(run.mixture):
        return []
    return [Unit("all", {}, inputs_of(run.records("classify.score"), "classified_histogram/"))]


def work_buckets(run: Run, unit: Unit) -> Result:
    parts = [storage.read_table(run.url(path)) for path, _ in unit.inputs]
    table = buckets.summed(pa.concat_tables([buckets.HISTOGRAM.empty_table(), *parts]))
    cuts = buckets.cut_points(table, pool_below(run.mixture))
    return Result((storage.publish_table(run.root, CUTS, cuts),), {"tables": len(cuts) // (buckets.CUTS - 1)})


def pool_below(mixture: Mixture) -> dict[str, int]:
    """From how many documents on a language has percentiles of its own, by classifier."""
    return {
        name: spec.pool_below or buckets.POOL_BELOW for name, spec in quality_classifiers(mixture).items()
    }


def quality(
    classified: pa.Table, languages: pa.Array, cuts: pa.Table, mixture: Mixture
) -> dict[str, pa.Array]:
    """`quality` and `quality_bucket` of the rows of a `classified/` file."""
    percentiles = [
        buckets.percentiles(name, languages, classified[f"score_{name}"].to_numpy(zero_copy_only=False), cuts)
        for name in quality_classifiers(mixture)
    ]
    share, bucket = buckets.combined(percentiles)
    return {"quality": share, "quality_bucket": bucket}


def train_config(mixture: Mixture) -> Any:
    return {"seed": mixture.seed} if mixture.classifiers else None


def score_config(mixture: Mixture) -> Any:
    """What a score depends on beside the models: how texts are prepared, which documents are scored."""
    named = models(mixture)
    kept = {"label", "learn", "preprocess", "languages", "min_score"}
    return {
        name: [
            spec.model_dump(mode="json", include=kept),
            PRESETS[spec.preprocess][0],
            spec.reads_bytes,
            named.get(name),
        ]
        for name, spec in mixture.classifiers.items()
    }


def buckets_config(mixture: Mixture) -> Any:
    return pool_below(mixture)


PHASES = (
    Phase("classify.train", "train the mixture's classifiers", plan_train, work_train, train_config),
    Phase("classify.score", "score and tag the kept documents", plan_score, work_score, score_config),
    Phase("classify.buckets", "turn scores into percentiles", plan_buckets, work_buckets, buckets_config),
)
