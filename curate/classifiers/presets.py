"""Named preprocessings. A score means something only together with the one that its model was trained with.

They run natively (`kernels/src/preparation.rs`); the version is stored in a model's card and raised when a
preset changes.
"""

from __future__ import annotations

from typing import get_args

import curate_kernels
import pyarrow as pa

from mixtures.classifiers import Preset

#: Name to (version, definition).
PRESETS: dict[str, tuple[int, str]] = {
    "dclm": (1, "white space stripped at both ends, lines (as Python splits them) joined by one space"),
    "fasttext": (1, "each newline becomes a space"),
    "datatrove": (1, "each newline is removed: the words around it become one"),
    "lowercase": (1, "lower case; each newline becomes a space"),
}
assert tuple(PRESETS) == get_args(Preset)


def prepare(texts: pa.Array, preset: str) -> pa.Array:
    """`large_string` texts as a model with that preset reads them. ValueError for an unknown preset."""
    return curate_kernels.classifier_text(texts, preset)
