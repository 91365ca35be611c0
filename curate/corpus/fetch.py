"""Files of PyPI releases: found in the package index by their hash, downloaded, resumed, checked, cached.

The index is the one that pip would use. A file lies in the cache as `<sha256>/<name>`; one that is on its way
as `<name>.part`, which a later run continues with an HTTP range. Nothing gets its final name before its hash
was checked, and no more bytes are read than the catalogue says. One stream costs about 1 MiB of memory.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, TypeVar

_CHUNK = 256 << 10
_INDEX_TYPES = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_INDEX_BYTES = 64 << 20  # the longest index page of a package here is 0.4 MB

T = TypeVar("T")

Progress = Callable[[int], None]  # called with the number of bytes that just arrived (negative: start again)


class FetchError(RuntimeError):
    """A file could not be had; the message says why and what to do."""


class HashMismatch(FetchError):
    """The bytes that came are not the bytes that the catalogue names."""


@dataclass(frozen=True)
class Download:
    """One file: where it is, and what it must be."""

    url: str
    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Patience:
    """How long to try. Waits between tries double from `first_wait`."""

    tries: int = 5
    first_wait: float = 0.5
    timeout: float = 60.0


def index_url() -> str:
    """The package index in force: $PIP_INDEX_URL, pip's configuration, or pip's default, in that order.

    Raises FetchError where there is no pip to ask.
    """
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if asked.returncode == 0 and asked.stdout.strip():
        return asked.stdout.strip()
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        raise FetchError(
            f"no pip in {sys.executable} to learn the package index from;"
            " set PIP_INDEX_URL to an index's /simple/ address, or run `python -m ensurepip`"
        ) from error
    return str(PyPI.simple_url)


def locate(index: str, package: str, sha256: str, patience: Patience | None = None) -> str:
    """The address of the package's file with this hash, from the index's JSON or, failing that, HTML page.

    Raises FetchError where the index does not answer or has no such file.
    """
    page = f"{index.rstrip('/')}/{urllib.parse.quote(package)}/"

    def read() -> tuple[str, str, bytes]:
        with _open(page, {"Accept": _INDEX_TYPES}, patience) as response:
            kind = response.headers.get_content_type()
            return _without_user(response.geturl()), kind, response.read(_INDEX_BYTES)

    base, kind, body = _patiently(read, page, patience)
    for url, found in _listed(kind, body, _without_user(page)):
        if found == sha256:
            return urllib.parse.urljoin(base, url)
    raise FetchError(
        f"{package}: the package index has no file with sha256 {sha256[:16]}…"
        " (a mirror that lags? set PIP_INDEX_URL to one that has it)"
    )


def _listed(kind: str, body: bytes, page: str) -> list[tuple[str, str]]:
    """(address, sha256) of the files on an index page (PEP 691 JSON, or PEP 503 HTML)."""
    if not kind.endswith("json"):
        parser = _Anchors()
        parser.feed(body.decode(errors="replace"))
        return [(url, fragment.removeprefix("sha256=")) for url, _, fragment in parser.links]
    try:
        return [(str(f["url"]), str(f["hashes"].get("sha256"))) for f in json.loads(body)["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(f"{page}: not an index page ({type(error).__name__}: {error})") from error


def cached(cache: Path, sha256: str, name: str) -> Path | None:
    """The file in the cache if its bytes are right; a damaged one is deleted and None comes back."""
    path = cache / sha256 / name
    if not path.is_file():
        return None
    if _sha256(path) == sha256:
        return path
    path.unlink()
    return None


def fetch(
    download: Download, cache: Path, progress: Progress = lambda _: None, patience: Patience | None = None
) -> Path:
    """Bring a file into the cache and return its path; continues a `.part` that an earlier run left.

    Raises HashMismatch where the bytes are others than the catalogue's (the part is then deleted), FetchError
    where the server refuses or cannot be reached after `patience.tries` tries.
    """
    patience = patience or Patience()
    path = cache / download.sha256 / download.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("ab") as out:
        fcntl.flock(out, fcntl.LOCK_EX)  # two runs may share a cache
        if (ready := cached(cache, download.sha256, download.name)) is not None:
            part.unlink(missing_ok=True)
            return ready
        resumed = out.tell() > 0
        progress(min(out.tell(), download.bytes))
        for attempt in range(2):
            _patiently(lambda: _receive(download, out, progress, patience), download.name, patience)
            found = _sha256(part)
            if found == download.sha256:
                break
            progress(-out.tell())
            out.truncate(0)
            if not resumed or attempt:  # a stale part is worth one fresh start
                part.unlink()
                raise HashMismatch(
                    f"{download.name}: sha256 is {found[:16]}…, the catalogue says {download.sha256[:16]}…;"
                    " nothing of it was kept. Run again; if it happens again, the index serves another file"
                )
        out.flush()
        os.fsync(out.fileno())
        part.rename(path)
    return path


def _receive(download: Download, out: IO[bytes], progress: Progress, patience: Patience) -> None:
    """Append the missing bytes to `out`; starts again where the server ignores the range."""
    have = out.seek(0, os.SEEK_END)
    if have == download.bytes:
        return
    if have > download.bytes:
        progress(-download.bytes)
        out.truncate(0)
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        response = _open(download.url, headers, patience)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the file there ends before our part does: start again
            progress(-have)
            out.truncate(0)
        raise
    with response:
        if have and not (
            response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        ):
            progress(-have)
            out.truncate(0)
            have = 0
        while chunk := response.read(_CHUNK):
            have += len(chunk)
            if have > download.bytes:
                out.truncate(0)
                progress(len(chunk) - have)
                raise HashMismatch(f"{download.name}: more than the {download.bytes:,} bytes it should have")
            out.write(chunk)
            progress(len(chunk))
    out.flush()
    if have < download.bytes:
        raise ConnectionError(f"the connection ended after {have:,} of {download.bytes:,} bytes")


def _patiently(call: Callable[[], T], what: str, patience: Patience | None) -> T:
    """Call until it works; only what may be different the next time is tried again."""
    patience = patience or Patience()
    for attempt in range(1, patience.tries + 1):
        try:
            return call()
        except urllib.error.HTTPError as error:
            reason, again = (
                f"HTTP {error.code} {error.reason}",
                error.code in (408, 416, 425, 429) or error.code >= 500,
            )
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            reason, again = (
                f"{type(error).__name__}: {error}",
                not isinstance(error, ssl.SSLCertVerificationError),
            )
        if not again or attempt == patience.tries:
            raise FetchError(
                f"{_without_user(what)}: {reason} (try {attempt} of {patience.tries});"
                " check the network, the proxy and PIP_INDEX_URL, then run again: what has arrived is kept"
            )
        time.sleep(patience.first_wait * 2 ** (attempt - 1))
    raise FetchError(f"{_without_user(what)}: no try was allowed")


def _open(url: str, headers: dict[str, str], patience: Patience | None) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise FetchError(f"{_without_user(url)}: only http and https addresses are fetched")
    request = urllib.request.Request(_without_user(url), headers=headers)
    if parts.username:
        words = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        # Not sent on to where a redirect leads.
        token = base64.b64encode(words.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    timeout = (patience or Patience()).timeout
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout, context=context)
    return response


def _without_user(url: str) -> str:
    """The address without `user:password@`, which belongs in no message."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Anchors(HTMLParser):
    """The links of an HTML index page as (address, '#', fragment)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (target := dict(attrs).get("href")):
            self.links.append(target.partition("#"))
