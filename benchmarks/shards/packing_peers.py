"""The peers' side of packing, one library a process, by the packing environment's interpreter.

    python -m benchmarks.shards.packing_peers seqpacker --documents 2000000

Each packs the same lengths that ours packs. What is inside of the clock, and what each does beside:

- seqpacker 0.1.3: `Packer(L, strategy="obfd").pack_flat(lengths)`, NumPy in, NumPy out; lengths alone.
- TRL 1.16: `pack_dataset(dataset, L, "bfd_split")` in one batch of all documents, which is its best fill (its
  default is batches of 1,000). It moves tokens too: they are one byte each here, so that this costs little.
- OLMo-core 3.0: `InstancePacker`. Its tree of 2 L nodes is built outside of the clock.
- Megatron-Bridge 0.6.2: `first_fit_decreasing`. Both are run from their files as they stand there; what else
  these files import (torch, Megatron) has no part in packing.
- grain 0.2.18: `BestFitPackIterDataset`, 64 open bins, online; it copies tokens and writes segment ids and
  positions too, and flushes all bins when a document fits in none.
"""

from __future__ import annotations

import argparse
import ast
import collections
import dataclasses
import json
import math
import os
import sys
import time
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import numpy as np
from numpy.typing import NDArray

from benchmarks.shards.lengths import NAMES, cut, draw

#: The seconds that it took, the number of sequences, and their sums of squared lengths, if at hand.
Packed = tuple[float, int] | tuple[float, int, NDArray[np.float64]]


def seqpacker(documents: NDArray[np.int64], capacity: int) -> Packed:
    import seqpacker

    lengths = cut(documents, capacity)
    packer = seqpacker.Packer(capacity, strategy="obfd")
    started = time.perf_counter()
    items, offsets = packer.pack_flat(lengths)
    seconds = time.perf_counter() - started
    _check(len(items), len(lengths))
    # `offsets` is where `items` is to be split.
    squares = np.add.reduceat(lengths[items].astype(np.float64) ** 2, [0, *offsets])
    return seconds, len(squares), squares


def trl(documents: NDArray[np.int64], capacity: int) -> Packed:
    import datasets
    import pyarrow as pa
    from trl.data_utils import pack_dataset

    offsets = np.concatenate([[0], np.cumsum(documents)]).astype(np.int32)
    tokens = pa.ListArray.from_arrays(offsets, pa.array(np.zeros(offsets[-1], np.uint8)))
    dataset = datasets.Dataset(pa.table({"input_ids": tokens}))
    started = time.perf_counter()
    packed = pack_dataset(dataset, capacity, "bfd_split", {"batch_size": None, "keep_in_memory": True})
    seconds = time.perf_counter() - started
    flat = packed.data.table["input_ids"]
    _check(sum(len(chunk.flatten()) for chunk in flat.chunks), int(documents.sum()))
    return seconds, len(packed)


def olmo(documents: NDArray[np.int64], capacity: int) -> Packed:
    wanted = ("SegmentTreeNode", "SegmentTree", "InstancePacker")
    packer = _picked("olmo_core/data/utils.py", wanted)[wanted[-1]](capacity)
    ends = np.cumsum(cut(documents, capacity), dtype=np.int64)
    indices = np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1)
    started = time.perf_counter()
    instances, _, tokens = packer.pack_documents(indices)
    seconds = time.perf_counter() - started
    _check(tokens, int(ends[-1]))
    return seconds, len(instances)


def bridge(documents: NDArray[np.int64], capacity: int) -> Packed:
    wanted = ("_SegmentTree", "first_fit", "first_fit_decreasing")
    first_fit_decreasing = _picked("megatron/bridge/data/packing/algorithms.py", wanted)[wanted[-1]]
    lengths = cut(documents, capacity).tolist()
    started = time.perf_counter()
    bins = first_fit_decreasing(lengths, capacity)
    seconds = time.perf_counter() - started
    _check(sum(map(len, bins)), len(lengths))
    return seconds, len(bins)


def grain(documents: NDArray[np.int64], capacity: int) -> Packed:
    import grain
    from grain.experimental import BestFitPackIterDataset

    pieces = [{"tokens": np.ones(length, np.int32)} for length in cut(documents, capacity).tolist()]
    source = grain.MapDataset.source(pieces).to_iter_dataset()
    packed = BestFitPackIterDataset(source, length_struct={"tokens": capacity}, num_packing_bins=64)
    started = time.perf_counter()
    count = tokens = 0
    for row in packed:
        count += 1
        tokens += int(np.count_nonzero(row["tokens"]))
    seconds = time.perf_counter() - started
    _check(tokens, int(documents.sum()))
    return seconds, count


PEERS: dict[str, Callable[[NDArray[np.int64], int], Packed]] = {
    "seqpacker": seqpacker,
    "trl": trl,
    "olmo": olmo,
    "bridge": bridge,
    "grain": grain,
}


def _check(packed: int, given: int) -> None:
    if packed != given:
        raise SystemExit(f"{given:,} given, {packed:,} packed: something was lost")


def _picked(path: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """These classes or functions of an installed package's file, as they stand there, and no more of it."""
    file = next((Path(folder, path) for folder in sys.path if Path(folder, path).is_file()), None)
    if file is None:
        raise SystemExit(f"{path} is not in this environment: remove its folder, so that it is made again")
    tree = ast.parse(file.read_text())
    kinds = ast.ClassDef | ast.FunctionDef
    tree.body = [node for node in tree.body if isinstance(node, kinds) and node.name in wanted]
    module = types.ModuleType(file.stem)
    sys.modules[module.__name__] = module  # where dataclass looks its names up
    names = vars(module)
    names |= vars(typing) | {"np": np, "math": math, "dataclass": dataclasses.dataclass}
    names |= {"deque": collections.deque, "defaultdict": collections.defaultdict, "__name__": file.stem}
    exec(compile(tree, str(file), "exec"), names)
    return names


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("peer", choices=PEERS)
    arguments.add_argument("--documents", type=int, required=True)
    arguments.add_argument("--capacities", type=int, nargs="+", default=[8192, 131072])
    arguments.add_argument("--run", type=Path)
    given = arguments.parse_args()
    measured: dict[str, float] = {}
    PEERS[given.peer](draw("log-normal", 500), 8192)  # what it imports and sets up is outside of the times
    for name in NAMES:
        documents = draw(name, given.documents, run=given.run)
        for capacity in given.capacities:
            seconds, sequences, *squares = PEERS[given.peer](documents, capacity)
            measured[f"{name} {capacity} rate"] = given.documents / seconds
            measured[f"{name} {capacity} fill"] = int(documents.sum()) / (sequences * capacity)
            for sums in squares:
                measured[f"{name} {capacity} balance"] = float(sums.max() / sums.mean())
    print(json.dumps({"measured": measured}))


if __name__ == "__main__":
    main()
