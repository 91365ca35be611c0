"""Keyed order: every shuffle is a function of named values, never of a global generator.

Entries of a pass are computed one by one (75 ns each, no memory), so that no place is far from another.
"""

from __future__ import annotations

import hashlib

import curate_kernels
import numpy as np
from numpy.typing import NDArray


def keyed_seed(*parts: int | str) -> int:
    """64 bits that depend on `parts` alone: the seed of one shuffle, named by what is shuffled."""
    key = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def passes(size: int, start: int, count: int, *key: int | str) -> NDArray[np.int64]:
    """Entries [start, start + count) of endless passes over `range(size)`, each in an order of its own.

    The order of pass n depends on (`key`, n) alone.
    """
    parts = [np.zeros(0, np.int64)]
    while count:
        number, entry = divmod(start, size)
        taken = min(count, size - entry)
        seed = keyed_seed("pass", *key, number)
        entries = curate_kernels.permuted_indices(size, seed, entry, taken)
        parts.append(entries.to_numpy().astype(np.int64))
        start, count = start + taken, count - taken
    return np.concatenate(parts)
