"""From a token in a shard to the document that it came from: where it stands, in which text, and why.

Costs one sequence of one shard, one row group of `documents/`, and the encoding of one text.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curate.explain import Story, story_of
from curate.local_shard import local_shard
from curate.phases.tokenize import encode, tokenizer_of
from curate.reencode import texts_of
from curate.run_directory import Run, RunError
from curate.sql import connect
from shards.format import ShardError
from shards.sequence import OpenShard
from tokenizer import SpecialIds, Tokenizer

AROUND = 40  # tokens shown on either side
CHARACTERS = 160  # of the text shown on either side


@dataclass(frozen=True)
class Excerpt:
    """What comes before the token, the token's own text, and what comes after."""

    before: str
    here: str
    after: str


@dataclass(frozen=True)
class InText:
    """Where a token of a document lies in its text."""

    excerpt: Excerpt | None  # None for a control token, which is in no text
    character: int | None  # about where the token begins: tokens may cut characters
    fim: bool  # the document was split for fill-in-the-middle, so that its order is another


@dataclass(frozen=True)
class Trace:
    """A token's place in its shard and in its document."""

    shard: str
    sequence: int
    offset: int  # in reading order
    stage: str
    token: int
    padding: bool  # then the document is the last one before it
    document_id: bytes
    source: str
    epoch: int
    piece: tuple[int, int]  # the document's tokens [start, end) that are in this sequence
    position: int | None  # of the token in the document, in tokens; None for padding
    tokens: Excerpt  # decoded
    text: InText | None  # None for padding, and where documents/ does not hold the text
    story: Story | None


def parse(place: str) -> tuple[str, int, int]:
    """Shard, sequence and offset of `SHARD:SEQUENCE:OFFSET`."""
    shard, *numbers = place.rsplit(":", 2)
    try:
        sequence, offset = map(int, numbers)
    except ValueError:
        sequence = offset = -1
    if not shard or min(sequence, offset) < 0:
        raise RunError(
            f"{place}: a token's place is SHARD:SEQUENCE:OFFSET, such as 4K-00000-0000.arrow:12:345 "
            "(the sequence's number in its shard and the token's in the sequence, from 0)"
        )
    return shard, sequence, offset


def trace(run: Run, place: str) -> Trace:
    """All about one token. Raises `RunError` for a place that there is not, with those that there are."""
    wanted, number, offset = parse(place)
    name, path = _find(run, wanted)
    try:
        with local_shard(run, path, name) as file:
            shard = OpenShard(file, name)
            header = shard.header
            try:
                sequence = shard[number]
            except IndexError:
                raise RunError(
                    f"{name} has no sequence {number}; it has 0 to {shard.sequences - 1}"
                ) from None
    except ShardError as error:
        raise RunError(str(error)) from error
    if offset >= header.sequence_length:
        raise RunError(
            f"sequence {number} of {name} has no token {offset}; it has 0 to {header.sequence_length - 1}"
        )
    piece = int(np.searchsorted(sequence.starts, offset, side="right")) - 1
    start, length = int(sequence.starts[piece]), int(sequence.lengths[piece])
    document_offset = sequence.document_offsets[piece]
    padding = offset >= start + length
    position = None if padding else document_offset + offset - start
    document_id = sequence.document_ids[piece]
    spec = run.mixture.tokenizer
    tokenizer = tokenizer_of(spec.preset, spec.bos, spec.eos)
    whole = sequence.tokens[start : start + length]
    at = min(offset - start, length)
    here = whole[at : at + 1] if not padding else sequence.tokens[offset : offset + 1]
    try:
        decoded = Excerpt(
            tokenizer.decode(whole[max(0, at - AROUND) : at]),
            tokenizer.decode(here),
            tokenizer.decode(whole[at + 1 : at + 1 + AROUND]),
        )
    except ValueError as error:
        raise RunError(f"{name}, sequence {number}: {error}: run `curate verify {run.root}`") from error
    return Trace(
        shard=name,
        sequence=number,
        offset=offset,
        stage=header.stage,
        token=int(sequence.tokens[offset]),
        padding=padding,
        document_id=document_id,
        source=header.sources[sequence.source_ids[piece]],
        epoch=sequence.epochs[piece],
        piece=(document_offset, document_offset + length),
        position=position,
        tokens=decoded,
        text=None if position is None else _in_text(run, tokenizer, document_id, position),
        story=story_of(run.root, document_id),
    )


def _find(run: Run, wanted: str) -> tuple[str, str]:
    """Name and path of a shard, with or without its suffix."""
    connection = connect(run.root)
    names = [row[0] for row in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()]
    if "shards" not in names:
        raise RunError(f"{run.root}: no shards here yet: finish the run first")
    statement = "SELECT shard, path FROM shards WHERE shard IN ($name, $name || '.arrow')"
    found = connection.execute(statement, {"name": wanted}).fetchall()
    if not found:
        every = [row[0] for row in connection.execute("SELECT shard FROM shards ORDER BY 1").fetchall()]
        near = difflib.get_close_matches(wanted, every, n=1, cutoff=0) or every[:1]
        raise RunError(
            f"no shard {wanted!r} in this run of {len(every)}" + (f"; nearest: {near[0]}" if near else "")
        )
    return found[0][0], found[0][1]


def _in_text(run: Run, tokenizer: Tokenizer, document_id: bytes, position: int) -> InText | None:
    texts = texts_of(run, [document_id])
    if texts is None or not len(texts):
        return None
    tokens = encode(run, tokenizer, texts)["tokens"].combine_chunks().values.to_numpy()
    fim = _has_fim(tokens, tokenizer.special)
    before = _tokens_before(tokens, position, tokenizer.special)
    if before is None:
        return InText(None, None, fim)
    text = texts["text"][0].as_py()
    character = min(len(tokenizer.decode(before)), len(text))
    end = min(character + max(1, len(tokenizer.decode(tokens[position : position + 1]))), len(text))
    excerpt = Excerpt(
        text[max(0, character - CHARACTERS) : character],
        text[character:end],
        text[end : end + CHARACTERS],
    )
    return InText(excerpt, character, fim)


def _has_fim(tokens: NDArray[np.int32], special: SpecialIds) -> bool:
    first = 0 if special.bos is None else 1
    return special.fim_begin is not None and len(tokens) > first and int(tokens[first]) == special.fim_begin


def _tokens_before(tokens: NDArray[np.int32], position: int, special: SpecialIds) -> NDArray[np.int32] | None:
    """The tokens of the text that come before a token in the text's own order; None for a control token.

    A split document is BOS begin prefix hole suffix end middle EOS (`curate_kernels.assemble_documents`).
    """
    if not 0 <= position < len(tokens):
        return None
    first = 0 if special.bos is None else 1
    last = len(tokens) - (0 if special.eos is None else 1)
    if not first <= position < last:
        return None
    if not _has_fim(tokens, special):
        return tokens[first:position]
    hole = int(np.flatnonzero(tokens == special.fim_hole)[0])
    end = int(np.flatnonzero(tokens == special.fim_end)[0])
    if position in (first, hole, end):
        return None
    prefix, middle = tokens[first + 1 : hole], tokens[end + 1 : last]
    if position < hole:
        return tokens[first + 1 : position]
    if position > end:
        return np.concatenate([prefix, tokens[end + 1 : position]])
    return np.concatenate([prefix, middle, tokens[hole + 1 : position]])
