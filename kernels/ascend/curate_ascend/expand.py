"""Positions, segment ids, labels and block tables on the device, from tokens and document lengths alone.

One source for triton-ascend 3.2 and Triton on GPUs. Only the rank's tokens (4 bytes each) and 8 bytes per
document cross the bus; a trainer that ships int64 tokens, labels and positions and an fp32 mask moves 28
bytes per token.

    boundaries   one program per sequence: cumulative slot ends, true ends and complete blocks (three scans)
    expand       tiles of 4,096 tokens (16 KiB): two binary searches over the ends, by scalar loads, find the
                 documents that the tile meets; then three selects for each boundary inside it. Zig-zag by
                 document: tiles of half that size, six selects
    blocks       the same over block numbers: where the complete blocks of 4 or 128 tokens begin

Cost: 4 launches a batch, whatever the number of documents; 2 * log2(W) + 2 scalar loads a tile, and 2 more
for each boundary inside it; 16 bytes of device memory a token (the next token in, three planes out). Searches
are scalar because a search for each token would gather, which triton-ascend does not offer for int32. Nor can
the vector cores of 910B and 910C order int32: older compilers make scalar code of `<`, newer ones a maximum
and a test for equality. So vectors are compared as fp32, which is exact below 2^24: hence the limit on the
length of a sequence. All else is int32. Nothing depends on a value that the host reads back.

Buffers are whatever Triton takes for pointers (torch tensors, on the device), contiguous, int32; results go
into buffers that the caller made and can use again. `docs/ascend.md` shows it with torch.
"""

from __future__ import annotations

from typing import Any, Protocol

import triton
import triton.language as tl

#: Tokens that one tile holds: 16 KiB, the size from which a single move to a core is at its best.
TILE = 4096

#: Sequences may have fewer tokens than this: positions below it are exact as fp32.
MAX_SEQUENCE_LENGTH = 1 << 24

#: Label of a token that has no next one in its document.
IGNORE = -100

#: Tokens under one entry of the compressed attentions.
RATIOS = (4, 128)

#: Vector cores of 910B1/B2 and of a 910C die; a 950PR has 64. More programs than cores wait for one another.
PROGRAMS = 48


class Buffer(Protocol):
    """A contiguous int32 buffer on the device: a torch tensor, or what quacks like one."""

    @property
    def shape(self) -> Any: ...

    def data_ptr(self) -> int: ...


@triton.jit
def _first_above(table, value, WIDTH: tl.constexpr, STEPS: tl.constexpr):
    """Number of entries <= value in the ascending `table` of WIDTH = 2**STEPS, at most WIDTH - 1."""
    low = 0
    for step in tl.static_range(STEPS):
        half = WIDTH >> (step + 1)
        low = tl.where(tl.load(table + low + (half - 1)) <= value, low + half, low)
    return low


@triton.jit
def _boundaries_kernel(
    document_lengths,
    padded_lengths,
    offsets,
    tables,
    block_counts,
    block_totals,
    rows,
    documents,
    sequence_length,
    WIDTH: tl.constexpr,
    RATIO_0: tl.constexpr,
    RATIO_1: tl.constexpr,
):
    row = tl.program_id(0)
    first = tl.load(offsets + row)
    count = tl.load(offsets + row + 1) - first
    number = tl.arange(0, WIDTH)
    inside = number < count
    slot = tl.load(padded_lengths + first + number, mask=inside, other=0)
    length = tl.load(document_lengths + first + number, mask=inside, other=0)
    # A row that the table cannot hold must not pass for one with fewer documents: it gets no loss at all.
    length = tl.where(count <= WIDTH, length, 0)

    end = tl.cumsum(slot, 0)
    table = tables + row * (4 * WIDTH)
    last = tl.minimum(count, WIDTH) - 1
    # The padding behind the last slot belongs to it. Entries behind the last document are never passed.
    tl.store(table + number, tl.where(number < last, end, sequence_length))
    tl.store(table + WIDTH + number, end - slot + length)

    for which in tl.static_range(2):
        ratio = RATIO_0 if which == 0 else RATIO_1
        blocks = length // ratio
        total = tl.where(count <= WIDTH, tl.sum(blocks, 0), -1)
        tl.store(table + (2 + which) * WIDTH + number, tl.where(inside, tl.cumsum(blocks, 0), 2147483647))
        tl.store(block_counts + which * documents + first + number, blocks, mask=inside)
        tl.store(block_totals + which * rows + row, total)


