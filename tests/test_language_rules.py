"""What a source asks of languages: scores by language, scripts, shares of paragraphs; all of it as data."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import curate_kernels
import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner
from run_fixture import run_mixture

from curate.cli import main
from curate.document import Record, batches
from curate.stages import SourceContext, language_rules, run_stages
from curate.stages.language_data import (
    FOLDER,
    LanguageError,
    load_scripts,
    load_thresholds,
    shipped_thresholds,
)
from mixtures.complaints import MixtureError
from mixtures.spec import LanguageFilter, Mixture, Read, Source, load_mixture

FIXTURES = Path(__file__).parent / "fixtures"
SOFTMAX = str(FIXTURES / "models" / "softmax.ftz")


def prose(name: str) -> str:
    return (FIXTURES / "prose" / f"{name}.txt").read_text("utf-8")


def decided(texts: list[str], **language: Any) -> list[dict[str, Any]]:
    wanted = LanguageFilter(**language)
    source = Source(read=Read.model_validate({"files": "*"}), domain="web", language=wanted)
    records = (Record(f"{n}.txt", text, len(text.encode())) for n, text in enumerate(texts))
    (batch,) = batches("s", records)
    context = SourceContext("s", source, (), language=language_rules.load(wanted))
    rows: list[dict[str, Any]] = run_stages(batch, context).to_pylist()
    return rows


def thresholds(folder: Path, lines: str) -> str:
    path = folder / "own.yaml"
    path.write_text(
        f"name: own\nversion: 1\nsource: test\ndefault: 0.1\nparagraphs: 0.2\nlanguages:\n{lines}\n", "utf-8"
    )
    return str(path)


def test_a_score_is_held_against_the_threshold_of_its_language(tmp_path: Path) -> None:
    texts = [prose("de-wald"), prose("en-bees")]
    rows = decided(texts, thresholds=thresholds(tmp_path, "  de: 1.0"))
    assert [row["failed_rules"] for row in rows] == [["language.threshold"], []]
    assert rows[0]["status"] == "language"
    rows = decided(texts, thresholds=thresholds(tmp_path, "  en: 1.0"))
    assert [row["dropped_by"] for row in rows] == [None, "language.threshold"]


def test_a_threshold_for_a_language_in_a_script_comes_first(tmp_path: Path) -> None:
    own = thresholds(tmp_path, "  ru: 0.1\n  ru_Latn: 1.0\n  de: 1.0\n  de_Latn: 0.1")
    latin = "staryj les stoit za rekoj, i zimoj v nem ochen' tixo; letom deti xodyat tuda za yagodami"
    rows = decided([prose("ru-les"), latin], thresholds=own, model=SOFTMAX)
    assert [row["language"] for row in rows] == ["ru", "ru"]
    assert [row["dropped_by"] for row in rows] == [None, "language.threshold"]
    # lid.176 names no script: it is that of most letters.
    assert decided([prose("de-wald")], thresholds=own)[0]["dropped_by"] is None


def failed(text: str, told: str, script: str | None = None) -> list[str]:
    """What a text fails whose language is told to be `told`, in the script `script` if the model says."""
    rows = pa.RecordBatch.from_pydict(
        {
            "language": pa.array([told]),
            "language_score": pa.array([1.0], pa.float32()),
            "language_script": pa.array([script], pa.string()),
            "language_purity": pa.array([1.0], pa.float32()),
        }
    )
    signals = curate_kernels.signals(pa.array([text], pa.large_string()))
    rules: list[str] = language_rules.load(LanguageFilter(scripts=True)).failed(rows, signals)[0].as_py()
    return rules


@pytest.mark.parametrize(
    ("text", "told", "script", "fails"),
    [
        ("Лес " + "the forest stands beyond the river " * 2, "ru", None, True),  # 3 letters of 61
        ("Лес стоит за рекой the forest stands", "ru", None, False),
        ("the forest stands beyond the river", "en", None, False),
        ("лес стоит за рекой", "en", None, True),
        ("潮の満ち引き", "ja", None, False),
        ("満潮干潮", "ja", None, False),
        ("潮の満ち引き", "zh", None, False),  # half of it is Han
        ("カタカナ", "zh", None, True),
        ("조석 潮汐", "ko", None, False),
        ("нека речи", "sr", None, False),
        ("neke reči", "sr", None, False),
        ("neke reči", "sr", "Cyrl", True),  # the model's label names the script
        ("neke reči", "sr", "Latn", False),
        ("ᏣᎳᎩ", "en", None, True),
        ("ᏣᎳᎩ", "chr", None, False),  # scripts not known: nothing is asked
        ("ᏣᎳᎩ", "chr", "Cher", False),
        ("12 + 30 = 42", "ru", None, False),  # no letters
        ("", "und", None, False),
    ],
)
def test_letters_have_to_be_in_a_script_of_the_language(
    text: str, told: str, script: str | None, fails: bool
) -> None:
    assert failed(text, told, script) == (["language.script"] if fails else [])


def test_a_mixed_page_fails_the_share_that_is_asked_of_its_language() -> None:
    page = f"{prose('de-wald')}\n\n{prose('en-bees')}\n\n{prose('ru-les')}"
    (row,) = decided([page], min_share=0.5)
    assert row["failed_rules"] == ["language.min_share"]
    found = {item["language"]: item["share"] for item in row["languages"]}
    assert set(found) == {"de", "en", "ru"}
    assert row["language_purity"] == pytest.approx(found[row["language"]])
    assert decided([page], min_share=0.3)[0]["failed_rules"] == []
    assert decided([prose("de-wald")], min_share=1.0)[0]["failed_rules"] == []


def test_all_that_fails_is_named_in_order() -> None:
    page = f"{prose('de-wald')}\n\n{prose('en-bees')}\n\n{prose('ru-les')}"
    asked = {"min_score": 1.0, "min_share": 0.9, "allow": ("fr",)}
    (row,) = decided([page], **asked)
    assert row["failed_rules"] == ["language.allow", "language.min_score", "language.min_share"]
    assert row["dropped_by"] == "language.allow"
    (empty,) = decided([""], min_score=0.5)
    assert empty["failed_rules"] == ["language.min_score", "text.empty"]


def test_the_text_can_be_identified_as_it_stands() -> None:
    shouted = prose("de-wald").upper()
    clean, raw = decided([shouted])[0], decided([shouted], clean=False)[0]
    assert (clean["language"], clean["language_score"] > 0.9) == ("de", True)
    assert raw["language_score"] < clean["language_score"]


# The data


def test_signals_and_scripts_of_the_shipped_data_exist() -> None:
    known = load_scripts()
    assert {*known.signals.values(), known.other} <= set(curate_kernels.signal_names())
    for entry in known.languages.values():
        for script in entry.scripts:
            assert re.fullmatch("[A-Z][a-z]{3}", script)
    assert known.signals_of("ja", None) == ("han_ratio", "kana_ratio")
    assert known.signals_of("ru", None) == ("cyrillic_ratio",)
    assert known.signals_of("dv", None) == ("other_script_ratio",)  # Thaana has no signal of its own
    assert known.signals_of("zh", "Hans") == ("han_ratio",)


def test_shipped_thresholds_are_for_languages_that_there_are() -> None:
    assert shipped_thresholds() == ("lid176",)
    for name in shipped_thresholds():
        assert set(load_thresholds(name).languages) <= set(load_scripts().languages)
    shipped = load_thresholds("lid176")
    assert shipped.of("hr", None) < shipped.of("de", "Latn") == 0.65
    assert shipped.of("chr", "Cher") == shipped.default


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "paragraphs: 0.2",
            "paragraps: 0.2",
            r"own\.yaml:5: unknown key 'paragraps'.* mean 'paragraphs'",
        ),
        ("default: 0.1", "default: 1.5", r"own\.yaml:4: default: has to be at most 1, got the number 1\.5"),
        ("  de: 0.5", "  de: high", r"own\.yaml:7: languages\.de: expected a number, got the text 'high'"),
        ("  de: 0.5", "  de: 0.5\n  de: 0.6", r"own\.yaml:8: .*de"),
        ("  de: 0.5", "  German: 0.5", r"own\.yaml:7: "),
    ],
)
def test_a_mistake_in_thresholds_is_named_with_its_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    path = Path(thresholds(tmp_path, "  de: 0.5"))
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(LanguageError, match=message):
        load_thresholds(str(path))


def test_thresholds_and_languages_that_there_are_not_are_named(tmp_path: Path) -> None:
    with pytest.raises(LanguageError, match="'lid716'; did you mean 'lid176'"):
        language_rules.plan(LanguageFilter(thresholds="lid716"))
    with pytest.raises(LanguageError, match=r"missing\.yaml: no such file"):
        language_rules.plan(LanguageFilter(thresholds=str(tmp_path / "missing.yaml")))
    with pytest.raises(LanguageError, match="does not know the language 'eng'; did you mean 'en"):
        language_rules.plan(LanguageFilter(allow=("eng",)))
    assert FOLDER.is_dir()


def test_what_decides_about_languages_is_part_of_the_plan(tmp_path: Path) -> None:
    assert language_rules.plan(None) is None
    shipped = language_rules.plan(LanguageFilter())
    own = thresholds(tmp_path, "  de: 0.5")
    first = language_rules.plan(LanguageFilter(thresholds=own))
    thresholds(tmp_path, "  de: 0.6")
    second = language_rules.plan(LanguageFilter(thresholds=own))
    other = language_rules.plan(LanguageFilter(model=SOFTMAX))
    data = {plan and plan["data"] for plan in (shipped, first, second)}
    assert len(data) == 3
    models = {plan and plan["model"] for plan in (shipped, other, None)}
    assert len(models) == 3


# The mixture


def mixture(folder: Path, language: str, source: str = "{}") -> Path:
    path = folder / "m.yaml"
    path.write_text(
        f"""\
