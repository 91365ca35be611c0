"""Rules as data: rule sets read from YAML.

A rule set is a file `curate/rules/<name>.yaml`: name, version, source, an optional scope, and rows
`{signal, min, max}` with a name, a scope and a source of their own where they need one.

Values that differ by language are a table, `values`: `default` and a row per language, in the file or in
one that it names; a row's `min` or `max` may then be the name of one of its columns. A language without a
row, or whose row lacks the value, has the default; a value without a default bounds nothing there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import curate_kernels
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from curate.stages import stop_words
from curate.stages.rule_sets import Rule, RuleSet, Scope, apply_rules, fingerprint

__all__ = [
    "Rule",
    "RuleError",
    "RuleSet",
    "Scope",
    "apply_rules",
    "fingerprint",
    "load_rules",
    "nearest",
    "shipped_rules",
]

SHIPPED = Path(__file__).parent.parent / "rules"

#: The row of a table of values for languages without one of their own.
DEFAULT = "default"

Place = tuple[int | str, ...]  # keys and indices down to a value of a YAML file


class RuleError(ValueError):
    """A rules file that cannot be used: says where, what, and the nearest valid name."""


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


def nearest(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """`; did you mean ...?` with the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@cache
def _signals() -> dict[str, pa.DataType]:
    """Every signal with its type."""
    fields = curate_kernels.signals(pa.array([], pa.large_string())).schema
    return {field.name: field.type for field in fields} | {stop_words.NAME: pa.int64()}


