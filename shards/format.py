"""The packed shard: columns, schema metadata and limits. `docs/shard-format.md` is the specification.

A shard is an Arrow IPC *file*, uncompressed, that any Arrow reader opens. A row is a sequence. Beside its
`sequence_length` int32 tokens it costs 36 bytes per document, 8 for every 4,096 tokens, and 44 of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import pyarrow as pa

VERSION = "2"

#: Token planes of one record batch, at most (a single longer sequence is a batch of its own).
BATCH_BYTES = 64 << 20

#: Tokens under one of a sequence's checksums.
CHECKSUM_TOKENS = 4096

#: A rank's part of a token plane begins at a multiple of this many bytes.
SLICE_ALIGNMENT = 512

#: Orders in which the tokens of a sequence can be stored.
Layout = Literal["contiguous", "zigzag", "zigzag_documents"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

#: Lists with one entry per document piece of the sequence.
PER_DOCUMENT = (
    "document_lengths",
    "padded_lengths",
    "document_ids",
    "document_offsets",
    "source_ids",
    "epochs",
)

#: Names of the schema metadata that the format defines begin with this.
PREFIX = "curate."


class ShardError(ValueError):
    """A shard or manifest that is missing, damaged, or of another version; says which and what to do."""


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself in its schema metadata. `sources[source_id]` is a source's name."""

    stage: str
    sequence_length: int
    batch_sequences: int  # rows of every record batch but the last
    pad: int  # token id of padding; never that of end-of-text
    pad_documents_to: int  # a document's slot is its length rounded up to this
    tokenizer: str  # fingerprint
    mixture: str
    sources: tuple[str, ...]
    layout: Layout = "contiguous"  # the order in which tokens are stored
    context_parallel: int = 1  # ranks that a zig-zag layout is made for; contiguous serves any number
    extra: Mapping[str, str] = field(default_factory=dict)  # the writer's own keys

    def schema(self) -> pa.Schema:
        """The shard's schema, with this header as its metadata."""
        own = {
            "version": VERSION,
            "stage": self.stage,
            "sequence_length": str(self.sequence_length),
            "batch_sequences": str(self.batch_sequences),
            "pad": str(self.pad),
            "pad_documents_to": str(self.pad_documents_to),
            "tokenizer": self.tokenizer,
            "mixture": self.mixture,
            "sources": json.dumps(self.sources, ensure_ascii=False),
            "layout": self.layout,
            "context_parallel": str(self.context_parallel),
        }
        return shard_schema(self.sequence_length).with_metadata(
            {PREFIX + name: value for name, value in own.items()} | dict(self.extra)
        )


def plane_alignment(sequence_length: int) -> int:
    """What the file offset of every sequence's token plane is a multiple of: 4 KiB, or 2 MiB above 1 MiB."""
    return 2 << 20 if 4 * sequence_length > 1 << 20 else 4096


