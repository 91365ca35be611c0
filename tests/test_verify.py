"""`curate verify`: a run as written has no problems, and each way of damaging it is named where it is."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import Finished
from hypothesis import given, settings
from hypothesis import strategies as st
from run_fixture import invoke, run_mixture
from shard_damage import flip_bit, place, tail_of_body, write_value
from test_shards import SOURCES, corpus, written

from curate.run_directory import RunError, open_run
from curate.verify import Verdict, verify
from shards.format import read_header
from shards.sequence import OpenShard
from shards.verify import verify_shard
from shards.verify_manifest import manifest_rows

SHARD = "256-00000-0000.arrow"


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, to damage."""
    shutil.copytree(finished.root, tmp_path / "run")
    return tmp_path / "run"


def problems(root: Path, **options: Any) -> list[str]:
    """What is wrong with a run, a line each."""
    return [str(problem) for problem in verify(open_run(str(root)), **options).problems]


def named(found: list[str], *parts: str) -> bool:
    """Whether a line holds all the parts."""
    return any(all(part in line for part in parts) for line in found)


def edit(root: Path, table: str, unit: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a file of the manifest."""
    path = root / "manifest" / table / f"{unit}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def with_value(column: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """The table with another value in one place."""

    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        assert values[row] != value
        values[row] = value
        at = table.schema.get_field_index(column)
        return table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))

    return change


# A run as written


def test_a_run_as_written_has_no_problems_and_all_of_it_is_looked_at(finished: Finished) -> None:
    verdict = verify(open_run(str(finished.root)))
    assert verdict.problems == []
    shards = pa.concat_tables(map(pq.read_table, sorted((finished.root / "manifest/shards").iterdir())))
    looked_at = {
        name: sum(getattr(totals, name) for totals in verdict.stages.values())
        for name in ("sequences", "tokens", "padding", "bytes")
    }
    assert looked_at == {name: pc.sum(shards[name]).as_py() for name in looked_at}
    spans = pa.concat_tables(map(pq.read_table, sorted((finished.root / "manifest/spans").iterdir())))
    assert verdict.documents_encoded == len(pc.unique(spans["document_id"]))  # there are fewer than 200
    assert verdict.tokens_encoded == pc.sum(spans["length"]).as_py()


def test_zigzag_orders_and_split_documents_are_verified_in_reading_order(finished_zigzag: Finished) -> None:
    verdict = verify(open_run(str(finished_zigzag.root)), context_parallel=2)
    assert verdict.problems == []
    assert verdict.documents_encoded > 20


def test_the_sample_is_a_function_of_its_seed(finished: Finished) -> None:
    run = open_run(str(finished.root))

    def sample(seed: int) -> Verdict:
        return verify(run, sample=3, seed=seed)

    assert sample(1) == sample(1)
    assert sample(1).documents_encoded == 3
    assert len({sample(seed).tokens_encoded for seed in range(6)}) > 1


def test_one_stage_alone_is_looked_at_when_asked(run: Path) -> None:
    (run / "shards" / SHARD).unlink()
    assert problems(run, stage="1K") == []
    assert list(verify(open_run(str(run)), stage="1K").stages) == ["1K"]
    assert named(problems(run, stage="256"), SHARD, "no such file")
    with pytest.raises(RunError, match=r"no stage '2K'.*it has: 1K, 256, 4K"):
        verify(open_run(str(run)), stage="2K")


def test_ranks_that_could_not_read_their_parts_are_a_problem(
    finished: Finished, finished_zigzag: Finished
) -> None:
    assert problems(finished.root, context_parallel=2) == []
    found = problems(finished.root, context_parallel=4)  # 64 tokens of 256 are no 512 bytes
    assert found
    assert all(line.startswith("256-") and "512 bytes" in line for line in found)
    assert named(problems(finished_zigzag.root, context_parallel=1), "is for 2 ranks, not 1")


# Damage to shards


def test_a_shard_that_is_gone_cut_or_longer_is_named(run: Path) -> None:
    shards = sorted((run / "shards").iterdir())[:3]
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-700])
    shards[2].write_bytes(shards[2].read_bytes() + b"\0")
    found = problems(run, sample=0)
    assert len(found) == 3
    assert named(found, shards[0].name, "there is no such file")
    assert named(found, shards[1].name, "truncated")
    assert named(found, shards[2].name, "longer than written")


def test_an_empty_file_is_named_even_where_the_manifest_expects_it(run: Path) -> None:
    edit(run, "shards", "256-00000", with_value("bytes", 0, 0))
    (run / "shards" / SHARD).write_bytes(b"")
    assert named(problems(run, sample=0), f"{SHARD}: it is empty")


def test_without_pages_mapped_ahead_the_file_is_read(
    finished: Finished, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system that has no such call: the same answers, good and bad."""
    monkeypatch.setattr("shards.verify._POPULATE_READ", 9999)
    assert problems(finished.root, sample=0) == []
    flip_bit(run / "shards" / SHARD, 5000)
    assert named(problems(run, sample=0), f"{SHARD}: its bytes are not those written")


def test_shards_that_changed_places_are_both_named(run: Path) -> None:
    one, other = sorted((run / "shards").glob("256-*"))[:2]
    data = one.read_bytes(), other.read_bytes()
    one.write_bytes(data[1])
    other.write_bytes(data[0])
    found = problems(run)
    assert {one.name, other.name} == {line.split(":")[0].split(",")[0] for line in found}


def test_a_changed_footer_ends_the_look_at_a_shard(run: Path) -> None:
    flip_bit(run / "shards" / SHARD, -200, 3)
    found = [line for line in problems(run) if line.startswith(SHARD)]
    assert named(found, "its bytes are not those written")
    assert named(found, "its footer is not the one written")
    assert len(found) == 2


@pytest.mark.parametrize("at", [-1, -3, -8])
def test_a_file_that_does_not_end_like_a_shard_is_named(run: Path, at: int) -> None:
    flip_bit(run / "shards" / SHARD, at, 7)
    assert named(problems(run), SHARD, "cannot be read", "does not end like an Arrow file")


def test_a_tail_that_is_not_zero_is_named(run: Path) -> None:
    path = run / "shards" / SHARD
    flip_bit(path, tail_of_body(path))
    assert named(problems(run), f"{SHARD}, record batch 0", "does not end in 512 zeros")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("tokens", 7, "stored tokens 0 to 255 are not those of token_checksums[0]"),
        ("document_lengths", 1, "not those of its checksum"),
        ("document_lengths", 0, "document_lengths[0] is 0, below 1"),
        ("document_lengths", -5, "document_lengths[0] is -5, below 1"),
        ("document_lengths", 2**31 - 1, "padded_lengths[0] is"),
        ("padded_lengths", 3, "padded_lengths[0] is 3: "),
        ("token_checksums", 12, "stored tokens 0 to 255 are not those of token_checksums[0]"),
        ("checksum", 12, "not those of its checksum"),
        ("checksum", 12, "its checksum is 12, sequences says"),
        ("document_offsets", -1, "document offset -1 is below 0"),
        ("document_offsets", 5, "its document_offset is 5, spans says 0"),
        ("source_ids", 99, "source id 99 is not in 0..11"),
        ("epochs", -3, "epoch -3 is below 0"),
        ("epochs", 300, "its epoch is 300, spans says"),
        ("padding", -2, "padding is -2, its documents leave"),
        ("sum_squared_lengths", 3, "sum_squared_lengths is 3, its documents make"),
    ],
)
def test_a_changed_value_of_any_column_is_named_with_its_sequence(
    run: Path, column: str, value: int, words: str
) -> None:
    assert write_value(run / "shards" / SHARD, column, value) != value
    found = problems(run, sample=0)
    assert named(found, f"{SHARD}: its bytes are not those written")
    assert named(found, f"{SHARD}, sequence 0: ", words), found


