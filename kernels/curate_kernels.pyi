"""Native kernels of curate.

Text columns are `large_string` (`pa.LargeStringArray`, one chunk). Every function releases the GIL,
raises `ValueError` on an argument that makes no sense and never panics on data.
"""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__version__: str

# text/: one pass over the text

def normalize(texts: pa.Array) -> pa.Array:
    """NFC, line ends to LF, no BOM, no control characters but tab and newline. Nulls stay null.

    A fixed point of itself. Runs of more than 30 combining marks are broken up by U+034F (UAX #15,
    Stream-Safe).
    """

def signals(texts: pa.Array, formats: pa.Array | None = None) -> pa.RecordBatch:
    """One row per text, one typed column per signal (names and definitions in `signal_names`).

    Null rows for null texts; an empty text has 0 in every ratio and mean. All are
    numbers but `script`, a string. The signals of code are filled
    where `formats` (`string`: a suffix such as `py`, in any case) names a language, and null elsewhere and
    where the language has no such thing. ValueError for a text of 4 GiB or more, or another number of
    formats than of texts.
    """

def hash_words(texts: pa.Array) -> pa.Array:
    """The sum (uint64, wrapping) of the XXH3-64 of each text's white-space separated words.

    One read of the text and one hash per word: the floor that the speed of `signals` is measured against.
    """