name: languages
data: {folder / "data"}
{language}
sources:
  texts:
    read: {{files: "*.txt"}}
    language: {source}
mixture: {{weights: {{texts: 1}}}}
curriculum: {{batch_tokens: 64, stages: [{{length: 64, share: 1}}]}}
""",
        "utf-8",
    )
    return path


def filters(folder: Path, language: str, source: str) -> LanguageFilter | None:
    spec: Mixture = load_mixture(str(mixture(folder, language, source)))
    return spec.sources["texts"].language


def test_a_source_fills_what_it_leaves_out_from_the_mixture(tmp_path: Path) -> None:
    shared = "language: {thresholds: lid176, min_score: 0.5, deny: [de]}"
    assert filters(tmp_path, shared, "{min_score: 0.2}") == LanguageFilter(
        thresholds="lid176", min_score=0.2, deny=("de",)
    )
    assert filters(tmp_path, shared, "{allow: [de, en]}") == LanguageFilter(
        thresholds="lid176", min_score=0.5, allow=("de", "en")
    )
    assert filters(tmp_path, shared, "null") is None
    assert filters(tmp_path, "", "{scripts: true}") == LanguageFilter(scripts=True)
    with pytest.raises(MixtureError, match=r"m\.yaml:7: unknown key 'script'.*; did you mean 'scripts'"):
        filters(tmp_path, "", "{script: true}")
    with pytest.raises(MixtureError, match=r"m\.yaml:3: language.min_share: has to be at most 1"):
        filters(tmp_path, "language: {min_share: 2}", "{}")


def test_another_model_runs_the_units_again_and_the_same_does_not(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("de-wald", "en-bees", "ru-les"):
        shutil.copy(FIXTURES / "prose" / f"{name}.txt", tmp_path / "data")
    model = tmp_path / "model.ftz"
    shutil.copy(SOFTMAX, model)
    file, run = mixture(tmp_path, f"language: {{model: {model}}}"), tmp_path / "run"
    assert "curate" in run_mixture(file, run)
    ledger = f"SELECT language, language_script FROM '{run}/ledger/*.parquet' ORDER BY locator"
    assert duckdb.sql(ledger).fetchall() == [("de", "Latn"), ("en", "Latn"), ("ru", "Cyrl")]
    assert run_mixture(file, run) == {}
    shutil.copy(FIXTURES / "models" / "ova.ftz", model)
    assert run_mixture(file, run)["curate"] == ["texts-0000"]


def test_the_languages_of_a_mixed_page_can_be_asked_for_and_are_explained(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    page = f"{prose('de-wald')}\n\n{prose('en-bees')}"
    (tmp_path / "data" / "mixed.txt").write_text(page, "utf-8")
    shutil.copy(FIXTURES / "prose" / "ru-les.txt", tmp_path / "data")
    run = tmp_path / "run"
    run_mixture(mixture(tmp_path, ""), run)
    statement = f"""
        SELECT locator, languages[2].language, round(languages[1].share + languages[2].share, 3)
        FROM '{run}/manifest/documents/*.parquet' WHERE languages[2].share > 0.3
    """
    ((locator, second, total),) = duckdb.sql(statement).fetchall()
    assert (locator.rsplit("/", 1)[-1], total) == ("mixed.txt", 1)
    assert second in ("de", "en")
    told = CliRunner().invoke(main, ["explain", str(run), locator], catch_exceptions=False)
    assert re.search(r"paragraphs\s+(de|en) \d+%, (de|en) \d+%", told.output), told.output
