"""Run the expansion kernels in Triton's interpreter, in a peer's environment: `expansion_peer.py FOLDER`.

Reads the inputs `*.npz` of FOLDER and writes what the kernels make of them into its folder `results`.

Needs NumPy and Triton or triton-ascend, not torch: `Array` is as much of a tensor as the interpreters ask
for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import triton
from numpy.typing import NDArray

from curate_ascend.expand import blocks, boundaries, expand, table_width


class Array:
    """An int32 array in the guise of a tensor; the interpreters copy it to the host and back."""

    dtype = np.dtype(np.int32)
    device = "cpu"

    def __init__(self, values: NDArray[np.int32]) -> None:
        self.values = np.ascontiguousarray(values, np.int32)
        self.shape = self.values.shape

    @property
    def data(self) -> Array:
        return self

    def data_ptr(self) -> int:
        return int(self.values.ctypes.data)

    def cpu(self) -> Array:
        return Array(self.values.copy())

    def to(self, _device: str) -> Array:
        return self

    def copy_(self, other: Array) -> None:
        self.values[...] = other.values

    # What newer interpreters ask for instead: a storage of its own, which a tensor can be pointed at.

    def untyped_storage(self) -> Array:
        return self

    def storage_offset(self) -> int:
        return 0

    def size(self) -> tuple[int, ...]:
        return self.shape

    def stride(self) -> tuple[int, ...]:
        return ()

    def new_empty(self, _size: int, device: str) -> Array:  # noqa: ARG002 (its name is the caller's)
        return Array(np.empty(0, np.int32))

    def set_(self, storage: Array, _offset: int, _size: tuple[int, ...], _stride: tuple[int, ...]) -> Array:
        self.values, self.shape = storage.values, storage.shape
        return self


def run(case: Path, result: Path) -> None:
    with np.load(case) as file:
        arrays = {name: file[name] for name in file.files}
    options = json.loads(str(arrays.pop("options")))
    length, rank, ranks = options["sequence_length"], options["rank"], options["ranks"]
    given = {name: Array(values) for name, values in arrays.items()}
    rows, share = given["tokens"].shape
    documents = given["document_lengths"].shape[0]

    def empty(*shape: int) -> Array:
        return Array(np.full(shape, -7, np.int32))

    width = options.get("width") or table_width(int(np.diff(arrays["offsets"]).max()))
    tables, counts, totals = empty(rows, 4, width), empty(2, documents), empty(2, rows)
    lists = [given[name] for name in ("document_lengths", "padded_lengths", "offsets")]
    boundaries(*lists, tables, counts, totals, sequence_length=length)
    planes = {name: empty(rows, share) for name in ("positions", "segments", "labels")}
    expand(
        given["tokens"],
        tables,
        *planes.values(),
        sequence_length=length,
        layout=options["layout"],
        context_parallel=(rank, ranks),
        next_tokens=given.get("next_tokens"),
        next_offsets=given.get("next_offsets"),
        offsets=given["offsets"],
        programs=options["programs"],
        tile=options["tile"],
    )
    starts = {ratio: empty(rows, length // ratio) for ratio in (4, 128) if length >= ratio}
    for ratio, into in starts.items():
        blocks(
            tables,
            totals,
            into,
            sequence_length=length,
            ratio=ratio,
            programs=options["programs"],
            tile=options["tile"],
        )
    out = {**planes, "block_counts": counts, "block_totals": totals}
    out |= {f"starts_{ratio}": into for ratio, into in starts.items()}
    np.savez(result, **{name: array.values for name, array in out.items()})


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "results").mkdir()
    for path in sorted(folder.glob("*.npz")):
        run(path, folder / "results" / path.name)
    print(triton.__version__)
