"""Run by the interpreter of the `loaders` environment: what the trainers' own libraries read from an export.

megatron PREFIX OUT.npz                   every sequence, by Megatron's IndexedDataset
gpt PREFIX OUT.npz LENGTH EOD PAD         samples of Megatron's GPTDataset, boundaries reset at EOD
gpt-rows PREFIX OUT.npz LENGTH EOD PAD    the same, without the extra token of a sample
mds FOLDER OUT.npz                        every sample, by MosaicML's StreamingDataset
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np


def megatron(prefix: str) -> dict[str, np.ndarray]:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    data = IndexedDataset(prefix, mmap=True)
    unmapped = IndexedDataset(prefix, mmap=False)
    assert all(np.array_equal(data[i], unmapped[i]) for i in range(len(data)))
    return {
        "tokens": np.concatenate([data[i] for i in range(len(data))]),
        "lengths": data.sequence_lengths,
        "documents": data.document_indices,
        "dtype": np.array(str(data[0].dtype)),
    }


def gpt(prefix: str, length: str, eod: str, pad: str, *, extra: bool = True) -> dict[str, np.ndarray]:
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    tokenizer = SimpleNamespace(eod=int(eod), pad=int(pad), vocab_size=1 << 17, unique_identifiers={"t": "t"})
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=int(length),
        blend=([prefix], None),
        split="1,0,0",
        path_to_cache=f"{prefix}.cache",
        tokenizer=tokenizer,
        reset_position_ids=True,
        reset_attention_mask=True,
        eod_mask_loss=False,
        create_attention_mask=True,
        add_extra_token_to_sequence=extra,
    )
    data = IndexedDataset(prefix, mmap=True)
    order = np.arange(len(data), dtype=np.int32)
    dataset = GPTDataset(data, prefix, order, None, Split.train, config)
    samples = [dataset[i] for i in range(len(dataset))]
    return {
        name: np.stack([sample[name].numpy() for sample in samples])
        for name in ("tokens", "labels", "loss_mask", "position_ids", "attention_mask")
    }


def mds(folder: str) -> dict[str, np.ndarray]:
    from streaming import StreamingDataset

    data = StreamingDataset(local=folder, shuffle=False, batch_size=1)
    samples = [data[i] for i in range(len(data))]
    assert samples
    found = {"tokens": np.stack([sample["tokens"] for sample in samples])}
    for name in samples[0].keys() - {"tokens"}:
        found[name] = np.concatenate([sample[name] for sample in samples])
    found["documents"] = np.array([len(sample["document_lengths"]) for sample in samples])
    return found


if __name__ == "__main__":
    kind, place, out, *rest = sys.argv[1:]
    if kind == "megatron":
        arrays = megatron(place)
    elif kind == "mds":
        arrays = mds(place)
    else:
        arrays = gpt(place, *rest, extra=kind == "gpt")
    np.savez(out, **arrays)
