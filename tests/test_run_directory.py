"""The run directory and the driver, over phases of a few lines: what is done again, and what never is."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from curate import driver, pipeline, storage
from curate.executors.local import LocalExecutor
from curate.phases import Phase, Result, inputs_of
from curate.run_directory import Record, Run, RunError, Unit, code_version
from mixtures.spec import Mixture


def tiny_mixture(name: str = "tiny", **changes: Any) -> Mixture:
    values = {
        "name": name,
        "sources": {"s": {"read": {"files": "*.txt"}}},
        "mixture": {"weights": {"s": 1}},
        "curriculum": {"batch_tokens": 256, "stages": [{"length": 256, "share": 1.0}]},
    }
    return Mixture.model_validate(values | changes)


class Log:
    """A watcher that remembers the units that ran, as `phase/unit`."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self._phase = ""

    def phase(self, phase: Phase, _: int, __: Sequence[Unit]) -> None:
        self._phase = phase.name

    def unit(self, unit: Unit, _: Record) -> None:
        self.ran.append(f"{self._phase}/{unit.name}")

    def finished(self, _: driver.PhaseSummary) -> None: ...


def split_words(run: Run) -> list[Unit]:
    folder = Path(run.mixture.data)
    units = []
    for path in sorted(folder.glob("*.txt")):
        stat = path.stat()
        units.append(
            Unit(
                path.stem,
                {"file": str(path)},
                ((path.name, f"{stat.st_size}:{stat.st_mtime_ns}"),),
                stat.st_size,
            )
        )
    return units


def count_words(run: Run, unit: Unit) -> Result:
    words = len(Path(unit.payload["file"]).read_text().split())
    if words == 13:
        raise ValueError("thirteen words")
    output = storage.publish_bytes(run.root, f"words/{unit.name}.txt", f"{words + run.mixture.seed}".encode())
    return Result((output,), {"words": words, "name": unit.name})


def sum_plan(run: Run) -> list[Unit]:
    return [Unit("all", {}, inputs_of(run.records("words"), "words/"))]


def sum_words(run: Run, unit: Unit) -> Result:
    total = sum(int(storage.read_bytes(run.url(path))) for path, _ in unit.inputs)
    return Result((storage.publish_bytes(run.root, "total/all.txt", str(total).encode()),), {"total": total})


def not_too_many(run: Run, records: list[Record]) -> None:
    if sum(record.figures["words"] for record in records) > 1000:
        raise RunError(f"too many words in {run.root}")


PHASES = (
    Phase("words", "count the words", split_words, count_words, lambda mixture: mixture.seed, not_too_many),
    Phase("total", "add them up", sum_plan, sum_words, lambda _: None),
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, words in {"a": 2, "b": 30, "c": 5}.items():
        (folder / f"{name}.txt").write_text("word " * words)
    return folder


Execute = Callable[..., list[str]]


@pytest.fixture
def execute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, texts: Path) -> Execute:
    """Run the two phases over `texts`; returns what ran."""
    monkeypatch.setattr(driver, "PHASES", PHASES)
    monkeypatch.setattr(pipeline, "PHASES", PHASES)

    def run(only: Sequence[str] = (), **changes: Any) -> list[str]:
        log = Log()
        job = Run(str(tmp_path / "run"), tiny_mixture(data=str(texts), **changes))
        with job.locked():
            driver.execute(job, LocalExecutor(1), log, only=only)
        return log.ran

    return run


def test_units_run_largest_first_and_once(execute: Execute, tmp_path: Path) -> None:
    assert execute() == ["words/b", "words/c", "words/a", "total/all"]
    assert (tmp_path / "run/total/all.txt").read_text() == "37"
    assert execute() == []


def test_a_changed_input_is_read_again_and_what_depends_on_it_remade(
    execute: Execute, texts: Path, tmp_path: Path
) -> None:
    execute()
    (texts / "a.txt").write_text("word " * 7)
    assert execute() == ["words/a", "total/all"]
    assert (tmp_path / "run/total/all.txt").read_text() == "42"


def test_a_remade_file_with_the_same_bytes_stops_the_wave(execute: Execute, texts: Path) -> None:
    execute()
    (texts / "a.txt").write_text("other text")  # two words, as before
    assert execute() == ["words/a"]


def test_a_new_input_is_added_and_a_removed_one_forgotten(
    execute: Execute, texts: Path, tmp_path: Path
) -> None:
    execute()
    (texts / "d.txt").write_text("one")
    (texts / "b.txt").unlink()
    assert execute() == ["words/d", "total/all"]
    assert sorted(path.name for path in (tmp_path / "run/words").iterdir()) == ["a.txt", "c.txt", "d.txt"]
    assert (tmp_path / "run/total/all.txt").read_text() == "8"


def test_changed_configuration_reruns_the_phases_that_read_it(execute: Execute) -> None:
    execute()
    assert execute(mixture={"weights": {"s": 2}}) == [], "no phase here reads the weights"
    assert execute(seed=1) == ["words/b", "words/c", "words/a", "total/all"]


@pytest.mark.parametrize("damage", ["delete", "truncate", "lengthen"])
def test_a_missing_or_damaged_output_is_made_again(execute: Execute, tmp_path: Path, damage: str) -> None:
    execute()
    target = tmp_path / "run/words/b.txt"
    if damage == "delete":
        target.unlink()
    else:
        target.write_text("" if damage == "truncate" else "300")
    assert execute() == ["words/b"]
    assert target.read_text() == "30"


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'"x"', b'{"unit": "b"}', b"\xff\xfe", None])
def test_a_damaged_or_missing_record_is_made_again(
    execute: Execute, tmp_path: Path, record: bytes | None
) -> None:
    execute()
    path = tmp_path / "run/units/words/b.json"
    good = path.read_bytes()
    path.unlink() if record is None else path.write_bytes(record)
    assert execute() == ["words/b"]
    assert path.read_bytes() == good


