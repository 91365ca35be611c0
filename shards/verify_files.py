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
        if not expected.startswith("xxh3_128:"):
            problems.append(f"{name}: no way to check {expected!r}: only xxh3_128 is known")
            continue
        checksum = curate_kernels.Checksum()
        try:
            check_size(name, int(fs.size(f"{root}/{path}")), size)
            with fs.open(f"{root}/{path}", "rb") as file:
                while data := file.read(8 << 20):
                    checksum.update(data)
        except FileNotFoundError:
            problems.append(f"{name}: no file {path} in the run directory: fetch it or rerun the write phase")
            continue
        except (ShardError, OSError) as error:
            problems.append(str(error))
            continue
        if checksum.digest() != expected:
            problems.append(f"{name}: checksum {checksum.digest()}, the manifest says {expected}")
    return problems


def check_size(name: str, found: int, expected: int) -> None:
    """Raise ShardError unless a file has the size that the manifest gives."""
    if found != expected:
        what = "truncated" if found < expected else "longer than written"
        raise ShardError(
            f"{name}: {what}: {found} bytes, the manifest says {expected}: "
            "fetch it again or rerun the write phase"
        )