def measure(
    texts: pa.Array, formats: pa.Array | None = None, *, line_rules: Sequence[str]
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """What `signals` gives, and the edits that these line rules (`line_rule_names`) ask for.

    Edits are as `apply_edits` takes them; none overlap. Where rules of several profiles meet, what any of
    them cuts is cut once. ValueError for an unknown name.
    """

def line_rule_names() -> list[str]:
    """Names that `measure` takes as `line_rules`."""

def signal_names() -> dict[str, str]:
    """Signal name to its one-line definition, in column order."""

def skeletons(texts: pa.Array) -> pa.Array:
    """The skeleton of each text (`large_string`), which `skeleton_hash` is the hash of; nulls stay null.

    Numbers, names, quotations and addresses are `<num>`, `<name>`, `<quote>`, `<url>`, `<mail>`; white space
    is folded and a line like the one before it left out. `docs/text-signals.md` has the definition.
    """

def skeleton_lines(texts: pa.Array, *, min_kept: int = 16) -> pa.Array:
    """XXH3-64 (`list<uint64>`) of each line of each skeleton, in order, that has at least `min_kept` bytes
    outside of placeholders: what pages of one site share where their whole skeletons differ."""

def stop_words(texts: pa.Array, languages: pa.Array, lists: dict[str, list[str]]) -> pa.Array:
    """Distinct words (int64) of each text that are on its language's list; null for a language without one.

    `texts` and `languages` are `large_string`, of one length (else ValueError). A word whose beginning,
    up to an apostrophe, is on the list counts for that and for the rest. Case counts.
    """

def text_hash(texts: pa.Array) -> pa.Array:
    """XXH3-128 of each text's bytes, as `fixed_size_binary(16)`, big-endian."""

def document_ids(sources: pa.Array, locators: pa.Array) -> pa.Array:
    """XXH3-128 of `source`, a zero byte and `locator`, as `fixed_size_binary(16)`, big-endian."""

def keyed_uniform(ids: pa.Array, seed: int, salt: str) -> pa.Array:
    """A uniform float64 in [0, 1) per 16-byte id, a pure function of (id, seed, salt)."""

# edits.rs

def apply_edits(texts: pa.Array, edits: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """The texts with their edits done, and which edits were applied (bool, one per edit).

    `edits` has the columns `row` (uint32), `start`, `end` (int64, byte offsets in the text), `rule` (string)
    and `replacement` (string; null: cut), sorted by row and start. One that overlaps the last applied edit
    of its row is not applied. Nulls stay null. ValueError for offsets that are out of range, inside a
    character or not sorted, and for an edit of a text that is null.
    """

# minhash.rs

def minhash_bands(texts: pa.Array, *, bands: int, rows: int, ngram: int = 5, seed: int = 1) -> pa.Array:
    """Band digests, `fixed_size_list(uint64, bands)`, of MinHash signatures over word n-grams.

    Null for a text without a word. A text of fewer than `ngram` words is one shingle: all its words.
    ValueError unless 1 <= bands * rows <= 65,536 and 1 <= ngram <= 64.
    """

def jaccard_pairs(texts: pa.Array, left: pa.Array, right: pa.Array, *, ngram: int = 5) -> pa.Array:
    """True Jaccard (float64) of the shingle sets of `texts[left[i]]` and `texts[right[i]]` (uint32).

    0 for two texts without words (null texts have none). ValueError for an index beyond the texts.
    """

# clusters.rs

def connected_components(nodes: int, left: pa.Array, right: pa.Array) -> pa.Array:
    """Smallest member index (uint32) of each node's component, from edges `left[i]`-`right[i]` (uint32)."""

# language.rs

class LanguageModel:
    """A fastText classifier (`.bin` or quantised `.ftz`), read natively.

    `OSError` where the file cannot be read, `ValueError` naming what is wrong in it, and where.
    """

    def __init__(self, path: str | PathLike[str]) -> None: ...
    @property
    def labels(self) -> list[str]:
        """Labels in the model's order, without their `__label__` prefix."""
    def predict(self, texts: pa.Array, *, clean: bool = False) -> tuple[pa.Array, pa.Array]:
        """Top label without its `__label__` prefix (dictionary<int32, string>) and score (float32).

        The whole text counts, line ends as spaces; with `clean`, words without addresses, ASCII marks and
        digits at their ends, and capitals. Both are null for a null text and for one without any known
        feature but the end of line. A score can exceed 1 by 1e-5, as in the reference.
        """
    def identify(
        self,
        texts: pa.Array,
        *,
        clean: bool = True,
        names: list[str] | None = None,
        unsure: float = 0.4,
    ) -> pa.RecordBatch:
        """`label` and `score` as `predict` gives them, and `languages` of the paragraphs, in one pass.

        `languages` is list<struct<language: string, share: float32>>, the largest share first: shares of the
        bytes of words, empty where there are none, null for a null text. `names` are what to call each
        label there (labels of one name are one language); `und` is what scores below `unsure`.
        `ValueError` where there are not as many names as labels.
        """

    def predict_proba(self, texts: pa.Array, labels: list[str] | None = None) -> pa.RecordBatch:
        """The scores (float32) of the labels named, or of all, one column each, in the order asked for.

        Names may have the `__label__` prefix; ValueError for one that the model does not have. Null for a
        null text and for one without any known feature, as in `predict`.
        """

# preparation.rs

def classifier_text(texts: pa.Array, preset: str) -> pa.Array:
    """Texts as a classifier with that preset reads them: dclm, fasttext, datatrove or lowercase."""

def training_lines(texts: pa.Array, preset: str) -> pa.Array:
    """The same as single lines for fastText's trainer: words by single spaces, none that it would take for a
    label (`__label__...`) or for the end of the line (`</s>`)."""

def shorten(texts: pa.Array, bytes: int) -> pa.Array:
    """The longest prefix of each text with at most so many bytes, cut between characters."""

# fim.rs

def fim_pieces(texts: pa.Array, ids: pa.Array, rates: pa.Array, *, seed: int) -> tuple[pa.Array, pa.Array]:
    """Texts to encode, and pieces per document (uint8: 1 whole; 3 prefix, middle, suffix, in text order).

    A document takes part when `keyed_uniform(id, seed, "fim")` is below its rate (float64 per document) and
    it has at least 3 characters; its two cuts are uniform over pairs of different inner character
    boundaries and depend on (id, seed) and the number of characters alone. The texts are new offsets
    into the bytes given: nothing is copied. `ValueError` on a null or a rate outside [0, 1].
    """

def assemble_documents(
    tokens: pa.Array,
    offsets: pa.Array,
    pieces: pa.Array,
    *,
    bos: int | None,
    eos: int | None,
    fim_begin: int | None,
    fim_hole: int | None,
    fim_end: int | None,
) -> pa.Array:
    """`large_list<int32>` of final ids per document, from the flat `tokens` (uint32) of all pieces.

    `offsets` (int64, one more than there are pieces) may start anywhere; `pieces` is that of `fim_pieces`.
    Order for a split document: BOS begin prefix hole suffix end middle EOS; without the three FIM ids a
    split document is a `ValueError`, as are offsets that do not ascend within the tokens.
    """

# packing/

def best_fit_decreasing(
    lengths: pa.Array, capacity: int, *, max_documents: int = 1024
) -> tuple[pa.Array, pa.Array]:
    """Sequence (uint32) and start offset in it (uint32) of every item (`lengths` int32, in 1..=capacity).

    Items of one length are placed in the order given. Sequences are numbered by first use, longest item
    first. When the cap on documents closes sequences that have room, worst-fit decreasing over the fewest
    possible sequences is tried too and kept if it needs fewer. Capacity is at most 2**26.
    """

def pack(
    lengths: pa.Array,
    order_key: pa.Array,
    sequence_length: int,
    *,
    max_documents: int = 1024,
    pad_documents_to: int = 1,
    balanced: bool = False,
) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array, pa.Array]:
    """document (int64), document_offset (int64), length, sequence, start (int32) of every piece, by
    (sequence, start); see `shards.packing.pack_documents`.

    `lengths` is int64 and at least 0, `order_key` float64 without NaN, or uint64. ValueError for anything
    else and for more than 2**31 - 1 pieces; RuntimeError if tokens, pieces, documents, the length of a
    sequence or its cap did not come out as they went in (checked in every call).
    """

class Dealer:
    """Deals the documents of a pool, sorted longest first, round-robin to groups, without holding the pool.

    Documents count by the tail that is left after cutting them to `sequence_length`. Two groups differ by at
    most one document of every length, and by less than `sequence_length` tokens of tails. 16 bytes
    per token of `sequence_length`. ValueError for nulls, negative lengths and calls out of order.
    """

    def __init__(self, sequence_length: int) -> None: ...
    def count(self, lengths: pa.Array) -> None:
        """First pass: count a batch (int64)."""

    def start(self, groups: int) -> pa.Array:
        """End of the first pass: documents of each group (uint64)."""

    def deal(self, lengths: pa.Array) -> pa.Array:
        """Second pass: the group (uint32) of every document of a batch (int64). ValueError for documents
        that the first pass did not see."""

# layout.rs

def gather_sequences(
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
    layout: str = "contiguous",
    context_parallel: int = 1,
    first_row: int = 0,
) -> list[pa.Array]:
    """The columns of packed sequences that their tokens determine (`docs/shard-format.md`).

    Piece i is tokens [pool_start, pool_start + length) of pools[pool] (flat int32) and lies at `start`, in
    reading order, of `sequence` (0..sequences); `pad` fills the rest. `first_row` is the number of the first
    sequence in its shard.

    Returns tokens (`fixed_size_list<int32>[sequence_length]`, in stored order), next_tokens (`list<int32>`),
    token_checksums (`fixed_size_list<uint64>`) and checksum (`uint64`). Raises ValueError for a plan that
    reaches outside its pools or sequences, that puts two pieces in one place, or that the layout cannot take.
    """

class ShardFraming:
    """The parts of a shard file that are not its buffers, in file order: start, batches, finish.

    `alignment`: what the file offset of every body is a multiple of.
    """

    def __init__(self, schema: pa.Schema, *, alignment: int) -> None: ...
    def start(self) -> bytes: ...
    def batch(self, batch: pa.RecordBatch) -> tuple[bytes, list[tuple[int, int]]]:
        """The bytes ahead of the body; then for each buffer, depth first, its size and the zeros after it.

        Raises ValueError for a batch that is not of the schema, is a slice, or holds nulls.
        """

    def finish(self) -> tuple[bytes, str]:
        """The end of the file, and `xxh3_64:` with 16 hex digits over the footer's flatbuffer."""

def xxh3_64(data: bytes | memoryview, seed: int = 0) -> int: ...

class Checksum:
    """A streaming XXH3-128, for files that are read or written in parts."""

    def __init__(self) -> None: ...
    def update(self, data: bytes) -> None: ...
    def digest(self) -> str:
        """`xxh3_128:` and 32 hex digits, of all bytes so far."""

# expand.rs, boundaries.rs: what goes with the tokens of packed sequences

def expand(
    tokens: pa.Array | None,
    document_lengths: pa.Array,
    *,
    sequence_length: int,
    pad_documents_to: int = 1,
    fields: Sequence[str] = ("positions",),
    ignore_label: int = -100,
    dtype: str = "int32",
) -> dict[str, pa.Array]:
    """Flat arrays of sequences x sequence_length values, by field.

    `document_lengths` is `list<int32>`, the documents of each sequence; `tokens` (int32, flat, in reading
    order) is needed for labels only. A document's slot is its length rounded up to `pad_documents_to`; the
    last one reaches to the end of the sequence.

    positions: count from 0 in each document and on through its pads. labels: the next token of the document,
    or `ignore_label` for its last token and for pads. loss_mask (float32): 1 where there is a label, else 0.
    segment_ids: 1, 2, ... by document; 0 for pads. `dtype` (int32, int64) is that of all but loss_mask.

    Raises ValueError for documents that do not fit, nulls, and unknown fields.
    """

def boundary_table(
    document_lengths: pa.Array,
    sequence_length: int,
    *,
    convention: str,
    pad_documents_to: int = 1,
    maximum: int = 128,
) -> pa.Array:
    """Where the segments of a batch of b sequences end.

    ascend: int64, cumulative ends over b x sequence_length tokens, no leading zero. transformer_engine:
    int32, the same with a leading zero. mindformers: int32, b x `maximum`, ends within each sequence, filled
    up with sequence_length; ValueError for a sequence of more documents.
    """

def block_starts(
    document_lengths: pa.Array, sequence_length: int, *, pad_documents_to: int = 1, ratio: int
) -> tuple[pa.Array, pa.Array]:
    """Complete blocks of `ratio` tokens, which begin anew at every document.

    Returns their starts (int32, within the sequence, sequence by sequence) and their number per document
    (int32).
    """

# host_buffers.rs

class HostBuffer:
    """Memory of a `HostBuffers`, which gets it back when this object and the last view of it are gone."""

    @property
    def address(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class HostBuffers:
    """A pool of reusable host buffers: anonymous memory, aligned to 2 MiB, in huge pages if possible.

    `limit` bytes at most are mapped. `on_map(address, bytes)` is called for new mappings, `on_unmap` before
    they go. Buffers of 1 MiB and more are whole huge pages.
    """

    def __init__(
        self,
        limit: int,
        *,
        on_map: Callable[[int, int], object] | None = None,
        on_unmap: Callable[[int, int], object] | None = None,
    ) -> None: ...
    def take(self, bytes: int) -> HostBuffer:
        """A buffer of `bytes`; its content is what was left there. MemoryError beyond the limit."""

    @property
    def mapped(self) -> int:
        """Bytes mapped, in use or free."""

    @property
    def in_use(self) -> int:
        """Bytes of the buffers that are out."""

# shard_file.rs, read_sequences.rs

class ShardFile:
    """An open shard. `size` and `footer_checksum` (`xxh3_64:...`) are the manifest's.

    `direct` reads tokens around the page cache, where the filesystem can. With `fetch(offset, length)`, bytes
    come from that function and `path` is not opened. ValueError for a file that is not what the manifest
    says, OSError for one that cannot be opened.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        name: str,
        size: int,
        footer_checksum: str | None = None,
        direct: bool = False,
        fetch: Callable[[int, int], bytes] | None = None,
    ) -> None: ...
    def schema_file(self) -> bytes:
        """An Arrow file of the shard's footer alone, to read the schema from."""

    def expect(self, *, sequences: int, batch_sequences: int, sequence_length: int) -> None:
        """The sizes to hold the file against; comes before reading. ValueError if they cannot be."""

def read_sequences(
    shards: list[ShardFile],
    shard_of: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    sequence_length: int,
    layout: str,
    stored_for: int,
    rank: int,
    degree: int,
    pad_documents_to: int,
    verify: bool,
    documents: bool,
    ignore_label: int = -100,
    dtype: str = "int32",
    threads: int = 1,
    tokens: HostBuffer | None = None,
    positions: HostBuffer | None = None,
    labels: HostBuffer | None = None,
    segment_ids: HostBuffer | None = None,
    loss_mask: HostBuffer | None = None,
) -> tuple[pa.Array | None, int, int]:
    """Fill buffers with part `rank` of `degree` of the sequences `rows` of `shards[shard_of]`.

    `layout` and `stored_for` are those of the shards; a zig-zag layout is read at its own degree, or whole in
    reading order. `dtype` is that of all buffers but loss_mask (float32). `verify` compares the checksums of
    all that is read. The fields are those of `expand`.

    Returns the documents' lengths (`list<int32>`, if `documents`), the bytes of tokens and the other bytes
    read. ValueError names the shard, the sequence and the block of what is damaged.
    """

def squared_lengths(
    shards: list[ShardFile], shard_of: NDArray[np.int64], rows: NDArray[np.int64], *, verify: bool
) -> tuple[pa.Array, int]:
    """The sum of squared document lengths (int64) of sequences, and the bytes read."""

# verify.rs

def wrong_sequences(
    batch: pa.RecordBatch,
    *,
    first_row: int,
    pad: int,
    pad_documents_to: int,
    sources: int,
    layout: str = "contiguous",
    context_parallel: int = 1,
) -> tuple[int, list[tuple[int, str]]]:
    """How many rows of a shard's record batch are not what their checksums and boundaries say; and why.

    Checked in each row: token_checksums and checksum, the boundaries and what follows from them, pads, and
    next_tokens. `first_row` is the batch's first row in the shard, `sources` the number of sources; the rest
    is of the shard's header. The reasons are (row in the batch, words), the first 64. Validate the batch in
    full first. ValueError for a batch that lacks columns or holds nulls.
    """

def footer_blocks(footer: bytes) -> list[tuple[int, int, int]]:
    """(file offset of its message, size of message and zeros, size of body) of every record batch.

    `footer` is the flatbuffer at the end of an Arrow file; ValueError if it is none.
    """

# permutation.rs

def permuted_indices(size: int, seed: int, start: int, count: int) -> pa.Array:
    """Entries [start, start + count) of the keyed permutation of `range(size)`, uint64, O(1) memory.

    `size` and `seed` are unsigned 64-bit (OverflowError beyond).
    """

# privacy/: personal data and secrets

class PrivacyScanner:
    """A compiled set of detectors; `curate.stages.privacy_rules` makes it from the rules' YAML.

    `ValueError` naming the rule whose pattern, prefix or list makes no sense.
    """

    def __init__(self, rules: dict[str, object]) -> None: ...
    def spans(
        self,
        texts: pa.Array,
        *,
        kinds: list[str] | None = None,
        code: pa.Array | None = None,
        ids: pa.Array | None = None,
        seed: int = 0,
    ) -> pa.RecordBatch:
        """Findings: row (uint32), start, end (int64, bytes of the text), kind and detector (dictionaries of
        string), key (uint64). In order of (row, start), at character boundaries and without overlap.

        `kinds` are those of `privacy_kinds`, None for all; `code` (bool per text) lets assignments of secrets
        be looked for. `key` is XXH3-64 of (id, kind, value in normal form) under `seed`; `ids` is
        `fixed_size_binary(16)`. ValueError for an unknown kind and for columns of different length.
        """

def privacy_kinds() -> list[str]:
    """The kinds, in the order in which one wins over another where two overlap."""
