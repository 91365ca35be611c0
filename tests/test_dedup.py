"""Deduplication against brute force, and the same answer however the work is divided."""

from __future__ import annotations

import json
import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_fixture import Log

from curate import storage
from curate.driver import execute
from curate.executors.local import LocalExecutor
from curate.phases import Task, dedup, shuffle, tokenize, work
from curate.phases.curate import BANDS
from curate.pipeline import PHASES
from curate.run_directory import Run, RunError
from mixtures.spec import load_mixture
from shards.loader import Loader

NGRAM = 5
THRESHOLD = 0.8
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "rk", "st", "lle")]

MIXTURE = """\
name: dedup
seed: {seed}
data: {folder}/data
tokenizer: {{preset: deepseek-v4, fim: 0}}
sources:
  rows: {{read: {{jsonl: "*.jsonl"}}, optional: true}}
dedup: {{exact: {exact}, near: {near}}}
mixture: {{weights: {{rows: 1}}, max_epochs: 4, budget: 2.0}}
curriculum:
  batch_tokens: 4Ki
  stages: [{{length: 64, share: 0.5}}, {{length: 256, share: 0.5}}]
shards: {{documents_per_sequence: 64, shard_tokens: 4Ki}}
"""


@dataclass(frozen=True)
class Fate:
    """What became of a document that was removed."""

    survivor: bytes
    kind: str
    jaccard: float


@dataclass(frozen=True)
class Outcome:
    """What deduplication made of a corpus: texts by id, removed documents, verified pairs."""

    texts: dict[bytes, str]
    removed: dict[bytes, Fate]
    edges: dict[tuple[bytes, bytes], float]

    @property
    def kept(self) -> set[bytes]:
        return self.texts.keys() - self.removed.keys()

    def copies(self) -> list[list[bytes]]:
        """Ids of equal texts, the smallest first."""
        groups: dict[str, list[bytes]] = defaultdict(list)
        for document in sorted(self.texts):
            groups[self.texts[document]].append(document)
        return list(groups.values())


def prepare(
    folder: Path,
    texts: Sequence[str],
    *,
    files: int = 5,
    near: str = "dolma3",
    exact: bool = True,
    seed: int = 3,
) -> Run:
    """A run over the texts, spread over so many files, with no rule and no language filter."""
    data = folder / "data"
    data.mkdir(parents=True)
    for number in range(files):
        lines = [json.dumps({"text": text}) + "\n" for text in texts[number::files]]
        (data / f"{number}.jsonl").write_text("".join(lines))
    mixture = folder / "dedup.yaml"
    mixture.write_text(MIXTURE.format(folder=folder, near=near, exact=str(exact).lower(), seed=seed))
    run = Run(str(folder / "run"), load_mixture(str(mixture)))
    # Files are no larger than the smallest split, so each would share one with others.
    limits = run.mixture.limits.model_copy(update={"split_bytes": 1})
    return Run(run.root, run.mixture.model_copy(update={"limits": limits}))


def deduplicated(run: Run) -> Outcome:
    execute(run, LocalExecutor(1), Log(), only=("curate", "dedup"))
    return outcome(run)


def table(run: Run, folder: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(run.root, folder).iterdir()))


def outcome(run: Run) -> Outcome:
    documents, survivors = table(run, "documents"), table(run, "dedup/survivors")
    assert survivors["document_id"].equals(documents["document_id"]), "a row for each document, in order"
    removed = {
        row["document_id"]: Fate(row["duplicate_of"], row["duplicate_kind"], row["jaccard"])
        for row in survivors.to_pylist()
        if row["duplicate_of"] is not None
    }
    edges = {}
    if run.mixture.dedup.near is not None:
        rows = table(run, "dedup/edges").to_pylist()
        edges = {(row["left"], row["right"]): row["jaccard"] for row in rows}
        assert len(edges) == len(rows), "a pair is verified once"
    texts = dict(zip(documents["document_id"].to_pylist(), documents["text"].to_pylist(), strict=True))
    return Outcome(texts, removed, edges)


# Brute force


def shingles(text: str) -> set[tuple[str, ...]]:
    """Word n-grams as the kernel makes them, for texts in ASCII."""
    words = re.findall("[a-z0-9]+", text.lower())
    size = min(NGRAM, len(words))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()


