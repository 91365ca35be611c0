"""Environments of the systems that we are compared with, made on demand from pinned requirements.

`python_of("datatrove")` is the interpreter of `benchmarks/.venvs/datatrove`, made from
`benchmarks/datatrove_requirements.txt` by pip from PyPI (about a minute, 1 GB of disk) and made again when
that file changes. What `datatrove_sources.txt` lists, if there is one, is installed without its dependencies
and whatever Python it asks for: packages of which a benchmark runs a module that needs none of them. Two
processes that ask at once wait for one another.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE / ".venvs"


def requirements_of(peer: str) -> Path:
    """The pinned requirements of a peer."""
    return HERE / f"{peer}_requirements.txt"


def sources_of(peer: str) -> Path:
    """The pinned packages of a peer that come without their dependencies; need not exist."""
    return HERE / f"{peer}_sources.txt"


def pinned_version(peer: str, package: str) -> str:
    """The version of a package in a peer's requirements."""
    files = [file for file in (requirements_of(peer), sources_of(peer)) if file.exists()]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{package}=="))


def python_of(peer: str) -> Path:
    """The interpreter of a peer's environment. Raises CalledProcessError when it cannot be made."""
    folder = ENVIRONMENTS / peer
    requirements, sources = requirements_of(peer), sources_of(peer)
    pins = requirements.read_bytes() + (sources.read_bytes() if sources.exists() else b"")
    stamp, mark = folder / "requirements.sha256", hashlib.sha256(pins).hexdigest()
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{peer}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == mark):
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            install = [folder / "bin/python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*install, "--disable-pip-version-check", "-r", requirements], check=True)
            if sources.exists():
                alone = ["--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
                subprocess.run([*install, *alone, "-r", sources], check=True)
            stamp.write_text(mark)
    return folder / "bin/python"
