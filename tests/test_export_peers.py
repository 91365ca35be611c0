"""The trainers' own libraries read from an export what the shards hold, and find the same boundaries."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from run_fixture import ROOT, invoke
from test_export import EOD, LENGTH, PAD, opener, rows_of, run_of

from benchmarks.peers import python_of
from shards.export.mds import export_mds
from shards.export.megatron import export_megatron
from shards.export.stage import open_stage

#: Documents of a few tokens and of a few sequences.
LENGTHS = [*range(3, 400, 13), 1300, 513, 512, 511, 2600, 90, 1, 2, 700]

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def read_by_peer(kind: str, place: Path, *arguments: object) -> dict[str, np.ndarray]:
    """What `tests/export_peers.py` finds."""
    out = place.with_name(f"{place.name}-{kind}.npz")
    command = [python_of("loaders"), ROOT / "tests" / "export_peers.py", kind, place, out, *arguments]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        return dict(found)


def test_indexed_dataset_reads_every_token_of_every_document(tmp_path):
    _, tokens, _ = run_of(
        tmp_path,
        LENGTHS,
        eod=lambda number: number % 3 > 0,
        layout="zigzag_documents",
        context_parallel=2,
        pad_documents_to=4,
    )
    done = export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    found = read_by_peer("megatron", tmp_path / "out")
    assert str(found["dtype"]) == "int32"
    assert found["documents"].tolist() == list(range(len(LENGTHS) + 1))
    ends = np.cumsum(found["lengths"])
    assert ends[-1] == len(found["tokens"]) == sum(LENGTHS) + done.eod_added
    documents = Counter(tuple(part.tolist()) for part in np.split(found["tokens"], ends[:-1]))
    expected = [tuple(part.tolist()) + (() if part[-1] == EOD else (EOD,)) for part in tokens.values()]
    assert documents == Counter(expected)
    assert done.eod_added == len(range(0, len(LENGTHS), 3))
    # What --reset-attention-mask goes by: the ends that EOD tokens mark are the ends of the documents.
    assert np.array_equal(np.flatnonzero(found["tokens"] == EOD) + 1, ends)
    assert not (found["tokens"] == PAD).any()


def test_a_finished_run_is_read_by_indexed_dataset(finished, tmp_path):
    for options in ([], ["--packed"]):
        place = tmp_path / f"v4{''.join(options)}"
        result = invoke("export", "megatron", finished.root, "--stage", "1K", "-o", place, *options)
        assert result.exit_code == 0, result.output
        found = read_by_peer("megatron", place)
        assert len(found["tokens"]) == found["lengths"].sum() > 10_000
        assert np.array_equal(found["tokens"].astype("<i4"), np.fromfile(f"{place}.bin", "<i4"))
        if options:
            assert set(found["lengths"].tolist()) == {1024}


def test_gpt_dataset_resets_where_our_documents_end(tmp_path):
    _, tokens, _ = run_of(tmp_path, LENGTHS)
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD)
    found = read_by_peer("gpt", tmp_path / "out", LENGTH, EOD, PAD)
    assert found["tokens"].shape[0] == (sum(LENGTHS) - 1) // LENGTH
    owner = {token: number for number, part in enumerate(tokens.values()) for token in part[:-1].tolist()}
    for row, positions, mask in zip(
        found["tokens"], found["position_ids"], found["attention_mask"], strict=True
    ):
        document = np.cumsum(row == EOD) - (row == EOD)
        starts = np.flatnonzero(np.diff(document, prepend=-1))
        assert np.array_equal(positions, np.arange(LENGTH) - starts[document])
        # A token sees its own document up to itself (True is masked in Megatron).
        own = (document[:, None] == document[None, :]) & np.tri(LENGTH, dtype=bool)
        assert np.array_equal(~mask[0], own)
        for number in range(document[-1] + 1):
            assert len({owner[token] for token in row[document == number].tolist() if token != EOD}) <= 1


def test_gpt_dataset_takes_packed_rows_as_they_are(tmp_path):
    manifest, tokens, _ = run_of(tmp_path, LENGTHS)
    export_megatron(open_stage(tmp_path, "4K"), "out", opener(tmp_path), eod=EOD, packed=True)
    found = read_by_peer("gpt-rows", tmp_path / "out", LENGTH, EOD, PAD)
    rows = rows_of(manifest, tokens)
    # Megatron shows token 0 where there is padding, and takes the loss of a label that is padding away.
    expected = Counter(tuple(np.where(row == PAD, 0, row).tolist()) for row in rows)
    assert Counter(tuple(row.tolist()) for row in found["tokens"]) == expected
    padding = sum(int((row == PAD).sum()) for row in rows)
    assert padding > 0
    real = {tuple(np.where(row == PAD, 0, row).tolist()): row != PAD for row in rows}
    for row, loss in zip(found["tokens"], found["loss_mask"], strict=True):
        assert np.array_equal(loss > 0, np.append(real[tuple(row.tolist())][1:], False))


def test_streaming_dataset_reads_every_sequence_and_its_documents(tmp_path):
    manifest, tokens, _ = run_of(tmp_path, LENGTHS, layout="zigzag", context_parallel=2, pad_documents_to=8)
    export_mds(open_stage(tmp_path, "4K"), opener(tmp_path / "mds"))
    found = read_by_peer("mds", tmp_path / "mds")
    assert found["tokens"].dtype == np.int32
    np.testing.assert_array_equal(found["tokens"], np.stack(rows_of(manifest, tokens)))
    spans = manifest.spans
    assert found["documents"].tolist() == manifest.sequences["documents"].to_pylist()
    assert found["document_lengths"].tolist() == spans["length"].to_pylist()
    assert found["document_offsets"].tolist() == spans["document_offset"].to_pylist()
    assert [row.tobytes() for row in found["document_ids"]] == spans["document_id"].to_pylist()
    assert (found["padded_lengths"] % 8 == 0).all()


def test_a_finished_run_is_read_by_streaming_dataset(finished, tmp_path):
    result = invoke("export", "mds", finished.root, "--stage", "256", "-o", tmp_path / "mds")
    assert result.exit_code == 0, result.output
    result = invoke("export", "megatron", finished.root, "--stage", "256", "-o", tmp_path / "m", "--packed")
    assert result.exit_code == 0, result.output
    found = read_by_peer("mds", tmp_path / "mds")
    assert np.array_equal(found["tokens"].reshape(-1), np.fromfile(tmp_path / "m.bin", "<i4"))
    assert len(found["document_lengths"]) == found["documents"].sum() > 100
