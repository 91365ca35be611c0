"""Personal data and secrets: found in one native scan, then handled kind by kind as the mixture says.

The scan runs at 360 to 940 MB/s on one core (300 to 700 where assignments in code are looked at too); what
follows is columnar and touches only what was found. Kinds, definitions and measured precision are in
`docs/privacy.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.document import FOUND
from curate.stages.edits import lists_by_document
from curate.stages.privacy_rules import placeholders, scanner, stand_ins

#: What `curate_kernels.apply_edits` takes.
EDITS = pa.schema(
    [
        ("row", pa.uint32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("rule", pa.string()),
        ("replacement", pa.string()),
    ]
)


@dataclass(frozen=True)
class Privacy:
    """What the scan of a batch says: edits, findings by kind, and the rules that documents fail."""

    edits: pa.RecordBatch  # schema EDITS, in the order of the texts
    counts: pa.ListArray  # FOUND, one list per text, kinds in the kernel's order
    failed: pa.ListArray  # list<string>: `privacy.<kind>` of each kind whose action is drop


def privacy_spans(
    texts: pa.Array,
    *,
    kinds: tuple[str, ...] | None = None,
    code: pa.Array | bool = False,
    ids: pa.Array | None = None,
    seed: int = 0,
) -> pa.RecordBatch:
    """Findings in `texts` (`large_string`): row, start, end (bytes), kind, detector, key.

    In order and without overlap. `code` says, for all or each, whether assignments of secrets are looked for;
    `key` is a hash of (seed, id, kind, value), equal for equal values of a document.
    """
    flags = pa.repeat(pa.scalar(code), len(texts)) if isinstance(code, bool) else code
    return scanner().spans(
        texts, kinds=None if kinds is None else list(kinds), code=flags, ids=ids, seed=seed
    )


def scan(texts: pa.Array, ids: pa.Array, actions: Mapping[str, str], *, code: bool, seed: int) -> Privacy:
    """Scan the texts and apply the policy `actions` (kind to replace, redact, drop, keep or off)."""
    kinds = tuple(kind for kind, action in actions.items() if action != "off")
    spans = privacy_spans(texts, kinds=kinds, code=code, ids=ids, seed=seed)
    dropping = [kind for kind, action in actions.items() if action == "drop"]
    return Privacy(_edits(spans, actions), _counts(spans, len(texts)), _failed(spans, len(texts), dropping))


def _edits(spans: pa.RecordBatch, actions: Mapping[str, str]) -> pa.RecordBatch:
    """One edit per finding whose kind is replaced or redacted."""
    edited = [kind for kind, action in actions.items() if action in ("replace", "redact")]
    spans = spans.filter(pc.is_in(spans["kind"].cast(pa.string()), pa.array(edited, pa.string())))
    kind = spans["kind"].cast(pa.string())
    names = pa.array(list(placeholders()), pa.string())
    replacement = pa.array(list(placeholders().values()), pa.string()).take(pc.index_in(kind, names))
    replaced = pc.is_in(
        kind, pa.array([kind for kind, action in actions.items() if action == "replace"], pa.string())
    )
    for detector, pool in stand_ins().items():
        here = pc.and_(replaced, pc.equal(spans["detector"].cast(pa.string()), detector))
        drawn = spans["key"].filter(here).to_numpy() % np.uint64(len(pool))
        replacement = pc.replace_with_mask(replacement, here, pool.take(pa.array(drawn)))
    rule = pc.binary_join_element_wise(pa.scalar("privacy"), kind, ".")
    columns = [spans["row"], spans["start"], spans["end"], rule, replacement]
    return pa.RecordBatch.from_arrays(columns, schema=EDITS)


def _counts(spans: pa.RecordBatch, rows: int) -> pa.ListArray:
    kinds = curate_kernels.privacy_kinds()
    row, kind, count = _cells(spans, kinds)
    cells = pa.StructArray.from_arrays(
        [pa.array(kinds, pa.string()).take(pa.array(kind)), pa.array(count.astype(np.int32))],
        fields=list(FOUND.value_type),
    )
    return lists_by_document(row, cells, rows, FOUND)


def _failed(spans: pa.RecordBatch, rows: int, dropping: list[str]) -> pa.ListArray:
    spans = spans.filter(pc.is_in(spans["kind"].cast(pa.string()), pa.array(dropping, pa.string())))
    kinds = curate_kernels.privacy_kinds()
    row, kind, _ = _cells(spans, kinds)
    rules = pa.array([f"privacy.{kind}" for kind in kinds], pa.string())
    return lists_by_document(row, rules.take(pa.array(kind)), rows, pa.list_(pa.string()))


def _cells(spans: pa.RecordBatch, kinds: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, kind (as a place in `kinds`) and number of findings, for each of the two that has any."""
    kind = pc.index_in(spans["kind"].cast(pa.string()), pa.array(kinds, pa.string())).to_numpy()
    cells, count = np.unique(spans["row"].to_numpy().astype(np.int64) * len(kinds) + kind, return_counts=True)
    return cells // len(kinds), cells % len(kinds), count
