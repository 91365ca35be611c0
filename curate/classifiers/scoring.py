"""Applying a model: prepared texts in, a column of scores out, nothing per document in Python."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa

from curate import storage
from curate.classifiers import ClassifierError
from curate.classifiers.presets import prepare
from mixtures.complaints import suggestion

_PREFIX = "__label__"


def sha256(url: str) -> str:
    """Of a file. Raises ClassifierError where it cannot be read."""
    digest = hashlib.sha256()
    fs, path = storage.filesystem(url)
    try:
        with fs.open(path, "rb") as source:
            while block := source.read(1 << 22):
                digest.update(block)
    except OSError as error:
        raise ClassifierError(f"{url}: cannot read the model ({error})") from error
    return digest.hexdigest()


@lru_cache(maxsize=8)
def load(url: str, stamp: str) -> curate_kernels.LanguageModel:
    """The model of a file, once per process and `stamp` (its checksum); ClassifierError if it is none."""
    del stamp
    try:
        if storage.is_local(url):
            return curate_kernels.LanguageModel(url.removeprefix("file://"))
        with tempfile.TemporaryDirectory() as folder:
            fs, path = storage.filesystem(url)
            fs.get_file(path, f"{folder}/model.bin")
            return curate_kernels.LanguageModel(f"{folder}/model.bin")
    except (OSError, ValueError) as error:
        raise ClassifierError(str(error)) from error


def check_label(url: str, model: curate_kernels.LanguageModel, label: str) -> str:
    """The label without its prefix. Raises ClassifierError, with the nearest name, where there is none."""
    bare = label.removeprefix(_PREFIX)
    if bare not in model.labels:
        shown = [*model.labels[:20], "..."] if len(model.labels) > 20 else model.labels
        hint = suggestion(bare, model.labels if len(model.labels) <= 20 else shown, "its labels")
        raise ClassifierError(f"{url}: the model has no label {bare!r}{hint}")
    return bare


def score(model: curate_kernels.LanguageModel, texts: pa.Array, preset: str, label: str) -> pa.Array:
    """The label's probability (float32) per text; null where the model knows nothing of the text."""
    return model.predict_proba(prepare(texts, preset), [label]).column(0)


def best(model: curate_kernels.LanguageModel, texts: pa.Array, preset: str) -> tuple[pa.Array, pa.Array]:
    """The top label (string) and its score (float32); null where the model knows nothing of the text."""
    labels, scores = model.predict(prepare(texts, preset))
    return labels.cast(pa.string()), scores


def matrix(model: curate_kernels.LanguageModel, texts: pa.Array, preset: str, labels: Sequence[str]) -> Any:
    """Scores of several labels, texts x labels, NaN where a text was not scored."""
    batch = model.predict_proba(prepare(texts, preset), list(labels))
    columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
    return np.column_stack(columns).astype(np.float64) if len(texts) else np.zeros((0, len(labels)))