def test_a_changed_document_id_is_named(run: Path) -> None:
    path = run / "shards" / SHARD
    at, _ = place(path, "document_ids", 0)
    flip_bit(path, at)
    assert named(problems(run, sample=0), f"{SHARD}, sequence 0", "its document_id is", "spans says")


def test_list_offsets_that_lead_nowhere_are_an_error_and_no_stray_read(run: Path) -> None:
    path = run / "shards" / SHARD
    with pa.memory_map(str(path)) as source:
        base = source.read_buffer(8).address
        source.seek(0)
        lists = pa.ipc.open_file(source).get_batch(0)["document_lengths"]
        at = lists.buffers()[1].address - base
    data = bytearray(path.read_bytes())
    data[at + 4 : at + 8] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    assert named(problems(run), f"{SHARD}, record batch 0: damaged")


def test_what_a_problem_says_to_do_mends_it(finished: Finished, run: Path) -> None:
    shard, manifest = run / "shards" / SHARD, run / "manifest/spans/1K-00000.parquet"
    flip_bit(shard, place(shard, "tokens", 5)[0])
    edit(run, "spans", "1K-00000", with_value("epoch", 0, 77))
    for problem in verify(open_run(str(run)), sample=0).problems:
        assert "delete" in problem.remedy
    shard.unlink()
    manifest.unlink()
    assert sorted(run_mixture(finished.mixture, run)["write"]) == ["1K-00000", "256-00000"]
    assert problems(run) == []


