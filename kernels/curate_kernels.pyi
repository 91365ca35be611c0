"""Native kernels of curate.

Text columns are `large_string` (`pa.LargeStringArray`, one chunk). Every function releases the GIL,
raises `ValueError` on an argument that makes no sense and never panics on data.
"""

from typing import Any

import pyarrow as pa

__version__: str

# text/: one pass over the text

def normalize(texts: pa.Array) -> pa.Array:
    """NFC, line ends to LF, no BOM, no control characters but tab and newline. Nulls stay null.

    A fixed point of itself. Runs of more than 30 combining marks are broken up by U+034F (UAX #15, Stream-Safe).
    """

def signals(texts: pa.Array) -> pa.RecordBatch:
    """One row per text, one typed column per signal (names and definitions in `signal_names`).

    Null rows for null texts; an empty text has 0 in every ratio and mean. ValueError for a text of 4 GiB or more.
    """

def signal_names() -> dict[str, str]:
    """Signal name to its one-line definition, in column order."""

def text_hash(texts: pa.Array) -> pa.Array:
    """XXH3-128 of each text's bytes, as `fixed_size_binary(16)`, big-endian."""

def document_ids(sources: pa.Array, locators: pa.Array) -> pa.Array:
    """XXH3-128 of `source`, a zero byte and `locator`, as `fixed_size_binary(16)`, big-endian."""

def keyed_uniform(ids: pa.Array, seed: int, salt: str) -> pa.Array:
    """A uniform float64 in [0, 1) per 16-byte id, a pure function of (id, seed, salt)."""

# minhash.rs

def minhash_bands(
    texts: pa.Array, *, bands: int, rows: int, ngram: int = 5, seed: int = 1
) -> pa.Array:
    """Band digests, `fixed_size_list(uint64, bands)`, of MinHash signatures over word n-grams.

    Null for a text without a word. A text of fewer than `ngram` words is one shingle: all its words.
    ValueError unless 1 <= bands * rows <= 65,536 and 1 <= ngram <= 64.
    """

def jaccard_pairs(
    texts: pa.Array, left: pa.Array, right: pa.Array, *, ngram: int = 5
) -> pa.Array:
    """True Jaccard (float64) of the shingle sets of `texts[left[i]]` and `texts[right[i]]` (uint32).

    0 for two texts without words (null texts have none). ValueError for an index beyond the texts.
    """

# clusters.rs

def connected_components(nodes: int, left: pa.Array, right: pa.Array) -> pa.Array:
    """Smallest member index (uint32) of each node's component, from edges `left[i]`-`right[i]` (uint32)."""

# language.rs

class LanguageModel:
    """A fastText classifier (`.bin` or quantised `.ftz`), read natively."""

    def __init__(self, path: str) -> None: ...
    @property
    def labels(self) -> list[str]: ...
    def predict(self, texts: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Top label without its `__label__` prefix (dictionary<int32, string>) and score (float32)."""

# fim.rs

def fim_pieces(
    texts: pa.Array, ids: pa.Array, rates: pa.Array, *, seed: int
) -> tuple[pa.Array, pa.Array]:
    """Texts to encode and pieces per document (uint8: 1 whole, 3 prefix, suffix, middle).

    A document takes part when `keyed_uniform(id) < rate` and it has at least 3 characters; its two cuts
    are on character boundaries and depend on (id, seed) alone.
    """

def assemble_documents(
    tokens: pa.Array,
    offsets: pa.Array,
    pieces: pa.Array,
    *,
    bos: int | None,
    eos: int | None,
    fim_begin: int,
    fim_hole: int,
    fim_end: int,
) -> pa.Array:
    """`large_list<int32>` of final ids per document, from the flat `tokens` (uint32) of all pieces.

    Order for a split document: BOS begin prefix hole suffix end middle EOS.
    """

# packing.rs

def best_fit_decreasing(
    lengths: pa.Array, capacity: int, *, max_documents: int = 1024
) -> tuple[pa.Array, pa.Array]:
    """Sequence (uint32) and start offset in it (uint32) of every item (`lengths` int32, each <= capacity).

    Items of one length are placed in the order given. Sequences are numbered by first use.
    """

# layout.rs

def gather_planes(
    pools: list[pa.Array],
    pool: pa.Array,
    pool_start: pa.Array,
    length: pa.Array,
    sequence: pa.Array,
    start: pa.Array,
    *,
    sequences: int,
    sequence_length: int,
    pad: int,
) -> pa.Array:
    """Token planes, `fixed_size_list<int32>[sequence_length]`: piece i copies `length[i]` ids from
    `pools[pool[i]]` (flat int32) at `pool_start[i]` (int64) to `sequence[i]` at `start[i]`; the rest is `pad`.
    """

def sequence_positions(document_lengths: pa.Array, sequence_length: int) -> pa.Array:
    """int32 positions that restart at every document (`list<int32>` lengths per sequence); pads count on
    from zero as a document of their own. Flat, sequences x sequence_length."""

# permutation.rs

def permuted_indices(size: int, seed: int, start: int, count: int) -> pa.Array:
    """Entries [start, start + count) of the keyed permutation of `range(size)`, uint64, O(1) memory."""
