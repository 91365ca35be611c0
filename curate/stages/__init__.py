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

from curate.document import LANGUAGES
from curate.stages import language_rules, stop_words, tags
from curate.stages.edits import apply_found, edits_by_document
from curate.stages.language_rules import LanguageRules
from curate.stages.privacy import scan
from curate.stages.rules import RuleSet, apply_rules
from mixtures.privacy import Privacy
from mixtures.spec import Source

#: The language of a source whose text is not prose (ISO 639: no linguistic content).
NO_LANGUAGE = "zxx"


LANGUAGE_COLUMNS = ("language", "language_score", "language_script", "languages", "language_purity")


@dataclass(frozen=True)
class SourceContext:
    """What the stages of one source work by."""

    name: str
    source: Source
    rule_sets: tuple[RuleSet, ...]
    #: What is done with personal data of each kind, and the seed of what stands in for it.
    privacy: Mapping[str, str] = field(default_factory=lambda: Privacy().actions(""))
    seed: int = 0
    language: LanguageRules | None = None  # of the source's filter; read where it is not given


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


def _tags(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    return tags.tag(batch["url"], context.source)


def _language(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    rules = _language_rules(context)
    if rules is None:
        rows = len(batch)
        return {
            "language": pa.repeat(pa.scalar(NO_LANGUAGE), rows),
            "language_score": pa.nulls(rows, pa.float32()),
            "language_script": pa.nulls(rows, pa.string()),
            "languages": pa.repeat(pa.scalar([], LANGUAGES), rows),
            "language_purity": pa.nulls(rows, pa.float32()),
        }
    found = rules.identify(batch["text"])
    return {
        "language": found.language,
        "language_score": found.score,
        "language_script": found.script,
        "languages": found.languages.cast(LANGUAGES),
        "language_purity": found.purity,
    }


def _language_rules(context: SourceContext) -> LanguageRules | None:
    wanted = context.source.language
    return context.language or (None if wanted is None else language_rules.load(wanted))


def _signals(batch: pa.RecordBatch, context: SourceContext) -> dict[str, pa.Array]:
    lines = context.source.lines
    measured, cuts = curate_kernels.measure(batch["text"], batch["format"], line_rules=lines.rules)
    if lines.languages is not None:
        cuts = _of_languages(cuts, batch["language"], lines.languages, True)
    if lines.except_languages:
        cuts = _of_languages(cuts, batch["language"], lines.except_languages, False)
    if stop_words.wanted(context.rule_sets):
        counts = stop_words.count(batch["text"], batch["language"])
    else:
        counts = pa.nulls(len(batch), pa.int64())
    signals = measured.append_column(stop_words.NAME, counts).to_struct_array()
    return {"signals": signals, "line_edits": edits_by_document(cuts, len(batch))}


def signals_type() -> pa.DataType:
    """The type of the column `signals`."""
    measured = curate_kernels.signals(pa.array([], pa.large_string()))
    return measured.append_column(stop_words.NAME, pa.array([], pa.int64())).to_struct_array().type


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
    failed = _concat_lists(batch["privacy_failed"], failed)
    empty = pc.equal(batch["text_bytes"], 0)
    names = pa.repeat(pa.scalar("text.empty"), pc.sum(empty).as_py() or 0)
    failed = _concat_lists(pa.ListArray.from_arrays(_list_offsets(empty), names), failed)
    if (rules := _language_rules(context)) is not None:
        failed = _concat_lists(rules.failed(batch, signals), failed)
    dropped_by = pc.list_element(
        pc.if_else(pc.equal(pc.list_value_length(failed), 0), pa.scalar([None], failed.type), failed), 0
    )
    status = pc.if_else(
        pc.is_null(dropped_by),
        "kept",
        pc.if_else(pc.starts_with(dropped_by, "language."), "language", "rules"),
    )
    return {"failed_rules": failed, "dropped_by": dropped_by, "status": status}


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
    Stage("tags", ("url",), tags.COLUMNS, _tags),
    Stage("language", ("text",), LANGUAGE_COLUMNS, _language),
    Stage("signals", ("text", "format", "language"), ("signals", "line_edits"), _signals),
    Stage("privacy", ("text", "document_id"), ("privacy_edits", "privacy", "privacy_failed"), _privacy),
    Stage("edits", ("text", "line_edits", "privacy_edits"), ("text", "text_bytes", "edits"), _edits),
    Stage(
        "rules",
        ("text_bytes", "signals", "format", "privacy_failed", *LANGUAGE_COLUMNS),
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
