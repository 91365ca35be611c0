"""The engines that turn a text column into ids: gigatoken where it takes the file, else HF tokenizers.

Loading `deepseek-v4` takes 0.45 s in gigatoken and 0.3 s in tokenizers; gigatoken then encodes tens of
times faster. gigatoken 0.10.0 never forgets a word it has seen: about 0.3 MiB per MB of ordinary text,
9 to 12 MiB per MB of text in which no word comes twice. `Gigatoken` therefore looks at the process's memory
after every 32 MB of text and starts afresh (0.45 s) once it has grown by 512 MiB, so that the worst text
costs about 1 GiB and ordinary text never a restart.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path
from typing import Any, Protocol

import awkward as ak
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Tokens = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

LOOK_EVERY_BYTES = 32 << 20
MEMORY_GROWTH = 512 << 20
#: Where the process's memory cannot be read, the encoder starts afresh after this much text.
BLIND_BYTES = 128 << 20
_STATM = Path("/proc/self/statm")


class Engine(Protocol):
    """Encodes a `large_string` column, not empty and without nulls, every text on its own."""

    name: str
    version: str

    def encode(self, texts: pa.Array) -> tuple[Tokens, Offsets]:
        """Flat ids of all texts, and where each text's begin: one offset more than there are texts."""

    def decode(self, tokens: Tokens) -> bytes:
        """The bytes of ids of the base vocabulary."""


class Gigatoken:
    """The gigatoken engine with bounded memory. Raises `RuntimeError` on a file that it does not support."""

    name = "gigatoken"

    def __init__(self, text_json: str) -> None:
        self.version = importlib.metadata.version("gigatoken")
        self._json = text_json
        self._backend: Any = None
        self._start()

    def _start(self) -> None:
        from gigatoken.gigatoken_rs import load_hf_json

        self._backend = None  # the old cache goes before the new tables come
        self._backend = load_hf_json(self._json)
        self._since_start = self._since_look = 0
        self._memory = _resident_bytes()

    def encode(self, texts: pa.Array) -> tuple[Tokens, Offsets]:
        # The backend panics on a column with a validity bitmap, even one without nulls.
        _, offsets, values = texts.buffers()
        bare = pa.LargeStringArray.from_buffers(len(texts), offsets, values, None, 0, texts.offset)
        layout = self._backend.encode_batch(ak.from_arrow(bare), parallel=False).layout
        tokens = np.asarray(layout.content.data, dtype=np.uint32)
        ends = np.asarray(layout.offsets.data, dtype=np.int64)
        self._look(_bytes_of(bare))
        return tokens, ends

    def decode(self, tokens: Tokens) -> bytes:
        return bytes(self._backend.decode(tokens))

    def _look(self, encoded: int) -> None:
        self._since_start += encoded
        self._since_look += encoded
        if self._since_look < LOOK_EVERY_BYTES:
            return
        self._since_look = 0
        memory = _resident_bytes()
        blind = memory is None or self._memory is None
        if self._since_start >= BLIND_BYTES if blind else (memory or 0) - (self._memory or 0) > MEMORY_GROWTH:
            self._start()


class HuggingFace:
    """The reference engine: Hugging Face tokenizers, by way of Python lists (a few MB/s)."""

    name = "tokenizers"

    def __init__(self, text_json: str) -> None:
        from tokenizers import Tokenizer

        self.version = importlib.metadata.version("tokenizers")
        self._backend = Tokenizer.from_str(text_json)
        self._backend.no_padding()
        self._backend.no_truncation()

    def encode(self, texts: pa.Array) -> tuple[Tokens, Offsets]:
        encoded = self._backend.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        rows = [np.array(one.ids, np.uint32) for one in encoded]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return np.concatenate(rows) if rows else np.zeros(0, np.uint32), offsets

    def decode(self, tokens: Tokens) -> bytes:
        text: str = self._backend.decode(tokens.tolist(), skip_special_tokens=False)
        return text.encode()


def start(text_json: str) -> Engine:
    """The fastest engine that takes the file."""
    try:
        return Gigatoken(text_json)
    except (ImportError, RuntimeError):  # not installed, or not supported: it says so with RuntimeError
        return HuggingFace(text_json)


def _bytes_of(texts: pa.Array) -> int:
    ends = (
        np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :] if len(texts) else np.zeros(1, np.int64)
    )
    return int(ends[len(texts)] - ends[0]) if len(texts) else 0


def _resident_bytes() -> int | None:
    if not _STATM.exists():
        return None
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
