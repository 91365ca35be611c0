"""Training a fastText classifier, and the card that says what it is and how good.

One thread and a seed, so that the same sample gives the same model, byte for byte, on the same kind of
machine (the C library's `exp` and `log` may round differently on another). Memory: the model, (words +
`buckets`) x `dim` x 4 bytes, 120 MB of fastText's own for the vocabulary, and the sample: 380 MB in all for
two labels with the default settings. Speed: 3.7 M words a second, times epochs.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from curate.classifiers import ClassifierError
from curate.classifiers.metrics import measure
from curate.classifiers.presets import PRESETS
from curate.classifiers.samples import Sample
from curate.classifiers.scoring import load, matrix, sha256
from mixtures.classifiers import Training

LIBRARY = "fasttext-community"


def library_version() -> str:
    """Of the training library: a part of a model's fingerprint."""
    return version(LIBRARY)


def library() -> Any:
    """The training library.

    Raises ClassifierError where another package's module of that name lies in its place.
    """
    import fasttext

    if not hasattr(fasttext, "train_supervised"):
        raise ClassifierError(
            "the module fasttext cannot train: another package (likely fasttext-predict) has put its own "
            f"over that of {LIBRARY}; mend it with: "
            f"pip install --force-reinstall --no-deps {LIBRARY}=={library_version()}"
        )
    return fasttext


def train(
    sample: Sample,
    settings: Training,
    *,
    name: str,
    preset: str,
    seed: int,
    positive: str | None,
    into: Path,
) -> dict[str, Any]:
    """Write a model to `into` and return its card.

    `positive` is the label whose probability is the score; None for a model whose top label is the answer.
    Raises ClassifierError for fewer than two labels, or one without a text to train on.
    """
    texts, truth = sample.side(held_out=False)
    lines = curate_kernels.training_lines(texts, preset)
    told = pc.greater(pc.binary_length(lines), 0)
    lines, truth = lines.filter(told), truth[told.to_numpy(zero_copy_only=False)]
    labels = sorted(set(sample.labels))
    _require(name, labels, truth, positive)
    order = _balanced(truth, settings.repeat_up_to)
    prefix = pa.array([f"__label__{label} " for label in labels], pa.large_string())
    prefix = prefix.take(pa.array([labels.index(label) for label in truth[order]], pa.int64()))
    newline, empty = (pa.scalar(text, pa.large_string()) for text in ("\n", ""))
    data = pc.binary_join_element_wise(prefix, lines.take(pa.array(order)), newline, empty)
    with tempfile.TemporaryDirectory(prefix="curate-") as folder:
        path = Path(folder) / "train.txt"
        fingerprint = _write(path, data)
        _fit(path, settings, seed, name, into)
    digest = sha256(str(into))
    heard, heard_truth = sample.side(held_out=True)
    scores = matrix(load(str(into), digest), heard, preset, labels)
    index = np.array([labels.index(label) for label in heard_truth], np.int64)
    return {
        "name": name,
        "kind": "fastText classifier",
        "label": positive,
        "labels": {
            label: {"trained_on": int((truth == label).sum()), "held_out": int((heard_truth == label).sum())}
            for label in labels
        },
        "preprocess": {"name": preset, "version": PRESETS[preset][0], "does": PRESETS[preset][1]},
        "hyperparameters": settings.model_dump(mode="json"),
        "seed": seed,
        "reads_bytes": settings.document_bytes,
        "data": {"fingerprint": fingerprint, "documents": len(lines)},
        "library": {"name": LIBRARY, "version": library_version()},
        "model": {"sha256": digest, "bytes": into.stat().st_size},
        "held_out": measure(labels, index, scores, positive),
    }


def _require(name: str, labels: list[str], truth: Any, positive: str | None) -> None:
    if len(labels) < 2:
        found = f"all of {labels[0]!r}" if labels else "none"
        raise ClassifierError(
            f"classifier {name!r}: it takes documents of at least two labels to tell apart; found {found}"
        )
    if positive is not None and positive not in labels:
        raise ClassifierError(
            f"classifier {name!r}: no document of the label {positive!r}, which is the score; "
            f"there are {', '.join(labels)}"
        )
    if missing := [label for label in labels if not (truth == label).any()]:
        raise ClassifierError(
            f"classifier {name!r}: no text with words to train on for {', '.join(missing)} (all are empty or "
            "held out); give more documents"
        )


def _balanced(truth: Any, repeat_up_to: int) -> Any:
    """The order of training, as indices: texts of rarer labels come up to so many times, evenly spread.

    Repeated, a label has at most as many lines as the most frequent one.
    """
    labels, counts = np.unique(truth.astype(str), return_counts=True)
    places, indices = [], []
    for label, count in zip(labels, counts, strict=True):
        times = min(repeat_up_to, int(counts.max()) // int(count))
        mine = np.flatnonzero(truth == label)
        indices.append(np.tile(mine, times))
        places.append((np.arange(count * times) + 0.5) / (count * times))
    return np.concatenate(indices)[np.argsort(np.concatenate(places), kind="stable")]


def _write(path: Path, lines: pa.Array) -> str:
    """The lines as a file; a checksum of it. The array's bytes are the file's: no string per line is made."""
    array = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    data = memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])]
    path.write_bytes(data)
    return f"xxh3_128:{xxhash.xxh3_128_hexdigest(data)}"


def _fit(path: Path, settings: Training, seed: int, name: str, into: Path) -> None:
    try:
        model = library().train_supervised(
            str(path),
            dim=settings.dim,
            epoch=settings.epochs,
            lr=settings.learning_rate,
            wordNgrams=settings.word_ngrams,
            bucket=settings.buckets,
            minCount=settings.min_count,
            minn=0,
            maxn=0,
            loss=settings.loss,
            thread=1,
            seed=seed % (1 << 31),
            verbose=0,
        )
    except (RuntimeError, ValueError) as error:
        raise ClassifierError(
            f"classifier {name!r}: fastText cannot train on this ({error}); try a smaller min_count or "
            "learning rate, or more documents"
        ) from error
    if not set(model.words) - {"</s>"}:
        raise ClassifierError(
            f"classifier {name!r}: no word comes {settings.min_count:,} times; try a smaller min_count"
        )
    model.save_model(str(into))
