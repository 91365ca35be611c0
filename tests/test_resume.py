"""A run that was killed goes on where it was, and ends with the bytes of one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fixture_corpus
import pytest
from conftest import Finished
from run_fixture import ROOT, assert_same_outputs, curate, outputs, run_mixture

from curate.executors.local import LocalExecutor, WorkerDied
from curate.pipeline import PHASES
from curate.run_directory import RunError

#: Runs a mixture with one worker and kills itself at a phase's n-th publication, before or after the rename.
KILL = """
import os, signal, sys
from pathlib import Path
from run_fixture import Log, LocalExecutor, Run, execute, load_mixture
from tokenizer import load

load("deepseek-v4")
print("ready", flush=True)
phase, when, nth, mixture, root = sys.stdin.readline().split("|")
log, rename, count = Log(), Path.replace, 0

def killing(self, target):
    global count
    count += log._phase == phase
    if log._phase == phase and count == int(nth) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = rename(self, target)
    if log._phase == phase and count == int(nth):
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Path.replace = killing
job = Run(root.strip(), load_mixture(mixture))
with job.locked():
    execute(job, LocalExecutor(1), log)
print("the run came to its end", flush=True)
"""

#: Files that one unit of a phase publishes, before its record.
FILES = {"curate": 4, "classify.train": 2, "classify.score": 2, "tokenize": 3, "plan": 4, "write": 5}

KILLS = [
    (phase.name, when, nth)
    for phase in PHASES
    for when, nth in (("before", 1), ("after", FILES.get(phase.name, 1)))
]


def killers(count: int) -> list[subprocess.Popen[str]]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return [
        subprocess.Popen(
            [sys.executable, "-c", KILL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(count)
    ]


def temporaries(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob(".*.tmp")]


@pytest.mark.slow
def test_killed_in_every_phase_it_ends_with_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "run"
    waiting = killers(1)
    for number, (phase, when, nth) in enumerate(KILLS):
        killer = waiting.pop()
        if number + 1 < len(KILLS):
            waiting += killers(1)  # starts up while this one works
        out, _ = killer.communicate(f"{phase}|{when}|{nth}|{finished.mixture}|{root}\n", timeout=120)
        assert (out, killer.returncode) == ("ready\n", -signal.SIGKILL), f"killed {when} a rename in {phase}"
        assert bool(temporaries(root)) == (when == "before")
    assert not (root / "units/report").exists()
    assert (root / "report.html").exists(), "the last one died between its file and its record"
    assert run_mixture(finished.mixture, root) == {"report": ["report"]}
    assert_same_outputs(root, finished.bytes)
    assert temporaries(root) == []


def test_a_kill_in_the_middle_of_a_write_keeps_what_was_finished(finished: Finished, tmp_path: Path) -> None:
    """Killed from outside, at an instant that nobody chose."""
    root = tmp_path / "run"
    command = [sys.executable, "-m", "curate.cli", "run", str(finished.mixture), "-o", str(root), "-w", "2"]
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(root.glob("units/curate/*.json")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    done = [path.stem for path in root.glob("units/curate/*.json")]
    assert done
    ran = run_mixture(finished.mixture, root)
    assert not set(ran.get("curate", [])) & set(done)
    assert_same_outputs(root, finished.bytes)
    assert temporaries(root) == []


# Reruns


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """A finished run that may be changed."""
    shutil.copytree(finished.root, tmp_path / "run")
    return tmp_path / "run"


def test_a_rerun_without_changes_does_nothing(finished: Finished, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert run_mixture(finished.mixture, copy) == {}
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    ours = {copy / "run.json", copy / ".lock"}
    assert {path for path in before if before[path] != after.get(path)} <= ours
    assert before.keys() == after.keys()


def changed(finished: Finished, folder: Path, old: str, new: str) -> Path:
    text = finished.mixture.read_text()
    assert text.count(old) == 1
    path = folder / "fixture.yaml"
    path.write_text(text.replace(old, new))
    return path


def test_a_threshold_of_one_source_reruns_that_source(finished: Finished, copy: Path, tmp_path: Path) -> None:
    """A page in English scores 0.97 and more; 0.5 -> 0.6 drops nothing, so that the wave stops at once."""
    old, new = (
        f"domain: web\n    rules: [gopher_quality]\n    language: {{min_score: {s}" for s in (0.5, 0.6)
    )
    mixture = changed(finished, tmp_path, old, new)
    assert run_mixture(mixture, copy) == {"curate": ["pages-0000"]}
    assert_same_outputs(copy, finished.bytes)
    mixture = changed(finished, tmp_path, old, old.replace("0.5", "0.999"))
    ran = run_mixture(mixture, copy)
    assert ran["curate"] == ["pages-0000"]
    assert ran["tokenize"] == ["pages-0000"], "the other texts keep their tokens"
    run_mixture(mixture, tmp_path / "fresh" / "run")
    assert_same_outputs(copy, outputs(tmp_path / "fresh" / "run"))


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ("jaccard: 0.75", "jaccard: 0.95", "dedup.verify"),
        ("budget: 3.0", "budget: 2.0", "plan"),
        ("shard_tokens: 16Ki", "shard_tokens: 32Ki", "write"),
        ("fim: 0.0", "fim: 0.3", "tokenize"),
    ],
)
def test_a_changed_setting_reruns_from_the_phase_that_reads_it(
    finished: Finished, copy: Path, tmp_path: Path, old: str, new: str, first: str
) -> None:
    mixture = changed(finished, tmp_path, old, new)
    ran = run_mixture(mixture, copy)
    names = [phase.name for phase in PHASES]
    assert next(iter(ran)) == first
    assert set(ran) <= set(names[names.index(first) :])
    assert "report" in ran
    run_mixture(mixture, tmp_path / "fresh" / "run")
    assert_same_outputs(copy, outputs(tmp_path / "fresh" / "run"))


def test_a_changed_input_file_reruns_its_unit(finished: Finished, tmp_path: Path, copy: Path) -> None:
    folder = tmp_path / "corpus"
    shutil.copytree(finished.corpus, folder)
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(fixture_corpus.mixture(folder, "fixture"))
    assert run_mixture(mixture, copy) == {}, "the same files in another folder are the same input"
    (folder / "html/well.html").write_bytes(fixture_corpus.page(fixture_corpus.prose("en-yeast")))
    ran = run_mixture(mixture, copy)
    assert ran["curate"] == ran["tokenize"] == ["pages-0000"]
    (folder / "html/extra.html").write_bytes(fixture_corpus.page(fixture_corpus.prose("en-stars")))
    (folder / "math/triangle.txt").unlink()
    ran = run_mixture(mixture, copy)
    assert set(ran["curate"]) == {"pages-0000", "math-0000"}
    run_mixture(mixture, tmp_path / "fresh" / "run")
    assert_same_outputs(copy, outputs(tmp_path / "fresh" / "run"))


@pytest.mark.parametrize("damage", ["delete", "truncate"])
def test_a_lost_or_truncated_file_of_any_phase_is_made_again(
    finished: Finished, copy: Path, damage: str
) -> None:
    victims = {name.split("/")[0]: name for name in finished.bytes}
    assert len(victims) >= 10, sorted(victims)
    for name in victims.values():
        if damage == "delete":
            (copy / name).unlink()
        else:
            data = (copy / name).read_bytes()
            (copy / name).write_bytes(data[: len(data) // 2])
    ran = run_mixture(finished.mixture, copy)
    assert ran
    assert_same_outputs(copy, finished.bytes)
    assert sum(map(len, ran.values())) <= len(victims) + 2, "and nothing else"


def test_units_that_a_changed_mixture_no_longer_has_leave_no_files(
    finished: Finished, copy: Path, tmp_path: Path
) -> None:
    mixture = changed(finished, tmp_path, 'read: {html: "html/*.html"}', 'read: {html: "html/snow.html"}')
    text = mixture.read_text().replace(
        '  math:\n    read: {files: "math/*.{v,txt}"}\n    rules: [math]\n', ""
    )
    mixture.write_text(text.replace(" math: 4,", ""))
    run_mixture(mixture, copy)
    assert list(copy.rglob("math-*")) == []
    run_mixture(mixture, tmp_path / "fresh" / "run")
    assert_same_outputs(copy, outputs(tmp_path / "fresh" / "run"))


def test_shards_that_a_killed_unit_left_are_not_mistaken_for_those_of_the_next(
    finished: Finished, copy: Path
) -> None:
    """A unit that was killed has no record to say what it had published."""
    for name in ("shards/256-00000-0099.arrow", "manifest/spans/2K-00000.parquet"):
        shutil.copy(copy / next(n for n in finished.bytes if n.startswith(name[:10])), copy / name)
    (copy / "units/write/256-00000.json").unlink()
    assert run_mixture(finished.mixture, copy) == {"write": ["256-00000"]}
    assert_same_outputs(copy, finished.bytes)


# Several processes


def test_a_killed_worker_is_told_and_the_rerun_completes(finished: Finished, tmp_path: Path) -> None:
    root = tmp_path / "run"
    command = [sys.executable, "-m", "curate.cli", "run", str(finished.mixture), "-o", str(root), "-w", "2"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
    ) as process:
        deadline = time.monotonic() + 60
        victim = None
        while victim is None and time.monotonic() < deadline:
            time.sleep(0.01)
            victim = worker_of(process.pid)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "a worker process died" in complaint
    assert "run the same command again" in complaint
    assert "Traceback" not in complaint
    run_mixture(finished.mixture, root)
    assert_same_outputs(root, finished.bytes)
    assert temporaries(root) == []


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    try:
        return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


def worker_of(pid: int) -> int | None:
    """A worker process of a run: a child of its fork server (the resource tracker has no children)."""
    found = [worker for child in children(pid) for worker in children(child)]
    return found[0] if found else None


def test_a_second_process_on_the_same_run_directory_is_told_so(finished: Finished, copy: Path) -> None:
    from curate.run_directory import Run
    from mixtures.spec import load_mixture

    run = Run(str(copy), load_mixture(str(finished.mixture)))
    with run.locked():
        second = curate("run", finished.mixture, "-o", copy)
        with pytest.raises(RunError, match="another process is running here"):
            run_mixture(finished.mixture, copy)
        reading = curate("status", copy)
    assert second.returncode == 1
    assert f"{copy}: another process is running here; wait for it or stop it" in second.stderr
    assert "Traceback" not in second.stderr
    assert reading.returncode == 0, "reading is free"


def test_an_error_of_the_pool_is_the_same_from_python(finished: Finished, tmp_path: Path) -> None:
    class Dying(LocalExecutor):
        def map(self, function, units):  # type: ignore[no-untyped-def]
            for number, result in enumerate(super().map(function, units)):
                if number == 3:
                    raise WorkerDied("a worker process died")
                yield result

    with pytest.raises(WorkerDied):
        run_mixture(finished.mixture, tmp_path / "run", Dying(1))
    ran = run_mixture(finished.mixture, tmp_path / "run")
    units = len(list((finished.root / "units/curate").iterdir()))
    assert len(ran["curate"]) == units - 4, "what had finished, the fourth included, is kept"
    assert_same_outputs(tmp_path / "run", finished.bytes)
