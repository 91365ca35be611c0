"""The catalogue of the sample corpus: `packages.yaml` as typed, closed data.

A mistake in the file is an error that names the line and, for a wrong key, the nearest right one.
Reading it takes about 0.2 s (PyYAML composes 600 lines twice: once for values, once for line numbers).
"""

from __future__ import annotations

import difflib
import hashlib
import re
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

CATALOGUE = Path(__file__).with_name("packages.yaml")

Domain = Literal["web", "docs", "multilingual", "code", "math", "science", "books"]
Convert = Literal["copy", "warc", "leads", "metamath", "euler"]
Kind = Literal["pypi", "debian"]


class CatalogueError(ValueError):
    """`packages.yaml` is not what it should be; the message says where and what to do."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path and (path.startswith("/") or ".." in parts or "\\" in path or "\0" in path):
        raise ValueError(f"{path!r} is not a relative path without '..'")
    return path.rstrip("/")


RelativePath = Annotated[str, AfterValidator(_inside)]


class Closed(BaseModel):
    """A mapping in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Take(Closed):
    """What is taken from an archive: files below `source` that match, converted, laid `into` a path."""

    source: RelativePath = Field("", alias="from")
    match: tuple[str, ...] = Field(min_length=1)
    exclude: tuple[str, ...] = Field((), alias="except")
    convert: Convert = "copy"
    index: RelativePath | None = None  # for `warc`: where the pages' URLs are, below `source`
    into: RelativePath

    @model_validator(mode="after")
    def _domain_folder(self) -> Take:
        if self.into.split("/")[0] not in get_args(Domain) or "/" not in self.into:
            raise ValueError(f"`into: {self.into}` should lie below one of {', '.join(get_args(Domain))}")
        if self.index is not None and self.convert != "warc":
            raise ValueError("`index` belongs to `convert: warc`")
        return self

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _any_of(self.match), _any_of(self.exclude)

    def wants(self, member: str) -> bool:
        """Whether an archive member (its path below the archive's root) is taken."""
        return (rest := self.below(member)) is not None and self._matches(rest)

    def needs(self, member: str) -> bool:
        """Whether a member is taken or is (part of) the index that the conversion reads."""
        rest = self.below(member)
        if rest is None:
            return False
        index = self.index is not None and (rest == self.index or rest.startswith(self.index + "/"))
        return index or self._matches(rest)

    def below(self, member: str) -> str | None:
        """The member's path below `from`, or None where it lies elsewhere."""
        if not self.source:
            return member
        prefix = self.source + "/"
        return member[len(prefix) :] if member.startswith(prefix) else None

    def _matches(self, rest: str) -> bool:
        wanted, unwanted = self._patterns
        return wanted.fullmatch(rest) is not None and unwanted.fullmatch(rest) is None


class Package(Closed):
    """What both kinds of package have."""

    version: str
    licence: str
    rights: str | None = None
    domain: Domain
    take: tuple[Take, ...] = Field(min_length=1)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The paths below the data folder that this package owns, each once, none inside another."""
        paths = dict.fromkeys(take.into for take in self.take)
        return tuple(path for path in paths if not any(path.startswith(other + "/") for other in paths))

    def digest(self, converter: str) -> str:
        """Hex digest of the entry and the converters' version: what a stamp must carry to be current."""
        return hashlib.sha256(f"{converter}\n{self.model_dump_json(by_alias=True)}".encode()).hexdigest()


class PypiPackage(Package):
    """One file of a PyPI release, pinned by its hash."""

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+\.(tar\.gz|whl)$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)


class DebianPackage(Package):
    """A Debian package by name; `version` is informational."""


AnyPackage: TypeAlias = PypiPackage | DebianPackage


class Catalogue(Closed):
    """All packages of the corpus."""

    pypi: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")], PypiPackage]
    debian: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]*$")], DebianPackage]

    @model_validator(mode="after")
    def _no_path_twice(self) -> Catalogue:
        owners: dict[str, str] = {}
        if both := self.pypi.keys() & self.debian.keys():
            raise ValueError(f"{min(both)}: the name is in both sections; names must differ")
        for name, package in self.packages.items():
            for path in package.outputs:
                if path in owners:
                    raise ValueError(f"`into: {path}` of {name} is already {owners[path]}'s; give it its own")
                owners[path] = name
        for path, owner in owners.items():
            for parent in map(str, PurePosixPath(path).parents):
                if owners.get(parent, owner) != owner:
                    raise ValueError(f"`into: {path}` of {owner} lies inside {parent} of {owners[parent]}")
        return self

    @property
    def packages(self) -> dict[str, AnyPackage]:
        """All packages by name, PyPI's first, in the order of the file."""
        return {**self.pypi, **self.debian}

    def package(self, name: str) -> AnyPackage:
        """The package of this name. Raises CatalogueError, with the nearest name, for one not listed."""
        if (package := self.packages.get(name)) is None:
            raise CatalogueError(f"{name!r} is not in the catalogue{_nearest(name, [*self.packages])}")
        return package

    def kind(self, name: str) -> Kind:
        """The section that a listed package is in."""
        return "pypi" if name in self.pypi else "debian"


def load(path: Path = CATALOGUE) -> Catalogue:
    """The catalogue in `path`. Raises CatalogueError with every mistake, one a line, each with its place."""
    text = path.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CatalogueError(f"{path}: not YAML: {error}") from error
    if root is None:
        raise CatalogueError(f"{path}: the file is empty; it should have the keys pypi and debian")
    _refuse_duplicate_keys(path, root)
    try:
        return Catalogue.model_validate(values)
    except ValidationError as error:
        raise CatalogueError("\n".join(_explain(path, root, e) for e in error.errors())) from error


def _refuse_duplicate_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise CatalogueError(f"{path}:{line}: `{key.value}` again; first on line {seen[key.value]}")
            seen[key.value] = line
            _refuse_duplicate_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicate_keys(path, item)


def _explain(path: Path, root: yaml.Node, error: Any) -> str:
    loc: list[str | int] = [part for part in error["loc"] if part != "[key]"]
    line, keys = _line_of(root, loc)
    where = f"{path}:{line}: {'.'.join(map(str, loc)) or 'the file'}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key{_nearest(str(loc[-1]), _fields(loc[:-1]))}"
    if error["type"] == "missing":
        return f"{where}: `{loc[-1]}` is missing (there are: {', '.join(keys) or 'no keys'})"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}"


def _line_of(node: yaml.Node, loc: list[str | int]) -> tuple[int, list[str]]:
    """The line (from 1) of the deepest node on the way to `loc`, and the keys beside it."""
    line: int = node.start_mark.line + 1
    keys: list[str] = []
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line, keys = node.start_mark.line + 1, []
        elif isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line, keys


def _fields(loc: list[str | int]) -> list[str]:
    model: type[BaseModel] = Catalogue
    if len(loc) >= 2:
        model = PypiPackage if loc[0] == "pypi" else DebianPackage
    if "take" in loc:
        model = Take
    return [field.alias or name for name, field in model.model_fields.items()]


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1, 0.4)
    return f"; did you mean `{close[0]}`?" if close else f"; there are: {', '.join(sorted(names))}"


def _any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_regex, globs)) if globs else r"(?!)", re.DOTALL)


def _regex(glob: str) -> str:
    """`*` and `?` stay inside a folder; `**/` is any number of folders; a last `**` is everything below."""
    pieces = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(pieces.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", glob))
