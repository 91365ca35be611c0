"""Per-document stages: functions from a batch of documents to a batch of documents.

A stage says which columns it reads and writes, holds no state between batches, and never looks at
another document. They run in the order of `STAGES`; records that could not be read have left before. Signals
measure the text as it was before the edits, as the published pipelines do: `text_bytes` and all that comes
later is of the edited text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.stages.edits import apply_found, edits_by_document
from curate.stages.language import identify
from curate.stages.privacy import scan
from curate.stages.rules import RuleSet, apply_rules
from mixtures.privacy import Privacy
from mixtures.spec import Source

#: The language of a source whose text is not prose (ISO 639: no linguistic content).
NO_LANGUAGE = "zxx"


@dataclass(frozen=True)
class SourceContext:
    """What the stages of one source work by."""

    name: str
    source: Source
    rule_sets: tuple[RuleSet, ...]
    #: What is done with personal data of each kind, and the seed of what stands in for it.
    privacy: Mapping[str, str] = field(default_factory=lambda: Privacy().actions(""))
    seed: int = 0


@dataclass(frozen=True)
class Stage:
    """One step: `apply` returns the columns that it writes, from a batch that has those it reads."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    apply: Callable[[pa.RecordBatch, SourceContext], dict[str, pa.Array]]


def _unicode(batch: pa.RecordBatch, _: SourceContext) -> dict[str, pa.Array]:
    text = curate_kernels.normalize(batch["text"])
    return {"text": text, "text_bytes": pc.binary_length(text)}


def _domain(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    return {"domain": pa.repeat(pa.scalar(context.source.domain), len(batch))}


def _language(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    if context.source.language is None:
        score = pa.nulls(len(batch), pa.float32())
        return {"language": pa.repeat(pa.scalar(NO_LANGUAGE), len(batch)), "language_score": score}
    language, score = identify(batch["text"])
    return {"language": pc.fill_null(language, "und"), "language_score": pc.fill_null(score, 0.0)}


def _signals(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    lines = context.source.lines
    signals, cuts = curate_kernels.measure(batch["text"], line_rules=lines.rules)
    if lines.languages is not None:
        cuts = _of_languages(cuts, batch["language"], lines.languages, True)
    if lines.except_languages:
        cuts = _of_languages(cuts, batch["language"], lines.except_languages, False)
    return {"signals": signals.to_struct_array(), "line_edits": edits_by_document(cuts, len(batch))}


def _of_languages(
    cuts: pa.RecordBatch, languages: pa.Array, named: tuple[str, ...], wanted: bool
) -> pa.RecordBatch:
    among = pc.equal(pc.is_in(languages, pa.array(named, pa.string())), wanted)
    return cuts.filter(among.take(cuts["row"]))


def _privacy(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    # Assignments of secrets are looked for where the text is no prose.
    code = context.source.language is None
    found = scan(batch["text"], batch["document_id"], context.privacy, code=code, seed=context.seed)
    return {
        "privacy_edits": edits_by_document(found.edits, len(batch)),
        "privacy": found.counts,
        "privacy_failed": found.failed,
    }


def _edits(batch: pa.RecordBatch, _: SourceContext) -> dict[str, pa.Array]:
    text, applied = apply_found(batch["text"], [batch["line_edits"], batch["privacy_edits"]])
    return {"text": text, "text_bytes": pc.binary_length(text), "edits": applied}


def _decide(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    """Every rule that each document fails: language, no text (left), personal data, then the rule sets."""
    signals = pa.RecordBatch.from_struct_array(batch["signals"])
    failed, _ = apply_rules(
        signals,
        context.rule_sets,
        domain=context.source.domain,
        languages=batch["language"],
        formats=batch["format"],
    )
    empty = pc.if_else(pc.equal(batch["text_bytes"], 0), "text.empty", pa.scalar(None, pa.string()))
    built_in = pc.coalesce(_language_rule(batch, context), empty)
    prefix = pa.ListArray.from_arrays(_list_offsets(pc.is_valid(built_in)), built_in.drop_null())
    failed = _concat_lists(prefix, _concat_lists(batch["privacy_failed"], failed))
    dropped_by = pc.list_element(
        pc.if_else(pc.equal(pc.list_value_length(failed), 0), pa.scalar([None], failed.type), failed), 0
    )
    status = pc.if_else(
        pc.is_null(dropped_by),
        "kept",
        pc.if_else(pc.starts_with(dropped_by, "language."), "language", "rules"),
    )
    return {"failed_rules": failed, "dropped_by": dropped_by, "status": status}


def _language_rule(batch: pa.RecordBatch, context: SourceContext) -> pa.Array:
    wanted = context.source.language
    if wanted is None:
        return pa.nulls(len(batch), pa.string())
    none = pa.scalar(None, pa.string())
    rule = pc.if_else(pc.less(batch["language_score"], wanted.min_score), "language.min_score", none)
    if wanted.allow is not None:
        allowed = pc.is_in(batch["language"], pa.array(wanted.allow, pa.string()))
        rule = pc.if_else(allowed, rule, "language.allow")
    if wanted.deny:
        rule = pc.if_else(
            pc.is_in(batch["language"], pa.array(wanted.deny, pa.string())), "language.deny", rule
        )
    return rule


def _list_offsets(present: pa.Array) -> pa.Array:
    counts = pc.cumulative_sum(present.cast(pa.int32()))
    return pa.concat_arrays([pa.array([0], pa.int32()), counts])


def _concat_lists(first: pa.ListArray, second: pa.ListArray) -> pa.ListArray:
    """Row by row concatenation of two list columns without nulls."""
    rows = pa.concat_arrays([pc.list_parent_indices(first), pc.list_parent_indices(second)])
    values = pa.concat_arrays([pc.list_flatten(first), pc.list_flatten(second)])
    order = pc.sort_indices(
        pa.table({"row": rows, "place": pa.array(np.arange(len(rows)))}),
        sort_keys=[("row", "ascending"), ("place", "ascending")],
    )
    lengths = pc.add(pc.list_value_length(first), pc.list_value_length(second))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths.cast(pa.int32()))])
    return pa.ListArray.from_arrays(offsets, values.take(order))


STAGES: tuple[Stage, ...] = (
    Stage("unicode", ("text",), ("text", "text_bytes"), _unicode),
    Stage("domain", (), ("domain",), _domain),
    Stage("language", ("text",), ("language", "language_score"), _language),
    Stage("signals", ("text", "language"), ("signals", "line_edits"), _signals),
    Stage("privacy", ("text", "document_id"), ("privacy_edits", "privacy", "privacy_failed"), _privacy),
    Stage("edits", ("text", "line_edits", "privacy_edits"), ("text", "text_bytes", "edits"), _edits),
    Stage(
        "rules",
        ("text_bytes", "signals", "language", "language_score", "format", "privacy_failed"),
        ("failed_rules", "dropped_by", "status"),
        _decide,
    ),
)


def run_stages(batch: pa.RecordBatch, context: SourceContext) -> pa.RecordBatch:
    """All stages over a batch of documents that could be read."""
    columns = {name: batch[name] for name in batch.schema.names}
    for stage in STAGES:
        view = pa.RecordBatch.from_pydict({name: columns[name] for name in stage.reads} or columns)
        written = stage.apply(view, context)
        if tuple(written) != stage.writes:
            raise AssertionError(f"stage {stage.name} wrote {tuple(written)}, not {stage.writes}")
        columns |= written
    return pa.RecordBatch.from_pydict(columns)
