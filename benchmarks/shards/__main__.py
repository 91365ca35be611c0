"""Packing, writing and loading, side by side with what others do it with, in one run.

    python -m benchmarks.shards
    python -m benchmarks.shards --only packing --quick

Every part is a module here that says what it measures and against which floor. The sides of a part run in
turn, each a process of its own on one core, for several rounds; medians are quoted. A side that fails stops
the benchmark, and nothing is written then; nor is anything with `--only` or `--quick`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

from benchmarks.measure import ROOT, machine
from benchmarks.peers import pinned_version

from . import crash, loading, order, packing, writing
from .data import Data, prepared
from .rows import Row, show

LOADERS = ("torch", "megatron-core", "mosaicml-streaming", "litdata")
RESULT = ROOT / "benchmarks" / "results" / "shards.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts; writes no result")
    parser.add_argument("--quick", action="store_true", help="small inputs, one round; writes no result")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument(
        "--run", type=Path, help="a run directory: its documents' lengths stand for the sample's"
    )
    parser.add_argument("--keep", action="store_true", help="keep what is loaded (in build/benchmark_shards)")
    given = parser.parse_args()
    rows: list[Row] = []
    with ExitStack() as stack:
        data: dict[int, Data] = {}
        for name in given.only or PARTS:
            if name in WITH_DATA and not data:
                data = stack.enter_context(prepared(quick=given.quick, keep=given.keep))
            found = PARTS[name](given, data)
            show(found)
            sys.stdout.flush()
            rows += found
    if given.only or given.quick:
        return
    result = {
        "command": f"python -m benchmarks.shards --rounds {given.rounds}",
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("numpy", "pyarrow")}
        | packing.versions()
        | {name: pinned_version("loaders", name) for name in LOADERS},
        "rounds": given.rounds,
        "rows": [row.as_json() for row in rows],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {RESULT.relative_to(ROOT)}")


def _rounds(given: argparse.Namespace) -> int:
    return 1 if given.quick else int(given.rounds)


def _packing(given: argparse.Namespace, _: dict[int, Data]) -> list[Row]:
    return packing.run(quick=given.quick, rounds=_rounds(given), core=given.core, lengths_of=given.run)


def _writing(given: argparse.Namespace, _: dict[int, Data]) -> list[Row]:
    return writing.run(quick=given.quick, rounds=_rounds(given), core=given.core)


def _loading(given: argparse.Namespace, data: dict[int, Data]) -> list[Row]:
    return loading.run(data, quick=given.quick, rounds=_rounds(given), core=given.core)


def _ranks(given: argparse.Namespace, data: dict[int, Data]) -> list[Row]:
    return order.ranks(data[1 << 20], rounds=_rounds(given), core=given.core)


def _seek(given: argparse.Namespace, data: dict[int, Data]) -> list[Row]:
    return order.seek(data[4096], quick=given.quick, rounds=_rounds(given), core=given.core)


def _balance(given: argparse.Namespace, data: dict[int, Data]) -> list[Row]:
    return order.balance(data[4096], core=given.core)


def _start(given: argparse.Namespace, _: dict[int, Data]) -> list[Row]:
    return order.start(quick=given.quick, rounds=_rounds(given), core=given.core)


def _crash(_: argparse.Namespace, data: dict[int, Data]) -> list[Row]:
    return crash.run(data[4096])


PARTS: dict[str, Callable[[argparse.Namespace, dict[int, Data]], list[Row]]] = {
    "packing": _packing,
    "writing": _writing,
    "loading": _loading,
    "ranks": _ranks,
    "seek": _seek,
    "balance": _balance,
    "start": _start,
    "crash": _crash,
}
#: Parts that read the data of `data.py`.
WITH_DATA = ("loading", "ranks", "seek", "balance", "crash")


if __name__ == "__main__":
    main()
