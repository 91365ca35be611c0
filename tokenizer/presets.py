"""Which tokenizer.json, and which control tokens: presets by name, from `presets.yaml` or one's own file.

Nothing about a tokenizer is guessed. A preset pins the file by SHA-256 and names each control token by
text and id; reading and checking the 6 MB of `deepseek-v4` takes about 0.2 s.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

PRESETS = Path(__file__).with_name("presets.yaml")


class ControlToken(BaseModel):
    """A control token: its id, and its text in the file's `added_tokens`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: int = Field(ge=0)
    text: str


class SpecialTokens(BaseModel):
    """The control tokens that encoding and packing insert by id."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bos: ControlToken | None = None
    eos: ControlToken | None = None
    pad: ControlToken | None = None
    fim_hole: ControlToken | None = None
    fim_begin: ControlToken | None = None
    fim_end: ControlToken | None = None


class Preset(BaseModel):
    """One entry of a presets file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    package: str | None = None
    install: str | None = None
    vocab_size: int | None = Field(default=None, ge=1)
    special: SpecialTokens = SpecialTokens()


@dataclass(frozen=True)
class TokenizerFile:
    """A checked tokenizer.json.

    `text_json` is the file with its `added_tokens` emptied, for encoding corpus text: no string in a page
    can then become a control token. `added` maps the ids taken out to their texts.
    """

    name: str
    sha256: str
    text_json: str
    added: dict[int, str]
    vocab_size: int
    special: SpecialTokens


def read(preset_or_path: str) -> TokenizerFile:
    """The tokenizer of a preset's name, of a presets file of one entry (`.yaml`), or of a tokenizer.json.

    A bare tokenizer.json has no control tokens as far as this module knows.
    Raises `ValueError` for an unknown name and for a file that is not what its preset says, and
    `FileNotFoundError` for a file or package that is not there.
    """
    path = Path(preset_or_path)
    if path.suffix in (".yaml", ".yml"):
        entries = _entries(path)
        if len(entries) != 1:
            raise ValueError(
                f"{path}: holds {len(entries)} presets, and exactly one can be loaded from a path"
            )
        ((name, preset),) = entries.items()
        return _checked(name, preset, path.parent)
    if path.suffix == ".json":
        return _checked(path.name, Preset(file=path.name), path.parent)
    entries = _entries(PRESETS)
    if preset_or_path not in entries:
        near = difflib.get_close_matches(preset_or_path, entries, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"presets are {', '.join(entries)}"
        raise ValueError(
            f"no tokenizer preset is named {preset_or_path!r}: {hint} (or give a path: .json, .yaml)"
        )
    return _checked(preset_or_path, entries[preset_or_path], PRESETS.parent)


def _entries(path: Path) -> dict[str, Preset]:
    rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(rows, dict):
        raise ValueError(f"{path}: expected a mapping of preset names, got {type(rows).__name__}")
    try:
        return {str(name): Preset.model_validate(row) for name, row in rows.items()}
    except ValidationError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(name: str, preset: Preset, folder: Path) -> TokenizerFile:
    path = _locate(name, preset, folder)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if preset.sha256 not in (None, digest):
        fix = f": install {preset.install}" if preset.install else ""
        raise ValueError(f"{name}: {path} has SHA-256 {digest}, and the preset says {preset.sha256}{fix}")
    content = _parsed(path, data)
    added = {int(token["id"]): str(token["content"]) for token in content.get("added_tokens") or ()}
    vocabulary = content["model"].get("vocab")
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary or ()))
    vocab_size = max([*ids, *added], default=-1) + 1
    if preset.vocab_size not in (None, vocab_size):
        raise ValueError(f"{name}: {path} has {vocab_size} ids, and the preset says {preset.vocab_size}")
    for role, token in preset.special:
        if token is not None and added.get(token.id) != token.text:
            raise ValueError(
                f"{name}: {role} is {token.text!r} with id {token.id} in the preset, "
                f"and that id is {added.get(token.id)!r} in {path}"
            )
    special = preset.special
    if special.pad is not None and special.eos is not None and special.pad.id == special.eos.id:
        raise ValueError(f"{name}: pad and eos are both id {special.pad.id}; padding must not end documents")
    content["added_tokens"] = []
    text_json = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return TokenizerFile(name, digest, text_json, added, vocab_size, special)


def _locate(name: str, preset: Preset, folder: Path) -> Path:
    if preset.package is not None:
        # A top-level package is found without running any of its code.
        spec = importlib.util.find_spec(preset.package)
        if spec is None or spec.origin is None:
            wanted = preset.install or preset.package
            raise FileNotFoundError(f"{name}: package {preset.package} is missing: install {wanted}")
        folder = Path(spec.origin).parent
    path = folder / preset.file
    if not path.is_file():
        raise FileNotFoundError(f"{name}: there is no file {path}")
    return path


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path}: not a tokenizer.json: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path}: not a tokenizer.json: it has no model")
    return content
