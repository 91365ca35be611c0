"""A bounded local cache of pieces of remote files, safe to share between processes.

The global order takes sequences from everywhere, so whole shards would be fetched for one sequence each, and
a cache smaller than the data would be of no use. What is kept are pieces of 128 KiB: one request brings a
sequence of 4K tokens and some of what lies beside it, and neighbouring pieces come in one request. Least
recently used pieces go first. A hit costs an `open` and a read, about 30 us; the bound holds for all
processes together.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE = 128 << 10

#: A piece counts as used again after this many seconds: a time stamp is written at most this often.
TOUCH = 60.0

#: Fetches bytes [start, end) of a file by its URL.
Fetch = Callable[[str, int, int], bytes]


class PieceCache:
    """Pieces of files under `folder`, of `limit` bytes together."""

    def __init__(self, folder: str | Path, limit: int, fetch: Fetch, *, piece: int = PIECE) -> None:
        """Raises ValueError for a limit that does not hold a single piece."""
        if limit < piece:
            raise ValueError(f"cache_bytes={limit} is less than one piece of {piece} bytes")
        self._folder = Path(folder)
        self._limit = limit
        self._fetch = fetch
        self._piece = piece
        self._mutex = threading.Lock()  # flock does not keep the threads of one process apart
        self.fetched_bytes = 0
        self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, key: str, url: str, size: int, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of the file `url` of `size` bytes, kept under `key`.

        Raises OSError as fetching does, and for a file that is shorter than `size`.
        """
        if not 0 <= offset <= offset + length <= size:
            raise OSError(f"{url}: bytes {offset} to {offset + length} lie outside its {size}")
        first, last = offset // self._piece, -(-(offset + length) // self._piece)
        pieces: list[bytes | None] = [self._cached(key, number) for number in range(first, last)]
        for begin, end in _gaps(pieces):
            start, stop = (first + begin) * self._piece, min((first + end) * self._piece, size)
            data = self._fetch(url, start, stop)
            if len(data) != stop - start:
                raise OSError(f"{url}: {len(data)} of {stop - start} bytes came from {start} on: truncated?")
            self.fetched_bytes += len(data)
            for number in range(begin, end):
                at = (number - begin) * self._piece
                pieces[number] = data[at : at + self._piece]
                self._keep(key, first + number, data[at : at + self._piece])
        skip = offset - first * self._piece
        return b"".join(piece for piece in pieces if piece is not None)[skip : skip + length]

    def drop(self, key: str) -> None:
        """Forget what is kept of a file, so that it is fetched again."""
        with self._locked():
            shutil.rmtree(self._folder / key, ignore_errors=True)
            self._note(self._measure())

    def _path(self, key: str, number: int) -> Path:
        return self._folder / key / f"{number}.piece"

    def _cached(self, key: str, number: int) -> bytes | None:
        path = self._path(key, number)
        try:
            with path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > TOUCH:
                    os.utime(file.fileno())
                return file.read()
        except FileNotFoundError:
            return None

    def _keep(self, key: str, number: int, data: bytes) -> None:
        path = self._path(key, number)
        with self._locked():
            if path.exists():  # another process was faster
                return
            total = self._total()
            if total + len(data) > self._limit:
                total = self._evict(self._limit - self._limit // 10 - len(data))
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}.part")
            temporary.write_bytes(data)
            temporary.replace(path)
            self._note(total + len(data))

    def _evict(self, room: int) -> int:
        """Remove the least recently used pieces until `room` bytes are left at most; what is left."""
        pieces = sorted((status.st_mtime, str(path), status.st_size) for path, status in self._pieces())
        total = sum(size for _, _, size in pieces)
        for _, path, size in pieces:
            if total <= max(room, 0):
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total

    def _pieces(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder in os.scandir(self._folder):
            if folder.is_dir():
                for entry in os.scandir(folder.path):
                    yield Path(entry.path), entry.stat()

    def _measure(self) -> int:
        return sum(status.st_size for _, status in self._pieces())

    def _total(self) -> int:
        try:
            return int((self._folder / "total").read_text())
        except (FileNotFoundError, ValueError):
            return self._measure()

    def _note(self, total: int) -> None:
        (self._folder / "total").write_text(str(total))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mutex, (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _gaps(pieces: list[bytes | None]) -> Iterator[tuple[int, int]]:
    """Runs of absent pieces."""
    begin = None
    for number, piece in enumerate([*pieces, b""]):
        if piece is None and begin is None:
            begin = number
        elif piece is not None and begin is not None:
            yield begin, number
            begin = None
