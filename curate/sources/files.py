"""Single files as documents: text of any charset, source trees, and the documentation formats.

One file is one document; its locator is its path. Compressed files (`.gz`, `.zst`, `.bz2`, `.xz`) are
opened transparently and named by the suffix beneath. What is not text (a NUL byte that no UTF-16
explains), too large or damaged becomes a quarantined record.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from curate.document import Record
from curate.sources.charset import UndecodableError, declared_in, decode, is_binary
from curate.sources.opening import COMPRESSIONS, DamagedInput, Root, compression, read_bounded

#: Kinds whose every file is of one format, whatever its name says.
FORMATS = {"html": "html", "jats": "jats", "roff": "roff", "mallard": "mallard"}

#: Formats whose files may name their own charset.
_SELF_DECLARED = frozenset({"html", "htm", "xhtml", "jats", "mallard", "xml", "page"})


def read_files(
    root: Root,
    files: Iterable[tuple[str, str | None]],
    *,
    document_bytes: int,
    form: str | None = None,
) -> Iterator[Record]:
    """One record per (path, repository), in the order given; `form` overrides the format by suffix."""
    for path, repository in files:
        yield read_file(root, path, repository, document_bytes, form)


def read_file(root: Root, path: str, repository: str | None, document_bytes: int, form: str | None) -> Record:
    """The file as a record, decoded but not extracted."""
    data = b""
    form = form or file_format(path)
    try:
        with root.open(path) as stream:
            data = read_bounded(stream, compression(path), document_bytes)
        if is_binary(data):
            raise UndecodableError("binary file")
        text, charset = decode(data, declared=declared_in(data) if form in _SELF_DECLARED else None)
    except DamagedInput as error:
        return _unreadable(path, repository, form, error.reason, error.offset, len(data) or _size(root, path))
    except UndecodableError as error:
        return _unreadable(
            path, repository, form, str(error), data.find(b"\0") if b"\0" in data else 0, len(data)
        )
    except OSError as error:
        return _unreadable(path, repository, form, f"cannot be read: {error.strerror or error}", None, 0)
    return Record(path, text, len(data), form, None, repository, None, charset)


def file_format(path: str) -> str:
    """The suffix in lower case without its dot, beneath any compression; `text` for a name without one.

    >>> file_format("src/Makefile"), file_format("a/b.TAR.c"), file_format("man1/ls.1.gz")
    ('text', 'c', '1')
    """
    stem, suffix = posixpath.splitext(posixpath.basename(path))
    if suffix.lower() in COMPRESSIONS and stem:
        suffix = posixpath.splitext(stem)[1]
    return suffix[1:].lower() or "text"


def _unreadable(
    path: str, repository: str | None, form: str, reason: str, offset: int | None, size: int
) -> Record:
    return Record(
        path, None, size, form, repository=repository, charset=None, error=reason, error_offset=offset
    )


def _size(root: Root, path: str) -> int:
    """Bytes of the file as stored; 0 when even that cannot be told."""
    try:
        with root.open(path) as stream:
            return _end(stream)
    except OSError:
        return 0


def _end(stream: BinaryIO) -> int:
    return stream.seek(0, 2)
