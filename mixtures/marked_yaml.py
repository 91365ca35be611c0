"""YAML to plain values that remember their lines.

The composer of PyYAML's safe loader gives nodes with marks; the values are made here, so that nothing is ever
constructed from a tag and every value can be traced to its line. What differs from `yaml.safe_load`:

* scalars follow YAML 1.2's core schema: only `true` and `false` are booleans (`no` is Norwegian),
  `1:30` and `2026-04-24` are text, integers are decimal without a leading zero;
* keys are always text, as written; a key given twice is a problem, not the last one wins;
* tags are problems; aliases work, and their expansion is counted;
* `${NAME}` and `${NAME:-default}` expand in text values, after parsing, so a variable cannot add structure.

Limits: 256 KiB of text, 16 levels, 20,000 values. A page-long file parses in about 5 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

MAX_BYTES = 256 << 10
MAX_DEPTH = 16
MAX_VALUES = 20_000

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,19})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?")
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")

Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong, and on which line (1-based; 0 for the file as a whole)."""

    line: int
    message: str


@dataclass
class Marked:
    """A parsed file: plain values (dict, list, str, int, float, bool, None), lines by path, problems."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Refused(Exception):
    """YAML that a mixture does not use; carries its `Problem`."""

    def __init__(self, event: yaml.Event, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(event.start_mark.line + 1 if event.start_mark else 0, message)


class _Composer(yaml.SafeLoader):
    """PyYAML's composer recurses and takes tags; this one stops before Python does, and at the first tag."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(event, f"more than {MAX_DEPTH} levels")
        if (tag := getattr(event, "tag", None)) is not None:
            raise _Refused(event, f"the tag {shown(tag)} is not used here; quote a value to make it text")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse(content: bytes, environ: Mapping[str, str]) -> Marked:
    """Parse one YAML document. Never raises on bad content: what is wrong is in `problems`, all of it."""
    marked = Marked()
    if len(content) > MAX_BYTES:
        marked.problems.append(Problem(0, f"{len(content):,} bytes; a mixture has at most {MAX_BYTES:,}"))
        return marked
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        marked.problems.append(Problem(line, f"not UTF-8: byte 0x{content[error.start]:02x}"))
        return marked
    try:
        loader = _Composer(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except _Refused as refused:
        marked.problems.append(refused.problem)
        return marked
    except yaml.error.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        marked.problems.append(Problem(mark.line + 1 if mark else 0, f"not valid YAML: {words}"))
        return marked
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        words = f"not valid YAML: character U+{ord(text[error.position]):04X} is not allowed"
        marked.problems.append(Problem(line, words))
        return marked
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, such as "\\UFFFFFFFF"
        marked.problems.append(Problem(0, f"not valid YAML: {error}"))
        return marked
    if node is None:
        marked.problems.append(Problem(0, "the file is empty"))
        return marked
    _Reader(marked, environ).read(node)
    return marked


@dataclass
class _Reader:
    """Walks a node graph (aliases make it one) into values; counts visits, so that cycles and bombs end."""

    marked: Marked
    environ: Mapping[str, str]
    values: int = 0

    def read(self, node: yaml.Node) -> None:
        self.marked.lines[()] = node.start_mark.line + 1
        self.marked.value = self._value(node, ())

    def _value(self, node: yaml.Node, path: Path) -> object:
        line = self.marked.lines.get(path, node.start_mark.line + 1)
        self.values += 1
        if self.values > MAX_VALUES or len(path) > MAX_DEPTH:
            if self.values < MAX_VALUES << 1:  # say it once
                self._problem(line, "aliases expand to too much, or into themselves")
            self.values = MAX_VALUES << 1
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items: list[object] = []
            for index, item in enumerate(node.value):
                self.marked.lines[(*path, index)] = item.start_mark.line + 1
                items.append(self._value(item, (*path, index)))
            return items
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        value = _core(node.value) if plain else node.value
        return self._expanded(value, line) if isinstance(value, str) else value

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, object]:
        mapping: dict[str, object] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or not _encodable(key.value):
                self._problem(line, f"a key in {dotted(path)} is not text")
                continue
            if key.value in first:
                words = (
                    f"duplicate key {shown(key.value)} in {dotted(path)}; first on line {first[key.value]}"
                )
                self._problem(line, words)
                continue
            first[key.value] = line
            self.marked.lines[(*path, key.value)] = line
            mapping[key.value] = self._value(value, (*path, key.value))
        return mapping

    def _expanded(self, text: str, line: int) -> str:
        if not _encodable(text):
            self._problem(line, "text with half a surrogate pair")
            return "?"
        if "${" not in text:
            return text

        def value(match: re.Match[str]) -> str:
            found = self.environ.get(match["name"])
            if not found and match["default"] is not None:
                return match["default"]
            if found is None:
                self._problem(
                    line,
                    f"the environment variable {match['name']} is not set; set it, "
                    f"or write ${{{match['name']}:-default}}",
                )
                return match[0]
            if not _encodable(found):
                self._problem(line, f"the environment variable {match['name']} is not valid UTF-8")
                return match[0]
            return found

        if "${" in _VARIABLE.sub("", text):
            self._problem(line, f"{shown(text)}: a variable is written ${{NAME}} or ${{NAME:-default}}")
            return text
        return _VARIABLE.sub(value, text)

    def _problem(self, line: int, message: str) -> None:
        self.marked.problems.append(Problem(line, message))


def _core(text: str) -> object:
    """A plain scalar in YAML 1.2's core schema; longer numbers than any field holds stay text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text[0] in "tT"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?[0-9]+", text):
        return float(text)
    return text


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def dotted(path: Path) -> str:
    """`sources.web.read`, `curriculum.stages[1]`, or `the file` for the root."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text[1:] if text.startswith(".") else text or "the file"


def shown(value: object) -> str:
    """A value as an error message may quote it: at most 60 characters, control characters escaped."""
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return repr(text)
