"""Executors: results by index, errors as they are, and a clear word when a worker dies."""

from __future__ import annotations

import math
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate import executors
from curate.executors import Executor
from curate.executors.local import LocalExecutor, WorkerDied


def kill_me(unit: int) -> int:
    """Dies like a process that ran out of memory, at unit 2."""
    if unit == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return unit


def sleep_and_mark(path: str) -> str:
    if not Path(path).name.startswith("bad"):
        time.sleep(0.2)
        Path(path).touch()
        return path
    raise ValueError(f"bad unit {path}")


def threads_of_arrow(_: int) -> int:
    import pyarrow as pa

    return int(pa.cpu_count())


def process(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


@pytest.fixture(scope="module", params=["inline", "processes", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        pytest.importorskip("ray")
        made = executors.make("ray", 2)
    else:
        made = executors.make("local", 1 if request.param == "inline" else 2)
    yield made
    made.close()


def test_every_unit_runs_once_and_its_result_bears_its_index(executor: Executor) -> None:
    units = list(range(20))
    results = list(executor.map(operator.neg, units))
    assert sorted(results) == [(index, -unit) for index, unit in enumerate(units)]


def test_no_units_give_no_results(executor: Executor) -> None:
    assert list(executor.map(operator.neg, [])) == []


def test_an_error_in_a_unit_arrives_as_it_was_raised(executor: Executor) -> None:
    with pytest.raises(ValueError, match=r"math domain error|expected a nonnegative"):
        list(executor.map(math.sqrt, [4.0, -1.0, 9.0]))
    assert list(executor.map(math.sqrt, [4.0])) == [(0, 2.0)], "and the executor is still of use"


def test_one_worker_runs_in_this_process_and_in_order() -> None:
    assert list(LocalExecutor(1).map(process, range(3))) == [(n, os.getpid()) for n in range(3)]


def test_several_workers_share_the_units() -> None:
    pool = LocalExecutor(2)
    try:
        owners = {owner for _, owner in pool.map(process, range(12))}
    finally:
        pool.close()
    assert len(owners) == 2
    assert os.getpid() not in owners


def test_a_worker_keeps_to_one_thread() -> None:
    pool = LocalExecutor(2)
    try:
        assert {count for _, count in pool.map(threads_of_arrow, range(2))} == {1}
    finally:
        pool.close()


def test_a_killed_worker_is_an_error_that_says_what_to_do_and_the_pool_recovers() -> None:
    pool = LocalExecutor(2)
    try:
        with pytest.raises(WorkerDied, match=r"worker process died .*run the same command again"):
            list(pool.map(kill_me, range(8)))
        assert sorted(pool.map(operator.neg, [1, 2])) == [(0, -1), (1, -2)]
    finally:
        pool.close()


def test_an_error_leaves_units_that_were_not_begun_undone(tmp_path: Path) -> None:
    units = [str(tmp_path / name) for name in ("bad", *map(str, range(30)))]
    pool = LocalExecutor(2)
    try:
        with pytest.raises(ValueError, match="bad unit"):
            list(pool.map(sleep_and_mark, units))
    finally:
        pool.close()
    assert len(list(tmp_path.iterdir())) < 10


@pytest.mark.parametrize("name", executors.NAMES)
def test_less_than_one_worker_is_refused(name: str) -> None:
    if name == "ray":
        pytest.importorskip("ray")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        executors.make(name, 0)


def test_an_unknown_executor_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="no executor 'slurm'; there are local, ray"):
        executors.make("slurm", 1)


def test_ray_that_is_not_installed_is_an_error_with_the_remedy() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from curate import executors\n"
        "try: executors.make('ray', 1)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "the ray executor needs Ray: pip install 'curate[ray]'\n"
