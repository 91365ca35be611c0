"""Rules as data: bounds on signals, read from YAML, applied to whole batches.

A rule set is a file `curate/rules/<name>.yaml`: name, version, source, an optional scope, and rows
`{signal, min, max}`. Bounds are inclusive. A document fails with every rule it broke, in the order of the
sets and of their rows; the first of them is the one that drops it. Applying 40 rules to a batch costs
40 comparisons of columns: nothing is done per document in Python.

Signals are never NaN (a share of nothing is 0); should a NaN come, it is within no bounds and fails. A null
signal means that there was no text to measure, and fails nothing.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import curate_kernels
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

SHIPPED = Path(__file__).parent.parent / "rules"

Mask = npt.NDArray[np.bool_]
Place = tuple[int | str, ...]  # keys and indices down to a value of a YAML file


class RuleError(ValueError):
    """A rules file that cannot be used: says where, what, and the nearest valid name."""


@dataclass(frozen=True)
class Scope:
    """Where a rule applies. An empty list of what is in means all; a value that is not known (null)
    is in no list, so that a rule for some languages skips a document of unknown language."""

    domains: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    except_domains: tuple[str, ...] = ()
    except_languages: tuple[str, ...] = ()
    except_formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """Bounds on one signal, inclusive; `name` is `<set>.<rule>`."""

    name: str
    signal: str
    min: float | None
    max: float | None
    scope: Scope
    source: str | None


@dataclass(frozen=True)
class RuleSet:
    name: str
    version: int
    source: str
    scope: Scope
    rules: tuple[Rule, ...]


def shipped_rules() -> tuple[str, ...]:
    """Names of the rule sets that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def load_rules(names: Sequence[str]) -> tuple[RuleSet, ...]:
    """Rule sets by name, or by path of a YAML file.

    Raises RuleError for an unknown name or key, a wrong type, an unknown signal, or bounds that
    nothing meets.
    """
    sets = tuple(_load(_path(name)) for name in names)
    loaded = [rule_set.name for rule_set in sets]
    if twice := [name for name in loaded if loaded.count(name) > 1]:
        raise RuleError(f"rule set {twice[0]} is named twice: its rules would share their names")
    return sets


def fingerprint(rule_sets: Sequence[RuleSet]) -> str:
    """A digest (32 hex digits) of everything that decides, in order; sources are remarks and left out."""

    def decides(rule_set: RuleSet) -> dict[str, object]:
        fields = asdict(rule_set)
        for remark in (fields, *fields["rules"]):
            del remark["source"]
        return fields

    text = json.dumps([decides(rule_set) for rule_set in rule_sets], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def apply_rules(
    signals: pa.RecordBatch,
    rule_sets: Sequence[RuleSet],
    *,
    domain: str | pa.Array | None = None,
    languages: pa.Array | None = None,
    formats: pa.Array | None = None,
) -> tuple[pa.Array, pa.Array]:
    """Failed rules per document (`list<string>`, empty if kept), and the first (`string`, null if kept).

    `signals` has a row per document and a column per signal, as `curate_kernels.signals` gives; `domain` is
    one for all or a column. Raises ValueError if a rule's signal is not among the columns.
    """
    rows = signals.num_rows
    facts = {
        "domains": pa.repeat(pa.scalar(domain, pa.string()), rows)
        if domain is None or isinstance(domain, str)
        else domain,
        "languages": languages if languages is not None else pa.nulls(rows, pa.string()),
        "formats": formats if formats is not None else pa.nulls(rows, pa.string()),
    }
    scopes: dict[Scope, Mask] = {}

    def within(scope: Scope) -> Mask:
        if scope not in scopes:
            scopes[scope] = _within(scope, facts, rows)
        return scopes[scope]

    rules = [(rule_set, rule) for rule_set in rule_sets for rule in rule_set.rules]
    failed = np.zeros((len(rules), rows), dtype=bool)
    for index, (rule_set, rule) in enumerate(rules):
        broken = _broken(signals, rule)
        for scope in {rule_set.scope, rule.scope} - {Scope()}:
            broken &= within(scope)
        failed[index] = broken
    names = pa.array([rule.name for _, rule in rules], pa.string())
    document, which = np.nonzero(failed.T)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(document, minlength=rows))]).astype(np.int32)
    first = pa.array(failed.argmax(axis=0) if rules else np.zeros(rows, np.int64), mask=~failed.any(axis=0))
    return pa.ListArray.from_arrays(offsets, names.take(pa.array(which))), names.take(first)


def _broken(signals: pa.RecordBatch, rule: Rule) -> Mask:
    index = signals.schema.get_field_index(rule.signal)
    if index < 0:
        raise ValueError(f"{rule.name} needs the signal {rule.signal}, which is not among the columns")
    column = signals.column(index)
    values = column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
    met = np.ones(len(values), dtype=bool)
    if rule.min is not None:
        met &= values >= rule.min
    if rule.max is not None:
        met &= values <= rule.max
    valid: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return valid & ~met


