"""Work units as Ray tasks, with retries; the cluster is RAY_ADDRESS's, or one started here.

The run directory must be a URL that every node can reach. Units are pure functions of their inputs
and publish atomically, so a retried task cannot leave anything wrong behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from curate.executors.local import WorkerDied, limit_threads

RETRIES = 3


def _call(function: Callable[[Any], Any], unit: Any) -> Any:
    limit_threads()
    return function(unit)


class RayExecutor:
    """At most `workers` tasks at a time, one CPU each."""

    def __init__(self, workers: int) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("the ray executor needs Ray: pip install 'curate[ray]'") from error
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            address = os.environ.get("RAY_ADDRESS")
            options: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
            ray.init(
                include_dashboard=False if not address else None,
                log_to_driver=False,
                configure_logging=False,
                **options,
            )
        self._task = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)

    def map(self, function: Callable[[Any], Any], units: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        waiting = list(enumerate(units))[::-1]
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    index, unit = waiting.pop()
                    running[self._task.remote(function, unit)] = index
                done, _ = self._ray.wait(list(running), num_returns=1)
                for reference in done:
                    index = running.pop(reference)
                    try:
                        yield index, self._ray.get(reference)
                    except self._ray.exceptions.RayTaskError as error:
                        raise error.cause from error
                    except self._ray.exceptions.RayError as error:
                        raise WorkerDied(
                            "a Ray worker died (killed, or out of memory); finished units are kept: run the "
                            "same command again"
                        ) from error
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        if self._started:
            self._ray.shutdown()
