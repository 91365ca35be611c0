"""Is a run what it says it is? Every shard, every row of the manifest, and a sample of texts encoded again.

    manifest files ─▶ shards against their rows, one a core ─▶ totals, coverage (SQL) ─▶ texts encoded again

About 4 GB/s a core from page cache, so on most disks as fast as they read. Memory: the manifest rows of a few
units, and what DuckDB sorts (it spills). A shard of a bucket is fetched, looked at, and removed again.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from curate import storage
from curate.local_shard import local_shard
from curate.reencode import Sample, reencode
from curate.run_directory import Run, RunError
from curate.sql import connect
from shards.format import ShardError, ShardHeader
from shards.reader import check_common
from shards.verify import Problem, verify_shard
from shards.verify_manifest import ManifestRows, manifest_rows, table_problems

RERUN = "delete it and run the mixture again: its unit is made anew"
_MANIFEST = ("shards", "sequences", "spans")
_MOST = 20  # lines of one kind


@dataclass
class Totals:
    """What was looked at of one stage."""

    shards: int = 0
    sequences: int = 0
    tokens: int = 0
    padding: int = 0
    bytes: int = 0


@dataclass
class Verdict:
    """What was looked at, and what is wrong; nothing is where `problems` is empty."""

    stages: dict[str, Totals] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    documents_encoded: int = 0
    tokens_encoded: int = 0
    seconds: float = field(default=0.0, compare=False)  # of the look at the shards

    @property
    def bytes(self) -> int:
        return sum(totals.bytes for totals in self.stages.values())


class Watcher(Protocol):
    """Is told how far it is, in bytes; by several threads."""

    def starts(self, what: str, total: int) -> None: ...
    def advance(self, done: int) -> None: ...


class _Nobody:
    def starts(self, what: str, total: int) -> None: ...
    def advance(self, done: int) -> None: ...


def verify(
    run: Run,
    *,
    stage: str | None = None,
    sample: int = 200,
    seed: int | None = None,
    context_parallel: int | None = None,
    workers: int | None = None,
    watcher: Watcher | None = None,
) -> Verdict:
    """Look at all of a run (or one `stage`) and encode `sample` of its documents again.

    The sample is drawn by `seed` (the mixture's, unless given) from the documents in the shards. Raises
    `RunError` where there is nothing to look at.
    """
    watcher = watcher or _Nobody()
    listed = _listed(run, stage)
    verdict = Verdict()
    verdict.problems += _changed_files(run)
    chosen = Sample(sample, run.mixture.seed if seed is None else seed)
    watcher.starts("shards", sum(size for _, _, size in listed.values()))
    workers = workers or os.cpu_count() or 1
    started = time.monotonic()
    headers: dict[str, ShardHeader] = {}
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[list[Problem]]] = deque()
        for rows in _units(run, stage, verdict):
            totals = verdict.stages.setdefault(rows.stage, Totals())
            totals.shards += 1
            totals.sequences += rows.sequences
            totals.tokens += rows.tokens
            totals.padding += rows.padding
            totals.bytes += rows.bytes
            chosen.offer(rows.span_rows)
            waiting.append(pool.submit(_shard, run, rows, context_parallel, watcher.advance, headers))
            if len(waiting) > workers:
                verdict.problems += waiting.popleft().result()
        for future in waiting:
            verdict.problems += future.result()
    verdict.seconds = time.monotonic() - started
    verdict.problems += _not_alike(headers)
    if stage is None:
        verdict.problems += _unlisted(run, listed)
    verdict.problems += _coverage(run, stage)
    if sample:
        watcher.starts("texts", 0)
        encoded = reencode(run, chosen, {name: path for name, (_, path, _) in listed.items()})
        verdict.problems += encoded.problems
        verdict.documents_encoded, verdict.tokens_encoded = encoded.documents, encoded.tokens
    return verdict


def paths_by_stage(run: Run, stage: str | None) -> dict[str, list[str]]:
    """URLs of the shards of each stage, or of one."""
    found: dict[str, list[str]] = {}
    for of, path, _ in _listed(run, stage).values():
        found.setdefault(of, []).append(run.url(path))
    return found


def _listed(run: Run, stage: str | None) -> dict[str, tuple[str, str, int]]:
    """Stage, path and size of every shard to look at, by name; a file that is broken is named later."""
    rows: list[tuple[str, str, str, int]] = []
    for unit in storage.list_files(run.url("manifest/shards")):
        with suppress(storage.StorageError, OSError, pa.ArrowException):
            columns = ["shard", "stage", "path", "bytes"]
            table = storage.read_table(run.url(f"manifest/shards/{unit}"), columns=columns)
            rows += zip(*(table[name].to_pylist() for name in columns), strict=True)
    if not rows:
        raise RunError(f"{run.root}: no shards here to verify (no manifest/shards): finish the run first")
    stages = sorted({row[1] for row in rows})
    if stage is not None and stage not in stages:
        raise RunError(f"no stage {stage!r} in this run; it has: {', '.join(stages)}")
    return {name: (of, path, size) for name, of, path, size in rows if stage in (None, of)}


def _changed_files(run: Run) -> Iterator[Problem]:
    """Manifest files that are not those that their unit published."""
    for phase in ("write", "manifest"):
        for record in run.records(phase):
            for item in record.outputs:
                if not item.path.startswith("manifest/"):
                    continue
                url = run.url(item.path)
                if storage.size(url) is None:
                    yield Problem(item.path, "it is missing", "run the mixture again: its unit is made anew")
                elif storage.checksum(url) != item.checksum:
                    yield Problem(item.path, "it is not the file that the run wrote", RERUN)


def _units(run: Run, stage: str | None, verdict: Verdict) -> Iterator[ManifestRows]:
    """The manifest's rows, shard by shard; what is wrong with them goes into the verdict."""
    seen: dict[str, str] = {}
    for unit in storage.list_files(run.url("manifest/shards")):
        if not unit.endswith(".parquet"):
            continue
        try:
            tables = [storage.read_table(run.url(f"manifest/{name}/{unit}")) for name in _MANIFEST]
            listed = manifest_rows(*tables)
        except (storage.StorageError, OSError, ValueError) as error:
            verdict.problems.append(Problem(f"manifest/*/{unit}", str(error), RERUN))
            continue
        for rows in listed:
            if stage not in (None, rows.stage):
                continue
            if (other := seen.setdefault(rows.shard, unit)) != unit:
                what = f"manifest/shards/{unit} and {other} both list it"
                verdict.problems.append(Problem(rows.shard, what, RERUN))
            for what in table_problems(rows):
                verdict.problems.append(
                    Problem(rows.shard, what, f"delete manifest/*/{unit} and run the mixture again")
                )
            yield rows


def _shard(
    run: Run,
    rows: ManifestRows,
    context_parallel: int | None,
    advance: Callable[[int], None],
    headers: dict[str, ShardHeader],
) -> list[Problem]:
    def keep(header: ShardHeader) -> None:
        headers[rows.shard] = header

    try:
        with local_shard(run, rows.path, rows.shard) as path:
            found = list(
                verify_shard(
                    path, rows, context_parallel=context_parallel, advance=advance, found_header=keep
                )
            )
    except ShardError as error:
        what = str(error).removeprefix(f"{rows.shard}: ")
        found = [Problem(rows.shard, what, "run the mixture again: its unit is made anew")]
    return found


def _not_alike(headers: dict[str, ShardHeader]) -> Iterator[Problem]:
    """Shards of a stage that cannot be in one batch: other tokenizers, pads, orders."""
    first: dict[str, str] = {}
    for name in sorted(headers):
        one = first.setdefault(headers[name].stage, name)
        try:
            check_common(one, headers[one], name, headers[name])
        except ShardError as error:
            what, _, remedy = str(error).removeprefix(f"{name} ").partition(": ")
            yield Problem(name, what, remedy)


def _unlisted(run: Run, listed: dict[str, tuple[str, str, int]]) -> Iterator[Problem]:
    paths = {path for _, path, _ in listed.values()}
    for name in storage.list_files(run.url("shards")):
        if f"shards/{name}" not in paths:
            yield Problem(f"shards/{name}", "no manifest lists it", "delete it, if nothing else needs it")


def _coverage(run: Run, stage: str | None) -> Iterator[Problem]:
    """Every token of a picked document is in its stage once per epoch, and the totals are the plan's."""
    where = "" if stage is None else "WHERE stage = $stage"
    values: dict[str, Any] = {"most": _MOST + 1} | ({} if stage is None else {"stage": stage})
    try:
        connection = connect(run.root)
        rows = connection.execute(_PIECES.format(where=where), values).fetchall()
        totals = connection.execute(_TOTALS).fetchall()
    except (duckdb.Error, RunError) as error:
        yield Problem("manifest", f"cannot be asked: {error}", "run the mixture again")
        return
    for number, (name, document, epoch, offset, length, ends, tokens) in enumerate(rows):
        if number == _MOST:
            yield Problem(f"stage {name}", "further pieces of documents do not fit together", "as above")
            return
        document = document.hex()
        if tokens is None:
            what = f"document {document} is in the shards, and not among the kept ones of manifest/documents"
        elif offset != ends:
            gap = "are there twice" if offset < ends else "are missing"
            first, last = sorted((offset, ends))
            what = f"epoch {epoch} of document {document}: tokens {first} to {last - 1} {gap}"
        else:
            what = f"epoch {epoch} of document {document} ends at {offset + length} of {tokens} tokens"
        yield Problem(f"stage {name}", what, "delete its manifest/spans and run the mixture again")
    for name, *counts in totals:
        if stage in (None, name) and len(set(counts)) > 1:
            kinds = ("spans", "sequences", "shards", "the plan")
            words = ", ".join(f"{kind} {count:,}" for kind, count in zip(kinds, counts, strict=True))
            yield Problem(f"stage {name}", f"tokens do not add up: {words}", "run the mixture again")


#: Pieces that do not begin where the one before them ends, last ones that do not end with the document.
_PIECES = """
WITH pieces AS (
    SELECT stage, document_id, epoch, document_offset, length,
        lag(document_offset + length, 1, 0) OVER piece AS ends,
        lead(document_offset) OVER piece AS next
    FROM spans {where}
    WINDOW piece AS (PARTITION BY stage, document_id, epoch ORDER BY document_offset, length)
)
SELECT stage, pieces.document_id, epoch, document_offset, length, ends, tokens
FROM pieces LEFT JOIN documents ON documents.document_id = pieces.document_id
WHERE tokens IS NULL OR document_offset <> ends OR (next IS NULL AND document_offset + length <> tokens)
ORDER BY ALL LIMIT $most
"""

_TOTALS = """
SELECT stage, coalesce(a.n, 0), coalesce(b.n, 0), coalesce(c.n, 0), coalesce(d.n, 0)
FROM (SELECT stage, sum(length) AS n FROM spans GROUP BY stage) AS a
FULL JOIN (SELECT stage, sum(tokens) AS n FROM sequences GROUP BY stage) AS b USING (stage)
FULL JOIN (SELECT stage, sum(tokens) AS n FROM shards GROUP BY stage) AS c USING (stage)
FULL JOIN (SELECT stage, sum(realised_tokens) AS n FROM plan GROUP BY stage HAVING n > 0) AS d USING (stage)
ORDER BY stage
"""