def _within(scope: Scope, facts: dict[str, pa.Array], rows: int) -> Mask:
    mask = np.ones(rows, dtype=bool)
    for fact, column in facts.items():
        for key, wanted in ((fact, True), (f"except_{fact}", False)):
            if values := getattr(scope, key):
                plain = column.cast(pa.string())
                among = pc.is_in(plain, value_set=pa.array(values, pa.string())).to_numpy(
                    zero_copy_only=False
                )
                mask &= among == wanted
    return mask


# --- Reading a file -------------------------------------------------------------------------------


class _Scope(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    domains: list[str] = []
    languages: list[str] = []
    formats: list[str] = []
    except_domains: list[str] = []
    except_languages: list[str] = []
    except_formats: list[str] = []

    def freeze(self) -> Scope:
        return Scope(**{key: tuple(values) for key, values in self.model_dump().items()})


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str | None = None
    signal: str
    min: float | None = None
    max: float | None = None
    scope: _Scope = _Scope()
    source: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    version: int
    source: str
    scope: _Scope = _Scope()
    rules: list[_Row]


def _path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RuleError(f"{name}: there is no such rules file")
        return path
    if name not in shipped_rules():
        raise RuleError(
            f"there is no rule set {name!r}{_nearest(name, shipped_rules())}; known:"
            f" {', '.join(shipped_rules())}, or a path that ends in .yaml"
        )
    return SHIPPED / f"{name}.yaml"


def _load(path: Path) -> RuleSet:
    data, lines = _read(path)

    def error(place: Place, message: str) -> RuleError:
        known = next(place[:n] for n in range(len(place), -1, -1) if place[:n] in lines)
        return RuleError(f"{path}:{lines[known]}: {message}")

    try:
        file = _File.model_validate(data)
    except ValidationError as invalid:
        first = invalid.errors()[0]
        raise error(first["loc"], _explain(first["type"], first["loc"], first["msg"])) from None
    rules: list[Rule] = []
    signals = curate_kernels.signal_names()
    schema = curate_kernels.signals(pa.array([], pa.large_string())).schema
    texts = {field.name for field in schema if pa.types.is_string(field.type)}
    for index, row in enumerate(file.rules):
        place: Place = ("rules", index)
        if row.signal not in signals:
            raise error(
                (*place, "signal"), f"there is no signal {row.signal!r}{_nearest(row.signal, signals)}"
            )
        if row.signal in texts:
            raise error((*place, "signal"), f"the signal {row.signal} is text: rules are bounds on numbers")
        if row.min is None and row.max is None:
            raise error(place, f"the rule on {row.signal} has neither min nor max")
        if row.min is not None and row.max is not None and row.min > row.max:
            raise error((*place, "min"), f"min {row.min:g} is above max {row.max:g}: no document meets both")
        name = f"{file.name}.{row.name or row.signal}"
        if any(rule.name == name for rule in rules):
            raise error((*place, "name"), f"{name} is there twice: give one of them another name")
        rules.append(Rule(name, row.signal, row.min, row.max, row.scope.freeze(), row.source))
    return RuleSet(file.name, file.version, file.source, file.scope.freeze(), tuple(rules))


def _read(path: Path) -> tuple[object, dict[Place, int]]:
    """The values of a YAML file and the line of each, keys included; keys given twice are an error."""
    try:
        loader = yaml.SafeLoader(path.read_text("utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise RuleError(f"{path}: the file is empty; it needs name, version, source and rules")
        lines = dict(_lines(path, node, (), set()))
        data: object = loader.construct_document(node)
    except yaml.MarkedYAMLError as invalid:
        line = invalid.problem_mark.line + 1 if invalid.problem_mark else 1
        raise RuleError(f"{path}:{line}: {invalid.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as invalid:
        raise RuleError(f"{path}: {invalid}") from None
    except RecursionError:
        raise RuleError(f"{path}: nested too deeply for a rules file") from None
    return data, lines


def _lines(path: Path, node: yaml.Node, place: Place, known: set[int]) -> Iterator[tuple[Place, int]]:
    yield place, node.start_mark.line + 1
    if id(node) in known:  # an alias could expand without end
        raise RuleError(f"{path}:{node.start_mark.line + 1}: aliases (*name) are not for rules; write it out")
    known.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise RuleError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is there twice")
            seen.add(key.value)
            yield from _lines(path, value, (*place, key.value), known)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(path, value, (*place, index), known)


def _explain(kind: str, place: Place, message: str) -> str:
    where = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        model = _Scope if "scope" in place[:-1] else _Row if place[0] == "rules" else _File
        keys = tuple(model.model_fields)
        return f"unknown key {place[-1]!r}{_nearest(str(place[-1]), keys)}; known here: {', '.join(keys)}"
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message


def _nearest(name: str, known: Sequence[str] | dict[str, str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
