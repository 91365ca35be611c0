"""Text columns to final token ids: exactly the ids of the model's own tokenizer.json, document by document.

Corpus text is encoded with the file's added tokens switched off, so that a page which contains a
control string gets ordinary ids; BOS, EOS and the fill-in-the-middle marks are put in by id afterwards.
No Python object is made per document or token. `load` takes about 0.7 s, `verify` under a second more.
"""

# ruff: noqa: RUF001 (the adversarial texts are meant to look like others)

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import curate_kernels
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tokenizer import engines, presets

#: What is hard about encoding: each string once met a tokenizer that got it wrong, or might.
ADVERSARIAL = (
    "",
    " ",
    "  \n\n \t\r\n  x",
    "a" * 3000,
    " " * 3000 + "x",
    "\n" * 3000,
    "!?" * 1500,
    "1234567 12 1.5e-300 ٣٤٥٦ ²³¼ⅧⅨ 一二三",
    "it's we'LL I'd ’s don't\tx=y;\r\n\r\n//…",
    "漢字とカタカナ、ひらがな。한국어 中文，标点！龥龦 ゟ゠ヿ ㄅㄆ 𠀀𪜶",
    "e\u0301 \u0301\u0301 à\u200bb\u200d\u2060\ufeffc\u00a0\u3000\u2028d\u0085e",
    "👩‍👩‍👧‍👦🏳️‍🌈👍🏽 🇩🇪",
    "عربي עִבְרִית हिन्दी தமிழ் ไทย ქართული",
    "\x00\x01\x1b[0m\x7f\x80\x9f\ufffd\ufffe\U0010ffff",
    "<think></think> <|EOT|> </s> <s> <|endoftext|> [INST] <0x0A> Ġ Ċ ▁",
    "def f(x):\n\tif x:\n\t\treturn {'a': [1, 2], \"b\": x**2}\n\n\n#…\n",
    "$\\int_0^1 x^2\\,dx = \\frac{1}{3}$ ≤≥∑∏√∞ ½",
)


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the control tokens; None where the tokenizer has none."""

    bos: int | None
    eos: int | None
    pad: int | None
    fim_hole: int | None
    fim_begin: int | None
    fim_end: int | None


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """One tokenizer, ready to encode; see `load`.

    >>> tokenizer = load("deepseek-v4")
    >>> tokens, offsets = tokenizer.encode_column(pa.array(["Hello world", ""], pa.large_string()))
    >>> tokens.to_pylist(), offsets.to_pylist()
    ([19923, 2058], [0, 2, 2])
    """

    name: str
    vocab_size: int
    special: SpecialIds
    added: Mapping[int, str] = field(repr=False)
    fingerprint: str
    _text_json: str = field(repr=False)
    _engine: engines.Engine = field(repr=False)

    @property
    def engine(self) -> str:
        """Name and version of the engine in use."""
        return f"{self._engine.name} {self._engine.version}"

    # Encoding

    def encode_column(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Ids of every text: flat `uint32`, and `int64` offsets (one more than there are texts).

        Nothing is added to a text. Raises `TypeError` unless `texts` is one `large_string` chunk, and
        `ValueError` where it holds a null.
        """
        if not isinstance(texts, pa.LargeStringArray):
            raise TypeError(f"expected a pa.LargeStringArray, got {getattr(texts, 'type', type(texts))}")
        if texts.null_count:
            raise ValueError(f"{texts.null_count} of {len(texts)} texts are null: drop such documents first")
        if not len(texts):
            return pa.array([], pa.uint32()), pa.array([0], pa.int64())
        tokens, offsets = self._engine.encode(texts)
        return pa.array(tokens, pa.uint32()), pa.array(offsets, pa.int64())

    def encode_documents(
        self, texts: pa.Array, ids: pa.Array, *, fim_rates: pa.Array | float = 0.0, seed: int
    ) -> pa.Array:
        """Final ids per document, `large_list<int32>`: BOS, the text or its split in PSM order, EOS.

        `ids` are document ids (`fixed_size_binary(16)`); `fim_rates` the probability of a split, float64
        per document or one for all. A document's ids depend on its text, its id and `seed` alone.
        Raises what `encode_column` raises, and `ValueError` for rates above zero without FIM tokens.
        """
        special = self.special
        if isinstance(fim_rates, (int, float)):
            fim_rates = pa.array(np.full(len(texts), fim_rates, np.float64))
        pieces, counts = curate_kernels.fim_pieces(texts, ids, fim_rates, seed=seed)
        tokens, offsets = self.encode_column(pieces)
        return curate_kernels.assemble_documents(
            tokens,
            offsets,
            counts,
            bos=special.bos,
            eos=special.eos,
            fim_begin=special.fim_begin,
            fim_hole=special.fim_hole,
            fim_end=special.fim_end,
        )

    # Decoding

    def decode(self, tokens: npt.ArrayLike) -> str:
        """The text of ids, control tokens by their names; bytes that are no UTF-8 become U+FFFD.

        Raises `ValueError` for an id that the tokenizer does not have.
        """
        flat = np.asarray(tokens)
        if flat.size and (flat.min() < 0 or flat.max() >= self.vocab_size):
            raise ValueError(f"token id {flat.max()} or {flat.min()} is outside [0, {self.vocab_size})")
        flat = flat.astype(np.uint32).ravel()
        out, start = [], 0
        for at in np.flatnonzero(np.isin(flat, self._added_ids)).tolist():
            out += [self._decode_text(flat[start:at]), self.added[int(flat[at])].encode()]
            start = at + 1
        out.append(self._decode_text(flat[start:]))
        return b"".join(out).decode("utf-8", "replace")

    @cached_property
    def _added_ids(self) -> npt.NDArray[np.uint32]:
        return np.array(sorted(self.added), np.uint32)

    def _decode_text(self, tokens: npt.NDArray[np.uint32]) -> bytes:
        return self._engine.decode(tokens) if tokens.size else b""

    # Checking

    def verify(self) -> None:
        """Encode what is hard with this engine and with HF tokenizers; once per run is enough.

        Raises `ValueError` on any difference in ids or decoded bytes, and on a control string that becomes
        a control token.
        """
        cases = [*ADVERSARIAL, *self.added.values(), "x".join(self.added.values())]
        column = pa.array(cases, pa.large_string())
        tokens, offsets = (array.to_numpy() for array in self.encode_column(column))
        other = engines.HuggingFace(self._text_json)
        reference, reference_offsets = other.encode(column)
        for row, text in enumerate(cases):
            ours = tokens[offsets[row] : offsets[row + 1]]
            theirs = reference[reference_offsets[row] : reference_offsets[row + 1]]
            problem = None
            if not np.array_equal(ours, theirs):
                at = int(np.argmin(np.equal(*_same_length(ours, theirs))))
                problem = (
                    f"differs from tokenizers at token {at}: {ours[at:][:3]} instead of {theirs[at:][:3]}"
                )
            elif np.isin(ours, self._added_ids).any():
                problem = "gives a control token"
            elif ours.size and self._engine.decode(ours) != other.decode(ours):
                problem = "decodes differently in tokenizers"
            if problem:
                raise ValueError(
                    f"{self.name} with {self.engine}: encoding {text[:40]!r} {problem}. "
                    "Do not use these ids; install the versions named in pyproject.toml"
                )


@lru_cache(maxsize=4)
def load(preset_or_path: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer of a preset's name (`"deepseek-v4"`), a preset file (`.yaml`) or a tokenizer.json.

    Loaded once per process. Raises `ValueError` for an unknown name and for a file that is not what its
    preset says, `FileNotFoundError` for what is not there.
    """
    source = presets.read(os.fspath(preset_or_path))
    engine = engines.start(source.text_json)
    special = {role: token and token.id for role, token in source.special}
    # All that can change an id: the file, the engine, and which ids are put in.
    made_of = [source.sha256, engine.name, engine.version, special, "added tokens off"]
    return Tokenizer(
        name=source.name,
        vocab_size=source.vocab_size,
        special=SpecialIds(**special),
        added=source.added,
        fingerprint=hashlib.sha256(json.dumps(made_of).encode()).hexdigest(),
        _text_json=source.text_json,
        _engine=engine,
    )


def _same_length(left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]) -> list[npt.NDArray[np.int64]]:
    size = max(len(left), len(right))
    return [np.pad(ids.astype(np.int64), (0, size - len(ids)), constant_values=-1) for ids in (left, right)]
