"""The peers' side of resuming and starting, one peer a process, each as its own documentation has it.

    python -m benchmarks.shards.resume_peers seek mds folder --samples 10000000
    python -m benchmarks.shards.resume_peers seek litdata folder --length 4096
    python -m benchmarks.shards.resume_peers start folder --sources 1000 --samples 1000000

`seek` is the time from a saved state to its next sample, with the dataset open. Streaming: 90 % into an epoch
of so many samples (drawn from those that are there by `epoch_size`), whose order it makes anew. LitData: 90 %
into the data that is there. `start` is the time to build Megatron's blended dataset over so many `.bin/.idx`
files, 80 KB each, for so many samples of 4,096 tokens: without its cache files, which it then writes; with
them; and the first sample.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shards.peer_formats import bytes_of, report

DOCUMENTS = 100
DOCUMENT_TOKENS = 200
LENGTH = 4096


def seek_mds(folder: Path, samples: int) -> float:
    from streaming import StreamingDataset

    dataset = StreamingDataset(
        local=str(folder), shuffle=True, batch_size=256, epoch_size=samples, num_canonical_nodes=1
    )
    state = {
        "epoch": 0,
        "sample_in_epoch": samples * 9 // 10,
        "num_canonical_nodes": 1,
        "shuffle_seed": dataset.shuffle_seed,
        "initial_physical_nodes": 1,
    }
    started = time.perf_counter()
    dataset.load_state_dict(state)
    next(iter(dataset))
    return time.perf_counter() - started


def seek_litdata(folder: Path, length: int) -> float:
    from litdata.streaming import StreamingDataset, TokensLoader

    dataset = StreamingDataset(str(folder), item_loader=TokensLoader(block_size=length), shuffle=True, seed=1)
    iter(dataset)
    state = dataset.state_dict(len(dataset) * 9 // 10, 0, 1)
    dataset = StreamingDataset(str(folder), item_loader=TokensLoader(block_size=length), shuffle=True, seed=1)
    started = time.perf_counter()
    dataset.load_state_dict(state)
    next(iter(dataset))
    return time.perf_counter() - started


def megatron_sources(folder: Path, sources: int) -> list[str]:
    """So many small datasets, by Megatron's own writer."""
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    random = np.random.default_rng(1)
    names = []
    for number in range(sources):
        name = str(folder / f"source_{number:04d}")
        builder = IndexedDatasetBuilder(f"{name}.bin", dtype=np.int32)
        for _ in range(DOCUMENTS):
            builder.add_item(torch.from_numpy(random.integers(3, 129_280, DOCUMENT_TOKENS, np.int32)))
            builder.end_document()
        builder.finalize(f"{name}.idx")
        names.append(name)
    return names


def megatron_start(names: list[str], cache: Path, samples: int) -> tuple[float, float]:
    """Seconds to build the blended dataset, and from there to its first sample."""
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=LENGTH,
        blend=(names, [1.0 / len(names)] * len(names)),
        split="1,0,0",
        path_to_cache=str(cache),
        tokenizer=_tokenizer(),
        reset_position_ids=True,
        reset_attention_mask=True,
        eod_mask_loss=True,
        create_attention_mask=False,
    )
    started = time.perf_counter()
    train, _, _ = BlendedMegatronDatasetBuilder(GPTDataset, [samples, 0, 0], lambda: True, config).build()
    built = time.perf_counter()
    train[0]
    return built - started, time.perf_counter() - built


def _one_rank(folder: Path) -> None:
    """The process group that Megatron's builder asks for: this process alone."""
    import torch.distributed

    folder.mkdir(parents=True, exist_ok=True)
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=1)


def _tokenizer() -> Any:
    """What GPTDataset asks of a tokenizer: ids, no text."""
    from types import SimpleNamespace

    return SimpleNamespace(vocab_size=129_280, eod=1, pad=2, unique_identifiers={"class": "ids"})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = arguments.add_subparsers(dest="verb", required=True)
    seek = verbs.add_parser("seek")
    seek.add_argument("peer", choices=("mds", "litdata"))
    seek.add_argument("folder", type=Path)
    seek.add_argument("--samples", type=int, default=10_000_000)
    seek.add_argument("--length", type=int, default=LENGTH)
    start = verbs.add_parser("start")
    start.add_argument("folder", type=Path)
    start.add_argument("--sources", type=int, default=1000)
    start.add_argument("--samples", type=int, default=1_000_000)
    given = arguments.parse_args()
    if given.verb == "seek":
        mds = given.peer == "mds"
        seconds = seek_mds(given.folder, given.samples) if mds else seek_litdata(given.folder, given.length)
        report({"seek": seconds})
        return
    _one_rank(given.folder)
    names = sorted(str(path.with_suffix("")) for path in given.folder.glob("*.idx"))
    if len(names) != given.sources:
        shutil.rmtree(given.folder, ignore_errors=True)
        given.folder.mkdir(parents=True)
        names = megatron_sources(given.folder, given.sources)
    cache = given.folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    megatron_start(names[:1], cache, 10)  # what it imports is outside of the time
    shutil.rmtree(cache)
    without, first = megatron_start(names, cache, given.samples)
    size = bytes_of(cache)
    with_cache, _ = megatron_start(names, cache, given.samples)
    measured = {"start": without, "cached": with_cache, "first": first}
    report(measured, cache_bytes=size, cache_files=sum(1 for _ in cache.rglob("*")))


if __name__ == "__main__":
    main()