def all_pairs(texts: dict[bytes, str]) -> dict[tuple[bytes, bytes], float]:
    """Jaccard of every pair that shares a shingle, smaller id first."""
    sets = {document: shingles(text) for document, text in texts.items()}
    holders: dict[tuple[str, ...], list[bytes]] = defaultdict(list)
    for document in sorted(sets):
        for shingle in sets[document]:
            holders[shingle].append(document)
    shared: dict[tuple[bytes, bytes], int] = defaultdict(int)
    for documents in holders.values():
        for pair in combinations(documents, 2):
            shared[pair] += 1
    return {(a, b): n / (len(sets[a]) + len(sets[b]) - n) for (a, b), n in shared.items()}


def components(nodes: Iterable[bytes], pairs: Iterable[tuple[bytes, bytes]]) -> list[set[bytes]]:
    neighbours: dict[bytes, set[bytes]] = {node: set() for node in nodes}
    for a, b in pairs:
        neighbours[a].add(b)
        neighbours[b].add(a)
    found, seen = [], set()
    for node in neighbours:
        if node in seen:
            continue
        component, border = {node}, [node]
        while border:
            new = neighbours[border.pop()] - component
            component |= new
            border += new
        found.append(component)
        seen |= component
    return found


def expected_survivors(outcome: Outcome) -> dict[bytes, bytes]:
    """Who stays for each document: the longest of the texts that verified pairs join, ties by smallest id."""
    copies = outcome.copies()
    survivor: dict[bytes, bytes] = {}
    for component in components([group[0] for group in copies], outcome.edges):
        best = min(component, key=lambda document: (-len(outcome.texts[document].encode()), document))
        survivor |= dict.fromkeys(component, best)
    return {document: survivor[group[0]] for group in copies for document in group}


def check(outcome: Outcome) -> None:
    """What holds for every corpus."""
    exact = all_pairs(outcome.texts)
    for pair, similarity in outcome.edges.items():
        assert exact.get(pair, 0) >= THRESHOLD, "precision is 1"
        assert similarity == pytest.approx(exact[pair], abs=1e-6)
    survivor = expected_survivors(outcome)
    stands_in = {document: document for document in outcome.texts}
    stands_in |= {document: fate.survivor for document, fate in outcome.removed.items()}
    assert stands_in == survivor
    assert {fate.survivor for fate in outcome.removed.values()} <= outcome.kept
    assert len(outcome.kept) + len(outcome.removed) == len(outcome.texts)
    for document, fate in outcome.removed.items():
        same = outcome.texts[document] == outcome.texts[fate.survivor]
        assert fate.kind == ("exact" if same else "near")
        pair = (min(document, fate.survivor), max(document, fate.survivor))
        if same:
            assert fate.jaccard == 1
        elif pair in outcome.edges:
            assert fate.jaccard == outcome.edges[pair]
        else:
            assert fate.jaccard >= THRESHOLD


# Corpora


def prose(draw: random.Random, words: int) -> list[str]:
    return [draw.choice(WORDS) for _ in range(words)]


def edited(draw: random.Random, words: list[str], edits: int) -> list[str]:
    """A copy in which so many words are replaced, left out or put in."""
    words = list(words)
    for _ in range(edits):
        place = draw.randrange(len(words))
        gone = draw.randint(0, min(1, len(words) - 1))
        words[place : place + gone] = prose(draw, draw.randint(0, 1))
    return words