def test_a_file_that_no_manifest_lists_is_named(run: Path) -> None:
    shutil.copy(run / "shards" / SHARD, run / "shards" / "extra.arrow")
    assert problems(run, sample=0) == [
        "shards/extra.arrow: no manifest lists it: delete it, if nothing else needs it"
    ]


def test_a_wrong_token_under_right_checksums_is_found_by_its_text(finished: Finished, run: Path) -> None:
    """Pools with one token changed make shards in which every checksum is right."""
    pool = next(path for path in sorted((run / "pools").iterdir()) if path.name.startswith("articles"))
    with pa.memory_map(str(pool)) as source:
        base = source.read_buffer(8).address
        source.seek(0)
        batch = pa.ipc.open_file(source).get_batch(0)
        document = batch["document_id"][0].as_py()
        at = batch["tokens"].values.buffers()[1].address - base + 4 * 17
    flip_bit(pool, at)
    for shard in (run / "shards").iterdir():
        shard.unlink()
    assert "write" in run_mixture(finished.mixture, run)
    assert problems(run, sample=0) == []
    found = problems(run)
    assert found
    assert all(f"document {document.hex()}: token 17 is " in line for line in found)
    assert all("1 of " in line and " differ" in line for line in found)


def test_shards_of_two_tokenizers_in_a_stage_are_named(run: Path) -> None:
    """The other shard is whole, and the manifest knows it: only beside the first is it wrong."""
    manifest = pq.read_table(run / "manifest/shards/256-00000.parquet")
    assert len(manifest) > 1
    path = run / manifest["path"][1].as_py()
    name = OpenShard(path, "x").header.tokenizer
    data = path.read_bytes().replace(name.encode(), name[::-1].encode())
    path.write_bytes(data)
    checksum = curate_kernels.Checksum()
    checksum.update(data)
    footer = data[-10 - int.from_bytes(data[-10:-6], "little") : -10]
    rows = manifest.to_pylist()
    rows[1]["checksum"] = checksum.digest()
    rows[1]["footer_checksum"] = f"xxh3_64:{curate_kernels.xxh3_64(footer):016x}"
    edit(run, "shards", "256-00000", lambda table: pa.Table.from_pylist(rows, table.schema))
    found = [line for line in problems(run, sample=0) if line.startswith(path.name)]
    assert len(found) == 1
    assert f"has tokenizer '{name[::-1]}', but {rows[0]['shard']} has '{name}'" in found[0]
    assert named(problems(run), path.name, f"tokenizer {name[::-1]} made it, here it is {name}")


def test_a_text_that_is_gone_is_named(run: Path) -> None:
    path = next(iter(sorted((run / "documents").glob("web-*.parquet"))))
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 0), path)
    assert named(problems(run), "its text is not in documents/")
    shutil.rmtree(run / "documents")
    assert named(problems(run), "documents: there are no texts to encode again")
    assert problems(run, sample=0) == []


# Damage to the manifest


