"""Whole shard files against the checksums of the manifest: reads every byte, about 2 GB/s."""

from __future__ import annotations

from typing import Any

import curate_kernels

from shards.catalog import StageShards
from shards.format import ShardError


def wrong_checksums(fs: Any, root: str, shards: StageShards) -> list[str]:
    """What is wrong with the files of a stage, a line each; nothing, if all is well."""
    problems = []
    for name, path, size, expected in zip(
        shards.names, shards.paths, shards.bytes, shards.checksums, strict=True
    ):
        try:
            check_file(fs, f"{root}/{path}", name, size, expected)
        except FileNotFoundError:
            problems.append(f"{name}: no file {path} in the run directory: fetch it or rerun the write phase")
        except (ShardError, OSError) as error:
            problems.append(str(error))
    return problems


def check_file(fs: Any, file: str, name: str, size: int, checksum: str) -> None:
    """Raise ShardError unless a file has the size and checksum that the manifest gives."""
    if not checksum.startswith("xxh3_128:"):
        raise ShardError(f"{name}: no way to check {checksum!r}: only xxh3_128 is known")
    check_size(name, int(fs.size(file)), size)
    found = curate_kernels.Checksum()
    with fs.open(file, "rb") as source:
        while data := source.read(8 << 20):
            found.update(data)
    if found.digest() != checksum:
        raise ShardError(
            f"{name}: checksum {found.digest()}, the manifest says {checksum}: "
            "fetch it again or rerun the write phase"
        )


def check_size(name: str, found: int, expected: int) -> None:
    """Raise ShardError unless a file has the size that the manifest gives."""
    if found != expected:
        what = "truncated" if found < expected else "longer than written"
        raise ShardError(
            f"{name}: {what}: {found} bytes, the manifest says {expected}: "
            "fetch it again or rerun the write phase"
        )
