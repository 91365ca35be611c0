"""Executors: where work units run. `map(function, units)` is all that an executor is.

`local` is a pool of processes on this machine and the default; `ray` runs the same units as tasks of
a Ray cluster. Output bytes depend on neither, nor on the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from curate.executors.local import LocalExecutor

NAMES = ("local", "ray")


class Executor(Protocol):
    """Runs a picklable function over units and yields (index, result) as they finish."""

    def map(self, function: Callable[[Any], Any], units: Sequence[Any]) -> Iterator[tuple[int, Any]]: ...

    def close(self) -> None: ...


def make(name: str, workers: int) -> Executor:
    """The executor of that name; `ImportError` with the remedy when its extra is not installed."""
    if name == "local":
        return LocalExecutor(workers)
    if name == "ray":
        from curate.executors.ray import RayExecutor

        return RayExecutor(workers)
    raise ValueError(f"no executor {name!r}; there are {', '.join(NAMES)}")
