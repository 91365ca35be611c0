"""What the tests of whole runs share: the fixture corpus, and one finished run over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fixture_corpus
import pytest
from run_fixture import outputs, run_mixture


@dataclass(frozen=True)
class Finished:
    """A run that nobody disturbed: its folder, its mixture file, the corpus, and the bytes of its files."""

    root: Path
    mixture: Path
    corpus: Path
    bytes: dict[str, bytes] = field(repr=False)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture corpus; not to be changed (build another one for that)."""
    folder = tmp_path_factory.mktemp("corpus")
    fixture_corpus.build(folder)
    return folder


@pytest.fixture(scope="session")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run over the fixture corpus, by one worker; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    mixture = folder / "fixture.yaml"
    mixture.write_text(fixture_corpus.mixture(corpus, "fixture"))
    root = folder / "run"
    run_mixture(mixture, root)
    return Finished(root, mixture, corpus, outputs(root))


@pytest.fixture(scope="session")
def finished_zigzag(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same, half the documents split for FIM, sequences stored zig-zag by document for two ranks."""
    folder = tmp_path_factory.mktemp("zigzag")
    text = fixture_corpus.mixture(corpus, "zigzag", fim=0.5)
    for length in ("256", "1K", "4K"):
        text = text.replace(f"{{length: {length},", f"{{length: {length}, context_parallel_size: 2,")
    text = text.replace(
        "shards: {", "shards: {context_parallel: zigzag_documents, pad_documents_to: trainer, "
    )
    mixture = folder / "zigzag.yaml"
    mixture.write_text(text)
    root = folder / "run"
    run_mixture(mixture, root)
    return Finished(root, mixture, corpus, outputs(root))


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[object]:
    """One Ray cluster of two CPUs for all tests: starting it takes seconds."""
    pytest.importorskip("ray")
    from curate.executors.ray import RayExecutor

    executor = RayExecutor(2)
    yield executor
    executor.close()
