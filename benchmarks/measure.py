"""Whole processes on chosen cores: time, CPU time and peak memory, for every benchmark alike."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import threading
import time
from importlib import util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """What a result file says of the machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(model, "unknown"),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
    }


def packaged(package: str, name: str) -> Path:
    """A file inside an installed package, none of whose code is run."""
    found = util.find_spec(package)
    if found is None or found.origin is None:
        raise SystemExit(f"{package} is not installed here; it is among this project's dependencies")
    return Path(found.origin).parent / name


def pinned(command: list[Any], cores: list[int], scratch: Path) -> tuple[float, float, int, str]:
    """Run a command on these cores only: wall and CPU seconds, peak bytes of its processes, what it printed.

    Raises SystemExit with the end of its error output when it fails.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    log = scratch / "stderr"
    with log.open("wb") as errors:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        peaks: list[int] = [0]
        watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
        watcher.start()
        output, _ = process.communicate()
        seconds = time.perf_counter() - started
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise SystemExit(f"{' '.join(map(str, command[:4]))} … failed ({process.returncode}):\n{tail}")
    return seconds, cpu, peaks[0], output.decode()


def _watch(process: subprocess.Popen[bytes], peaks: list[int]) -> None:
    """The largest sum of proportional set sizes over the session of a process, every 0.2 s."""
    while process.poll() is None:
        total = 0
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(entry.name)) != process.pid:
                    continue
                rollup = (entry / "smaps_rollup").read_text()
            except (OSError, ValueError):
                continue  # it ended while we looked
            sizes = [line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")]
            total += 1024 * int(sizes[0]) if sizes else 0
        peaks[0] = max(peaks[0], total)
        time.sleep(0.2)