@triton.jit
def _expand_kernel(
    tokens,
    tables,
    next_tokens,
    next_offsets,
    positions,
    segments,
    labels,
    units,
    tiles,
    share,
    chunk,
    first_0,
    first_1,
    rank,
    ignore,
    CHUNKS: tl.constexpr,
    NEXT: tl.constexpr,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    TILE: tl.constexpr,
):
    """A row's share is CHUNKS runs of `chunk` tokens, from `first_0` and `first_1` of the sequence on."""
    lane = tl.arange(0, TILE)
    for unit in range(tl.program_id(0), units, tl.num_programs(0)):
        piece = unit // tiles
        begin = (unit - piece * tiles) * TILE
        row = piece // CHUNKS
        part = piece - row * CHUNKS
        first = tl.where(part == 0, first_0, first_1)
        ends = tables + row * (4 * WIDTH)
        true_ends = ends + WIDTH

        size = tl.minimum(chunk - begin, TILE)
        low = _first_above(ends, first + begin, WIDTH, STEPS)
        high = _first_above(ends, first + begin + size - 1, WIDTH, STEPS)
        place = first + begin + lane
        place_f = place.to(tl.float32)
        start = tl.full([TILE], 0, tl.int32) + tl.load(ends + low - 1, mask=low > 0, other=0)
        end = tl.full([TILE], 0, tl.int32) + tl.load(true_ends + low)
        document = tl.full([TILE], 1, tl.int32) + low
        for number in range(low, high):
            boundary = tl.load(ends + number)
            beyond = place_f >= boundary.to(tl.float32)
            start = tl.where(beyond, boundary, start)
            end = tl.where(beyond, tl.load(true_ends + number + 1), end)
            document = tl.where(beyond, number + 2, document)

        at = row * share + part * chunk + begin + lane
        inside = lane < size
        end_f = end.to(tl.float32)
        tl.store(positions + at, place - start, mask=inside)
        tl.store(segments + at, tl.where(place_f < end_f, document, 0), mask=inside)
        following = tl.load(tokens + at + 1, mask=begin + lane + 1 < chunk, other=0)
        if NEXT:
            if CHUNKS == 1:
                after = tl.load(next_tokens + row)
            else:
                after = tl.load(next_tokens + tl.load(next_offsets + row) + 2 * rank + part)
            final = (first + chunk - 1).to(tl.float32)
            following = tl.where(place_f >= final, after, following)
        tl.store(labels + at, tl.where(place_f + 1.0 < end_f, following, ignore), mask=inside)


