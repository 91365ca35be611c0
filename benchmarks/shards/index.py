"""A synthetic index of 10^12 tokens: manifests of 4,000 shards of 1 GiB, of which only the first is there.

    one run       1,000 manifest files of 4 shards each, as 1,000 units of work leave them
    1,000 runs    a manifest of 4 shards each, to be mixed by weights: Megatron's blend

The first shard of a run is real (64 sequences), for a loader reads what its header says; the rest are rows.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from shards.manifest import SHARDS

from .corpus import STAGE, shards

LENGTH = 4096
SOURCES = 1000
SHARDS_EACH = 4
SEQUENCES = 61_036  # 250 million tokens a shard


def write_index(folder: Path) -> tuple[Path, Path]:
    """The run directory, and the folder of run directories."""
    real = folder / "real"
    shards(real, length=LENGTH, sequences=64)
    first = pq.read_table(real / "manifest/shards/bench.parquet").select(SHARDS.names)
    one, many = folder / "one", folder / "many"
    for number in range(SOURCES):
        run = many / f"source_{number:04d}"
        (run / "manifest/shards").mkdir(parents=True)
        (run / "shards").mkdir()
        os.link(real / first["path"][0].as_py(), run / first["path"][0].as_py())
        rows = _rows(number)
        pq.write_table(pa.concat_tables([first, rows]), run / "manifest/shards/bench.parquet")
        (one / "manifest/shards").mkdir(parents=True, exist_ok=True)
        if number == 0:
            (one / "shards").mkdir()
            os.link(real / first["path"][0].as_py(), one / first["path"][0].as_py())
            rows = pa.concat_tables([first, rows])
        pq.write_table(rows, one / f"manifest/shards/{number:04d}.parquet")
    return one, many


def _rows(source: int) -> pa.Table:
    """Manifest rows of a source's shards."""
    names = [f"unit-{source:05d}-{number:04d}.arrow" for number in range(SHARDS_EACH)]
    return pa.table(
        {
            "shard": names,
            "path": [f"shards/{name}" for name in names],
            "stage": [STAGE] * SHARDS_EACH,
            "sequence_length": [LENGTH] * SHARDS_EACH,
            "sequences": [SEQUENCES] * SHARDS_EACH,
            "tokens": [SEQUENCES * LENGTH] * SHARDS_EACH,
            "padding": [0] * SHARDS_EACH,
            "bytes": [4 * SEQUENCES * (LENGTH + 64)] * SHARDS_EACH,
            "checksum": [f"xxh3_128:{source:032x}"] * SHARDS_EACH,
            "footer_checksum": [f"xxh3_64:{source:016x}"] * SHARDS_EACH,
        },
        schema=SHARDS,
    )
