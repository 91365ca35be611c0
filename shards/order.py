"""Keyed order: every shuffle is a function of named values, never of a global generator."""

from __future__ import annotations

import hashlib


def keyed_seed(*parts: int | str) -> int:
    """64 bits that depend on `parts` alone: the seed of one shuffle, named by what is shuffled."""
    key = "\0".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