@pytest.mark.parametrize(
    ("table", "column", "row", "value", "words"),
    [
        ("shards", "tokens", 0, 5, "shards has 5 tokens, its rows of sequences"),
        ("shards", "sequences", 0, 5, "shards counts 5 sequences, and sequences has"),
        ("shards", "bytes", 0, 5, "longer than written"),
        ("shards", "checksum", 0, "xxh3_128:0", "its bytes are not those written"),
        ("shards", "footer_checksum", 0, "xxh3_64:0", "its footer is not the one written"),
        ("shards", "path", 0, "shards/none.arrow", "there is no such file"),
        ("shards", "path", 0, "../run/shards/x", "outside of the run directory"),
        ("shards", "sequence_length", 0, 512, "its sequence_length is 256, the manifest says 512"),
        ("sequences", "documents", 3, 77, "sequence 3: its documents is"),
        ("sequences", "tokens", 3, 77, "its rows of sequences"),
        ("sequences", "sum_squared_lengths", 3, 77, "sequence 3: its sum_squared_lengths is"),
        ("sequences", "checksum", 3, 77, "sequence 3: its checksum is"),
        ("sequences", "sequence", 3, 900, "have to be 0, 1, ..."),
        ("spans", "start", 0, 77, "spans says 77"),
        ("spans", "length", 0, 77, "spans says 77"),
        ("spans", "document_offset", 0, 77, "its document_offset is"),
        ("spans", "epoch", 0, 77, "spans says 77"),
        ("spans", "source", 0, "nowhere", "spans says nowhere"),
        ("spans", "document_id", 0, bytes(16), "is in the shards, and not among the kept ones"),
        ("spans", "stage", 0, "9K", "spans has it in stage"),
        ("spans", "shard", 0, "z.arrow", "spans names the shard 'z.arrow', which shards does not list"),
    ],
)
def test_a_changed_row_of_the_manifest_is_named(
    run: Path, table: str, column: str, row: int, value: Any, words: str
) -> None:
    edit(run, table, "256-00000", with_value(column, row, value))
    found = problems(run, sample=0)
    assert named(found, f"manifest/{table}/256-00000.parquet: it is not the file that the run wrote")
    assert named(found, words), found


def test_a_document_that_is_not_covered_once_is_named(run: Path) -> None:
    unit = "documents"
    path = next(iter(sorted((run / "manifest" / unit).glob("rows-*.parquet"))))
    table = pq.read_table(path)
    row = int(np.argmax(table["tokens"].fill_null(0).to_numpy()))
    tokens = table["tokens"][row].as_py()
    edit(run, unit, path.stem, with_value("tokens", row, tokens + 9))
    assert named(problems(run, sample=0), f"ends at {tokens} of {tokens + 9} tokens")


def test_missing_and_doubled_pieces_are_named(run: Path) -> None:
    def cut(table: pa.Table) -> pa.Table:
        pieces = table.filter(pc.greater(table["document_offset"], 0))
        first = pieces.slice(0, 1).to_pylist()[0]
        last = pieces.slice(1, 1)
        same = [
            row["document_id"] == first["document_id"]
            and row["document_offset"] == first["document_offset"]
            and row["epoch"] == first["epoch"]
            for row in table.to_pylist()
        ]
        return pa.concat_tables([table.filter(pa.array([not one for one in same])), last])

    edit(run, "spans", "256-00000", cut)
    found = problems(run, sample=0)
    assert named(found, "stage 256: epoch", "are missing")
    assert named(found, "stage 256: epoch", "are there twice")
    assert named(found, "documents, and", "rows of spans")


def test_a_file_of_the_manifest_that_is_gone_or_broken_is_named(run: Path) -> None:
    (run / "manifest/sequences/256-00000.parquet").unlink()
    (run / "manifest/spans/1K-00000.parquet").write_bytes(b"PAR1 not at all PAR1")
    found = problems(run, sample=0)
    assert named(found, "manifest/sequences/256-00000.parquet: it is missing")
    assert named(found, "manifest/*/256-00000.parquet")
    assert named(found, "manifest/*/1K-00000.parquet", "cannot be read")


# The command


def test_the_command_says_as_written_and_its_exit_status_tells(finished: Finished, run: Path) -> None:
    good = invoke("verify", finished.root)
    assert good.exit_code == 0
    assert "as written" in good.output
    flip_bit(run / "shards" / SHARD, place(run / "shards" / SHARD, "tokens", 5)[0])
    bad = invoke("verify", run)
    assert bad.exit_code == 1
    assert "wrong" in bad.output
    assert f"{SHARD}, sequence 0: stored tokens 0 to 255" in bad.output
    answer = invoke("verify", run, "--json", "--sample", 0)
    assert answer.exit_code == 1
    found = json.loads(answer.output)
    assert found["bytes"] == sum(path.stat().st_size for path in (run / "shards").iterdir())
    assert {"where", "what", "remedy"} == set(found["problems"][0])