def corpus(seed: int, originals: int = 60) -> list[str]:
    """Originals of 1 to 300 words, most with copies: exact, dressed up otherwise, edited more and more."""
    draw = random.Random(seed)
    texts = ["!!!", "...", "!!!", "-- ** --"]
    for _ in range(originals):
        words = prose(draw, draw.choice([1, 3, 4, 5, 6, 20, 80, 150, 300]))
        text = " ".join(words)
        texts += [text] * draw.choice([1, 1, 1, 2, 4])
        if draw.random() < 0.3:
            texts.append(", ".join(word.title() for word in words) + "!")
        for _ in range(draw.choice([0, 0, 1, 3])):
            words = edited(draw, words, draw.choice([1, 1, 2, 8]))
            texts += [" ".join(words)] * draw.choice([1, 1, 2])
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize("preset", ["dolma3", "fineweb"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_removed_is_what_brute_force_says(tmp_path: Path, seed: int, preset: str) -> None:
    found = deduplicated(prepare(tmp_path, corpus(seed), near=preset))
    check(found)
    kinds = [fate.kind for fate in found.removed.values()]
    assert min(kinds.count("exact"), kinds.count("near")) > 10
    assert any(fate.jaccard < 0.9 for fate in found.removed.values())


def test_recall_is_that_of_the_bands(tmp_path: Path) -> None:
    """A pair is missed with odds (1 - J^11)^26: 4e-10 at J = 0.95, 0.10 at 0.8."""
    missed = pairs = 0
    odds = []
    for seed in range(10, 13):
        found = deduplicated(prepare(tmp_path / str(seed), corpus(seed), near="dolma3"))
        firsts = {group[0] for group in found.copies()}
        joined = {document: fate.survivor for document, fate in found.removed.items()}
        for (a, b), jaccard in all_pairs({d: found.texts[d] for d in firsts}).items():
            if jaccard >= 0.95:
                pairs += 1
                assert joined.get(a, a) == joined.get(b, b), jaccard
            if jaccard >= THRESHOLD:
                odds.append((1 - jaccard**11) ** 26)
                missed += (a, b) not in found.edges
    assert pairs > 50
    # The edits of an original are not independent, hence six deviations.
    spread = math.sqrt(sum(p * (1 - p) for p in odds))
    assert missed <= sum(odds) + 6 * spread


def test_a_corpus_without_a_pair_keeps_everything(tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = [" ".join(prose(draw, 60)) for _ in range(30)] + ["!", "?"]
    found = deduplicated(prepare(tmp_path, texts))
    assert found.edges == {}
    assert found.removed == {}


def test_without_words_only_equal_texts_are_duplicates(tmp_path: Path) -> None:
    found = deduplicated(prepare(tmp_path, ["!!", "??", "!!", "!!!", "??"]))
    assert sorted(found.texts[document] for document in found.kept) == ["!!", "!!!", "??"]
    check(found)


def test_exact_duplicates_alone_leave_the_smallest_id_of_each_text(tmp_path: Path) -> None:
    found = deduplicated(prepare(tmp_path, corpus(4), near="null"))
    assert found.kept == {group[0] for group in found.copies()}
    check(found)


def test_a_run_with_neither_keeps_everything(tmp_path: Path) -> None:
    found = deduplicated(prepare(tmp_path, ["one two", "one two"], near="null", exact=False))
    assert len(found.kept) == 2


def test_a_run_without_a_document_says_so(tmp_path: Path) -> None:
    run = prepare(tmp_path, [], files=0)
    with pytest.raises(RunError, match="no document survived"):
        execute(run, LocalExecutor(1), Log())


# Large buckets


def test_a_bucket_of_many_texts_is_one_cluster(tmp_path: Path) -> None:
    draw = random.Random(5)
    words = prose(draw, 400)
    texts = []
    for place in draw.sample(range(len(words)), 60):
        changed = list(words)
        changed[place] = f"changed{place}"
        texts.append(" ".join(changed))
    found = deduplicated(prepare(tmp_path, texts))
    check(found)
    assert len(found.kept) == 1
    assert max(len(a) for a in components(found.texts, found.edges)) == 60 > dedup.ALL_PAIRS_UP_TO


def test_two_thousand_copies_cost_what_one_costs(tmp_path: Path) -> None:
    draw = random.Random(6)
    words = prose(draw, 200)
    near = [" ".join(edited(draw, words, 1)) for _ in range(20)]
    run = prepare(tmp_path, [" ".join(words)] * 2000 + near, files=3)
    found = deduplicated(run)
    (survivor,) = found.kept
    assert set(expected_survivors(found).values()) == {survivor}
    assert {fate.survivor for fate in found.removed.values()} == {survivor}
    distinct = len(set(found.texts.values()))
    assert len(table(run, "dedup/candidates")) <= distinct * (distinct - 1) / 2


def test_texts_that_meet_in_a_band_by_accident_are_kept(tmp_path: Path) -> None:
    draw = random.Random(7)
    words = prose(draw, 200)
    texts = [" ".join(prose(draw, 100)) for _ in range(12)]
    run = prepare(tmp_path, [*texts, " ".join(words), " ".join([*words[1:], "end"])])
    execute(run, LocalExecutor(1), Log(), only=("curate",))
    for record in run.records("curate"):
        path = record.output("bands/").path
        rows = pq.read_table(run.url(path))
        forged = rows.set_column(0, BANDS.field("key"), pa.repeat(pa.scalar(1, pa.uint64()), len(rows)))
        storage.publish_table(run.root, path, forged)
    for phase in dedup.PHASES:
        for unit in phase.plan(run):
            work(Task(run, phase.name, unit, ""))
    found = outcome(run)
    assert len(table(run, "dedup/candidates")) == 14 * 13 / 2
    assert len(found.edges) == len(found.removed) == 1
    check(found)


# Partitions


def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many ranges of keys, many units of pairs, many groups of shards."""
    monkeypatch.setattr(shuffle, "PARTITION_ROWS", 100)
    monkeypatch.setattr(dedup, "PAIRS_AT_A_TIME", 2)
    monkeypatch.setattr(tokenize, "GROUP_DOCUMENTS", 3)


def test_partitions_do_not_change_who_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus(20)
    whole = prepare(tmp_path / "whole", texts)
    expected = deduplicated(whole)
    divided(monkeypatch)
    parts = prepare(tmp_path / "parts", texts)
    assert deduplicated(parts) == expected
    for name in ("exact", "candidates", "verify"):
        assert len(whole.records(f"dedup.{name}")) == 1
        assert len(parts.records(f"dedup.{name}")) > 1
    files = [Path(run.root, "dedup/survivors") for run in (whole, parts)]
    for one, other in zip(*(sorted(folder.iterdir()) for folder in files), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_files_do_not_change_which_texts_survive(tmp_path: Path) -> None:
    """Ids come from file names, so ties fall otherwise; the texts that are left have the same lengths."""
    texts = corpus(21)
    lengths = []
    for files in (1, 7):
        found = deduplicated(prepare(tmp_path / str(files), texts, files=files))
        check(found)
        lengths.append(sorted(len(found.texts[document]) for document in found.kept))
    assert lengths[0] == lengths[1]


def test_groups_of_shards_hold_every_picked_document_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    divided(monkeypatch)
    run = prepare(tmp_path, corpus(22, originals=40))
    execute(run, LocalExecutor(1), Log())
    groups = run.records("tokenize")[0].figures["groups"]
    assert groups > 20
    group_of: dict[bytes, int] = {}
    sizes = [0] * groups
    lengths: dict[bytes, int] = {}
    for path in sorted(Path(run.root, "pools").iterdir()):
        with pa.ipc.open_file(path) as pool:
            assert pool.num_record_batches == groups
            for group in range(groups):
                batch = pool.get_batch(group)
                sizes[group] += len(batch)
                for document, tokens in zip(batch["document_id"], batch["tokens"], strict=True):
                    assert document.as_py() not in group_of
                    group_of[document.as_py()] = group
                    lengths[document.as_py()] = len(tokens)
    assert min(sizes) == 0, "a group without a document is worth testing"
    assert group_of.keys() == outcome(run).kept
    tokens = table(run, "tokens")
    assert lengths == dict(zip(tokens["document_id"].to_pylist(), tokens["tokens"].to_pylist(), strict=True))

    spans = table(run, "manifest/spans").to_pylist()
    placed: dict[tuple[bytes, str, int], int] = defaultdict(int)
    for span in spans:
        placed[span["document_id"], span["stage"], span["epoch"]] += span["length"]
        assert f"-{group_of[span['document_id']]:05d}-" in span["shard"]
    assert {key: lengths[key[0]] for key in placed} == placed, "whole documents, each epoch in one stage"
    assert len({(document, epoch) for document, _, epoch in placed}) == len(placed)
    plan = table(run, "manifest/plan")
    assert sum(placed.values()) == sum(plan["realised_tokens"].to_pylist())
    for stage in ("64", "256"):
        loader = Loader(run.root, stage=stage, batch_sequences=1)
        assert loader.verify() == []
        read = sum(
            sum(loader.batch(step).document_lengths.flatten().to_pylist()) for step in range(loader.sequences)
        )
        assert read == sum(length for (_, name, _), length in placed.items() if name == stage)


def test_pools_are_not_all_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large run has more pools than a process may have open files."""
    opened: list[pa.NativeFile] = []
    most = 0

    @contextmanager
    def counted(url: str) -> Iterator[pa.NativeFile]:
        nonlocal most
        with open_arrow(url) as source:
            opened.append(source)
            most = max(most, sum(not file.closed for file in opened))
            yield source

    open_arrow = storage.open_arrow
    monkeypatch.setattr(storage, "open_arrow", counted)
    run = prepare(tmp_path, corpus(23, originals=20), files=7)
    execute(run, LocalExecutor(1), Log(), only=[phase.name for phase in PHASES[:-2]])
    assert len(opened) == 7 * len(run.mixture.curriculum.stages)
    assert most == 1


# The shuffle


@given(st.integers(1, 5000))
def test_ranges_cover_every_key_once(parts: int) -> None:
    ranges = [shuffle.key_range(part, parts) for part in range(parts)]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**64 - 1
    assert all(low <= high for low, high in ranges)
    assert all(after[0] == before[1] + 1 for before, after in pairwise(ranges))


def sorted_file(folder: Path, name: str, keys: Sequence[int], row_group_rows: int) -> str:
    rows = pa.table(
        {"key": pa.array(sorted(keys), pa.uint64()), "row": pa.array(range(len(keys)), pa.uint32())}
    )
    storage.publish_table(str(folder), name, rows, row_group_rows=row_group_rows)
    return str(folder / name)


@pytest.mark.parametrize("parts", [1, 2, 3, 64])
def test_a_range_reads_few_row_groups_and_every_row(tmp_path: Path, parts: int) -> None:
    draw = random.Random(parts)
    keys = [[draw.getrandbits(64) for _ in range(500)] for _ in range(3)]
    keys.append([0, 0, 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 1])
    keys.append([])
    edges = [shuffle.key_range(part, parts) for part in range(parts)]
    keys.append([key for edge in edges for key in edge] * 12)
    urls = [sorted_file(tmp_path, f"{i}.parquet", file, row_group_rows=10) for i, file in enumerate(keys)]
    for part, (low, high) in enumerate(edges):
        found = shuffle.read_range(urls, part, parts)
        assert [(row["file"], row["key"]) for row in found.to_pylist()] == [
            (number, key) for number, file in enumerate(keys) for key in sorted(file) if low <= key <= high
        ]
        chosen = shuffle._groups_in_range(pq.ParquetFile(urls[0]), low, high)
        assert len(chosen) <= -(-50 // parts) + 7, "about its share of 50"


def test_a_range_holds_no_more_memory_than_its_rows(tmp_path: Path) -> None:
    draw = random.Random(8)
    urls = [
        sorted_file(tmp_path, f"{i}.parquet", [draw.getrandbits(64) for _ in range(20_000)], 20_000)
        for i in range(4)
    ]
    found = shuffle.read_range(urls, 3, 100)
    assert len(found) > 500
    assert found.get_total_buffer_size() < 2 * found.nbytes


# Arrays


@given(st.lists(st.binary(min_size=16, max_size=16)), st.integers(0, 3))
def test_ids_keep_their_order_as_numbers(values: list[bytes], first: int) -> None:
    column = pa.array(values, pa.binary(16)).slice(first)
    ids = dedup._ids(column)
    assert dedup._id_column(ids).equals(column)
    assert dedup._ids(pa.chunked_array([column[:1], column[1:]])).tolist() == ids.tolist()
    order = np.argsort(ids, order=("high", "low"), kind="stable")
    assert column.take(pa.array(order)).to_pylist() == sorted(column.to_pylist())


#: Few distinct ids, so that many are found.
few_ids = st.lists(st.builds(lambda a, b: bytes([a] * 8 + [b] * 8), *[st.integers(126, 129)] * 2))


@given(few_ids.map(lambda ids: sorted(set(ids))), few_ids)
def test_find_gives_the_place_or_minus_one(known: list[bytes], wanted: list[bytes]) -> None:
    place = dedup._find(*(dedup._ids(pa.array(values, pa.binary(16))) for values in (known, wanted)))
    assert place.tolist() == [known.index(value) if value in known else -1 for value in wanted]


@given(st.lists(st.integers(0, 6)))
def test_ramp_counts_up_for_each(counts: list[int]) -> None:
    assert dedup._ramp(np.array(counts, np.int64)).tolist() == [i for n in counts for i in range(n)]


@given(st.lists(st.sampled_from([1, 1, 2, 3, 15, 16, 17, 40]), max_size=8))
def test_pairs_of_a_bucket_are_all_or_linear_and_always_connect_it(sizes: list[int]) -> None:
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    left, right = dedup._bucket_pairs(keys)
    assert (left < right).all()
    assert (keys[left] == keys[right]).all()
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    start = 0
    for size in sizes:
        own = {pair for pair in pairs if start <= pair[0] < start + size}
        if size <= dedup.ALL_PAIRS_UP_TO:
            assert own == set(combinations(range(start, start + size), 2))
        else:
            anchored = {(start, start + i) for i in range(1, size)}
            assert own == anchored | {(start + i - 1, start + i) for i in range(1, size)}
        start += size