def batch_sequences(sequence_length: int) -> int:
    """Rows of a record batch: one where planes side by side would not begin at aligned offsets."""
    if 4 * sequence_length % plane_alignment(sequence_length):
        return 1
    return max(1, BATCH_BYTES // (4 * sequence_length))


def check_layout(layout: str, context_parallel: int, *, sequence_length: int, pad_documents_to: int) -> None:
    """Raise ValueError, saying what would do, unless sequences can be stored in this order."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not one of {', '.join(LAYOUTS)}")
    if context_parallel < 1:
        raise ValueError(f"context_parallel {context_parallel} is below 1")
    if layout != "contiguous" and sequence_length % (2 * context_parallel):
        raise ValueError(
            f"{sequence_length} tokens do not divide into the {2 * context_parallel} chunks of {layout} "
            f"over {context_parallel} ranks"
        )
    share, rest = divmod(sequence_length, context_parallel)
    if context_parallel > 1 and (rest or 4 * share % SLICE_ALIGNMENT):
        raise ValueError(
            f"each of {context_parallel} ranks gets {sequence_length / context_parallel:g} of "
            f"{sequence_length} tokens, which is no multiple of {SLICE_ALIGNMENT // 4} (512 bytes): "
            f"at most {max(1, sequence_length // (SLICE_ALIGNMENT // 4))} ranks"
        )
    if layout == "zigzag_documents" and pad_documents_to % (2 * context_parallel):
        raise ValueError(
            f"{layout} over {context_parallel} ranks cuts each document into {2 * context_parallel} chunks: "
            f"pad_documents_to has to be a multiple of that, not {pad_documents_to}"
        )


def shard_schema(sequence_length: int) -> pa.Schema:
    """The columns of a shard; most lists have one entry per document of the sequence, in its order."""
    runs = -(-sequence_length // CHECKSUM_TOKENS)
    return pa.schema(
        [
            # First, so that a record batch's body begins with the token plane.
            pa.field("tokens", pa.list_(pa.int32(), sequence_length), nullable=False),
            pa.field("document_lengths", pa.list_(pa.int32()), nullable=False),
            pa.field("padded_lengths", pa.list_(pa.int32()), nullable=False),
            pa.field("next_tokens", pa.list_(pa.int32()), nullable=False),
            pa.field("token_checksums", pa.list_(pa.uint64(), runs), nullable=False),
            pa.field("checksum", pa.uint64(), nullable=False),
            pa.field("document_ids", pa.list_(pa.binary(16)), nullable=False),
            pa.field("document_offsets", pa.list_(pa.int64()), nullable=False),
            pa.field("source_ids", pa.list_(pa.int16()), nullable=False),
            pa.field("epochs", pa.list_(pa.int16()), nullable=False),
            pa.field("padding", pa.int32(), nullable=False),
            pa.field("sum_squared_lengths", pa.int64(), nullable=False),
        ]
    )


def read_header(schema: pa.Schema, where: str) -> ShardHeader:
    """The header in a shard's schema; `where` names the file in errors.

    Raises ShardError if the file is no shard, has another format version, or its columns differ.
    """
    try:
        metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
        version = metadata.get(PREFIX + "version")
        if version is None:
            raise ShardError(f"{where}: no '{PREFIX}version' in its metadata: not a shard of this project")
        if version != VERSION:
            raise ShardError(
                f"{where}: format version {version!r}, this build reads {VERSION!r}: read it with its own"
            )
        own = {
            name.removeprefix(PREFIX): value for name, value in metadata.items() if name.startswith(PREFIX)
        }
        sources = json.loads(own["sources"])
        if not isinstance(sources, list) or not all(isinstance(name, str) for name in sources):
            raise ShardError(f"{where}: '{PREFIX}sources' is not a list of names")
        header = ShardHeader(
            stage=own["stage"],
            sequence_length=int(own["sequence_length"]),
            batch_sequences=int(own["batch_sequences"]),
            pad=int(own["pad"]),
            pad_documents_to=int(own["pad_documents_to"]),
            tokenizer=own["tokenizer"],
            mixture=own["mixture"],
            sources=tuple(sources),
            layout=cast(Layout, own["layout"]),
            context_parallel=int(own["context_parallel"]),
            extra={name: value for name, value in metadata.items() if not name.startswith(PREFIX)},
        )
    except KeyError as error:
        raise ShardError(f"{where}: '{PREFIX}{error.args[0]}' is missing from its metadata") from error
    except ShardError:
        raise
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{where}: broken metadata: {error}") from error
    if not 0 < header.sequence_length < 1 << 31 or header.batch_sequences < 1 or header.pad_documents_to < 1:
        raise ShardError(f"{where}: sequence_length, batch_sequences and pad_documents_to must be positive")
    try:
        check_layout(
            header.layout,
            header.context_parallel,
            sequence_length=header.sequence_length,
            pad_documents_to=header.pad_documents_to,
        )
    except ValueError as error:
        raise ShardError(f"{where}: broken metadata: {error}") from error
    if not schema.equals(shard_schema(header.sequence_length)):
        raise ShardError(f"{where}: its columns are not those of format version {VERSION}")
    return header