class _Scope(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    domains: list[str] = []
    languages: list[str] = []
    scripts: list[str] = []
    formats: list[str] = []
    except_domains: list[str] = []
    except_languages: list[str] = []
    except_scripts: list[str] = []
    except_formats: list[str] = []

    def freeze(self) -> Scope:
        return Scope(**{key: tuple(values) for key, values in self.model_dump().items()})


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = None
    signal: str
    min: Any = None  # a number, or the name of a value
    max: Any = None
    scope: _Scope = _Scope()
    source: str | None = None


class _Values(BaseModel):
    """A file of values by language."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    source: str
    values: dict[str, dict[str, float]]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    version: int
    source: str
    scope: _Scope = _Scope()
    values: dict[str, dict[str, float]] = {}
    rules: list[_Row]


class _Source:
    """A parsed file: its values, and the line of each for errors."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data, self.lines = _read(path)

    def error(self, place: Place, message: str) -> RuleError:
        known = next(place[:n] for n in range(len(place), -1, -1) if place[:n] in self.lines)
        return RuleError(f"{self.path}:{self.lines[known]}: {message}")

    def validate(self, model: type[BaseModel]) -> Any:
        try:
            return model.model_validate(self.data)
        except ValidationError as invalid:
            errors = invalid.errors()
            # A key that is not known may well be the one that is missing.
            first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
            message = _explain(model, first["type"], first["loc"], first["msg"])
            raise self.error(first["loc"], message) from None


def _path(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RuleError(f"{name}: there is no such rules file")
        return path
    if name not in shipped_rules():
        raise RuleError(
            f"there is no rule set {name!r}{nearest(name, shipped_rules())}; known:"
            f" {', '.join(shipped_rules())}, or a path that ends in .yaml"
        )
    return SHIPPED / f"{name}.yaml"


def _load(path: Path) -> RuleSet:
    source = _Source(path)
    table = source  # where the values are
    values_source = None
    if isinstance(source.data, dict) and isinstance(named := source.data.get("values"), str):
        if not (path.parent / named).is_file():
            raise source.error(("values",), f"there is no file {named!r} beside this one")
        table = _Source(path.parent / named)
        values = table.validate(_Values)
        values_source = values.source
        source.data = source.data | {"values": values.values}
    file: _File = source.validate(_File)
    rules: list[Rule] = []
    for index, row in enumerate(file.rules):
        place: Place = ("rules", index)
        _check_signal(source, (*place, "signal"), row.signal)
        if row.min is None and row.max is None:
            raise source.error(place, f"the rule on {row.signal} has neither min nor max")
        low = _bound(source, (*place, "min"), row.min, file.values)
        high = _bound(source, (*place, "max"), row.max, file.values)
        for language in {*low, *high}:
            least, most = low.get(language, low[DEFAULT]), high.get(language, high[DEFAULT])
            if least is not None and most is not None and least > most:
                where = f" for {language}" if language != DEFAULT else ""
                raise source.error(
                    (*place, "min"), f"min {least:g} is above max {most:g}{where}: no document meets both"
                )
        name = f"{file.name}.{row.name or row.signal}"
        if any(rule.name == name for rule in rules):
            raise source.error((*place, "name"), f"{name} is there twice: give one of them another name")
        languages = sorted({*low, *high} - {DEFAULT})
        by_language = tuple(
            (language, low.get(language, low[DEFAULT]), high.get(language, high[DEFAULT]))
            for language in languages
        )
        rules.append(
            Rule(name, row.signal, low[DEFAULT], high[DEFAULT], row.scope.freeze(), row.source, by_language)
        )
    _check_used(table, file)
    return RuleSet(file.name, file.version, file.source, file.scope.freeze(), tuple(rules), values_source)


def _check_signal(source: _Source, place: Place, signal: str) -> None:
    known = _signals()
    if signal not in known:
        raise source.error(place, f"there is no signal {signal!r}{nearest(signal, known)}")
    kind = known[signal]
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        what = "text" if pa.types.is_string(kind) else str(kind)
        raise source.error(place, f"the signal {signal} is {what}: rules are bounds on numbers; use a scope")


def _bound(
    source: _Source, place: Place, given: object, values: dict[str, dict[str, float]]
) -> dict[str, float | None]:
    """The bound by language, `default` included."""
    if given is None:
        return {DEFAULT: None}
    if isinstance(given, str) and (
        found := {language: row[given] for language, row in values.items() if given in row}
    ):
        return {DEFAULT: None, **found}
    where = ".".join(map(str, place))
    if isinstance(given, bool) or not isinstance(given, int | float):
        names = sorted({name for row in values.values() for name in row})
        or_name = f" or the name of a value{nearest(str(given), names)}" if names else ""
        raise source.error(place, f"{where}: input should be a valid number{or_name}")
    if not abs(given) < float("inf"):
        raise source.error(place, f"{where}: input should be a finite number")
    return {DEFAULT: float(given)}


def _check_used(table: _Source, file: _File) -> None:
    """A value that no rule names is most likely one whose name is mistyped."""
    used = {bound for row in file.rules for bound in (row.min, row.max) if isinstance(bound, str)}
    for language, row in file.values.items():
        for name in row:
            if name not in used:
                raise table.error(
                    ("values", language, name),
                    f"no rule uses the value {name!r}{nearest(name, sorted(used))}",
                )


# --- YAML -------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.1 but for its booleans: `no` is Norwegian."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:bool"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read(path: Path) -> tuple[object, dict[Place, int]]:
    """The values of a YAML file and the line of each, keys included; keys given twice are an error."""
    try:
        loader = _Loader(path.read_text("utf-8"))
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
            if not isinstance(key, yaml.ScalarNode):
                raise RuleError(f"{path}:{key.start_mark.line + 1}: a key is a name, not a list or a table")
            if key.value in seen:
                raise RuleError(f"{path}:{key.start_mark.line + 1}: the key {key.value!r} is there twice")
            seen.add(key.value)
            yield from _lines(path, value, (*place, key.value), known)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(path, value, (*place, index), known)


def _explain(model: type[BaseModel], kind: str, place: Place, message: str) -> str:
    where = ".".join(str(part) for part in place)
    if kind == "extra_forbidden":
        inner = _Scope if "scope" in place[:-1] else _Row if place[0] == "rules" else model
        keys = tuple(inner.model_fields)
        return f"unknown key {place[-1]!r}{nearest(str(place[-1]), keys)}; known here: {', '.join(keys)}"
    return f"{where}: {message[0].lower()}{message[1:]}" if where else message
