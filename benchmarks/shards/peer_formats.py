"""The formats of the peers: their own writers and readers of fixed sequences of int32.

    write(name, sequences, folder)      the sequences [N, L], in the peer's format
    reader(name, folder, length)        take(indices, out): sequences by number into out [b, L]

Readers hand out one sequence at a time, as these libraries do; the copy into a batch is what their collation
does. NumPy's memory map can be asked for many at once, and is: `[indices]` makes a new array for every batch,
`take` fills one that is there.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", DATA_OPTIMIZER_NUM_WORKERS="1"
)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

Array = NDArray[Any]
Take = Callable[[Array, Array], None]


def write_numpy(sequences: Array, folder: Path) -> None:
    sequences.tofile(folder / "tokens.bin")


def write_mds(sequences: Array, folder: Path) -> None:
    from streaming import MDSWriter

    columns = {"tokens": f"ndarray:int32:{sequences.shape[1]}"}
    with MDSWriter(out=str(folder), columns=columns, size_limit=1 << 27) as writer:
        for row in sequences:
            writer.write({"tokens": row})


def write_megatron(sequences: Array, folder: Path) -> None:
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(str(folder / "tokens.bin"), dtype=np.int32)
    for row in sequences:
        builder.add_item(torch.from_numpy(row))
        builder.end_document()
    builder.finalize(str(folder / "tokens.idx"))


def write_litdata(sequences: Array, folder: Path) -> None:
    """By its `BinaryWriter`, which is what `optimize` runs in its workers."""
    import torch
    from litdata.streaming import TokensLoader
    from litdata.streaming.writer import BinaryWriter

    length = sequences.shape[1]
    block = max(1, (1 << 27) // (4 * length)) * length
    writer = BinaryWriter(
        str(folder),
        chunk_size=block,
        item_loader=TokensLoader(block_size=length),
        follow_tensor_dimension=False,
    )
    for number, row in enumerate(sequences):
        writer.add_item(number, torch.from_numpy(row))
    writer.done()
    writer.merge(num_workers=1)


WRITERS: dict[str, Callable[[Array, Path], None]] = {
    "numpy": write_numpy,
    "mds": write_mds,
    "megatron": write_megatron,
    "litdata": write_litdata,
}


def read_numpy(folder: Path, length: int) -> Take:
    mapped = np.memmap(folder / "tokens.bin", np.int32, "r").reshape(-1, length)

    def take(indices: Array, out: Array) -> None:
        mapped.take(indices, axis=0, out=out, mode="clip")  # another mode makes it buffer

    return take


def read_numpy_new(folder: Path, length: int) -> Take:
    mapped = np.memmap(folder / "tokens.bin", np.int32, "r").reshape(-1, length)

    def take(indices: Array, _: Array) -> None:
        mapped[indices]

    return take


def read_mds(folder: Path, _: int) -> Take:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder), shuffle=False, batch_size=1)
    return _one_by_one(lambda number: dataset[number]["tokens"])


def read_megatron(folder: Path, _: int) -> Take:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    return _one_by_one(IndexedDataset(str(folder / "tokens"), mmap=True).get)


def read_litdata(folder: Path, length: int) -> Take:
    from litdata.streaming import StreamingDataset, TokensLoader

    dataset = StreamingDataset(str(folder), item_loader=TokensLoader(block_size=length), shuffle=False)
    return _one_by_one(dataset.__getitem__)


READERS: dict[str, Callable[[Path, int], Take]] = {
    "numpy": read_numpy,
    "numpy_new": read_numpy_new,
    "mds": read_mds,
    "megatron": read_megatron,
    "litdata": read_litdata,
}


def format_of(reader: str) -> str:
    """The format that a reader reads."""
    return "numpy" if reader == "numpy_new" else reader


def write(name: str, sequences: Array, folder: Path) -> None:
    """Write the sequences as `name`'s own writer does, into a folder that is made."""
    folder.mkdir(parents=True)
    WRITERS[name](sequences, folder)


def bytes_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _one_by_one(get: Callable[[int], Any]) -> Take:
    def take(indices: Array, out: Array) -> None:
        for row, number in enumerate(indices.tolist()):
            out[row] = get(number)

    return take


def report(measured: dict[str, float], **facts: Any) -> None:
    """What `rows.interleaved` reads."""
    print(json.dumps({"measured": measured, "facts": facts}))