def test_what_finished_before_an_error_is_kept(execute: Execute, texts: Path) -> None:
    (texts / "c.txt").write_text("word " * 13)
    with pytest.raises(ValueError, match="thirteen"):
        execute()
    (texts / "c.txt").write_text("word " * 14)
    assert execute() == ["words/c", "words/a", "total/all"], "b, the largest, was done"


def test_a_failed_check_stops_every_time(execute: Execute, texts: Path) -> None:
    (texts / "d.txt").write_text("word " * 2000)
    for _ in range(2):
        with pytest.raises(RunError, match="too many words"):
            execute()
    (texts / "d.txt").unlink()
    assert execute() == ["total/all"]


def test_one_phase_alone_needs_what_it_reads(execute: Execute) -> None:
    with pytest.raises(RunError, match=r"words: 3 of 3 units to do .* complete it first"):
        execute(only=["total"])
    assert execute(only=["words"]) == ["words/b", "words/c", "words/a"]
    assert execute(only=["total"]) == ["total/all"]


def test_what_a_killed_process_left_half_written_is_cleared(execute: Execute, tmp_path: Path) -> None:
    execute()
    leftover = tmp_path / "run/words/.b.txt.99.tmp"
    leftover.write_text("3")
    execute()
    assert not leftover.exists()


def test_status_counts_finished_units_and_missing_files(
    execute: Execute, tmp_path: Path, texts: Path
) -> None:
    execute()
    (tmp_path / "run/words/b.txt").unlink()
    rows = driver.describe(Run(str(tmp_path / "run"), tiny_mixture(data=str(texts))))
    assert rows[0] == {
        "phase": "words",
        "units": 3,
        "missing_files": ["words/b.txt"],
        "figures": {"words": 37},
    }
    assert rows[1]["figures"] == {"total": 37}


# Records and fingerprints


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    run = Run(str(tmp_path), tiny_mixture())
    record = Record("u", "f", (storage.publish_bytes(str(tmp_path), "a/x", b"1"),), {"n": 1, "s": {"k": 2}})
    run.save_record("a", record)
    assert run.load_record("a", "u") == record
    assert run.records("a") == [record]
    assert run.load_record("a", "v") is None


def test_everything_that_determines_a_unit_is_in_its_fingerprint(tmp_path: Path) -> None:
    run = Run(str(tmp_path), tiny_mixture())
    unit = Unit("u", {"k": 1}, (("file", "1:2"),), 10)
    base = run.fingerprint("p", unit, {"seed": 1})
    different = [
        run.fingerprint("q", unit, {"seed": 1}),
        run.fingerprint("p", unit, {"seed": 2}),
        run.fingerprint("p", dataclasses.replace(unit, name="v"), {"seed": 1}),
        run.fingerprint("p", dataclasses.replace(unit, payload={"k": 2}), {"seed": 1}),
        run.fingerprint("p", dataclasses.replace(unit, inputs=(("file", "1:3"),)), {"seed": 1}),
        run.fingerprint("p", dataclasses.replace(unit, inputs=(("other", "1:2"),)), {"seed": 1}),
    ]
    assert len({base, *different}) == 7
    assert base == Run(str(tmp_path / "elsewhere"), tiny_mixture()).fingerprint("p", unit, {"seed": 1})
    assert base == run.fingerprint("p", dataclasses.replace(unit, size=11), {"seed": 1}), "order is no input"


def test_the_code_version_covers_rules_and_kernels_and_not_what_only_shows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from importlib import resources

    real = {name: Path(str(resources.files(name))) for name in ("curate", "tokenizer", "shards", "mixtures")}
    copies = {}
    for name, folder in real.items():
        copies[name] = tmp_path / name
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                target = copies[name] / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    version = code_version.__wrapped__
    assert version() == version()
    monkeypatch.setattr("curate.run_directory.resources.files", lambda name: copies[name])
    before = version()
    assert before == code_version.__wrapped__()
    for shown in ("curate/cli.py", "curate/sql.py", "mixtures/new-recipe.yaml", "curate/executors/local.py"):
        with (tmp_path / shown).open("a") as file:
            file.write("\n# changed\n")
        assert version() == before, f"{shown} decides no output"
    for decides in ("curate/document.py", "curate/rules/gopher_quality.yaml", "shards/packing.py"):
        (tmp_path / decides).parent.mkdir(exist_ok=True)
        with (tmp_path / decides).open("a") as file:
            file.write("\n# changed\n")
        after = version()
        assert after != before, f"{decides} decides outputs"
        before = after


# Ownership and the lock


def test_a_run_directory_belongs_to_one_mixture(execute: Execute, tmp_path: Path) -> None:
    execute()
    with pytest.raises(RunError, match=r"run: belongs to the mixture 'tiny', not 'other'; choose another"):
        execute(name="other")
    assert json.loads((tmp_path / "run/run.json").read_text())["name"] == "tiny"


@pytest.mark.parametrize("content", ["", "[1]", "{", '"tiny"', "null"])
def test_a_run_description_that_is_none_is_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run\.json: not a run's description; choose another"):
        Run(str(tmp_path), tiny_mixture()).claim()
    assert (tmp_path / "run.json").read_text() == content


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path: Path) -> None:
    code = (
        "import sys; from test_run_directory import *\n"
        "with Run(sys.argv[1], tiny_mixture()).locked():\n"
        "    print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}"}
    run = Run(str(tmp_path), tiny_mixture())
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match="another process is running here"), run.locked():
            pass
        holder.kill()
    with run.locked():
        pass
