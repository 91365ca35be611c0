"""What a source asks of the language of its documents, and what each document fails.

The rules, in this order: `language.deny`, `language.allow`, `language.min_score`, `language.threshold` (the
score that this language needs), `language.min_share` (of the paragraphs, by bytes), `language.script` (of the
letters, in the scripts of the language). Columns are compared; what depends on the language is looked up once
for each that occurs in a batch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.stages import language
from curate.stages.language_data import (
    UNDECIDED,
    LanguageError,
    Scripts,
    Thresholds,
    decides,
    load_scripts,
    load_thresholds,
)
from mixtures.complaints import suggestion
from mixtures.spec import LanguageFilter

#: What the `script` signal says of a text without letters.
NO_SCRIPT = "Zyyy"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LanguageRules:
    """A source's language filter with the model and the data that it names."""

    wanted: LanguageFilter
    model: language.Model
    thresholds: Thresholds | None
    scripts: Scripts | None

    def identify(self, texts: pa.Array) -> language.Identified:
        unsure = self.thresholds.paragraphs if self.thresholds else language.UNSURE
        return language.identify(texts, self.model, clean=self.wanted.clean, unsure=unsure)

    def failed(self, rows: pa.RecordBatch, signals: pa.RecordBatch) -> pa.ListArray:
        """The rules that each document fails (`list<string>`), from columns of the ledger and signals."""
        broken: dict[str, Mask] = {}
        languages = rows["language"].cast(pa.string())
        scores = rows["language_score"].to_numpy(zero_copy_only=False)
        if self.wanted.deny:
            broken["deny"] = _among(languages, self.wanted.deny)
        if self.wanted.allow is not None:
            broken["allow"] = ~_among(languages, self.wanted.allow)
        if self.wanted.min_score > 0:
            broken["min_score"] = scores < np.float32(self.wanted.min_score)
        if self.thresholds is not None:
            broken["threshold"] = scores < _needed(rows, signals, self.thresholds)
        if self.wanted.min_share > 0:
            purity = rows["language_purity"].to_numpy(zero_copy_only=False)
            broken["min_share"] = purity < np.float32(self.wanted.min_share)
        if self.scripts is not None:
            broken["script"] = _elsewhere(rows, signals, self.scripts)
        return _lists(broken, len(rows))


def load(wanted: LanguageFilter, digest: str | None = None) -> LanguageRules:
    """The rules of a source; its model has to have the SHA-256 `digest`, if given. Raises `LanguageError`."""
    model = language.load(wanted.model, digest or language.digest(wanted.model))
    thresholds = load_thresholds(wanted.thresholds) if wanted.thresholds else None
    return LanguageRules(wanted, model, thresholds, load_scripts() if wanted.scripts else None)


def plan(wanted: LanguageFilter | None) -> dict[str, str] | None:
    """What a source's languages depend on beyond the filter itself: hashes of the model and of the data.

    Checks on the way that all of it can be used, before work starts. Raises `LanguageError`.
    """
    if wanted is None:
        return None
    digest = language.digest(wanted.model)
    rules = load(wanted, digest)
    names = {*rules.model.languages.to_pylist(), UNDECIDED}
    for asked in (*(wanted.allow or ()), *wanted.deny):
        if asked not in names:
            hint = suggestion(asked, sorted(names), "its languages")
            raise LanguageError(f"the language model does not know the language {asked!r}{hint}")
    data = [decides(load_scripts()), rules.thresholds and decides(rules.thresholds)]
    text = json.dumps(data, sort_keys=True)
    return {"model": digest, "data": hashlib.sha256(text.encode()).hexdigest()[:32]}


def _needed(rows: pa.RecordBatch, signals: pa.RecordBatch, thresholds: Thresholds) -> npt.NDArray[np.float32]:
    """The score that each document needs: by its language and, where a threshold names one, its script."""
    scripts = pc.coalesce(rows["language_script"], signals["script"].cast(pa.string()))
    needed = np.zeros(len(rows), np.float32)
    for name, script, mask in _groups(rows["language"], scripts):
        needed[mask] = thresholds.of(name, script)
    return needed


def _elsewhere(rows: pa.RecordBatch, signals: pa.RecordBatch, known: Scripts) -> Mask:
    """Documents of which too few letters are in a script of their language."""
    elsewhere = np.zeros(len(rows), dtype=bool)
    for name, script, mask in _groups(rows["language"], rows["language_script"]):
        if (columns := known.signals_of(name, script)) is not None:
            shares = [signals[column].fill_null(0.0).to_numpy(zero_copy_only=False) for column in columns]
            elsewhere |= mask & (np.sum(shares, axis=0) < known.min_share)
    lettered = pc.fill_null(pc.not_equal(signals["script"].cast(pa.string()), NO_SCRIPT), False)
    elsewhere &= lettered.to_numpy(zero_copy_only=False)
    return elsewhere


def _among(names: pa.Array, wanted: tuple[str, ...]) -> Mask:
    return np.asarray(pc.is_in(names, pa.array(wanted, pa.string())), dtype=bool)


def _groups(languages: pa.Array, scripts: pa.Array) -> list[tuple[str, str | None, Mask]]:
    """The rows of each language and script."""
    both = pc.binary_join_element_wise(languages.cast(pa.string()), pc.fill_null(scripts, ""), " ")
    encoded = both.dictionary_encode()
    numbers = encoded.indices.to_numpy()
    names = (pair.split(" ") for pair in encoded.dictionary.to_pylist())
    return [(name, script or None, numbers == number) for number, (name, script) in enumerate(names)]


def _lists(broken: dict[str, Mask], rows: int) -> pa.ListArray:
    names = pa.array([f"language.{name}" for name in broken], pa.string())
    table = np.array(list(broken.values())).reshape(len(broken), rows)
    document, which = np.nonzero(table.T)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(document, minlength=rows))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, names.take(pa.array(which)))
