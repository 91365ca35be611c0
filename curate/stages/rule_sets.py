"""Rule sets as values, and their application to whole batches.

A rule is bounds on one signal, inclusive, for the documents in its scope and its set's; a language may have
bounds of its own. A document fails with every rule that it broke, in the order of the sets and of their
rows; the first of them is the one that drops it. Applying 40 rules to a batch costs 40 comparisons of
columns, and a look-up of the language per rule with bounds by language: nothing is done per document in
Python.

Signals are never NaN (a share of nothing is 0); should a NaN come, it is within no bounds and fails. A null
signal means that there was nothing to measure, and fails nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

#: Facts about a document that a scope may name; `scripts` are ISO 15924 codes.
FACTS = ("domains", "languages", "scripts", "formats")


@dataclass(frozen=True)
class Scope:
    """Where a rule applies. An empty list of what is in means all; a value that is not known (null)
    is in no list, so that a rule for some languages skips a document of unknown language."""

    domains: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    except_domains: tuple[str, ...] = ()
    except_languages: tuple[str, ...] = ()
    except_scripts: tuple[str, ...] = ()
    except_formats: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [
            f"{field.name.replace('_', ' ')}: {', '.join(values)}"
            for field in fields(self)
            if (values := getattr(self, field.name))
        ]
        return "; ".join(parts)


@dataclass(frozen=True)
class Rule:
    """Bounds on one signal; `name` is `<set>.<rule>`.

    `by_language` has (language, min, max) for languages with bounds of their own, which replace both; None
    is no bound.
    """

    name: str
    signal: str
    min: float | None
    max: float | None
    scope: Scope
    source: str | None
    by_language: tuple[tuple[str, float | None, float | None], ...] = ()

    def bounds(self, language: str | None) -> tuple[float | None, float | None]:
        """Minimum and maximum for a language."""
        for name, low, high in self.by_language:
            if name == language:
                return low, high
        return self.min, self.max


@dataclass(frozen=True)
class RuleSet:
    """`values_source` says where the values by language come from."""

    name: str
    version: int
    source: str
    scope: Scope
    rules: tuple[Rule, ...]
    values_source: str | None = None


def fingerprint(rule_sets: Sequence[RuleSet]) -> str:
    """A digest (32 hex digits) of everything that decides, in order; sources are remarks and left out."""

    def decides(rule_set: RuleSet) -> dict[str, object]:
        data = asdict(rule_set)
        del data["values_source"]
        for remark in (data, *data["rules"]):
            del remark["source"]
        return data

    text = json.dumps([decides(rule_set) for rule_set in rule_sets], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def dump(rule_sets: Sequence[RuleSet]) -> str:
    """Rule sets as JSON, for the ledger: what `restore` reads."""
    return json.dumps([asdict(rule_set) for rule_set in rule_sets], sort_keys=True, ensure_ascii=False)


def restore(text: str | bytes) -> tuple[RuleSet, ...]:
    """The rule sets that `dump` wrote."""
    return tuple(
        RuleSet(
            **data
            | {
                "scope": _scope(data["scope"]),
                "rules": tuple(
                    Rule(
                        **rule
                        | {
                            "scope": _scope(rule["scope"]),
                            "by_language": tuple(tuple(row) for row in rule["by_language"]),
                        }
                    )
                    for rule in data["rules"]
                ),
            }
        )
        for data in json.loads(text)
    )


def _scope(data: dict[str, Any]) -> Scope:
    return Scope(**{key: tuple(values) for key, values in data.items()})


def apply_rules(
    signals: pa.RecordBatch,
    rule_sets: Sequence[RuleSet],
    *,
    domain: str | pa.Array | None = None,
    languages: pa.Array | None = None,
    formats: pa.Array | None = None,
) -> tuple[pa.Array, pa.Array]:
    """Failed rules per document (`list<string>`, empty if kept), and the first (`string`, null if kept).

    `signals` has a row per document and a column per signal, as `curate_kernels.signals` gives, and the
    script of the text if it has a column of that name; `domain` is one for all or a column. Raises ValueError
    if a rule's signal is not among the columns.
    """
    rows = signals.num_rows
    rules = [(rule_set, rule) for rule_set in rule_sets for rule in rule_set.rules]
    failed = failures(signals, rules, facts_of(signals, domain, languages, formats))
    names = pa.array([rule.name for _, rule in rules], pa.string())
    document, which = np.nonzero(failed.T)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(document, minlength=rows))]).astype(np.int32)
    first = pa.array(failed.argmax(axis=0) if rules else np.zeros(rows, np.int64), mask=~failed.any(axis=0))
    return pa.ListArray.from_arrays(offsets, names.take(pa.array(which))), names.take(first)


def facts_of(
    signals: pa.RecordBatch,
    domain: str | pa.Array | None,
    languages: pa.Array | None,
    formats: pa.Array | None,
) -> dict[str, pa.Array]:
    """The columns that scopes ask about; null where nothing is known."""
    rows = signals.num_rows
    unknown = pa.nulls(rows, pa.string())
    columns = {
        "domains": pa.repeat(pa.scalar(domain, pa.string()), rows)
        if domain is None or isinstance(domain, str)
        else domain,
        "languages": languages,
        "scripts": signals["script"] if "script" in signals.schema.names else None,
        "formats": formats,
    }
    return {fact: unknown if column is None else column.cast(pa.string()) for fact, column in columns.items()}


def failures(
    signals: pa.RecordBatch, rules: Sequence[tuple[RuleSet, Rule]], facts: Mapping[str, pa.Array]
) -> Mask:
    """Which document fails which rule: a row per rule, a column per document."""
    rows = signals.num_rows
    scopes: dict[Scope, Mask] = {}
    failed = np.zeros((len(rules), rows), dtype=bool)
    for index, (rule_set, rule) in enumerate(rules):
        broken = _broken(signals, rule, facts["languages"])
        for scope in {rule_set.scope, rule.scope} - {Scope()}:
            if scope not in scopes:
                scopes[scope] = _within(scope, facts, rows)
            broken &= scopes[scope]
        failed[index] = broken
    return failed


def _broken(signals: pa.RecordBatch, rule: Rule, languages: pa.Array) -> Mask:
    index = signals.schema.get_field_index(rule.signal)
    if index < 0:
        raise ValueError(f"{rule.name} needs the signal {rule.signal}, which is not among the columns")
    column = signals.column(index)
    values = column.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
    met = np.ones(len(values), dtype=bool)
    low, high = _bounds(rule, languages)
    if low is not None:
        met &= (values >= low) | np.isnan(low)
    if high is not None:
        met &= (values <= high) | np.isnan(high)
    valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return valid & ~met


Bound = float | npt.NDArray[np.float64] | None


def _bounds(rule: Rule, languages: pa.Array) -> tuple[Bound, Bound]:
    """Minimum and maximum, a value per document where languages have their own (NaN for no bound)."""
    if not rule.by_language:
        return rule.min, rule.max
    names = pa.array([language for language, _, _ in rule.by_language], pa.string())
    place = pc.fill_null(pc.index_in(languages, value_set=names), len(names)).to_numpy(zero_copy_only=False)
    table = [(low, high) for _, low, high in rule.by_language] + [(rule.min, rule.max)]
    values = np.array([[np.nan if bound is None else bound for bound in row] for row in table])
    return values[place, 0], values[place, 1]


def _within(scope: Scope, facts: Mapping[str, pa.Array], rows: int) -> Mask:
    mask = np.ones(rows, dtype=bool)
    for fact in FACTS:
        for key, wanted in ((fact, True), (f"except_{fact}", False)):
            if values := getattr(scope, key):
                among = pc.is_in(facts[fact], value_set=pa.array(values, pa.string()))
                mask &= among.to_numpy(zero_copy_only=False) == wanted
    return mask
