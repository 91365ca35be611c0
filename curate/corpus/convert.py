"""From a package's unpacked files to what the pipeline reads: trees as they are, WARC, JSON Lines, sections.

A conversion reads below one folder and writes one path (a file or a tree), and gives the number of documents.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.corpus import metamath, warc
from curate.corpus.catalog import Take

#: Part of every stamp: raise it when a conversion gives other bytes than before.
VERSION = "1"

_CANONICAL = re.compile(rb"<link\b[^>]{0,300}?rel=[\"']?canonical[\"'\s][^>]{0,2000}?>", re.I)
_OG_URL = re.compile(rb"<meta\b[^>]{0,300}?[\"']og:url[\"'][^>]{0,2000}?>", re.I)
_ADDRESS = re.compile(rb"(?:href|content)=[\"'](https?://[^\"'\s<>]{3,1000})[\"']", re.I)
_EULER = re.compile(r"^Problem (\d+)\n=+\n", re.MULTILINE)


class ConversionError(ValueError):
    """The package does not hold what the catalogue says; the message says what was looked for."""


@dataclass(frozen=True)
class _Job:
    """One conversion: the files that matched below `source`, to be written to `target`."""

    take: Take
    package: str  # name==version
    note: str  # the rights
    source: Path
    files: list[Path]
    target: Path


def convert(take: Take, package: str, note: str, unpacked: Path, target: Path) -> int:
    """Write a row's files, converted, to `target` and return the number of documents.

    `package` is name==version, `note` the rights, for formats that record them. Files are moved where they
    need no change. Raises ConversionError where nothing matches or a file is not as expected.
    """
    files = sorted(path for path in _walk(unpacked) if take.wants(path.relative_to(unpacked).as_posix()))
    if not files:
        raise ConversionError(
            f"{package}: no file below {take.source or 'the top'} matches {', '.join(take.match)};"
            " correct `from` and `match` in packages.yaml"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    job = _Job(take, package, note, unpacked / take.source, files, target)
    try:
        return _CONVERSIONS[take.convert](job)
    except (
        UnicodeError,
        json.JSONDecodeError,
        RecursionError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ConversionError(f"{package}: {take.convert}: {type(error).__name__}: {error}") from error


def _copy(job: _Job) -> int:
    for file in job.files:
        place = job.target / file.relative_to(job.source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            raise ConversionError(f"{job.package}: two files for {place.relative_to(job.target)}")
        file.rename(place)
    return len(job.files)


def _warc(job: _Job) -> int:
    with job.target.open("wb") as out:
        return warc.write(out, job.package, job.note, _pages(job))


def _pages(job: _Job) -> Iterator[warc.Page]:
    """The pages in the order of their numbers, each with its address.

    The index is one file, {path: {url}}, or a folder with a `<page>.json` that holds {url} beside each page.
    """
    index = job.source / job.take.index if job.take.index else None
    listed = json.loads(index.read_bytes()) if index and index.is_file() else {}
    name = job.package.split("==")[0]
    for file in sorted(job.files, key=_numerically):
        member, body = file.relative_to(job.source).as_posix(), file.read_bytes()
        entry = listed.get(member, {})
        if index and (beside := index / f"{file.stem}.json").is_file():
            entry = json.loads(beside.read_bytes())
        # A page that says nowhere where it was gets an address that can exist nowhere (RFC 2606).
        url = entry.get("url") or own_address(body) or f"https://{name}.invalid/{member}"
        yield warc.Page(str(url), member, body, int(file.stat().st_mtime))


def own_address(page: bytes) -> str | None:
    """The absolute address that a page gives as its own (canonical link, then og:url), or None."""
    for pattern in (_CANONICAL, _OG_URL):
        if (tag := pattern.search(page[: 256 << 10])) and (found := _ADDRESS.search(tag[0])):
            return html.unescape(found[1].decode("utf-8", "replace"))
    return None


def _leads(job: _Job) -> int:
    """{title: {extract, description, topic}} to one JSON object a line."""
    articles: dict[str, Any] = {}
    for file in job.files:
        articles |= json.loads(file.read_bytes())
    language = job.target.stem
    rows = (
        {
            "id": f"{language}:{title}",
            "title": title,
            "text": article["extract"],
            "language": language,
            "description": article.get("description"),
            "topic": article.get("topic"),
        }
        for title, article in articles.items()
    )
    return _write_lines(rows, job.target)


def _euler(job: _Job) -> int:
    text = "\n".join(file.read_text(encoding="utf-8") for file in job.files)
    return _write_lines(euler_statements(text), job.target)


def euler_statements(text: str) -> Iterator[dict[str, Any]]:
    """Each statement under its `Problem N` heading, without the heading, blank lines around it dropped."""
    heads = list(_EULER.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        body = text[head.end() : following.start() if following else len(text)]
        number = int(head[1])
        yield {"id": f"euler:{number}", "title": f"Problem {number}", "text": body.strip("\n").rstrip()}


def _metamath(job: _Job) -> int:
    job.target.mkdir()
    sections = [section for file in job.files for section in metamath.split(file.read_bytes())]
    for number, section in enumerate(sections):
        (job.target / f"{number:04d}-{section.slug}.mm").write_bytes(section.body)
    return len(sections)


def _write_lines(rows: Iterator[dict[str, Any]], target: Path) -> int:
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as out:
        for count, row in enumerate(rows, 1):  # noqa: B007 (the count is the result)
            if not isinstance(row["text"], str):
                raise TypeError(f"the text of {row['id']!r} is a {type(row['text']).__name__}")
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files below a folder; links are not followed and not given."""
    for parent, _, names in os.walk(folder, followlinks=False):
        yield from (path for name in names if not (path := Path(parent, name)).is_symlink())


def _numerically(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


_CONVERSIONS: dict[str, Callable[[_Job], int]] = {
    "copy": _copy,
    "warc": _warc,
    "leads": _leads,
    "metamath": _metamath,
    "euler": _euler,
}
