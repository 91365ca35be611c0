"""Models other than lid.176: any loss, quantised or not, with labels of GlotLID's form; by path or by URL."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from curate_kernels import LanguageModel

from curate.stages import language
from curate.stages.language_data import LanguageError, codes, load_scripts

MODELS = Path(__file__).parent / "fixtures" / "models"
SENTENCES = [
    "The miller's wheel turns slowly in the grey water below the village.",
    "Der Müller geht am Abend langsam durch den Wald nach Hause.",
    "Старый мост через реку закрыли на ремонт до весны.",
]

# Label and score of the sentences by the library that trained the models, fasttext-community 0.11.9.
GOLDEN = {
    "hs.bin": [("eng_Latn", 0.989376), ("fra_Latn", 0.389915), ("rus_Cyrl", 0.831835)],
    "hs.ftz": [("eng_Latn", 0.996713), ("fra_Latn", 0.504407), ("rus_Cyrl", 0.967807)],
    "softmax.bin": [("eng_Latn", 0.988242), ("deu_Latn", 0.399605), ("rus_Cyrl", 0.916100)],
    "softmax.ftz": [("eng_Latn", 0.998772), ("deu_Latn", 0.719097), ("rus_Cyrl", 0.989792)],
    "ns.bin": [("eng_Latn", 0.994099), ("deu_Latn", 0.399822), ("rus_Cyrl", 0.921932)],
    "ns.ftz": [("eng_Latn", 0.999642), ("deu_Latn", 0.658428), ("rus_Cyrl", 0.992889)],
    "ova.bin": [("eng_Latn", 0.991694), ("deu_Latn", 0.320831), ("rus_Cyrl", 0.909917)],
    "ova.ftz": [("eng_Latn", 0.998978), ("deu_Latn", 0.327678), ("rus_Cyrl", 0.983095)],
}


def strings(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


@pytest.mark.parametrize("name", GOLDEN)
def test_labels_and_scores_are_those_of_the_library_that_trained_the_model(name: str) -> None:
    labels, scores = LanguageModel(MODELS / name).predict(strings(SENTENCES))
    assert labels.to_pylist() == [label for label, _ in GOLDEN[name]]
    assert scores.to_pylist() == pytest.approx([score for _, score in GOLDEN[name]], abs=1e-4)


@pytest.mark.parametrize(
    ("label", "split"),
    [
        ("eng_Latn", ("en", "Latn")),
        ("arb_Arab", ("ar", "Arab")),  # lid.176's ar is Standard Arabic
        ("ary_Arab", ("ary", "Arab")),  # Moroccan Arabic has no label there
        ("als_Latn", ("sq", "Latn")),  # ISO's als is Tosk Albanian,
        ("gsw_Latn", ("als", "Latn")),  # and Alemannic is gsw
        ("als", ("als", None)),
        ("srp_Cyrl", ("sr", "Cyrl")),
        ("zho_Hans", ("zh", "Hans")),
        ("hau_Latn", ("hau", "Latn")),
        ("en", ("en", None)),
        ("english", ("english", None)),
    ],
)
def test_a_label_is_split_into_language_and_script(label: str, split: tuple[str, str | None]) -> None:
    assert language.split_label(label) == split


def test_every_label_of_lid_176_has_scripts_and_every_code_one_language() -> None:
    known = load_scripts().languages
    assert set(language.load().languages.to_pylist()) == set(known)
    assert len(codes()) == sum(len(entry.codes) for entry in known.values())


def test_labels_of_one_language_in_two_scripts_are_one_language() -> None:
    path = str(MODELS / "softmax.ftz")
    model = language.load(path, language.digest(path))
    cyrillic = (MODELS.parent / "prose" / "ru-les.txt").read_text("utf-8")
    latin = "staryj les stoit za rekoj, i zimoj v nem ochen' tixo; letom deti xodyat tuda za yagodami"
    mixed = f"{cyrillic}\n\n{latin}"
    found = language.identify(strings([*SENTENCES, latin, mixed]), model, unsure=0.2)
    assert found.language.to_pylist() == ["en", "de", "ru", "ru", "ru"]
    assert found.script.to_pylist() == ["Latn", "Latn", "Cyrl", "Latn", "Cyrl"]
    assert found.languages.to_pylist()[4] == [{"language": "ru", "share": 1.0}]
    assert found.purity.to_pylist()[4] == 1


def test_a_model_is_read_from_any_file_system() -> None:
    data = (MODELS / "hs.ftz").read_bytes()
    with fsspec.open("memory://models/hs.ftz", "wb") as file:
        file.write(data)
    url = "memory://models/hs.ftz"
    digest = language.digest(url)
    assert digest == language.digest(str(MODELS / "hs.ftz"))
    assert language.load(url, digest).languages.to_pylist()[0] == "en"


def test_a_model_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(LanguageError, match=r"nothing\.bin: No such file"):
        language.digest(str(tmp_path / "nothing.bin"))
    with pytest.raises(LanguageError, match=r"memory://nothing\.bin"):
        language.digest("memory://nothing.bin")
    (tmp_path / "bad.bin").write_bytes(b"no model")
    path = str(tmp_path / "bad.bin")
    with pytest.raises(LanguageError, match="not a usable fastText model"):
        language.load(path, language.digest(path))
    with pytest.raises(LanguageError, match="has SHA-256"):
        language.load(path, "0" * 64)
