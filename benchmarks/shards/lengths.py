"""Document lengths to pack, in tokens, two distributions, drawn from a seed.

`sample`: the lengths of the 51,958 documents that the sample corpus keeps (`sample_lengths.parquet`, median
192, mean 1,984, largest 977,527), drawn with replacement; or those of another run's manifest. `log-normal`:
median 600, sigma 1.2 (mean 1,233), the shape that packing papers draw from.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

SAMPLE = Path(__file__).resolve().parent / "sample_lengths.parquet"
NAMES = ("sample", "log-normal")


def draw(name: str, documents: int, *, seed: int = 1, run: Path | None = None) -> NDArray[np.int64]:
    """`documents` lengths of a distribution; `run`, a run directory, stands for the sample."""
    random = np.random.default_rng(seed)
    if name == "log-normal":
        return np.maximum(random.lognormal(np.log(600), 1.2, documents), 1).astype(np.int64)
    return random.choice(_of_run(run) if run else _of_sample(), documents)


def cut(lengths: NDArray[np.int64], capacity: int) -> NDArray[np.int32]:
    """The pieces of documents longer than `capacity`, which is all that a packer of pieces sees."""
    pieces = -(-lengths // capacity)
    cut_up = np.full(int(pieces.sum()), capacity, np.int64)
    cut_up[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * capacity
    return cut_up.astype(np.int32)


def _of_sample() -> NDArray[np.int64]:
    table = pq.read_table(SAMPLE)
    return np.repeat(table["tokens"].to_numpy().astype(np.int64), table["documents"].to_numpy())


def _of_run(run: Path) -> NDArray[np.int64]:
    files = sorted((run / "manifest" / "documents").glob("*.parquet"))
    if not files:
        raise SystemExit(f"{run}: no manifest/documents/*.parquet here: is it a finished run?")
    tokens = pq.ParquetDataset(files).read(columns=["tokens"])["tokens"].drop_null().to_numpy()
    return tokens[tokens > 0].astype(np.int64)
