"""Bounded samples of labelled texts, the same whatever the order in which the texts come.

A document is drawn by a keyed hash of its text, and so is the side that it is on (training or held out): an
exact copy is drawn once and can never be on both sides. The draw is also the order of training, which
fastText does not shuffle. Memory: twice `documents` x `document_bytes` per label.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa

from mixtures.classifiers import Training


@dataclass(frozen=True)
class Sample:
    """Texts (cut to `document_bytes`) in the order of their draw, each with its label and its side."""

    texts: pa.Array  # large_string
    labels: Any  # numpy array of str
    held_out: Any  # numpy array of bool

    def of_labels_from(self, documents: int) -> Sample:
        """The same without the labels that have fewer documents than that."""
        names, counts = np.unique(self.labels.astype(str), return_counts=True)
        mask = np.isin(self.labels.astype(str), names[counts >= documents])
        return Sample(self.texts.filter(pa.array(mask)), self.labels[mask], self.held_out[mask])

    def side(self, held_out: bool) -> tuple[pa.Array, Any]:
        """Texts and labels of one side."""
        mask = self.held_out == held_out
        return self.texts.filter(pa.array(mask)), self.labels[mask]


@dataclass
class _Drawn:
    """What is kept of one label: everything with a draw below `bound`."""

    texts: list[pa.Array] = field(default_factory=list)
    draws: list[Any] = field(default_factory=list)
    sides: list[Any] = field(default_factory=list)
    bound: float = np.inf

    def reduce(self, documents: int) -> None:
        """Keep the `documents` smallest draws, each text once, in the order of the draws."""
        if not self.draws:
            return
        draws, first = np.unique(np.concatenate(self.draws), return_index=True)
        if len(draws) > documents:
            self.bound = float(draws[documents])
            draws, first = draws[:documents], first[:documents]
        self.texts = [pa.chunked_array(self.texts).take(pa.array(first)).combine_chunks()]
        self.sides = [np.concatenate(self.sides)[first]]
        self.draws = [draws]


class Sampler:
    """Keeps at most `settings.documents` texts per label of all that it is shown."""

    def __init__(self, settings: Training, *, seed: int, name: str) -> None:
        self._settings, self._seed, self._name = settings, seed, name
        self._labels: dict[str, _Drawn] = {}

    def draws(self, hashes: pa.Array) -> Any:
        """The draw of each text, from its hash (`fixed_size_binary(16)`)."""
        return curate_kernels.keyed_uniform(hashes, self._seed, f"classifier.{self._name}").to_numpy()

    def wants(self, label: str, draws: Any) -> Any:
        """Which texts may still enter the sample; only those need to be read."""
        return draws < self._labels.setdefault(label, _Drawn()).bound

    def add(self, label: str, hashes: pa.Array, texts: pa.Array) -> None:
        """Show texts of one label, with the hashes of the whole texts."""
        drawn, draws = self._labels.setdefault(label, _Drawn()), self.draws(hashes)
        keep = draws < drawn.bound
        if not keep.any():
            return
        mask = pa.array(keep)
        side = curate_kernels.keyed_uniform(hashes.filter(mask), self._seed, "classifier.held-out")
        drawn.texts.append(curate_kernels.shorten(texts.filter(mask), self._settings.document_bytes))
        drawn.draws.append(draws[keep])
        drawn.sides.append(side.to_numpy() < self._settings.held_out)
        if sum(map(len, drawn.draws)) >= 2 * self._settings.documents:
            drawn.reduce(self._settings.documents)

    def sample(self, labels: Iterable[str] | None = None) -> Sample:
        """All that was drawn; `labels` are there even when nothing of them was shown."""
        names = sorted({*self._labels, *(labels or ())})
        texts, marks, draws, sides = [pa.array([], pa.large_string())], [], [], []
        for name in names:
            if (drawn := self._labels.get(name)) is None:
                continue
            drawn.reduce(self._settings.documents)
            if not drawn.draws:
                continue
            texts += drawn.texts
            draws += drawn.draws
            sides += drawn.sides
            marks.append(np.full(len(drawn.draws[0]), name, dtype=object))
        if not draws:
            return Sample(texts[0], np.array([], dtype=object), np.array([], dtype=bool))
        joined = np.concatenate(draws)
        order = np.argsort(joined, kind="stable")  # equal draws (one text, two labels) stay in label order
        return Sample(
            pa.concat_arrays(texts).take(pa.array(order)),
            np.concatenate(marks)[order],
            np.concatenate(sides)[order],
        )