def test_a_folder_without_shards_is_a_clear_error(tmp_path: Path, run: Path) -> None:
    assert "no run here" in invoke("verify", tmp_path).output
    shutil.rmtree(run / "manifest" / "shards")
    result = invoke("verify", run)
    assert result.exit_code == 1
    assert "finish the run first" in re.sub(r"\s+", " ", result.output)


def test_transfers_are_priced_against_the_naive_layouts(finished: Finished) -> None:
    answer = invoke("verify", finished.root, "--dma", "--chip", "910C", "--context-parallel", 2, "--json")
    assert answer.exit_code == 0
    prices = json.loads(answer.output)["dma"]
    by_stage: dict[str, dict[str, Any]] = {}
    for price in prices:
        by_stage.setdefault(price["stage"], {})[price["layout"]] = price
    assert set(by_stage) == {"256", "1K", "4K"}
    for layouts in by_stage.values():
        assert layouts["shard"]["misaligned"] == 0
        others = [price for name, price in layouts.items() if name != "shard"]
        assert len(others) == 2
        assert all(price["bytes_copied"] > layouts["shard"]["bytes_copied"] for price in others)
    shown = invoke("verify", finished.root, "--dma", "--context-parallel", 2, "--stage", "4K").output
    assert "to a 910B" in shown
    assert "modelled" in shown


def test_a_chip_or_number_of_ranks_without_a_price_is_named(finished: Finished) -> None:
    unknown = invoke("verify", finished.root, "--dma", "--chip", "H100")
    assert unknown.exit_code == 1
    assert "--chip H100: not one of 910B, 910C, 950PR" in unknown.output
    result = invoke("verify", finished.root, "--dma", "--context-parallel", 4, "--json", "--sample", 0)
    answer = json.loads(result.output)
    assert result.exit_code == 1
    assert {price["stage"] for price in answer["dma"]} >= {"4K"}
    assert all("256" in problem["where"] for problem in answer["problems"])


# Shards alone


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=25),
    size=st.sampled_from([256, 1024]),  # one sequence in a record batch, and many
    layout=st.sampled_from(
        [("contiguous", 1, 1), ("contiguous", 1, 8), ("zigzag", 2, 1), ("zigzag_documents", 2, 4)]
    ),
    data=st.data(),
)
def test_any_bit_that_a_checksum_covers_is_found_in_its_row(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    size: int,
    layout: tuple[str, int, int],
    data: st.DataObject,
) -> None:
    order, ranks, multiple = layout
    root = tmp_path_factory.mktemp("run")
    options = {"layout": order, "context_parallel": ranks, "pad_documents_to": multiple}
    manifest = written(root, *corpus(lengths), sequence_length=size, shard_tokens=size * 8, **options)
    for rows in manifest_rows(manifest.shards, manifest.sequences, manifest.spans):
        assert list(verify_shard(root / rows.path, rows)) == []
    path = root / data.draw(st.sampled_from(manifest.shards["path"].to_pylist()))
    reader = pa.ipc.open_file(path.read_bytes())
    header = read_header(reader.schema, "")
    batch = reader.get_batch(0)
    covered = ["tokens", "document_lengths", "token_checksums", "checksum", "padded_lengths", "padding"]
    column = data.draw(st.sampled_from([*covered, "sum_squared_lengths", "next_tokens"]))
    array = batch[column]
    values = array.values if hasattr(array, "values") else array
    if not len(values):
        return
    index = data.draw(st.integers(0, len(values) - 1))
    width = values.type.bit_width // 8
    flip = index * width + data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, 7))
    at, _ = place(path, column)
    flip_bit(path, at + flip[0], flip[1])
    batch = pa.ipc.open_file(path.read_bytes()).get_batch(0)
    wrong, reasons = curate_kernels.wrong_sequences(
        batch,
        first_row=0,
        pad=header.pad,
        pad_documents_to=multiple,
        sources=len(SOURCES),
        layout=order,
        context_parallel=ranks,
    )
    bounds = array.offsets.to_pylist() if pa.types.is_list(array.type) else None
    if bounds:
        row = next(i for i in range(len(array)) if bounds[i] <= index < bounds[i + 1])
    else:
        row = index // (len(values) // len(array))
    assert wrong == 1
    assert {where for where, _ in reasons} == {row}


