"""The loader as a PyTorch dataset: `DataLoader(TorchDataset(...), batch_size=None, num_workers=n)`.

With any number of workers the batches come in the loader's order: worker w of n makes steps w, w + n, ... and
`DataLoader` takes from its workers in turn. Without workers tensors lie in the loader's host buffers and
nothing is copied; workers hand theirs over by shared memory, which is a copy. The loader reads ahead by
itself, so that zero workers is the setting to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shards.batch import FIELDS, Batch, require_torch
from shards.loader import Loader

_data = require_torch().utils.data


class TorchDataset(_data.IterableDataset):  # type: ignore[misc, name-defined]  # torch is optional
    """Batches as dicts of tensors; needs `batch_size=None`, for they are batches already.

    Keys: step (int), the fields asked for, boundaries (unless `eod`), and block_starts_R, block_counts_R for
    each ratio of `blocks`.

    >>> dataset = TorchDataset("runs/v4", stage="4K", seed=1, batch_sequences=512, rank=0, world_size=8)
    >>> dataset.load_state_dict({"seed": 1, "step": 120_000})
    >>> for batch in DataLoader(dataset, batch_size=None, num_workers=2):
    ...     saved = dataset.state_after(batch)  # {"seed": 1, "step": 120_001}
    """

    def __init__(self, url: str | Mapping[str, str], **options: Any) -> None:
        """What `Loader` takes. Each process makes its loader when it first needs it."""
        super().__init__()
        self._url, self._options = url, options | {"tensor": "torch"}
        self._seed: int = options.get("seed", 0)
        self._step = 0

    def seek(self, step: int) -> None:
        """Begin the next iteration at `step`."""
        if step < 0:
            raise ValueError(f"step {step} is below 0")
        self._step = step

    def state_after(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """What to save once `batch` has been trained on. Workers are ahead of it, which does not matter."""
        return {"seed": self._seed, "step": int(batch["step"]) + 1}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved state; the number of workers and ranks may have changed."""
        if state["seed"] != self._seed:
            raise ValueError(f"the state was saved under seed {state['seed']}, this dataset has {self._seed}")
        self.seek(state["step"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = _data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        loader = Loader(self._url, **self._options)
        loader.seek(self._step + number)
        while True:
            yield _tensors(loader.next(workers))


def _tensors(batch: Batch) -> dict[str, Any]:
    out: dict[str, Any] = {"step": batch.step}
    for name in (*FIELDS, "boundaries"):
        if (value := getattr(batch, name)) is not None:
            out[name] = value
    for ratio, blocks in batch.blocks.items():
        out[f"block_starts_{ratio}"], out[f"block_counts_{ratio}"] = blocks.starts, blocks.counts
    return out
