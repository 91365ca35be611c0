"""The report says what the manifests say, shows hostile text as text, and is the same bytes every time."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import fsspec
import lxml.html
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_manifests import HOSTILE, SCRIPT, write

from curate.report import escaping, render, write_report

Tables = dict[str, pa.Table]
ANGLES = str.maketrans("<>", "\u2039\u203a")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    folder = tmp_path_factory.mktemp("runs") / "invented"
    return folder, write(folder)


@pytest.fixture(scope="module")
def page(run: tuple[Path, Tables]) -> lxml.html.HtmlElement:
    return lxml.html.document_fromstring(render(str(run[0])))


def figure(page: lxml.html.HtmlElement, element: str) -> float:
    return float(page.get_element_by_id(element).find("data").get("value"))


def table(page: lxml.html.HtmlElement, element: str) -> dict[str, list[str | float]]:
    """A table of the page by its first column; cells as exact numbers where the page gives them."""
    found: dict[str, list[str | float]] = {}
    for row in page.get_element_by_id(element).find("tbody"):
        cells: list[str | float] = []
        for cell in row:
            data = cell.find("data")
            cells.append(cell.text_content().strip() if data is None else float(data.get("value")))
        found[str(cells[0])] = cells[1:]
    return found


def charts(page: lxml.html.HtmlElement) -> dict[str, dict[str, list[dict[str, list[float]]]]]:
    loaded = json.loads(page.get_element_by_id("figures").text)
    assert isinstance(loaded, dict)
    return loaded


def test_quality_is_shown_by_bucket(page: lxml.html.HtmlElement) -> None:
    first = page.xpath("//table[@id='table-quality']/tbody/tr/td[1]")
    assert [cell.text_content() for cell in first] == ["15 to 19", "10 to 14", "5 to 9", "0 to 4"]


# -- hostile text


def test_no_script_but_ours_and_no_element_or_handler_from_the_data(page: lxml.html.HtmlElement) -> None:
    scripts = page.xpath("//script")
    assert [s.get("type") for s in scripts] == [None, "application/json", None]
    assert "alert(" not in (scripts[0].text + scripts[2].text).replace("/*", "")
    assert page.xpath("//img | //iframe | //object | //link | //a[not(starts-with(@href, '#'))]") == []
    assert page.xpath("//@*[starts-with(name(), 'on')]") == []
    assert page.xpath("//comment()") == []


def test_hostile_text_is_shown_as_text(page: lxml.html.HtmlElement) -> None:
    text = "".join(page.xpath("//body//text()[not(parent::script)]"))
    assert SCRIPT in table(page, "table-sources")
    assert HOSTILE[1] in table(page, "table-domains")
    assert HOSTILE[2] in table(page, "table-rules")
    assert HOSTILE[2] in table(page, "table-edits")
    assert HOSTILE[2] in table(page, "table-topics")
    assert HOSTILE[4] in table(page, "table-errors")
    assert "nul\u2039U+0000\u203a and line" in table(page, "table-errors")
    assert "invoice<U+202E>txt.exe<U+2066><U+200F>".translate(ANGLES) in text
    assert not re.search("[\u0000-\u0008\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


def test_raw_page_holds_hostile_markup_only_escaped(run: tuple[Path, Tables]) -> None:
    html = render(str(run[0]))
    for text in HOSTILE[:3]:
        assert text not in html
    assert html.count("<script") == html.count("</script>") == 3


def test_chart_labels_decode_to_the_text_in_plotly(page: lxml.html.HtmlElement) -> None:
    raw = page.get_element_by_id("figures").text
    assert not set(raw) & set("<>&")
    labels = json.dumps(charts(page), ensure_ascii=False)
    assert "&lt;/script&gt;&lt;script&gt;alert(2)&lt;/script&gt;" in labels
    assert "<" not in labels.replace("<extra></extra>", "")  # ours, in the hover templates


def test_policy_forbids_other_scripts_and_the_network(page: lxml.html.HtmlElement) -> None:
    policy = page.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in policy
    assert page.xpath("//@src") == []


@given(st.text())
def test_any_text_survives_a_script_block_as_json(text: str) -> None:
    block = str(escaping.script_json({"t": text}))
    assert block.isascii()
    assert not set(block) & set("<>&")
    assert json.loads(block) == {"t": text}


@given(st.text())
def test_visible_text_prints_and_is_bounded(text: str) -> None:
    shown = escaping.visible(text, 40)
    assert all(c.isprintable() or c in "\u200c\u200d" for c in shown)
    assert len(shown) <= 40 * len("<U+10FFFF>")
    if len(text) <= 40 and text.isprintable():
        assert shown == text


# -- figures


def test_headline_equals_the_manifests(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    ledger, shards = run[1]["documents"], run[1]["shards"]
    kept = [
        t
        for t, s in zip(ledger["tokens"].to_pylist(), ledger["status"].to_pylist(), strict=True)
        if s == "kept"
    ]
    tokens, padding = (sum(shards[c].to_pylist()) for c in ("tokens", "padding"))
    assert figure(page, "documents-in") == ledger.num_rows
    assert figure(page, "documents-kept") == len(kept)
    assert figure(page, "tokens-kept") == sum(kept)
    assert figure(page, "tokens-in-shards") == tokens
    assert figure(page, "sequences") == sum(shards["sequences"].to_pylist())
    assert figure(page, "fill") == pytest.approx(tokens / (tokens + padding), rel=1e-5)


def test_sources_rules_and_duplicates_equal_the_ledger(
    run: tuple[Path, Tables], page: lxml.html.HtmlElement
) -> None:
    rows = run[1]["documents"].to_pylist()
    documents, kept, reached = Counter[str](), Counter[str](), Counter[str]()
    exact, near, tokens = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        source = row["source"]
        documents[source] += 1
        kept[source] += row["status"] == "kept"
        reached[source] += row["status"] in ("kept", "duplicate")
        exact[source] += row["duplicate_kind"] == "exact"
        near[source] += row["duplicate_kind"] == "near"
        tokens[source] += row["tokens"] or 0
    sources, duplicates = table(page, "table-sources"), table(page, "table-duplicates")
    assert {s: (c[0], c[2], c[4]) for s, c in sources.items()} == {
        s: (documents[s], kept[s], tokens[s]) for s in documents
    }
    assert {s: (c[0], c[1], c[3]) for s, c in duplicates.items()} == {
        s: (reached[s], exact[s], near[s]) for s in documents
    }
    alarmed = page.xpath("//table[@id='table-duplicates']//tr[contains(@class, 'alarmed')]/td[1]")
    assert [cell.text_content() for cell in alarmed] == [
        s for s in documents if (exact[s] + near[s]) / reached[s] > 0.5
    ] == ["docs"]  # fmt: skip


def test_rule_bars_equal_the_ledger(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    rows = run[1]["documents"].to_pylist()
    first = Counter(r["dropped_by"] for r in rows if r["status"] in ("rules", "language"))
    failing = Counter(rule for r in rows for rule in set(r["failed_rules"]))
    every, dropped = charts(page)["chart-rules"]["data"]
    assert dropped["x"] == sorted(first.values(), reverse=True)
    assert sorted(every["x"]) == sorted(failing.values())


def test_funnel_ends_at_the_kept_documents(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    status = Counter(run[1]["documents"]["status"].to_pylist())
    kind = Counter(run[1]["documents"]["duplicate_kind"].to_pylist())
    left, taken = charts(page)["chart-funnel"]["data"]
    assert taken["x"] == [
        0,
        status["quarantined"],
        status["rules"],
        status["language"],
        kind["exact"],
        kind["near"],
    ]
    assert left["x"][0] == run[1]["documents"].num_rows
    assert left["x"][-1] == status["kept"]


def test_mixture_and_epochs_equal_the_plan(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    plan = run[1]["plan"].to_pylist()
    order = [s["stage"] for s in run[1]["stages"].to_pylist()]
    planned, realised, web = (Counter[str]() for _ in range(3))
    for row in plan:
        planned[row["stage"]] += row["planned_tokens"]
        realised[row["stage"]] += row["realised_tokens"]
        if row["domain"] == "web":  # two sources, "web" and "docs"
            web[row["stage"]] += row["realised_tokens"]
    for i, stage in enumerate(order):
        shares = charts(page)[f"chart-mix-{i}"]["data"]
        assert sum(shares[0]["x"]) == pytest.approx(1, abs=1e-5)
        assert shares[1]["x"][0] == pytest.approx(web[stage] / realised[stage], rel=1e-5)
    inventory = {r["source"]: r["tokens"] for r in run[1]["inventory"].to_pylist()}
    for source, cells in table(page, "table-epochs").items():
        passes = sum(r["realised_tokens"] for r in plan if r["source"] == source) / inventory[source]
        assert cells[3] == pytest.approx(passes, rel=1e-5)


def test_packing_equals_the_sequences(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    sequences = run[1]["sequences"].to_pylist()
    stages = table(page, "table-stages")
    assert list(stages) == ["4K", "16K", "64K", "1M"]
    for stage, cells in stages.items():
        inside = [q for q in sequences if q["stage"] == stage]
        tokens, padding = (sum(q[c] for q in inside) for c in ("tokens", "padding"))
        assert (cells[3], cells[4], cells[8]) == (tokens, len(inside), padding)
        assert cells[9] == pytest.approx(tokens / (tokens + padding), rel=1e-5)
    squared = [q["sum_squared_lengths"] for q in sequences if q["stage"] == "4K"]
    median = charts(page)["chart-attention"]["data"][2]["x"][0]
    expected = np.quantile(squared, 0.5, method="inverted_cdf") / 4096**2
    assert median == pytest.approx(expected, rel=1e-5)


def test_lengths_fall_into_bins_of_a_factor_two(
    run: tuple[Path, Tables], page: lxml.html.HtmlElement
) -> None:
    tokens = [t for t in run[1]["documents"]["tokens"].to_pylist() if t is not None]
    bins = Counter(max(t, 1).bit_length() - 1 for t in tokens)
    bars = charts(page)["chart-lengths-documents"]["data"][0]
    assert dict(zip(bars["x"], bars["y"], strict=True)) == pytest.approx(
        {b: bins[b] / len(tokens) for b in range(min(bins), max(bins) + 1)}, rel=1e-5
    )


def test_quarantine_counts_and_examples(run: tuple[Path, Tables], page: lxml.html.HtmlElement) -> None:
    errors = Counter(e for e in run[1]["documents"]["error"].to_pylist() if e is not None)
    shown = table(page, "table-errors")
    assert {escaping.visible(e): n for e, n in errors.items()} == {e: c[1] for e, c in shown.items()}
    examples = page.get_element_by_id("table-examples").find("tbody")
    assert len(examples) == min(20, errors.total())
    assert {row[2].text_content() for row in examples} == set(shown)


def test_clusters_follow_an_exact_copy_of_a_near_duplicate_to_the_survivor(tmp_path: Path) -> None:
    survivor, near, copy = (bytes([i]) * 16 for i in range(3))
    ledger = pa.table(
        {
            "document_id": pa.array([survivor, near, copy], pa.binary(16)),
            "source": ["web"] * 3,
            "locator": ["kept.html", "near.html", "copy.html"],
            "status": ["kept", "duplicate", "duplicate"],
            "duplicate_of": pa.array([None, survivor, near], pa.binary(16)),
            "duplicate_kind": [None, "near", "exact"],
            "jaccard": [None, 0.875, None],
        }
    )
    folder = tmp_path / "manifest" / "documents"
    folder.mkdir(parents=True)
    pq.write_table(ledger, folder / "0.parquet")
    page = lxml.html.document_fromstring(render(str(tmp_path)))
    (row,) = page.get_element_by_id("table-clusters").find("tbody")
    assert row[0].text_content().startswith("kept.html")
    assert [cell.text_content() for cell in row[2:]] == ["2", "1", "1", "1", "0.875"]


# -- bytes, and runs that have nothing to show


def test_same_manifests_same_bytes_wherever_they_lie(run: tuple[Path, Tables], tmp_path: Path) -> None:
    elsewhere = tmp_path / "with [brackets] and 'quotes'" / run[0].name
    shutil.copytree(run[0], elsewhere)
    assert write_report(str(run[0])) == write_report(str(elsewhere))
    memory = fsspec.filesystem("memory")
    memory.put(str(run[0]), "/elsewhere/invented", recursive=True)
    assert write_report("memory://elsewhere/invented") == write_report(str(run[0]))
    memory.rm("/elsewhere", recursive=True)


def test_a_run_that_kept_nothing_says_why(tmp_path: Path) -> None:
    write(tmp_path / "nothing", 400, nothing_kept=True)
    page = lxml.html.document_fromstring(render(str(tmp_path / "nothing")))
    (banner,) = page.find_class("banner")
    assert "No document was kept" in banner.text_content()
    assert "gopher_quality.words" in banner.text_content()
    assert figure(page, "documents-kept") == 0


def test_empty_tables_and_files_make_a_page(run: tuple[Path, Tables], tmp_path: Path) -> None:
    for name, rows in run[1].items():
        folder = tmp_path / "none" / "manifest" / name
        folder.mkdir(parents=True)
        pq.write_table(rows.slice(0, 0), folder / "0.parquet")
    page = lxml.html.document_fromstring(render(str(tmp_path / "none")))
    assert figure(page, "documents-in") == 0
    assert charts(page) == {}


def test_a_folder_that_is_no_run_and_a_broken_manifest_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no manifest folder"):
        render(str(tmp_path))
    (tmp_path / "manifest" / "shards").mkdir(parents=True)
    (tmp_path / "manifest" / "shards" / "0.parquet").write_bytes(b"PAR1 this is not Parquet")
    with pytest.raises(ValueError, match="manifest table 'shards' cannot be read"):
        render(str(tmp_path))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (9_999, "9,999"), (10_000, "10.0 K"), (999_499, "999 K"), (999_500, "1.00 M"),
     (1_234_567, "1.23 M"), (45_600_000_000, "45.6 B"), (2e15, "2,000 T"), (4.657, "4.66")],
)  # fmt: skip
def test_counts_in_three_digits(value: float, text: str) -> None:
    assert escaping.short(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0, "0.0 %"),
        (1e-6, "< 0.1 %"),
        (0.1234, "12.3 %"),
        (0.99999, "99.9 %"),
        (1, "100.0 %"),
        (1.2, "120.0 %"),
    ],
)
def test_a_share_never_rounds_to_none_or_all(fraction: float, text: str) -> None:
    assert escaping.percent(fraction) == text
