"""`curate export megatron` and `curate export mds`: a stage's packed shards in other trainers' formats."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from rich.console import Console
from rich.progress import Progress

from curate import storage

if TYPE_CHECKING:
    from curate.run_directory import Run
    from shards.export.stage import Stage

console = Console()


@click.group()
def export() -> None:
    """Write a stage's packed shards in the format of another trainer."""


def _options(command: Any) -> Any:
    for option in (
        click.argument("run_directory"),
        click.option("--stage", required=True, help="Stage of the curriculum, e.g. 4K."),
        click.option("--force", is_flag=True, help="Replace what is there."),
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    ):
        command = option(command)
    return command


@export.command()
@_options
@click.option(
    "--output", "-o", required=True, metavar="PREFIX", help="Files PREFIX.bin and PREFIX.idx; also a URL."
)
@click.option(
    "--documents/--packed",
    "as_documents",
    default=True,
    help="Whole documents that end in EOD (default), or rows of the sequence length, padding included.",
)
@click.option("--by-source", is_flag=True, help="A pair of files PREFIX_SOURCE.* for each source, to blend.")
def megatron(
    run_directory: str,
    stage: str,
    force: bool,
    as_json: bool,
    output: str,
    as_documents: bool,
    by_source: bool,
) -> None:
    """Write STAGE of a run as the .bin and .idx files of Megatron, MindSpeed and their like.

    \b
    curate export megatron runs/v4 --stage 4K -o megatron/v4-4k
    curate export megatron runs/v4 --stage 1M -o megatron/v4-1m --packed
    """
    from curate.run_directory import RunError, open_run
    from shards.export.megatron import export_megatron

    run = open_run(run_directory)
    with _shard_errors():
        found = _open(run, stage)
        folder, name = _place(output)
        eod = _eod(run)
        if by_source and not as_documents:
            raise RunError("--packed sequences mix their sources: give either --packed or --by-source")
        taken = _existing(folder, lambda file: file.startswith(name) and file.endswith((".bin", ".idx")))
        if not by_source:
            taken = [file for file in taken if file.rpartition(".")[0] == name]
        with _files(folder, taken, force) as open_file, _watch(found, as_json) as (progress, seconds):
            done = export_megatron(
                found,
                name,
                open_file,
                eod=eod,
                packed=not as_documents,
                by_source=by_source,
                progress=progress,
            )
    summary = asdict(done) | {"folder": folder, "seconds": round(seconds(), 3)}
    if as_json:
        click.echo(json.dumps(summary, ensure_ascii=False))
        return
    for part in done.parts:
        unit = "sequences" if done.mode == "packed" else "documents"
        _say(f"{storage.join(folder, part.prefix)}: {part.sequences:,} {unit}, {part.tokens:,} tokens")
    _say(_rate(4 * sum(part.tokens for part in done.parts), seconds()))
    if done.eod_added:
        _say(f"{done.eod_added:,} documents did not end in end-of-text (id {eod}): it was added")
    if done.eod_inside:
        _say(
            f"[yellow]warning[/] {done.eod_inside:,} end-of-text tokens are not at the end of a document: "
            "a trainer that finds boundaries by them cuts there"
        )
    if done.ends_without_eod:
        _say(
            f"{done.ends_without_eod:,} pieces do not end in end-of-text (cut at the sequence length): "
            "--reset-attention-mask does not see their ends"
        )
    if by_source:
        weights = " ".join(f"{part.tokens} {storage.join(folder, part.prefix)}" for part in done.parts)
        _say(f"--data-path {weights}")


@export.command()
@_options
@click.option("--output", "-o", required=True, metavar="FOLDER", help="Folder of the data set; also a URL.")
def mds(run_directory: str, stage: str, force: bool, as_json: bool, output: str) -> None:
    """Write STAGE of a run as a data set of MosaicML Streaming, a sample for each packed sequence.

    \b
    curate export mds runs/v4 --stage 4K -o mds/v4-4k
    """
    from curate.run_directory import open_run
    from shards.export.mds import export_mds

    run = open_run(run_directory)
    with _shard_errors():
        found = _open(run, stage)
        taken = _existing(output, lambda file: file.endswith(".mds") or file == "index.json")
        with _files(output, taken, force) as open_file, _watch(found, as_json) as (progress, seconds):
            done = export_mds(found, open_file, progress=progress)
    if as_json:
        click.echo(json.dumps(asdict(done) | {"folder": output, "seconds": round(seconds(), 3)}))
        return
    _say(f"{output}: {done.samples:,} samples of {done.sequence_length:,} tokens in {done.shards:,} shards")
    _say(_rate(done.bytes, seconds()))


