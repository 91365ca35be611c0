"""What is written and loaded: documents of the sample's lengths with random tokens, packed into our shards.

    shards(folder, length=4096, sequences=32768)   a run directory with one stage, and its manifest
    sequences_of(folder)                           its token planes in stored order, [sequences, length] int32

The peers write those very sequences, each by its own writer, so that all hold the same tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.storage import publish, publish_table
from shards.manifest import Manifest
from shards.writer import DOCUMENTS, write_shards

from .lengths import draw

STAGE = "bench"
VOCABULARY = 129_280
PAD = 2
SHARD_TOKENS = 32 << 20  # 128 MiB a shard
SOURCES = ["web", "code", "math", "science"]


def documents(tokens: int, *, seed: int = 1) -> tuple[pa.Table, pa.Array]:
    """The writer's table of some `tokens` tokens of documents, and the pool that they lie in, one by one."""
    random = np.random.default_rng(seed)
    mean = 2_000
    lengths = draw("sample", max(64, 2 * tokens // mean), seed=seed)
    # Documents longer than the whole would be it; the rest is cut where enough are there.
    lengths = np.minimum(lengths, max(tokens // 8, 1))
    lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), tokens)) + 1]
    count = len(lengths)
    ids = random.integers(0, 256, (count, 16), dtype=np.uint8)
    columns = {
        "document_id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, pa.py_buffer(ids)]),
        "source_id": random.integers(0, len(SOURCES), count).astype(np.int16),
        "length": lengths,
        "pool": np.zeros(count, np.int32),
        "pool_start": np.cumsum(lengths) - lengths,
        "epoch": np.zeros(count, np.int16),
        "order_key": random.random(count),
    }
    pool = random.integers(PAD + 1, VOCABULARY, int(lengths.sum()), dtype=np.int32)
    return pa.table(columns, schema=DOCUMENTS), pa.array(pool)


def shards(folder: Path, *, length: int, sequences: int) -> int:
    """Write a run directory of about so many sequences; the number that there are."""
    manifest = write_documents(folder, *documents(length * sequences), length=length)
    kinds: dict[str, pa.Table] = {"shards": manifest.shards, "sequences": manifest.sequences}
    for kind, rows in (kinds | {"spans": manifest.spans}).items():
        publish_table(str(folder), f"manifest/{kind}/bench.parquet", rows)
    return len(manifest.sequences)


def write_documents(folder: Path, table: pa.Table, pool: pa.Array, *, length: int) -> Manifest:
    """Documents to published shards, as a run's write phase does it for a unit."""
    return write_shards(
        table,
        [pool],
        stage=STAGE,
        sequence_length=length,
        group=0,
        shard_tokens=SHARD_TOKENS,
        max_documents=1024,
        pad=PAD,
        pad_documents_to=1,
        sources=SOURCES,
        metadata={"tokenizer": "benchmark", "mixture": "benchmark"},
        publish=lambda name, write: publish(str(folder), f"shards/{name}", write),
    )


def sequences_of(folder: Path) -> NDArray[Any]:
    """All token planes of a run directory, by shard name, as Arrow's reader gives them."""
    planes = []
    for path in sorted((folder / "shards").glob("*.arrow")):
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                column = reader.get_batch(number).column(0)
                planes.append(column.flatten().to_numpy().reshape(len(column), -1))
    return np.concatenate(planes)
