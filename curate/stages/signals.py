"""Every number about a text that rules may ask for, as columns beside it.

One native pass, at some tens of MB/s per core; names and definitions in `curate_kernels.signal_names`.
Those of program code need the documents' formats.
"""

from __future__ import annotations

import curate_kernels
import pyarrow as pa

READS = ("text",)
WRITES = tuple(curate_kernels.signal_names())


def add_signals(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with one column per signal; null where `text` is null, those of code without a `format` too.

    Raises ValueError if a column of `batch` has a signal's name already.
    """
    if taken := [name for name in WRITES if name in batch.schema.names]:
        raise ValueError(f"the batch already has {', '.join(taken)}: signals are added once")
    formats = batch.column("format") if "format" in batch.schema.names else None
    signals = curate_kernels.signals(batch.column("text"), formats)
    fields = [*batch.schema, *signals.schema]
    return pa.RecordBatch.from_arrays([*batch.columns, *signals.columns], schema=pa.schema(fields))
