"""Encode a keyed sample of texts again, and compare with the tokens in the shards: they are the text's.

A document costs one row group of `documents/` to read (at most 200 by default), the encoding of its text, and
the sequences that hold its pieces. What encodes is what encoded: `curate.phases.tokenize.encode`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import curate_kernels
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate import storage
from curate.local_shard import local_shard
from curate.phases.tokenize import encode, verified_tokenizer
from curate.run_directory import Run
from shards.format import ShardError
from shards.sequence import OpenShard
from shards.verify import Problem

TEXT_COLUMNS = ["document_id", "source", "domain", "language", "text"]
REMEDY = "delete the shard and its source's files in pools/, and run the mixture again"


class Sample:
    """The `size` documents with the smallest keyed draws of all that it is offered, and their spans."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.spans: pa.Table | None = None
        self._bound = np.inf

    def offer(self, spans: pa.Table) -> None:
        """Spans of one shard, with every column of the manifest."""
        if not self.size or not len(spans):
            return
        draws = self._draws(spans)
        taken = spans.filter(pa.array(draws <= self._bound))
        self.spans = taken if self.spans is None else pa.concat_tables([self.spans, taken])
        if len(self.spans) > 64 * self.size:
            self._prune()

    def finish(self) -> pa.Table | None:
        """The spans of the sample, without further ones; None where nothing was offered."""
        if self.spans is not None:
            self._prune()
        return self.spans

    def _prune(self) -> None:
        assert self.spans is not None
        draws = self._draws(self.spans)
        different = np.unique(draws)
        if len(different) > self.size:
            self._bound = different[self.size - 1]
            self.spans = self.spans.filter(pa.array(draws <= self._bound)).combine_chunks()

    def _draws(self, spans: pa.Table) -> NDArray[np.float64]:
        ids = spans["document_id"].combine_chunks()
        draws: NDArray[np.float64] = curate_kernels.keyed_uniform(ids, self.seed, "verify").to_numpy()
        return draws


@dataclass
class Encoded:
    """How much was compared, and what differs."""

    documents: int = 0
    tokens: int = 0
    problems: list[Problem] = field(default_factory=list)


def reencode(run: Run, sample: Sample, paths: Mapping[str, str]) -> Encoded:
    """Encode the texts of a sample and compare every piece of them in every stage and epoch.

    `paths` are where the manifest has the shards, by their names.
    """
    result = Encoded()
    spans = sample.finish()
    if spans is None:
        return result
    spec = run.mixture.tokenizer
    tokenizer = verified_tokenizer(spec.preset, spec.bos, spec.eos)
    ids = sorted(set(spans["document_id"].to_pylist()))
    texts = texts_of(run, ids)
    if texts is None:
        gone = Problem("documents", "there are no texts to encode again", "keep them, or give --sample 0")
        result.problems.append(gone)
        return result
    for missing in sorted(set(ids) - set(texts["document_id"].to_pylist())):
        result.problems.append(
            Problem(f"document {missing.hex()}", "its text is not in documents/", "run the mixture again")
        )
    if not len(texts):
        return result
    pool = encode(run, tokenizer, texts)
    lists = pool["tokens"].combine_chunks()
    bounds, flat = lists.offsets.to_numpy(), lists.values.to_numpy()
    expected = {
        document: flat[bounds[row] : bounds[row + 1]]
        for row, document in enumerate(pool["document_id"].to_pylist())
    }
    by_shard: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for span in spans.to_pylist():
        by_shard[span["shard"]].append(span)
    compared = set()
    for name in sorted(by_shard):
        with ExitStack() as stack:
            try:
                shard = OpenShard(stack.enter_context(local_shard(run, paths[name], name)), name)
            except (ShardError, OSError):
                continue  # the look at the shards has named it
            if shard.header.tokenizer != tokenizer.fingerprint:
                result.problems.append(
                    Problem(
                        name,
                        f"tokenizer {shard.header.tokenizer} made it, here it is {tokenizer.fingerprint}",
                        "verify with the versions that wrote it, or give --sample 0",
                    )
                )
                continue
            for span in sorted(by_shard[name], key=lambda span: (span["sequence"], span["start"])):
                if span["document_id"] in expected:
                    compared.add(span["document_id"])
                    result.tokens += span["length"]
                    result.problems += _compare(shard, span, expected[span["document_id"]])
    result.documents = len(compared)
    return result


def _compare(shard: OpenShard, span: dict[str, Any], expected: NDArray[np.int32]) -> list[Problem]:
    where = f"{span['shard']}, sequence {span['sequence']}"
    document, offset, length = span["document_id"].hex(), span["document_offset"], span["length"]
    try:
        sequence = shard[span["sequence"]]
    except (ShardError, IndexError):
        return []  # the look at the shards has named it
    found = sequence.tokens[span["start"] : span["start"] + length]
    wanted = expected[offset : offset + length]
    if len(wanted) < length:
        what = f"document {document}: {len(expected)} tokens in its text, the piece ends at {offset + length}"
        return [Problem(where, what, REMEDY)]
    if len(found) == length and (odd := np.flatnonzero(found != wanted)).size:
        at = int(odd[0])
        what = (
            f"document {document}: token {offset + at} is {found[at]}, in its text {wanted[at]} "
            f"({len(odd)} of {length} differ)"
        )
        return [Problem(where, what, REMEDY)]
    return []


def texts_of(run: Run, ids: list[bytes]) -> pa.Table | None:
    """Rows of `documents/*.parquet` (`TEXT_COLUMNS`, one chunk each); None where there are no files.

    Reads the ids of all files, and then the row groups that hold one of these.
    """
    files = [name for name in storage.list_files(run.url("documents")) if name.endswith(".parquet")]
    if not files:
        return None
    parts = []
    wanted = pa.table({"document_id": pa.array(ids, pa.binary(16)).cast(pa.binary())})
    with duckdb.connect() as connection:
        if not storage.is_local(run.root):
            connection.register_filesystem(storage.filesystem(run.root)[0])
        connection.register("wanted", wanted)
        pattern = storage.join(run.root.removeprefix("file://"), "documents", "*.parquet").replace("'", "''")
        places = connection.execute(
            "SELECT parse_filename(filename), file_row_number FROM read_parquet("
            f"'{pattern}', filename = true, file_row_number = true) "
            "WHERE document_id IN (SELECT document_id FROM wanted) ORDER BY ALL"
        ).fetchall()
    rows: dict[str, list[int]] = defaultdict(list)
    for file, number in places:
        rows[file].append(number)
    for file, numbers in rows.items():
        with storage.open_arrow(run.url(f"documents/{file}")) as source:
            parquet = pq.ParquetFile(source)
            first = 0
            for group in range(parquet.metadata.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                here = [number - first for number in numbers if first <= number < first + count]
                if here:
                    parts.append(parquet.read_row_group(group, columns=TEXT_COLUMNS).take(pa.array(here)))
                first += count
    return (
        pa.concat_tables(parts).combine_chunks()
        if parts
        else pa.table({name: pa.array([], pa.string()) for name in TEXT_COLUMNS})
    )
