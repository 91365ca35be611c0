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
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from benchmarks.measure import ROOT, machine

from . import packing, writing
from .rows import Row, show

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
    given = parser.parse_args()
    rows: list[Row] = []
    for name, part in PARTS.items():
        if given.only is None or name in given.only:
            found = part(given)
            show(found)
            rows += found
    if given.only or given.quick:
        return
    result = {
        "command": f"python -m benchmarks.shards --rounds {given.rounds}",
        "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("numpy", "pyarrow")}
        | packing.versions(),
        "rounds": given.rounds,
        "rows": [row.as_json() for row in rows],
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written: {RESULT.relative_to(ROOT)}")


def _rounds(given: argparse.Namespace) -> int:
    return 1 if given.quick else int(given.rounds)


PARTS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "packing": lambda given: packing.run(
        quick=given.quick, rounds=_rounds(given), core=given.core, lengths_of=given.run
    ),
    "writing": lambda given: writing.run(quick=given.quick, rounds=_rounds(given), core=given.core),
}


if __name__ == "__main__":
    main()
