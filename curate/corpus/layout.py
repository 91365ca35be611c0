"""The data folder: each package laid out as a whole or not at all, with a stamp that says what it is.

A package is unpacked and converted in `.corpus/building/<name>`, its paths are renamed into place, and its
stamp `.corpus/<name>.json` is written last: a run that is killed leaves no half-written path behind, and the
next one does only those without a current stamp. `SOURCES.md` and `sources.json` are made from the stamps.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from curate.corpus import convert
from curate.corpus.catalog import AnyPackage, Catalogue, Closed, Kind, PypiPackage, RelativePath
from curate.corpus.unpack import unpack

STATE = ".corpus"


class Output(Closed):
    """One path below the data folder."""

    path: RelativePath
    documents: int
    bytes: int


class Stamp(Closed):
    """What lies in the data folder of a package, and what it was made from."""

    name: str
    kind: Kind
    version: str
    licence: str
    rights: str | None
    domain: str
    file: str
    sha256: str
    digest: str
    outputs: tuple[Output, ...]

    @property
    def documents(self) -> int:
        return sum(output.documents for output in self.outputs)

    @property
    def bytes(self) -> int:
        return sum(output.bytes for output in self.outputs)


class Busy(RuntimeError):
    """Another process is laying out the same data folder."""


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the data folder. Raises Busy where another process holds it."""
    (data / STATE).mkdir(parents=True, exist_ok=True)
    with (data / STATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"{data}: another run is filling this folder; wait for it, or give another --into"
            ) from error
        shutil.rmtree(data / STATE / "building", ignore_errors=True)  # what a killed run left
        yield


def current(data: Path, name: str, package: AnyPackage) -> Stamp | None:
    """The package's stamp if it is of this catalogue entry and all its paths are there."""
    stamp = _read(data, name)
    if stamp is None or stamp.digest != package.digest(convert.VERSION):
        return None
    return stamp if all((data / output.path).exists() for output in stamp.outputs) else None


def build(data: Path, name: str, package: AnyPackage, archive: Path, version: str) -> Stamp:
    """Unpack, convert and publish a package; everything else of the archive is deleted.

    Raises UnsafeArchive and ConversionError; the data folder is then as it was.
    """
    kind: Kind = "pypi" if isinstance(package, PypiPackage) else "debian"
    work = data / STATE / "building" / name
    shutil.rmtree(work, ignore_errors=True)
    unpacked, laid = work / "unpacked", work / "laid"
    strip = 1 if archive.name.endswith(".tar.gz") else 0
    unpack(archive, unpacked, lambda member: any(take.needs(member) for take in package.take), strip=strip)
    label = f"{name}=={version}"
    note = f"licence {package.licence}" + (f"; {package.rights}" if package.rights else "")
    documents = dict.fromkeys(package.outputs, 0)
    for take in package.take:
        root = next(path for path in documents if f"{take.into}/".startswith(f"{path}/"))
        documents[root] += convert.convert(take, label, note, unpacked, laid / take.into)
    stamp = Stamp(
        name=name,
        kind=kind,
        version=version,
        licence=package.licence,
        rights=package.rights,
        domain=package.domain,
        file=archive.name,
        sha256=_sha256(archive),
        digest=package.digest(convert.VERSION),
        outputs=tuple(Output(path=p, documents=n, bytes=_size(laid / p)) for p, n in documents.items()),
    )
    _publish(data, laid, stamp, work / "old")
    shutil.rmtree(work)
    return stamp


def _publish(data: Path, laid: Path, stamp: Stamp, old: Path) -> None:
    before = _read(data, stamp.name)
    mark = data / STATE / f"{stamp.name}.json"
    mark.unlink(missing_ok=True)
    paths = [output.path for output in stamp.outputs]
    stale = [output.path for output in before.outputs if output.path not in paths] if before else []
    for number, path in enumerate([*paths, *stale]):
        if (data / path).exists():
            old.mkdir(exist_ok=True)
            (data / path).rename(old / str(number))
        if path in paths:
            (data / path).parent.mkdir(parents=True, exist_ok=True)
            (laid / path).rename(data / path)
    _write(mark, stamp.model_dump_json(indent=1) + "\n")


def write_sources(data: Path, catalogue: Catalogue, absent: Mapping[str, str]) -> None:
    """`SOURCES.md` and `sources.json`: what is there, and why the rest is not. Written only where changed."""
    rows: list[dict[str, object]] = []
    lines: list[str] = []
    missing: list[str] = []
    total_documents = total_bytes = 0
    for name, package in catalogue.packages.items():
        stamp = current(data, name, package)
        if stamp is None:
            why = absent.get(name, "not fetched yet")
            missing.append(f"* {name} ({catalogue.kind(name)}): {why}")
            rows.append({"name": name, "kind": catalogue.kind(name), "present": False, "reason": why})
            continue
        rows.append({**stamp.model_dump(exclude={"digest"}), "present": True})
        total_documents, total_bytes = total_documents + stamp.documents, total_bytes + stamp.bytes
        licence = stamp.licence + (f"; {stamp.rights}" if stamp.rights else "")
        where = "<br>".join(f"`{output.path}`" for output in stamp.outputs)
        lines.append(
            f"| {name} | {stamp.version} | {licence} | {where} | {stamp.documents:,} | {stamp.bytes:,} |"
        )
    text = [
        "# Sources of this corpus",
        "",
        "Real documents out of public packages, made by `python -m curate.corpus`; nothing was generated.",
        "A package's licence is its own: use each document under the terms in its row. A JSON Lines row, a",
        "page in a WARC file and a section of a database count as one document each; bytes are those of the",
        "files as they lie.",
        "",
        "| package | version | licence | where | documents | bytes |",
        "|---|---|---|---|---:|---:|",
        *lines,
        f"| total: {len(lines)} packages | | | | {total_documents:,} | {total_bytes:,} |",
        "",
        *(["Not here:", "", *missing, ""] if missing else []),
    ]
    _write(data / "SOURCES.md", "\n".join(text))
    _write(
        data / "sources.json",
        json.dumps({"format": 1, "packages": rows}, indent=1, ensure_ascii=False) + "\n",
    )


def _read(data: Path, name: str) -> Stamp | None:
    try:
        return Stamp.model_validate_json((data / STATE / f"{name}.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # an unreadable stamp is as good as none: the package is laid out again


def _write(path: Path, text: str) -> None:
    """Temporary name, sync, rename; a file that is right already is left alone."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(Path(parent, name).lstat().st_size for parent, _, names in os.walk(path) for name in names)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
