"""What is known about languages, as data: `curate/languages/*.yaml`, read once per process.

`scripts.yaml` has each language's ISO 639-3 codes and scripts; every other file there is a set of
thresholds for the labels of one model. Both are closed and typed: a mistake is a `LanguageError` with file,
line and nearest name. Reading one takes about 5 ms, the scripts 30.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mixtures import marked_yaml
from mixtures.complaints import complaints_of, suggestion

FOLDER = Path(__file__).parent.parent / "languages"

#: The language of what no language could be told of (ISO 639).
UNDECIDED = "und"

_CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
_Share = Annotated[float, Field(ge=0, le=1)]
_Script = Annotated[str, Field(pattern=r"^[A-Z][a-z]{3}$")]
_Scripts = Annotated[
    tuple[_Script, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
]
_Codes = Annotated[
    tuple[Annotated[str, Field(pattern="^[a-z]{3}$")], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
_Data = TypeVar("_Data", bound=BaseModel)
_Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(_[A-Z][a-z]{3})?$")]


class LanguageError(ValueError):
    """A language model or a file about languages cannot be used: says where, what and the nearest name."""


class Thresholds(BaseModel):
    """The least score at which a model's label is believed, by language, or by language and script.

    `languages` has keys like `sr` and `sr_Latn`; the one with the script comes first. `paragraphs` is the
    score below which a paragraph is undecided.
    """

    model_config = _CLOSED
    name: str
    version: int
    source: str
    default: _Share
    paragraphs: _Share
    languages: dict[_Language, _Share]

    def of(self, language: str, script: str | None) -> float:
        return self.languages.get(f"{language}_{script}", self.languages.get(language, self.default))


class Language(BaseModel):
    """A language's name, ISO 639-3 codes, and scripts (ISO 15924)."""

    model_config = _CLOSED
    name: str
    codes: _Codes
    scripts: _Scripts


class Scripts(BaseModel):
    """Which scripts languages are written in, and which signals measure them."""

    model_config = _CLOSED
    version: int
    source: str
    min_share: _Share
    parts: dict[_Script, _Scripts]
    signals: dict[_Script, str]
    other: str
    languages: dict[_Language, Language]

    def signals_of(self, language: str, script: str | None) -> tuple[str, ...] | None:
        """The signals whose sum is the share of letters in a language's scripts, or in the one script
        that the model named; None for a language whose scripts are not known.
        """
        known = self.languages.get(language)
        written = (script,) if script else known.scripts if known else None
        if written is None:
            return None
        parts = [part for name in written for part in self.parts.get(name, (name,))]
        return tuple(sorted({self.signals.get(part, self.other) for part in parts}))


def shipped_thresholds() -> tuple[str, ...]:
    """Names of the sets of thresholds that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "scripts"))


def load_thresholds(name: str) -> Thresholds:
    """Thresholds by name, or by path of a YAML file. Raises `LanguageError`."""
    if name.endswith((".yaml", ".yml")):
        return _load(Path(name), Thresholds)
    if name not in (known := shipped_thresholds()):
        raise LanguageError(
            f"there are no language thresholds {name!r}{suggestion(name, known, 'known ones')}; "
            "or give a path that ends in .yaml"
        )
    return _load(FOLDER / f"{name}.yaml", Thresholds)


@lru_cache(maxsize=1)
def load_scripts() -> Scripts:
    return _load(FOLDER / "scripts.yaml", Scripts)


@lru_cache(maxsize=1)
def codes() -> Mapping[str, str]:
    """From ISO 639-3 to this project's codes."""
    return {code: name for name, language in load_scripts().languages.items() for code in language.codes}


def _load(path: Path, kind: type[_Data]) -> _Data:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LanguageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    marked = marked_yaml.parse(content, {})
    problems, data = list(marked.problems), None
    if not problems:
        try:
            data = kind.model_validate(marked.value)
        except ValidationError as error:
            problems += complaints_of(error, kind, marked)
    if data is None:
        lines = [f"{path}:{problem.line}: {problem.message}" for problem in sorted(set(problems))]
        raise LanguageError("\n".join(lines))
    return data


def decides(data: Any) -> Any:
    """Everything of a file that decides, for fingerprints: its source is a remark and left out."""
    return data.model_dump(mode="json", exclude={"source"})
