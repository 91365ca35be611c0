"""A pool of processes on this machine; one worker runs inline, in this process.

Processes are started from a clean server (`forkserver`), because forking a process that already runs
Arrow's threads can deadlock. Starting one costs about a second of imports, so a pool lives for a run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any


class WorkerDied(Exception):
    """A worker process vanished: killed from outside, or out of memory."""


def limit_threads() -> None:
    """One worker, one core: libraries that bring their own thread pools get one thread each."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


class LocalExecutor:
    """`workers` processes; units are handed out in order, results come back as they finish."""

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Any], Any], units: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        if self.workers == 1:
            limit_threads()
            for index, unit in enumerate(units):
                yield index, function(unit)
            return
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["curate.phases"])
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=limit_threads)
        waiting = list(enumerate(units))[::-1]
        running: dict[Future[Any], int] = {}
        try:
            while waiting or running:
                # Two units a worker in flight keep every worker busy, and an error leaves little behind.
                while waiting and len(running) < 2 * self.workers:
                    index, unit = waiting.pop()
                    running[self._pool.submit(function, unit)] = index
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            self._pool = None
            raise WorkerDied(
                "a worker process died (killed, or out of memory); finished units are kept: "
                "run the same command again, with fewer --workers if memory was short"
            ) from error
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
