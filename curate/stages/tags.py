"""What a document is about and what kind of document it is, as far as its source or address says so.

The source's own tag decides, then the rows of `rules/tags/urls.yaml`; what neither decides is left null, for
a model to decide later (phase `classify.score`). Matching is done on columns: one look-up per level of the
host's name and one substring search per path, about 800,000 addresses a second and core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from curate.stages.rules import RuleError
from mixtures.complaints import suggestion
from mixtures.spec import Source
from mixtures.tags import TAGS

SHIPPED = Path(__file__).parent.parent / "rules" / "tags" / "urls.yaml"

#: The columns that tags are in: for each tag its value, the model's score, and what decided.
COLUMNS: tuple[str, ...] = tuple(f"{tag}{part}" for tag in TAGS for part in ("", "_score", "_rule"))
FIELDS: tuple[pa.Field, ...] = tuple(
    pa.field(name, pa.float32() if name.endswith("_score") else pa.string()) for name in COLUMNS
)

_URL = r"^[A-Za-z][A-Za-z0-9+.\-]*://(?:[^/?#@]*@)?(?P<host>[^/?#:@]+)(?::[0-9]*)?(?P<path>/[^?#]*)?"
_LEVELS = 10  # of a host's name that are looked at, from its end

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """A host, a part of a path or both, and the tags that they give."""

    host: str
    path: str
    tags: dict[str, str]

    @property
    def rule(self) -> str:
        """As a document's `topic_rule` names it."""
        return f"url:{self.host}{self.path}"


def load_url_rules(path: Path = SHIPPED) -> tuple[Row, ...]:
    """The rows of a file, the ones that decide first in front.

    Raises RuleError for an unknown key or tag, for a row that matches everything or gives nothing, and for
    one that is there twice.
    """
    try:
        file = _File.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        keys = _Row.model_fields if first["loc"][:1] == ("rows",) else _File.model_fields
        hint = ""
        if first["type"] == "extra_forbidden":
            hint = suggestion(str(first["loc"][-1]), keys, "the keys here")
        raise RuleError(f"{path}: {where}: {first['msg'][0].lower()}{first['msg'][1:]}{hint}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as invalid:
        raise RuleError(f"{path}: {invalid}") from None
    rows = [_checked(path, number, row) for number, row in enumerate(file.rows)]
    places = [(row.host, row.path) for row in rows]
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise RuleError(f"{path}: {''.join(twice)} is there twice; join the two rows")
    return tuple(sorted(rows, key=lambda row: (-row.host.count(".") if row.host else 1, not row.path)))


def _checked(path: Path, number: int, row: _Row) -> Row:
    where = f"{path}: rows.{number}"
    tags = {tag: value for tag in TAGS if (value := getattr(row, tag)) is not None}
    if not row.host and not row.path:
        raise RuleError(f"{where}: neither host nor path: it would match every address")
    if not tags:
        raise RuleError(f"{where}: gives neither {' nor '.join(TAGS)}")
    for tag, value in tags.items():
        if value not in TAGS[tag]:
            hint = suggestion(value, TAGS[tag], "there are")
            raise RuleError(f"{where}: no {tag.replace('_', ' ')} {value!r}{hint}")
    if row.host != row.host.lower().strip("./") or row.path != row.path.lower():
        raise RuleError(f"{where}: hosts and paths are written in lower case, hosts without a dot at an end")
    return Row(row.host, row.path, tags)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    host: str = ""
    path: str = ""
    topic: str | None = None
    document_type: str | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    version: int
    source: str
    rows: list[_Row]


@lru_cache(maxsize=1)
def shipped_url_rules() -> tuple[Row, ...]:
    """The rows that come with the package."""
    return load_url_rules()


def tag(urls: pa.Array, source: Source, rows: Sequence[Row] | None = None) -> dict[str, pa.Array]:
    """The columns `COLUMNS` of documents of one source, from the source's tags and then their addresses."""
    count = len(urls)
    by_source = {name: value for name in TAGS if (value := getattr(source, name)) is not None}
    by_url: dict[str, tuple[pa.Array, pa.Array]] = {}
    if len(by_source) < len(TAGS) and urls.null_count < count:
        by_url = tags_of_urls(urls, shipped_url_rules() if rows is None else rows)
    columns: dict[str, pa.Array] = {}
    for name in TAGS:
        if name in by_source:
            value, rule = (pa.repeat(pa.scalar(text), count) for text in (by_source[name], "source"))
        else:
            value, rule = by_url.get(name, (pa.nulls(count, pa.string()),) * 2)
        columns |= {name: value, f"{name}_score": pa.nulls(count, pa.float32()), f"{name}_rule": rule}
    return columns


def tags_of_urls(urls: pa.Array, rows: Sequence[Row]) -> dict[str, tuple[pa.Array, pa.Array]]:
    """For each tag: its value and the rule that gave it, both null where no row matches."""
    parts = pc.extract_regex(urls.cast(pa.large_string()), _URL)
    host = pc.utf8_rtrim(pc.utf8_lower(pc.struct_field(parts, "host")), ".")
    path = pc.utf8_lower(pc.struct_field(parts, "path"))
    best: dict[str, Ranks] = {name: np.full(len(urls), len(rows), np.int64) for name in TAGS}
    for place, matches in _matches(host, path, rows):
        for name in rows[place].tags:
            best[name][matches] = np.minimum(best[name][matches], place)
    rules = pa.array([row.rule for row in rows], pa.string())
    found = {}
    for name, rank in best.items():
        values = pa.array([row.tags.get(name) for row in rows], pa.string())
        index = pa.array(rank, mask=rank == len(rows))
        found[name] = (values.take(index), rules.take(index))
    return found


def _matches(host: Any, path: Any, rows: Sequence[Row]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The place of each row that matches anything, and the documents that it matches."""
    hosts = list(dict.fromkeys(row.host for row in rows if row.host))
    known = pa.array(hosts, pa.large_string())
    of_host: dict[str, list[npt.NDArray[np.int64]]] = {}
    # From the whole name to its last parts: a.b.c, b.c, c. Only those left with a dot go on.
    documents, rest = np.arange(len(host), dtype=np.int64), host
    if (deep := pc.greater(pc.count_substring(host, "."), _LEVELS)) and pc.any(deep).as_py():
        rest = pc.if_else(deep, None, host)  # no host of a rule is that deep, and a hostile one costs nothing
    while len(documents):
        index = pc.index_in(rest, known)
        hit = index.is_valid().to_numpy(zero_copy_only=False)
        places = index.drop_null().to_numpy()
        for place in np.unique(places):
            of_host.setdefault(hosts[place], []).append(documents[hit][places == place])
        more = pc.fill_null(pc.match_substring(rest, "."), False).to_numpy(zero_copy_only=False)
        documents = documents[more]
        rest = pc.replace_substring_regex(rest.filter(pa.array(more)), r"^[^.]*\.", "", max_replacements=1)
    for place, row in enumerate(rows):
        chosen = None
        if row.host:
            if row.host not in of_host:
                continue
            chosen = np.concatenate(of_host[row.host])
        if row.path:
            among = path if chosen is None else path.take(pa.array(chosen))
            inside = np.flatnonzero(
                pc.fill_null(pc.match_substring(among, row.path), False).to_numpy(zero_copy_only=False)
            )
            chosen = inside.astype(np.int64) if chosen is None else chosen[inside]
        if chosen is not None and len(chosen):
            yield place, chosen
