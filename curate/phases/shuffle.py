"""The shuffle: M writers publish files sorted by a 64-bit key, R readers each read one range of keys.

Nothing is rewritten between the two sides: a reader takes from every file only the row groups whose
statistics meet its range, so the same files work from one disk, an object store or a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import storage

#: Rows that one partition holds at most, on average (a key is never divided): 160 MB as read, 40 bytes a row.
PARTITION_ROWS = 4 << 20

_KEYS = 1 << 64


def partitions(rows: int) -> int:
    """How many key ranges a shuffle of so many rows is divided into."""
    return max(1, -(-rows // PARTITION_ROWS))


def key_range(part: int, parts: int) -> tuple[int, int]:
    """First and last key of a partition."""
    return _KEYS * part // parts, _KEYS * (part + 1) // parts - 1


def read_range(urls: Sequence[str], part: int, parts: int) -> pa.Table:
    """Rows of all files whose `key` lies in the partition, with the file's number as column `file`."""
    low, high = key_range(part, parts)
    tables = []
    for number, url in enumerate(urls):
        fs, path = storage.filesystem(url)
        with fs.open(path, "rb") as source:
            parquet = pq.ParquetFile(source)
            table = parquet.read_row_groups(_groups_in_range(parquet, low, high))
        keys = table["key"].to_numpy()
        first = np.searchsorted(keys, np.uint64(low), side="left")
        last = np.searchsorted(keys, np.uint64(high), side="right")
        # A copy: a slice would keep the whole row groups in memory, a multiple of the range in many files.
        table = table.take(pa.array(np.arange(first, last)))
        tables.append(table.append_column("file", pa.array(np.full(len(table), number, np.uint32))))
    return pa.concat_tables(tables)


def _groups_in_range(parquet: pq.ParquetFile, low: int, high: int) -> list[int]:
    column = parquet.schema_arrow.get_field_index("key")
    chosen = []
    for group in range(parquet.metadata.num_row_groups):
        statistics = parquet.metadata.row_group(group).column(column).statistics
        if (
            statistics is None
            or not statistics.has_min_max
            or (statistics.min <= high and statistics.max >= low)
        ):
            chosen.append(group)
    return chosen
