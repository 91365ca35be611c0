"""What is wrong with a mixture file, in words: `MixtureError` and the translation of pydantic's findings.

Each finding becomes `path:line: what`, with the line of the offending key, and the nearest valid name or the
type that was expected, so that the fix can be made without opening the documentation.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from mixtures.marked_yaml import Marked, Path, Problem, dotted, shown

#: Where, relative to the model that complains, and what.
Complaint = tuple[Path, str]

MAX_SHOWN = 50


class MixtureError(ValueError):
    """A mixture file cannot be used. `problems` has every reason with its line; the message lists them."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(set(problems)))
        lines = [f"{path}:{p.line}: {p.message}" if p.line else f"{path}: {p.message}" for p in self.problems]
        if len(lines) > MAX_SHOWN:
            lines[MAX_SHOWN:] = [f"{path}: and {len(lines) - MAX_SHOWN} more"]
        super().__init__("\n".join(lines))


def contradictions(*complaints: Complaint) -> PydanticCustomError:
    """The error a validator raises when values are each valid, but not together."""
    words = "; ".join(f"{dotted(path)}: {text}" if path else text for path, text in complaints)
    return PydanticCustomError("contradiction", "{words}", {"words": words, "complaints": complaints})


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid name most like `word`, if any is at all."""
    choices = {choice.lower(): choice for choice in valid}
    found = difflib.get_close_matches(word[:64].lower(), choices, n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def suggestion(word: str, valid: Iterable[str], what: str) -> str:
    """`; did you mean 'language'?`, or the list of what is valid."""
    names = list(valid)
    if found := nearest(word, names):
        return f"; did you mean '{found}'?"
    return f"; {what} are {', '.join(names)}"


def complaints_of(error: ValidationError, model: type[BaseModel], marked: Marked) -> Iterator[Problem]:
    """Pydantic's errors about `model` as problems with the lines of the file."""
    for detail in error.errors(include_url=False):
        loc: Path = tuple(part for part in detail["loc"] if part != "[key]")
        context = detail.get("ctx", {})
        if detail["type"] == "contradiction":
            for relative, words in cast(tuple[Complaint, ...], context["complaints"]):
                path = _written(marked.value, (*loc, *relative))
                yield Problem(marked.line(path), f"{dotted(path)}: {words}" if path else words)
            continue
        path = _written(marked.value, loc)
        if detail["type"] == "missing":
            yield Problem(marked.line(path[:-1]), f"missing key '{path[-1]}' in {dotted(path[:-1])}")
        elif detail["type"] == "extra_forbidden":
            hint = suggestion(str(path[-1]), _keys_at(model, loc[:-1]), "the keys here")
            yield Problem(marked.line(path), f"unknown key {shown(path[-1])} in {dotted(path[:-1])}{hint}")
        else:
            where = f"{dotted(path)}: " if path else ""
            yield Problem(marked.line(path), where + _words(detail, context))


def _written(value: object, loc: Path) -> Path:
    """A model's path as the file has it: `read.patterns` is written under its kind, `read.warc`."""
    path: list[str | int] = []
    for part in loc:
        if part == "patterns" and isinstance(value, dict) and part not in value:
            part = next((key for key, item in value.items() if isinstance(item, list | str)), part)
        path.append(part)
        try:
            value = value[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            value = None
    return tuple(path)


def _keys_at(model: Any, loc: Path) -> list[str]:
    """The keys that a mapping at `loc` of `model` may have."""
    for part in loc:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = _plain(model.model_fields[str(part)].annotation)
        else:  # dict[Name, Source] or tuple[Stage, ...]
            arguments = get_args(model)
            model = _plain(arguments[1] if get_origin(model) is dict else arguments[0])
    fields = list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
    if fields[:2] == ["kind", "patterns"]:
        fields[:2] = get_args(model.model_fields["kind"].annotation)
    return fields


def _plain(annotation: Any) -> Any:
    """An annotation without `Annotated` and `| None`."""
    while True:
        arguments = get_args(annotation)
        if hasattr(annotation, "__metadata__") or (type(None) in arguments and len(arguments) == 2):
            annotation = next(argument for argument in arguments if argument is not type(None))
        else:
            return annotation


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping, 'key: value'",
    "model_type": "a mapping, 'key: value'",
}
_BOUNDS: dict[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _words(detail: ErrorDetails, context: dict[str, Any]) -> str:
    kind, value = detail["type"], detail["input"]
    if expected := _EXPECTED.get(kind):
        hint = '; write it in quotes: "…"' if expected == "text" and isinstance(value, int | float) else ""
        return f"expected {expected}, got {_described(value)}{hint}"
    if bound := _BOUNDS.get(kind):
        limit = context[bound[0]]
        number = f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"
        return f"has to be {bound[1]} {number}, got {_described(value)}"
    if kind == "literal_error":
        valid = re.findall(r"'([^']*)'", context["expected"])
        hint = suggestion(str(value), valid, "the choices")
        return f"{_described(value)} is not a choice{hint}"
    if kind == "string_pattern_mismatch":
        if "A-Z" in context["pattern"]:
            return f"{shown(value)} is not a plain name: letters, digits, '.', '_' and '-', 64 at most"
        if context["pattern"].startswith("^[a-z]"):
            return f"{shown(value)} is no column's name: a lower-case letter, then letters, digits and '_'"
        return f"{shown(value)} has control characters"
    if kind in ("string_too_short", "too_short"):
        return "is empty"
    if kind == "size":
        return f"{context['words']}, got {_described(value)}"
    return detail["msg"]


_DESCRIPTIONS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "nothing",
    bool: lambda value: "true" if value else "false",
    int: lambda value: f"the number {value}",
    float: lambda value: f"the number {value:g}",
    str: lambda value: f"the text {shown(value)}",
    list: lambda _: "a list",
    tuple: lambda _: "a list",
    dict: lambda _: "a mapping",
}


def _described(value: object) -> str:
    return _DESCRIPTIONS.get(type(value), lambda other: type(other).__name__)(value)
