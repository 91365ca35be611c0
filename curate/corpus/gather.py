"""Fetch packages and lay each out as soon as its file is there.

PyPI files come in parallel while one `apt-get` call brings the Debian packages; the conversions share the
same threads. What fails is reported when the rest is done: no package waits for, or falls with, another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from curate.corpus import debian, fetch, layout
from curate.corpus.catalog import Catalogue
from curate.corpus.convert import ConversionError
from curate.corpus.unpack import UnsafeArchive

_PROBLEMS = (fetch.FetchError, debian.DebianError, ConversionError, UnsafeArchive, OSError)

Built = Callable[[str, layout.Stamp | str], None]  # a package's name, and its stamp or why there is none


@dataclass
class Outcome:
    """{name: error} of what failed, and {name: reason} of what cannot be had on this machine."""

    failed: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def gather(
    catalogue: Catalogue,
    names: Iterable[str],
    into: Path,
    cache: Path,
    *,
    with_debian: bool = True,
    jobs: int = 4,
    arrived: fetch.Progress = lambda _: None,
    built: Built = lambda _, __: None,
) -> Outcome:
    """Bring these packages into `cache` and lay them out in `into`, `jobs` at a time.

    `arrived` hears of each piece of a PyPI file, `built` of each package. A Debian package that cannot be
    had, or whose version here is laid out otherwise than the catalogue's, is absent; all else that goes wrong
    is a failure.
    """
    outcome = Outcome()
    todo = list(names)
    distribution = [name for name in todo if name in catalogue.debian]
    why = debian.unavailable() if with_debian else "left out by --no-debian"
    if why is not None:
        outcome.absent |= dict.fromkeys(distribution, why)
        distribution = []
    index = _once(fetch.index_url)

    def from_pypi(name: str) -> layout.Stamp:
        package = catalogue.pypi[name]
        archive = fetch.cached(cache / "pypi", package.sha256, package.file)
        if archive is not None:
            arrived(package.bytes)
        else:
            url = fetch.locate(index(), name, package.sha256)
            download = fetch.Download(url, package.file, package.sha256, package.bytes)
            archive = fetch.fetch(download, cache / "pypi", arrived)
        return layout.build(into, name, package, archive, package.version)

    def from_debian(name: str, archive: Path) -> layout.Stamp:
        return layout.build(into, name, catalogue.debian[name], archive, debian.version(archive))

    pool = ThreadPoolExecutor(jobs)
    try:
        futures = {pool.submit(from_pypi, name): name for name in todo if name in catalogue.pypi}
        if distribution:
            fetched = debian.fetch(distribution, cache / "debian")
            outcome.absent |= fetched.absent
            futures |= {pool.submit(from_debian, name, path): name for name, path in fetched.files.items()}
        for name, reason in outcome.absent.items():
            built(name, reason)
        for future in as_completed(futures):
            _settle(futures[future], future, catalogue, outcome, built)
    finally:
        pool.shutdown(cancel_futures=True)  # also when interrupted: what runs ends, nothing new starts
    return outcome


def _settle(
    name: str, future: Future[layout.Stamp], catalogue: Catalogue, outcome: Outcome, built: Built
) -> None:
    try:
        built(name, future.result())
    except _PROBLEMS as error:
        other_release = isinstance(error, ConversionError) and name in catalogue.debian
        (outcome.absent if other_release else outcome.failed)[name] = str(error)
        built(name, str(error))


def _once(call: Callable[[], str]) -> Callable[[], str]:
    """The call's result, asked for once, by whichever thread comes first."""
    lock = threading.Lock()
    known: list[str] = []

    def result() -> str:
        with lock:
            if not known:
                known.append(call())
            return known[0]

    return result
