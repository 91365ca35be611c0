"""What other rules would keep: answered from the ledger, without reading a text.

For each document of a source that a change concerns: the rules that it failed, less those that changed,
and those that it fails under their new bounds. So only changed and added rules are evaluated, on the signals
that the ledger holds, and whatever else dropped a document (its language, a secret) stays as it was.
The rules in force are those that the ledger files carry.

Memory: the columns needed of one ledger file at a time. The sample's 63,089 documents take about a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage
from curate.rules_in_force import ledger_files, rules_in_force, source_of
from curate.run_directory import Run, RunError
from curate.stages.rule_sets import Mask, Rule, RuleSet, facts_of, failures
from curate.stages.rules import load_rules, nearest, shipped_rules

#: The rule of a source's language filter that can be set, and the built-in ones that can be turned off.
MIN_SCORE = "language.min_score"

Count = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """A bound to change: `value` None takes it away; without a language it is that of every language."""

    rule: str
    bound: str
    language: str | None
    value: float | None


@dataclass(frozen=True)
class Changes:
    """What to ask: bounds to set, rules or whole sets to turn off, sets to add; of all sources or some."""

    settings: tuple[Setting, ...] = ()
    off: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass
class Cell:
    """Documents of one source and language. Tokens of added documents are estimates."""

    kept: int = 0
    kept_after: int = 0
    removed: int = 0
    removed_bytes: int = 0
    removed_tokens: int = 0
    removed_duplicates: int = 0
    added: int = 0
    added_bytes: int = 0
    added_tokens: int = 0
    #: Text bytes and tokens of the documents that were tokenized: what estimates rest on.
    tokenized_bytes: int = field(default=0, repr=False)
    tokens: int = field(default=0, repr=False)


@dataclass
class Answer:
    """Cells by (source, language), and failures before and after of every rule that changed."""

    cells: dict[tuple[str, str], Cell]
    rules: dict[str, list[int]]
    tokenized: bool = False
    notes: list[str] = field(default_factory=list)
    #: Rules that could not be asked, and the sources without their signal.
    unmeasured: dict[str, set[str]] = field(default_factory=dict)


def parse_setting(text: str) -> Setting:
    """`set.rule.min=80`, `set.rule.max.fr=0.2`, `language.min_score=0.8`; `none` for no bound."""
    left, separator, right = text.partition("=")
    parts = left.strip().split(".")
    if not separator:
        raise RunError(f"--set {text}: write it as SET.RULE.min=VALUE or SET.RULE.max=VALUE")
    try:
        value = None if right.strip().lower() == "none" else float(right)
    except ValueError:
        raise RunError(f"--set {text}: {right.strip()!r} is not a number (or none)") from None
    if value is not None and not np.isfinite(value):
        raise RunError(f"--set {text}: the value must be finite; none takes the bound away")
    if left.strip() == MIN_SCORE:
        return Setting(MIN_SCORE, "min", None, value)
    if len(parts) not in (3, 4):
        raise RunError(f"--set {text}: write it as SET.RULE.min=VALUE or SET.RULE.max=VALUE")
    if parts[2] not in ("min", "max"):
        raise RunError(f"--set {text}: {parts[2]!r} is no bound{nearest(parts[2], ('min', 'max'))}")
    return Setting(f"{parts[0]}.{parts[1]}", parts[2], parts[3] if len(parts) == 4 else None, value)


def ask(run: Run, changes: Changes) -> Answer:
    """What the changes would keep and drop.

    Raises RunError for a rule, set or source that the run does not have, with the nearest that it has, and
    RuleError for a set to add that cannot be read.
    """
    ledgers = ledger_files(run)
    if not ledgers:
        raise RunError(f"{run.root}: no ledger yet; `curate run` its mixture first")
    for source in changes.sources:
        if source not in run.mixture.sources:
            known = run.mixture.sources
            raise RunError(
                f"there is no source {source!r}{nearest(source, known)}; known: {', '.join(known)}"
            )
    in_force, unsaid = rules_in_force(run, ledgers)
    added = load_rules(changes.added)
    _check(
        changes,
        [rule_set for sets in in_force.values() for rule_set in sets],
        _failed_names(run, ledgers) if changes.off else set(),
    )
    answer = Answer({}, {})
    manifests = set(storage.list_files(run.url("manifest/documents")))
    for name in ledgers:
        _count(run, name, name in manifests, in_force[name], added, changes, answer)
    _estimate(answer)
    for rule, sources in answer.unmeasured.items():
        answer.notes.append(
            f"{rule} was not asked: its signal was not measured for {', '.join(sorted(sources))}"
        )
    if unsaid:
        answer.notes.append(
            "the ledger does not say which rules were in force: the rule files as they are now were taken"
        )
    return answer


def _failed_names(run: Run, ledgers: Sequence[str]) -> set[str]:
    """Every rule that a document of the run failed."""
    names: set[str] = set()
    for name in ledgers:
        column = storage.read_table(run.url(f"ledger/{name}"), columns=["failed_rules"])["failed_rules"]
        names.update(pc.unique(pc.list_flatten(column)).to_pylist())
    return names


def _check(changes: Changes, in_force: Sequence[RuleSet], failed: set[str]) -> None:
    """Every name that the changes use must be one of the run."""
    rules = {rule.name: rule for rule_set in in_force for rule in rule_set.rules}
    sets = {rule_set.name for rule_set in in_force}
    for setting in changes.settings:
        if setting.rule != MIN_SCORE and setting.rule not in rules:
            raise RunError(f"--set: {_unknown(setting.rule, sets, [*rules, MIN_SCORE])}")
    built_in = {MIN_SCORE, "language.allow", "language.deny", "text.empty"} | failed
    for name in changes.off:
        if name not in rules and name not in sets and name not in built_in:
            raise RunError(f"--off: {_unknown(name, sets, [*rules, *sorted(sets), *sorted(built_in)])}")


def _unknown(name: str, sets: set[str], known: Sequence[str]) -> str:
    rule_set = name.partition(".")[0]
    if rule_set not in sets and rule_set in shipped_rules():
        return f"no source of this run has the rule set {rule_set!r}; --add {rule_set} asks what it would do"
    if rule_set not in sets and (close := nearest(rule_set, sorted(sets))):
        return f"this run has no rule set {rule_set!r}{close}"
    return f"this run has no rule {name!r}{nearest(name, known)}"


def _changed(rules: Sequence[RuleSet], changes: Changes) -> list[tuple[RuleSet, Rule]]:
    """The rules of a source that have other bounds, with these."""
    found = []
    for rule_set in rules:
        for rule in rule_set.rules:
            new = rule
            for setting in changes.settings:
                if setting.rule == rule.name:
                    new = _with(new, setting)
            if new is not rule:
                found.append((rule_set, new))
    return found


def _with(rule: Rule, setting: Setting) -> Rule:
    """The rule with one bound changed."""
    bounds: dict[str, list[float | None]] = {row[0]: [row[1], row[2]] for row in rule.by_language}
    default = [rule.min, rule.max]
    place = 0 if setting.bound == "min" else 1
    if setting.language is None:
        for row in (default, *bounds.values()):
            row[place] = setting.value
    else:
        bounds.setdefault(setting.language, list(default))[place] = setting.value
    for language, (low, high) in [("", default), *bounds.items()]:
        if low is not None and high is not None and low > high:
            where = f" for {language}" if language else ""
            raise RunError(f"{rule.name}: min {low:g} is above max {high:g}{where}: no document meets both")
    by_language = tuple((language, low, high) for language, (low, high) in sorted(bounds.items()))
    return dataclasses.replace(rule, min=default[0], max=default[1], by_language=by_language)


def _count(
    run: Run,
    name: str,
    has_manifest: bool,
    in_force: tuple[RuleSet, ...],
    added: tuple[RuleSet, ...],
    changes: Changes,
    answer: Answer,
) -> None:
    """Add the documents of one ledger file to the answer."""
    source = source_of(name)
    concerned = not changes.sources or source in changes.sources
    # A set that the source has already adds nothing.
    here = {rule_set.name for rule_set in in_force}
    changed = _changed(in_force, changes) if concerned else []
    new = [(s, rule) for s in added if s.name not in here for rule in s.rules] if concerned else []
    off = [rule for rule in changes.off if concerned]
    stripped = {rule.name for _, rule in changed} | set(off)
    stripped |= {rule.name for s in in_force if s.name in off for rule in s.rules}
    minimum = [s.value for s in changes.settings if s.rule == MIN_SCORE] if concerned else []
    spec = run.mixture.sources.get(source)
    if minimum and spec is not None and spec.language is not None:
        stripped.add(MIN_SCORE)
    evaluated = [(s, rule) for s, rule in (*changed, *new) if rule.name not in off and s.name not in off]
    table, signals = _read(run, name, {rule.signal for _, rule in evaluated})
    for _, rule in evaluated:
        if not _measured(signals, rule.signal):
            answer.unmeasured.setdefault(rule.name, set()).add(source)
    evaluated = [(s, rule) for s, rule in evaluated if source not in answer.unmeasured.get(rule.name, ())]
    failed_now, remaining = _failed(table, stripped)
    fails = remaining > 0
    if evaluated:
        columns = {key: table[key].combine_chunks() for key in ("domain", "language", "format")}
        facts = facts_of(signals, columns["domain"], columns["language"], columns["format"])
        readable = pc.not_equal(table["status"], "quarantined").to_numpy()
        broken = failures(signals, evaluated, facts) & readable
        fails |= broken.any(axis=0)
        for (_, rule), row in zip(evaluated, broken, strict=True):
            answer.rules.setdefault(rule.name, [0, 0])[1] += int(row.sum())
    if MIN_SCORE in stripped and MIN_SCORE not in off and minimum and minimum[-1] is not None:
        score = table["language_score"].combine_chunks()
        low = pc.fill_null(pc.less(score, pa.scalar(minimum[-1], pa.float32())), False)
        low = low.to_numpy(zero_copy_only=False)
        fails |= low
        answer.rules.setdefault(MIN_SCORE, [0, 0])[1] += int(low.sum())
    for stripped_rule in stripped:
        answer.rules.setdefault(stripped_rule, [0, 0])[0] += failed_now.get(stripped_rule, 0)
    _tally(run, name, source, table, ~fails, has_manifest, answer)


def _read(run: Run, name: str, signals: set[str]) -> tuple[pa.Table, pa.RecordBatch]:
    """The columns of a ledger file that the question needs, and those of the signals that it has."""
    with storage.open_arrow(run.url(f"ledger/{name}")) as source, pq.ParquetFile(source) as file:
        struct = file.schema_arrow.field("signals").type
        present = {struct.field(index).name for index in range(struct.num_fields)}
        wanted = sorted((signals | {"script"}) & present)
        columns = ["language", "language_score", "domain", "format", "status", "text_bytes", "failed_rules"]
        table = file.read(columns=[*columns, *(f"signals.{signal}" for signal in wanted)])
    if not wanted:
        return table, pa.RecordBatch.from_arrays([pa.nulls(len(table))], ["none"])
    parts = table["signals"].combine_chunks()
    return table, pa.RecordBatch.from_arrays([pc.struct_field(parts, signal) for signal in wanted], wanted)


def _measured(signals: pa.RecordBatch, signal: str) -> bool:
    """Whether the ledger has the signal: older ones lack some, and some are measured where a rule asks."""
    if signal not in signals.schema.names:
        return False
    column = signals[signal]
    return len(column) == 0 or column.null_count < len(column)


def _failed(table: pa.Table, stripped: set[str]) -> tuple[dict[str, int], Count]:
    """Failures of each stripped rule as the ledger has them, and per document those of other rules."""
    column = table["failed_rules"].combine_chunks()
    parents = pc.list_parent_indices(column).to_numpy()
    names = pc.list_flatten(column)
    gone = pc.is_in(names, value_set=pa.array(sorted(stripped), pa.string())).to_numpy(zero_copy_only=False)
    remaining = np.bincount(parents[~gone], minlength=len(table))
    counted = pc.value_counts(names.filter(pa.array(gone))).to_pylist()
    return {item["values"]: item["counts"] for item in counted}, remaining


def _tally(
    run: Run, name: str, source: str, table: pa.Table, passes: Mask, has_manifest: bool, answer: Answer
) -> None:
    """Sum up what is kept before and after by language."""
    rows = len(table)
    readable = pc.not_equal(table["status"], "quarantined").to_numpy()
    before = pc.equal(table["status"], "kept").to_numpy()
    after = passes & readable
    sizes = pc.fill_null(table["text_bytes"], 0).to_numpy()
    tokens, tokenized = np.zeros(rows, np.int64), np.zeros(rows, bool)
    duplicate = np.zeros(rows, bool)
    if has_manifest:
        fate = storage.read_table(run.url(f"manifest/documents/{name}"), columns=["status", "tokens"])
        if len(fate) == rows:  # of an unfinished rerun it may be another's
            tokenized = fate["tokens"].is_valid().to_numpy()
            tokens = pc.fill_null(fate["tokens"], 0).to_numpy()
            duplicate = pc.equal(fate["status"], "duplicate").to_numpy()
            answer.tokenized = True
    encoded = pc.fill_null(table["language"], "").combine_chunks().dictionary_encode()
    languages: list[str] = encoded.dictionary.to_pylist()
    index = encoded.indices.to_numpy()

    def total(mask: Mask, values: npt.NDArray[Any] | None = None) -> list[int]:
        sums = np.zeros(len(languages), np.int64)
        np.add.at(sums, index[mask], 1 if values is None else values[mask])
        return [int(value) for value in sums]

    removed, new = before & ~after, after & ~before
    sums = {
        "kept": total(before),
        "kept_after": total(after),
        "removed": total(removed),
        "removed_bytes": total(removed, sizes),
        "removed_tokens": total(removed, tokens),
        "removed_duplicates": total(removed & duplicate),
        "added": total(new),
        "added_bytes": total(new, sizes),
        "tokenized_bytes": total(tokenized, sizes),
        "tokens": total(tokenized, tokens),
    }
    for place, language in enumerate(languages):
        cell = answer.cells.setdefault((source, language), Cell())
        for key, values in sums.items():
            setattr(cell, key, getattr(cell, key) + values[place])


def _estimate(answer: Answer) -> None:
    """Tokens of added documents, by the bytes a token of their source and language, else source, else all."""
    by_source: dict[str, list[int]] = {}
    everything = [0, 0]
    for (source, _), cell in answer.cells.items():
        for sums in (by_source.setdefault(source, [0, 0]), everything):
            sums[0] += cell.tokenized_bytes
            sums[1] += cell.tokens
    for (source, _), cell in answer.cells.items():
        known = ((cell.tokenized_bytes, cell.tokens), by_source[source], everything)
        size, tokens = next((pair for pair in known if pair[0] and pair[1]), (0, 0))
        cell.added_tokens = round(cell.added_bytes * tokens / size) if size else 0
