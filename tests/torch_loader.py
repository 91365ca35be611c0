"""What `test_loader_torch.py` runs where PyTorch is: torch_loader.py RUN, a run directory with a stage 4K."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader

from shards.loader import Loader
from shards.torch import TorchDataset

OPTIONS = {
    "stage": "4K",
    "seed": 3,
    "batch_sequences": 4,
    "fields": ("tokens", "positions", "labels", "loss_mask", "segment_ids"),
    "dtype": "int64",
    "blocks": (4,),
}


def take(batches, count):
    return list(itertools.islice(batches, count))


def main(run: str) -> None:
    expected = take(Loader(run, **OPTIONS), 12)
    for workers in (0, 1, 3):
        dataset = TorchDataset(run, **OPTIONS)
        first = take(DataLoader(dataset, batch_size=None, num_workers=workers), 5)
        state = dataset.state_after(first[-1])
        assert state == {"seed": 3, "step": 5}
        resumed = TorchDataset(run, **OPTIONS)
        resumed.load_state_dict(state)
        rest = take(DataLoader(resumed, batch_size=None, num_workers=2), 7)
        for one, batch in zip(expected, first + rest, strict=True):
            assert batch["step"] == one.step
            for name in (*OPTIONS["fields"], "boundaries"):
                assert isinstance(batch[name], torch.Tensor)
                np.testing.assert_array_equal(batch[name].numpy(), getattr(one, name))
            np.testing.assert_array_equal(batch["block_starts_4"].numpy(), one.blocks[4].starts)
        assert batch["tokens"].dtype == batch["labels"].dtype == torch.int64
        assert batch["loss_mask"].dtype == torch.float32

    loader = Loader(run, tensor="torch", **OPTIONS)
    batch = loader.next()
    mapped = loader.memory.mapped
    kept = batch.tokens[0]
    address = batch.tokens.data_ptr()
    assert address % 4096 == 0
    before = kept.clone()
    del batch
    for _ in range(20):
        loader.next()
    assert torch.equal(kept, before)  # a tensor keeps its buffer
    assert loader.memory.mapped <= mapped + 3 * 4096 * 5
    same = torch.from_dlpack(Loader(run, tensor="dlpack", **OPTIONS).batch(0).tokens)
    np.testing.assert_array_equal(same.numpy(), expected[0].tokens)


if __name__ == "__main__":
    main(sys.argv[1])
    print("ok")
