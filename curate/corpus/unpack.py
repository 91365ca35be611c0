"""Take files out of an archive that nobody vouches for.

Only regular files that are asked for reach the disk; links, devices and sparse files are never made. An
archive is refused as a whole when a member leaves the folder (absolute, `..`, a NUL), when a member goes
through a link of the archive, or when it holds more members or bytes than `Limits` allows, counted before
they are written. No build step, maintainer script or hook of a package is run. Debian packages are read as
the tar stream that `dpkg-deb --fsys-tarfile` gives. About 2,500 small files or 40 MB a second on a busy core;
memory is the archive's headers, about 1 kB a member.
"""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

_CHUNK = 1 << 20


class UnsafeArchive(ValueError):
    """The archive would write outside its folder, or is larger than it may be, or is damaged."""


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; the largest real one here has 13,500 members and 190 MB."""

    members: int = 100_000
    bytes: int = 1 << 30  # of the whole unpacked stream, wanted or not
    member_bytes: int = 256 << 20


@dataclass(frozen=True)
class Unpacked:
    """How many files were written, their bytes, and how many links and special files were passed over."""

    files: int
    bytes: int
    skipped: int


def unpack(
    archive: Path, into: Path, wanted: Callable[[str], bool], limits: Limits | None = None, strip: int = 0
) -> Unpacked:
    """Write the `wanted` regular files of a `.tar.gz`, `.whl`, `.zip` or `.deb` below `into`.

    `strip` leading folders are taken off each member's path, before `wanted` is asked. Files of a tar keep
    their dates.
    Raises UnsafeArchive as the module says, and where the archive is cut short or damaged.
    """
    limits = limits or Limits()
    into.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.endswith((".whl", ".zip")):
            return _unzip(archive, into, wanted, limits, strip)
        with _tar_stream(archive) as stream:
            return _untar(
                archive.name, _counted(stream, archive.name, limits.bytes), into, wanted, limits, strip
            )
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UnsafeArchive(f"{archive.name}: damaged archive: {error}; delete it and run again") from error


def safe_path(name: str, archive: str) -> PurePosixPath:
    """The member's path with `.` parts dropped. Raises UnsafeArchive where it would leave the folder."""
    path = PurePosixPath(name)
    windows = "\\" in name or (len(name) > 1 and name[1] == ":" and name[0].isalpha())
    if path.is_absolute() or ".." in path.parts or "\0" in name or windows:
        raise UnsafeArchive(f"{archive}: member {name!r} leaves the folder; the archive is refused")
    return path


def _untar(
    label: str, stream: IO[bytes], into: Path, wanted: Callable[[str], bool], limits: Limits, strip: int
) -> Unpacked:
    links: set[PurePosixPath] = set()
    files = size = skipped = 0
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:
        for count, member in enumerate(tar, 1):
            path = _check(label, member.name, member.size, count, links, limits)
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                links.add(path)
                skipped += 1
                continue
            path = PurePosixPath(*path.parts[strip:])
            if not path.parts or not wanted(str(path)):
                continue
            member.name = str(path)
            tar.extract(member, into, filter="data")
            files, size = files + 1, size + member.size
    return Unpacked(files, size, skipped)


def _unzip(archive: Path, into: Path, wanted: Callable[[str], bool], limits: Limits, strip: int) -> Unpacked:
    files = size = skipped = total = 0
    with zipfile.ZipFile(archive) as zipped:
        for count, member in enumerate(zipped.infolist(), 1):
            path = _check(archive.name, member.filename, member.file_size, count, set(), limits)
            total += member.file_size
            if total > limits.bytes:
                raise UnsafeArchive(f"{archive.name}: more than {limits.bytes:,} bytes unpacked; refused")
            if member.is_dir():
                continue
            kind = (member.external_attr >> 16) & 0o170000  # the Unix file type, 0 where the zip has none
            if kind not in (0, 0o100000):
                skipped += 1
                continue
            path = PurePosixPath(*path.parts[strip:])
            if not path.parts or not wanted(str(path)):
                continue
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with zipped.open(member) as source, target.open("xb") as out:
                # The directory's size is only a claim: read one byte more than it to see a lie.
                shutil.copyfileobj(_counted(source, archive.name, member.file_size), out, _CHUNK)
            files, size = files + 1, size + member.file_size
    return Unpacked(files, size, skipped)


def _check(
    label: str, name: str, size: int, count: int, links: set[PurePosixPath], limits: Limits
) -> PurePosixPath:
    path = safe_path(name, label)
    if count > limits.members:
        raise UnsafeArchive(f"{label}: more than {limits.members:,} members; refused")
    if size > limits.member_bytes:
        raise UnsafeArchive(f"{label}: {name} has {size:,} bytes, more than {limits.member_bytes:,}; refused")
    if links and (through := links.intersection((path, *path.parents))):
        raise UnsafeArchive(f"{label}: member {name!r} goes through the link {min(through)}; refused")
    return path


@contextmanager
def _tar_stream(archive: Path) -> Iterator[IO[bytes]]:
    if not archive.name.endswith(".deb"):
        with gzip.open(archive, "rb") as stream:
            yield cast(IO[bytes], stream)
        return
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield process.stdout
            while process.stdout.read(_CHUNK):  # tar pads its end; a closed pipe would look like a failure
                pass
        except BaseException:
            process.kill()
            raise
        message = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise UnsafeArchive(f"{archive.name}: dpkg-deb says: {message}; delete it and run again")


def _counted(stream: IO[bytes], label: str, most: int) -> IO[bytes]:
    return cast(IO[bytes], _Counted(stream, label, most))


class _Counted(io.RawIOBase):
    """A stream that refuses to give more than `most` bytes: a bomb stops here, whatever its headers say."""

    def __init__(self, stream: IO[bytes], label: str, most: int) -> None:
        self._stream, self._label, self._most, self._seen = stream, label, most, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._most - self._seen + 1 if size < 0 else size)
        self._seen += len(data)
        if self._seen > self._most:
            raise UnsafeArchive(f"{self._label}: more than {self._most:,} bytes unpacked; refused")
        return data
