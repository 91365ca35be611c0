"""A shard of a run as a local file, for whatever looks into one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curate import storage
from curate.run_directory import Run
from shards.catalog import leads_out
from shards.format import ShardError


@contextmanager
def local_shard(run: Run, path: str, name: str) -> Iterator[Path]:
    """The file itself, or one fetched from a bucket, which goes away again.

    Raises ShardError, naming the shard, for a path that leads out of the run directory, and for a file that
    is not there.
    """
    if leads_out(path):
        raise ShardError(f"{name}: the manifest puts it at {path!r}, outside of the run directory")
    url = run.url(path)
    if storage.is_local(url):
        yield Path(url.removeprefix("file://"))
        return
    filesystem, remote = storage.filesystem(url)
    with tempfile.TemporaryDirectory(prefix="shard-") as folder:
        target = Path(folder) / name.replace("/", "_")
        try:
            filesystem.get_file(remote, str(target))
        except FileNotFoundError as error:
            raise ShardError(f"{name}: the manifest lists it, and there is no such file") from error
        yield target
