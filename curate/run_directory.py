"""The run directory: what has been done, by what, and with which result.

`units/<phase>/<unit>.json` records a finished unit: the fingerprint of all that determined it (inputs,
the part of the configuration that the phase reads, code version), the files it published, and its
figures. A rerun does only what is missing or changed. `run.json` names the mixture that owns the
folder; a lock keeps a second process out.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import curate_kernels
import xxhash

from curate import storage
from curate.storage import Published
from mixtures.spec import Mixture, canonical

#: Packages whose code decides what a unit writes; and in them what only shows or reads what is finished.
_CODE = ("curate", "tokenizer", "shards", "mixtures")
_READS_ONLY = (
    "curate/corpus/",
    "curate/executors/",
    "curate/classifiers/command.py",
    "curate/cli.py",
    "curate/explain.py",
    "curate/export_command.py",
    "curate/local_shard.py",
    "curate/progress.py",
    "curate/reencode.py",
    "curate/rules_in_force.py",
    "curate/show_rules.py",
    "curate/sql.py",
    "curate/trace.py",
    "curate/trace_command.py",
    "curate/verify.py",
    "curate/verify_command.py",
    "curate/what_if.py",
    "shards/balance.py",
    "shards/batch.py",
    "shards/cache.py",
    "shards/catalog.py",
    "shards/export/",
    "shards/host_memory.py",
    "shards/loader.py",
    "shards/mixing.py",
    "shards/pool_packing.py",
    "shards/reader.py",
    "shards/sequence.py",
    "shards/torch.py",
    "shards/verify",
)


class RunError(Exception):
    """A run cannot start or go on; the message says what to do."""


@dataclass(frozen=True)
class Unit:
    """A piece of work: all that it depends on is here or in the run's configuration.

    `inputs` are (path or URL, checksum or stamp) pairs; `size` in bytes orders units, largest first.
    """

    name: str
    payload: dict[str, Any]
    inputs: tuple[tuple[str, str], ...] = ()
    size: int = 0


@dataclass(frozen=True)
class Record:
    """A finished unit."""

    unit: str
    fingerprint: str
    outputs: tuple[Published, ...]
    figures: dict[str, Any] = field(default_factory=dict)

    def output(self, prefix: str) -> Published:
        """The published file whose path starts with `prefix`."""
        return next(item for item in self.outputs if item.path.startswith(prefix))


@dataclass(frozen=True)
class Run:
    """A mixture and the folder or bucket that its run lives in."""

    root: str
    mixture: Mixture

    def url(self, path: str) -> str:
        return storage.join(self.root, path)

    def fingerprint(self, phase: str, unit: Unit, config: Any) -> str:
        """A digest of everything that determines the unit's output."""
        parts = [phase, unit.name, unit.payload, unit.inputs, canonical(config), code_version()]
        return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=asdict).encode())

    def record_path(self, phase: str, unit: str) -> str:
        return f"units/{phase}/{unit}.json"

    def load_record(self, phase: str, unit: str) -> Record | None:
        """The unit's record, or None where there is none that can be read."""
        url = self.url(self.record_path(phase, unit))
        if storage.size(url) is None:
            return None
        try:
            data = json.loads(storage.read_bytes(url))
            outputs = tuple(Published(**item) for item in data["outputs"])
            return Record(data["unit"], data["fingerprint"], outputs, data["figures"])
        except (ValueError, KeyError, TypeError):
            return None  # not one of ours, or of an older layout: the unit is made again

    def finished(self, phase: str, unit: Unit, fingerprint: str) -> Record | None:
        """The record if the unit is done as asked and its files are there at their recorded size."""
        record = self.load_record(phase, unit.name)
        if record is None or record.fingerprint != fingerprint:
            return None
        if any(storage.size(self.url(item.path)) != item.bytes for item in record.outputs):
            return None
        return record

    def save_record(self, phase: str, record: Record) -> None:
        data = json.dumps(asdict(record), sort_keys=True, indent=1).encode()
        storage.publish_bytes(self.root, self.record_path(phase, record.unit), data)

    def records(self, phase: str) -> list[Record]:
        """Records of a phase in unit order."""
        names = [name.removesuffix(".json") for name in storage.list_files(self.url(f"units/{phase}"))]
        return [record for name in names if (record := self.load_record(phase, name)) is not None]

    def forget_others(self, phase: str, units: Sequence[Unit]) -> None:
        """Remove the records and files of units that the phase no longer has."""
        keep = {unit.name for unit in units}
        for name in storage.list_files(self.url(f"units/{phase}")):
            if (stem := name.removesuffix(".json")) in keep:
                continue
            if (record := self.load_record(phase, stem)) is not None:
                for item in record.outputs:
                    storage.remove(self.url(item.path))
            storage.remove(self.url(self.record_path(phase, stem)))

    def remove_unclaimed(self, records: Sequence[Record]) -> None:
        """Remove what killed or changed units left behind in the folders that a phase's units publish to."""
        claimed = {item.path for record in records for item in record.outputs}
        for folder in sorted({path.rpartition("/")[0] for path in claimed} - {""}):
            for name in storage.list_files(self.url(folder)):
                if f"{folder}/{name}" not in claimed:
                    storage.remove(self.url(f"{folder}/{name}"))

    def claim(self) -> None:
        """Make the folder this mixture's, or say whose it is."""
        found = _description(self.root)
        if found is not None and (owner := found.get("name")) != self.mixture.name:
            raise RunError(
                f"{self.root}: belongs to the mixture {owner!r}, not {self.mixture.name!r}; "
                "choose another --run-directory, or delete this one"
            )
        description = {"name": self.mixture.name, "mixture": json.loads(canonical(self.mixture))}
        data = json.dumps(description, sort_keys=True, indent=1).encode()
        storage.publish_bytes(self.root, "run.json", data)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes of this machine out of a local run directory; the lock dies with us."""
        if not storage.is_local(self.root):
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with (Path(self.root) / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.root}: another process is running here; wait for it or stop it"
                ) from error
            storage.remove_temporaries(self.root)
            yield


def _description(root: str) -> dict[str, Any] | None:
    """What `run.json` holds; None where there is none."""
    url = storage.join(root, "run.json")
    if storage.size(url) is None:
        return None
    try:
        found = json.loads(storage.read_bytes(url))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RunError(f"{url}: not a run's description; choose another --run-directory")
    return found


def open_run(root: str) -> Run:
    """The run that lives in a folder; raises `RunError` where there is none that this version can read."""
    found = _description(root)
    if found is None:
        raise RunError(f"{root}: no run here (no run.json); give the folder that `curate run` printed")
    try:
        return Run(root, Mixture.model_validate(found.get("mixture")))
    except ValueError as error:
        raise RunError(
            f"{root}/run.json: a mixture that this version cannot read; run the mixture again to renew it"
        ) from error


@cache
def code_version() -> str:
    """A digest of the code and rules that decide outputs, native kernels included."""
    digest = xxhash.xxh3_128()
    for package in _CODE:
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in (".py", ".yaml", ".html", ".css") or "__pycache__" in name:
                continue
            # Recipes are configuration: they enter a fingerprint as the parts that a phase reads.
            if package == "mixtures" and path.suffix == ".yaml":
                continue
            if not f"{package}/{name}".startswith(_READS_ONLY):
                digest.update(f"{package}/{name}".encode() + path.read_bytes())
    module = Path(str(curate_kernels.__file__))
    libraries = [module] if module.suffix == ".so" else sorted(module.parent.glob("*.so"))
    for library in libraries:
        digest.update(library.read_bytes())
    return digest.hexdigest()