def test_a_row_in_anothers_place_is_found(tmp_path: Path) -> None:
    manifest = written(tmp_path, *corpus([1024] * 8), sequence_length=1024, shard_tokens=1 << 20)
    batch = pa.ipc.open_file((tmp_path / manifest.shards["path"][0].as_py()).read_bytes()).get_batch(0)
    options = {"pad": -7, "pad_documents_to": 1, "sources": len(SOURCES)}
    assert curate_kernels.wrong_sequences(batch, first_row=0, **options) == (0, [])
    wrong, reasons = curate_kernels.wrong_sequences(batch, first_row=1, **options)
    assert wrong == 8
    assert all("another row's" in reason for _, reason in reasons)


@pytest.mark.parametrize(("layout", "ranks", "multiple"), [("zigzag", 2, 1), ("zigzag_documents", 2, 4)])
def test_a_sequence_is_read_in_reading_order_whatever_its_layout(
    tmp_path: Path, layout: str, ranks: int, multiple: int
) -> None:
    documents, pools = corpus([100, 3000, 1024, 31, 5, 90])
    options = {"sequence_length": 1024, "pad_documents_to": multiple, "shard_tokens": 1 << 20}
    plain = written(tmp_path / "plain", documents, pools, **options)
    folded = written(tmp_path / "folded", documents, pools, layout=layout, context_parallel=ranks, **options)
    assert plain.sequences.select(["documents", "tokens"]) == folded.sequences.select(["documents", "tokens"])
    for path in plain.shards["path"].to_pylist():
        left, right = (OpenShard(tmp_path / run / path, "x") for run in ("plain", "folded"))
        stored = pa.ipc.open_file((tmp_path / "folded" / path).read_bytes()).get_batch(0)["tokens"]
        assert left.sequences == right.sequences > 0
        moved = 0
        for number in range(left.sequences):
            np.testing.assert_array_equal(left[number].tokens, right[number].tokens)
            moved += not np.array_equal(stored[number].values.to_numpy(), left[number].tokens)
        assert moved


def test_no_damage_makes_the_look_fail_even_where_the_outer_checksums_are_right(tmp_path: Path) -> None:
    """As from a writer that is broken, or hostile: what is not found is not fallen over either."""
    options = {"layout": "zigzag_documents", "context_parallel": 2, "pad_documents_to": 4}
    lengths = [5, 1000, 300, 70, 2000, 1024, 9] * 3
    manifest = written(tmp_path, *corpus(lengths), sequence_length=1024, shard_tokens=1 << 20, **options)
    (rows,) = manifest_rows(manifest.shards, manifest.sequences, manifest.spans)
    path = tmp_path / rows.path
    good = path.read_bytes()
    footer = len(good) - 10 - int.from_bytes(good[-10:-6], "little")
    message = good.find(b"\xff\xff\xff\xff", 16)
    rng = random.Random(5)
    noticed = 0
    for _ in range(600):
        data = bytearray(good)
        low, high = rng.choice([(message, message + 1500), (footer, len(good) - 10), (0, footer)])
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(low, high)
            data[at] = rng.choice([data[at] ^ (1 << rng.randrange(8)), 0, 127, 255])
        path.write_bytes(data)
        checksum = curate_kernels.Checksum()
        checksum.update(bytes(data))
        inner = f"xxh3_64:{curate_kernels.xxh3_64(bytes(data[footer:-10])):016x}"
        listed = dataclasses.replace(rows, checksum=checksum.digest(), footer_checksum=inner)
        noticed += bool(list(verify_shard(path, listed)))
    assert noticed > 200


def test_columns_that_are_no_shards_are_refused() -> None:
    batch = pa.record_batch({"tokens": pa.array([[1, 2]], pa.list_(pa.int32(), 2))})
    with pytest.raises(ValueError, match="token_checksums is missing"):
        curate_kernels.wrong_sequences(batch, first_row=0, pad=0, pad_documents_to=1, sources=1)
    with pytest.raises(ValueError, match="not the footer"):
        curate_kernels.footer_blocks(b"\xff" * 64)