def _say(line: str) -> None:
    console.print(line, highlight=False, soft_wrap=True)


def _rate(count: int, seconds: float) -> str:
    from curate.progress import size

    return f"{size(count)} in {seconds:.1f} s, {size(count / max(seconds, 1e-9))}/s"


@contextmanager
def _shard_errors() -> Iterator[None]:
    """Errors of the shards and their readers are for people too."""
    from curate.run_directory import RunError
    from shards.format import ShardError

    try:
        yield
    except (ShardError, ValueError) as error:
        raise RunError(str(error)) from error


def _open(run: Run, stage: str) -> Stage:
    from shards.export.stage import open_stage

    return open_stage(run.root, stage)


def _eod(run: Run) -> int:
    """Id of the end-of-text token of the run's tokenizer, whether or not the mixture ends documents in it."""
    from curate.phases.tokenize import tokenizer_of
    from curate.run_directory import RunError

    preset = run.mixture.tokenizer.preset
    eos = tokenizer_of(preset, False, True).special.eos
    if eos is None:
        raise RunError(f"tokenizer {preset!r} has no end-of-text token: documents would have no end")
    if eos >= 1 << 31:
        raise RunError(f"tokenizer {preset!r}: token {eos} does not fit into the int32 of these files")
    return eos


def _place(prefix: str) -> tuple[str, str]:
    """Folder and file name of a prefix."""
    from curate.run_directory import RunError

    folder, slash, name = prefix.rpartition("/")
    if not name:
        raise RunError(f"{prefix}: give the beginning of the files' names, not a folder, e.g. {prefix}4k")
    return (folder if slash else ".") or "/", name


def _existing(folder: str, ours: Callable[[str], bool]) -> list[str]:
    return [name for name in storage.list_files(folder) if ours(name)]


@contextmanager
def _files(
    folder: str, taken: Sequence[str], force: bool
) -> Iterator[Callable[[str], AbstractContextManager[BinaryIO]]]:
    """Opens files to publish in a folder; if the block fails, those that are complete go too."""
    from curate.run_directory import RunError

    if taken and not force:
        raise RunError(
            f"{storage.join(folder, taken[0])}: is there already: choose another -o, or give --force"
        )
    # The files that describe the others go first: at no time do they describe what is not there.
    for name in sorted(taken, key=lambda name: not name.endswith((".idx", ".json"))):
        storage.remove(storage.join(folder, name))
    published: list[str] = []

    @contextmanager
    def open_file(name: str) -> Iterator[BinaryIO]:
        with storage.publishing(folder, name) as publication:
            yield publication.sink
        published.append(name)

    try:
        yield open_file
    except BaseException:
        for name in reversed(published):
            storage.remove(storage.join(folder, name))
        raise


@contextmanager
def _watch(stage: Stage, quiet: bool) -> Iterator[tuple[Callable[[int], None], Callable[[], float]]]:
    """What to call with the tokens that are done, and the seconds since the beginning."""
    from curate.progress import rate_columns, size

    begin = time.monotonic()
    bar = Progress(
        *rate_columns(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    task = bar.add_task(f"export {stage.name}", total=stage.tokens, rate="")
    ended: list[float] = []
    tokens = 0

    def progress(count: int) -> None:
        nonlocal tokens
        tokens += count
        rate = 4 * tokens / max(time.monotonic() - begin, 1e-9)
        bar.update(task, advance=count, rate=f"{size(rate)}/s")

    with bar:
        yield progress, lambda: (ended[0] if ended else time.monotonic()) - begin
    ended.append(time.monotonic())