@triton.jit
def _expand_documents_kernel(
    tokens,
    tables,
    next_tokens,
    next_offsets,
    offsets,
    positions,
    segments,
    labels,
    units,
    tiles,
    share,
    rank,
    ranks,
    ignore,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    TILE: tl.constexpr,
):
    """A row's share is two chunks of every document: number `rank` of its 2 * ranks, and the one mirrored."""
    lane = tl.arange(0, TILE)
    for unit in range(tl.program_id(0), units, tl.num_programs(0)):
        row = unit // tiles
        begin = (unit - row * tiles) * TILE
        ends = tables + row * (4 * WIDTH)
        true_ends = ends + WIDTH
        documents = tl.load(offsets + row + 1) - tl.load(offsets + row)
        own = next_tokens + tl.load(next_offsets + row) + 2 * documents * rank

        # Segments divide by 2 * ranks: the share meets a document's end where the sequence does, / ranks.
        size = tl.minimum(share - begin, TILE)
        low = _first_above(ends, begin * ranks, WIDTH, STEPS)
        high = _first_above(ends, (begin + size - 1) * ranks, WIDTH, STEPS)
        place = begin + lane
        place_f = place.to(tl.float32)
        start = tl.full([TILE], 0, tl.int32)
        end = tl.full([TILE], 0, tl.int32)
        document = tl.full([TILE], 0, tl.int32)
        run = tl.full([TILE], 0, tl.int32)
        after_0 = tl.full([TILE], 0, tl.int32)
        after_1 = tl.full([TILE], 0, tl.int32)
        for number in range(low, high + 1):
            boundary = tl.load(ends + number - 1, mask=number > 0, other=0)
            beyond = place_f >= (boundary // ranks).to(tl.float32)
            start = tl.where(beyond, boundary // ranks, start)
            end = tl.where(beyond, tl.load(true_ends + number) - boundary, end)
            document = tl.where(beyond, number + 1, document)
            run = tl.where(beyond, (tl.load(ends + number) - boundary) // (2 * ranks), run)
            after_0 = tl.where(beyond, tl.load(own + 2 * number), after_0)
            after_1 = tl.where(beyond, tl.load(own + 2 * number + 1), after_1)

        within = place - start
        within_f = within.to(tl.float32)
        run_f = run.to(tl.float32)
        mirrored = within_f >= run_f
        position = within + tl.where(mirrored, (2 * ranks - 2 - rank) * run, rank * run)
        position_f = position.to(tl.float32)
        end_f = end.to(tl.float32)
        at = row * share + place
        inside = lane < size
        tl.store(positions + at, position, mask=inside)
        tl.store(segments + at, tl.where(position_f < end_f, document, 0), mask=inside)
        following = tl.load(tokens + at + 1, mask=begin + lane + 1 < share, other=0)
        following = tl.where(within_f == run_f - 1.0, after_0, following)
        following = tl.where(within_f == 2.0 * run_f - 1.0, after_1, following)
        tl.store(labels + at, tl.where(position_f + 1.0 < end_f, following, ignore), mask=inside)


@triton.jit
def _blocks_kernel(
    tables,
    block_totals,
    starts,
    rows,
    units,
    tiles,
    room,
    ratio,
    PLANE: tl.constexpr,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    TILE: tl.constexpr,
):
    lane = tl.arange(0, TILE)
    for unit in range(tl.program_id(0), units, tl.num_programs(0)):
        row = unit // tiles
        begin = (unit - row * tiles) * TILE
        ends = tables + row * (4 * WIDTH)
        block_ends = ends + PLANE * WIDTH
        total = tl.load(block_totals + (PLANE - 2) * rows + row)
        block = begin + lane
        block_f = block.to(tl.float32)

        # Block k of a document begins at origin + k * ratio, k counted from the row's first block.
        filled = tl.minimum(total - begin, TILE)
        low = _first_above(block_ends, begin, WIDTH, STEPS)
        high = _first_above(block_ends, begin + filled - 1, WIDTH, STEPS)
        before = tl.load(block_ends + low - 1, mask=low > 0, other=0)
        origin = tl.full([TILE], 0, tl.int32)
        origin += tl.load(ends + low - 1, mask=low > 0, other=0) - before * ratio
        # A tile behind the last block has nothing to look up.
        for number in range(low, tl.where(filled > 0, high, low)):
            boundary = tl.load(block_ends + number)
            here = tl.load(ends + number) - boundary * ratio
            origin = tl.where(block_f >= boundary.to(tl.float32), here, origin)
        start = tl.where(block_f < total.to(tl.float32), origin + block * ratio, -1)
        tl.store(starts + row * room + block, start, mask=block < room)


def table_width(documents: int) -> int:
    """Entries that `tables` needs for rows of up to so many documents: a power of two, at least 2."""
    if not 1 <= documents <= 4096:
        raise ValueError(f"tables are made for 1 to 4096 documents in a sequence, not {documents}")
    return max(2, 1 << (documents - 1).bit_length())


def boundaries(
    document_lengths: Buffer,
    padded_lengths: Buffer,
    offsets: Buffer,
    tables: Buffer,
    block_counts: Buffer,
    block_totals: Buffer,
    *,
    sequence_length: int,
) -> None:
    """Fill `tables` for `expand` and `blocks`, and count the complete blocks of `RATIOS` tokens.

    `document_lengths` and `padded_lengths` [documents] and `offsets` [b + 1] are the values and offsets of a
    shard's lists, the first offset 0. `tables` [b, 4, W]: cumulative slot ends (the last is the sequence's),
    ends of the documents themselves, cumulative blocks of both ratios; W = `table_width(most documents of a
    row)`. `block_counts` [2, documents], `block_totals` [2, b]. A row with more than W documents is all
    padding to `expand` and has block totals of -1: nothing is cut off silently, and nothing is read back.

    Raises ValueError for buffers whose shapes do not agree.
    """
    rows, width, _ = _shape_of(tables, sequence_length)
    documents = document_lengths.shape[0]
    _expect("document_lengths", document_lengths, (documents,))
    _expect("padded_lengths", padded_lengths, (documents,))
    _expect("offsets", offsets, (rows + 1,))
    _expect("block_counts", block_counts, (2, documents))
    _expect("block_totals", block_totals, (2, rows))
    _boundaries_kernel[(rows,)](
        document_lengths,
        padded_lengths,
        offsets,
        tables,
        block_counts,
        block_totals,
        rows,
        documents,
        sequence_length,
        WIDTH=width,
        RATIO_0=RATIOS[0],
        RATIO_1=RATIOS[1],
    )


def expand(
    tokens: Buffer,
    tables: Buffer,
    positions: Buffer,
    segments: Buffer,
    labels: Buffer,
    *,
    sequence_length: int,
    layout: str = "contiguous",
    context_parallel: tuple[int, int] = (0, 1),
    next_tokens: Buffer | None = None,
    next_offsets: Buffer | None = None,
    offsets: Buffer | None = None,
    ignore: int = IGNORE,
    programs: int = PROGRAMS,
    tile: int = TILE,
) -> None:
    """Fill `positions`, `segments` and `labels`, each [b, L / size] like `tokens`, for rank `(rank, size)`.

    A position counts from the beginning of the document's piece; pads continue it. A segment is the number of
    the document in the sequence, from 1, and 0 for pads. A label is the next token of the same document, or
    `ignore` (so the loss mask is `labels != ignore`).

    `next_tokens` has what follows where the stored tokens do not say: for "contiguous" and size > 1 the token
    behind each row's share [b]; for the zig-zag layouts the shard's column of that name, its values and
    `next_offsets` [b + 1]. "zigzag_documents" needs the `offsets` of the documents too.

    Raises ValueError for buffers whose shapes do not agree with one another or with the layout.
    """
    rows, width, steps = _shape_of(tables, sequence_length)
    rank, ranks = context_parallel
    if not 0 <= rank < ranks:
        raise ValueError(f"context_parallel rank {rank} is not in 0..{ranks}")
    if layout not in ("contiguous", "zigzag", "zigzag_documents"):
        raise ValueError(f"layout {layout!r} is not contiguous, zigzag or zigzag_documents")
    chunks = 1 if layout == "contiguous" else 2
    share = sequence_length // ranks
    if share * ranks != sequence_length or share % chunks:
        raise ValueError(f"{sequence_length} tokens do not divide into {chunks} chunks for {ranks} ranks")
    for name, buffer in (
        ("tokens", tokens),
        ("positions", positions),
        ("segments", segments),
        ("labels", labels),
    ):
        _expect(name, buffer, (rows, share))
    if rows * share >= 1 << 31:
        raise ValueError(f"{rows} rows of {share} tokens are too many for int32: expand fewer rows in a call")
    if (layout != "contiguous" or ranks > 1) and next_tokens is None:
        raise ValueError(f"layout {layout} for {ranks} ranks needs next_tokens")
    if layout == "contiguous" and next_tokens is not None:
        _expect("next_tokens", next_tokens, (rows,))
    if layout != "contiguous":
        if next_offsets is None or (layout == "zigzag_documents" and offsets is None):
            raise ValueError(f"layout {layout} needs next_offsets (zigzag_documents: and offsets)")
        _expect("next_offsets", next_offsets, (rows + 1,))

    if layout == "zigzag_documents":
        assert offsets is not None
        _expect("offsets", offsets, (rows + 1,))
        tile = tile // 2  # with the six planes that it holds for a tile, 4,096 tokens do not fit in 192 KiB
        tiles = -(-share // tile)
        _expand_documents_kernel[(min(programs, rows * tiles),)](
            tokens,
            tables,
            next_tokens,
            next_offsets,
            offsets,
            positions,
            segments,
            labels,
            rows * tiles,
            tiles,
            share,
            rank,
            ranks,
            ignore,
            WIDTH=width,
            STEPS=steps,
            TILE=tile,
        )
        return
    chunk = share // chunks
    tiles = -(-chunk // tile)
    _expand_kernel[(min(programs, rows * chunks * tiles),)](
        tokens,
        tables,
        tokens if next_tokens is None else next_tokens,
        tokens if next_offsets is None else next_offsets,
        positions,
        segments,
        labels,
        rows * chunks * tiles,
        tiles,
        share,
        chunk,
        rank * chunk,
        (2 * ranks - 1 - rank) * chunk,
        rank,
        ignore,
        CHUNKS=chunks,
        NEXT=next_tokens is not None,
        WIDTH=width,
        STEPS=steps,
        TILE=tile,
    )


def blocks(
    tables: Buffer,
    block_totals: Buffer,
    starts: Buffer,
    *,
    sequence_length: int,
    ratio: int,
    programs: int = PROGRAMS,
    tile: int = TILE,
) -> None:
    """Fill `starts` [b, L // ratio] with the first token of each complete block, then -1; ratio is 4 or 128.

    Blocks restart at every document, so that none spans two, and hold no pad; tokens are counted from the
    beginning of the sequence, of which every rank gets the whole table.

    Raises ValueError for another ratio, or buffers whose shapes do not agree.
    """
    rows, width, steps = _shape_of(tables, sequence_length)
    if ratio not in RATIOS:
        raise ValueError(f"ratio {ratio} is not one that boundaries counts: {RATIOS}")
    room = sequence_length // ratio
    if room == 0:
        raise ValueError(f"no block of {ratio} tokens fits in a sequence of {sequence_length}")
    _expect("block_totals", block_totals, (2, rows))
    _expect("starts", starts, (rows, room))
    which = RATIOS.index(ratio)
    tiles = -(-room // tile)
    _blocks_kernel[(min(programs, rows * tiles),)](
        tables,
        block_totals,
        starts,
        rows,
        rows * tiles,
        tiles,
        room,
        ratio,
        PLANE=2 + which,
        WIDTH=width,
        STEPS=steps,
        TILE=tile,
    )


def _shape_of(tables: Buffer, sequence_length: int) -> tuple[int, int, int]:
    """Rows, width and search steps of `tables`."""
    if not 1 <= sequence_length < MAX_SEQUENCE_LENGTH:
        raise ValueError(f"sequence_length {sequence_length} is not in 1..{MAX_SEQUENCE_LENGTH - 1}")
    shape = tuple(tables.shape)
    if len(shape) != 3 or shape[1] != 4 or shape[2] < 2 or shape[2] & (shape[2] - 1):
        raise ValueError(f"tables has shape {shape}, not [rows, 4, table_width(documents)]")
    return shape[0], shape[2], shape[2].bit_length() - 1


def _expect(name: str, buffer: Buffer, shape: tuple[int, ...]) -> None:
    if tuple(buffer.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(buffer.shape)}, not {shape}")
