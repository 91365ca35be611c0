"""A rank's part of one step, as arrays over host buffers or as torch tensors over the same memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import curate_kernels
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: What a batch can hold per token.
Field = Literal["tokens", "positions", "labels", "loss_mask", "segment_ids"]
FIELDS: tuple[Field, ...] = get_args(Field)

#: Conventions of the boundary tables.
Boundaries = Literal["ascend", "transformer_engine", "mindformers", "eod"]
BOUNDARIES: tuple[Boundaries, ...] = get_args(Boundaries)

Tensor = Literal["numpy", "torch", "dlpack"]
TENSORS: tuple[Tensor, ...] = get_args(Tensor)


@dataclass(frozen=True)
class Blocks:
    """Complete blocks of some number of tokens, which begin anew at every document."""

    starts: Any  # int32 [blocks], in reading order within its sequence, sequence after sequence
    counts: Any  # int32 [documents], blocks of each


@dataclass(frozen=True)
class Batch:
    """b sequences, n tokens of each: all L of them, or a context-parallel rank's part (`docs/loading.md`).

    Arrays are numpy's, or torch tensors over the same memory; a field that was not asked for is None.
    Segments are documents' slots, the last of a sequence reaching to its end, so that they cover every token.
    """

    step: int
    sequences: NDArray[np.int64]  # [b], numbers in the stage (of their stream)
    streams: NDArray[np.int64] | None  # [b], streams of a mixture, by their place in its names
    tokens: Any = None  # [b, n] int32 or int64, as are positions, labels, segment_ids
    positions: Any = None  # from 0 in each document, and on through its pads
    labels: Any = None  # the next token of the document, or ignore_label
    loss_mask: Any = None  # float32: 1 where there is a label
    segment_ids: Any = None  # 1, 2, ... by document; 0 for pads
    boundaries: Any = None  # segments of whole sequences, in the convention asked for
    document_lengths: pa.ListArray | None = None  # list<int32> [b], of whole sequences, without padding
    blocks: Mapping[int, Blocks] = field(default_factory=dict)


def boundary_table(
    lengths: pa.ListArray,
    convention: Boundaries,
    *,
    sequence_length: int,
    pad_documents_to: int,
    maximum_documents: int,
) -> NDArray[Any] | None:
    """Boundaries of a batch in a trainer's convention (`docs/loading.md`); None for `eod`.

    Raises ValueError for a sequence of more documents than a table of fixed size has room for.
    """
    if convention == "eod":
        return None
    table: NDArray[Any] = curate_kernels.boundary_table(
        lengths,
        sequence_length,
        convention=convention,
        pad_documents_to=pad_documents_to,
        maximum=maximum_documents,
    ).to_numpy()
    return table.reshape(len(lengths), maximum_documents) if convention == "mindformers" else table


def as_tensor(array: NDArray[Any], kind: Tensor) -> Any:
    """The array as `kind`, over the same memory where it may be written (Arrow's tables are copied).

    `dlpack` is numpy's own protocol: any `from_dlpack` takes the array. Raises ImportError without torch.
    """
    if not array.flags.writeable:
        array = array.copy()
    if kind != "torch":
        return array
    return require_torch().from_numpy(array)


def require_torch() -> Any:
    """The torch module. Raises ImportError, saying what to do, without it."""
    try:
        importlib.import_module("torch.utils.data")
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError("PyTorch is not installed: install torch, or use tensor='numpy'") from error
