"""Debian packages as files: `apt-get download` into the cache, nothing installed, no script run.

apt checks each file against the signed lists. A file arrives in a folder of this process and is renamed into
the cache when apt is done with it, so the cache holds whole files only. 72 packages, 93 MB, come in 6 s.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 1800.0  # seconds for one apt-get call
_UNKNOWN = "apt knows no such package (another release of Debian? lists never fetched? see apt-get update)"


class DebianError(RuntimeError):
    """A package's file cannot be read; the message says which, and what to do."""


@dataclass(frozen=True)
class Fetched:
    """The files that are in the cache, and for the others the reason."""

    files: dict[str, Path]
    absent: dict[str, str]


def unavailable() -> str | None:
    """Why this machine cannot read Debian packages, or None."""
    missing = [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} not on this machine" if missing else None


def version(archive: Path) -> str:
    """The version that a package's file says it has. Raises DebianError where the file is damaged."""
    command = ["dpkg-deb", "--field", str(archive), "Version"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if asked.returncode:
        raise DebianError(f"{archive}: dpkg-deb says: {asked.stderr.strip()}; delete the file and run again")
    return asked.stdout.strip()


def fetch(names: Iterable[str], cache: Path) -> Fetched:
    """Bring the newest available version of each package into `cache`; one that is there stays as it is.

    Never raises for want of a network or a package: those names are in `absent`, with the reason.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wanted = list(names)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache.glob(".arriving-*"):
            shutil.rmtree(leftover)
        files = {name: path for name in wanted if (path := _newest(cache, name)) is not None}
        message = _bring(wanted, files, cache)
        if os.geteuid() == 0 and len(files) < len(wanted):
            _apt(["update"], cache)  # old lists name files that are gone; empty ones name none
            message = _bring(wanted, files, cache)
        unknown = {name for name in wanted if re.search(rf"package {re.escape(name)}\s*$", message, re.M)}
        if unknown:  # one of these makes apt refuse the whole call
            message = _bring([name for name in wanted if name not in unknown], files, cache)
    why = dict.fromkeys((name for name in wanted if name not in files), _reason(message))
    return Fetched(files, why | {name: _UNKNOWN for name in unknown if name in why})


def _bring(names: list[str], files: dict[str, Path], cache: Path) -> str:
    """Download those of `names` that are not in `files` and add them there; apt's messages come back."""
    missing = [name for name in names if name not in files]
    if not missing:
        return ""
    arriving = Path(tempfile.mkdtemp(prefix=".arriving-", dir=cache))
    try:
        sound, message = _apt(["download", *missing], arriving)
        for file in sorted(arriving.glob("*.deb")):
            # After a call that failed, a file may end early; unpacking it to nowhere finds that out.
            if sound or _readable(file):
                file.rename(cache / file.name)
    finally:
        shutil.rmtree(arriving)
    files |= {name: path for name in missing if (path := _newest(cache, name)) is not None}
    return message


def _apt(arguments: list[str], folder: Path) -> tuple[bool, str]:
    """Run apt-get in a folder; whether it was content, and what it wrote to stderr."""
    options = ["-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30"]
    if os.geteuid() == 0:
        options += ["-o", "APT::Sandbox::User=root"]  # the download user may not write here
    try:
        result = subprocess.run(
            ["apt-get", *options, *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"E: apt-get {arguments[0]} took more than {_TIMEOUT:.0f} s"
    return result.returncode == 0, result.stderr


def _readable(file: Path) -> bool:
    command = ["dpkg-deb", "--contents", str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _reason(message: str) -> str:
    errors = [line.removeprefix("E: ") for line in message.splitlines() if line.startswith("E: ")]
    return errors[-1] if errors else "apt-get download gave no file"


def _newest(cache: Path, name: str) -> Path | None:
    """The package's file with the highest version in the cache, by dpkg's order."""
    found = list(cache.glob(f"{name}_*.deb"))

    def order(a: Path, b: Path) -> int:
        newer = ["dpkg", "--compare-versions", version(a), "gt", version(b)]
        return 1 if subprocess.run(newer, check=False, timeout=60).returncode == 0 else -1

    return max(found, key=functools.cmp_to_key(order), default=None)
