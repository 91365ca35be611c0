"""The schema of `classifiers:` in a mixture: models that score documents or tag them.

A classifier is of one of three kinds: `train` names the sources of each label, `model` an existing fastText
model, `learn` a tag whose model is trained on the documents that a rule tagged. Names of sources are checked
against the mixture's, in `contradictions_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mixtures import marked_yaml
from mixtures.complaints import Complaint, contradictions, suggestion

CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
_Path = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f]*$")]
#: Names become columns (`score_<name>`) and folders.
ClassifierName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,31}$")]

Preset = Literal["dclm", "fasttext", "datatrove", "lowercase"]


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _bare(label: str) -> str:
    return label.removeprefix("__label__")


_Names = Annotated[tuple[_Name, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
Label = Annotated[
    str,
    AfterValidator(_bare),
    Field(pattern="^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"),
]


class Training(BaseModel):
    """How a model is trained: fastText's hyperparameters, and how much it is shown.

    Memory: about (words + `buckets`) x `dim` x 4 bytes for the model and `documents` x `document_bytes` per
    label for the sample. The settings of DCLM's model are `{dim: 100, buckets: 2000000, min_count: 1}`.
    """

    model_config = CLOSED
    documents: Annotated[int, Field(ge=10, le=2_000_000)] = 5_000  # per label, at most
    document_bytes: Annotated[int, Field(ge=64, le=1 << 20)] = 8192  # of each, from its start
    repeat_up_to: Annotated[int, Field(ge=1, le=1000)] = 100  # times, for labels rarer than the largest
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.1
    word_ngrams: Annotated[int, Field(ge=1, le=8)] = 2
    buckets: Annotated[int, Field(ge=1, le=100_000_000)] = 1 << 18
    min_count: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    loss: Literal["softmax", "hs", "ns", "ova"] = "softmax"


class Classifier(BaseModel):
    """One classifier. `label` is the one whose probability is the score."""

    model_config = CLOSED
    train: Annotated[dict[Label, _Names], Field(min_length=2, max_length=100)] | None = None
    model: _Path | None = None
    learn: Literal["topic", "document_type"] | None = None
    label: Label | None = None
    preprocess: Preset = "dclm"
    languages: _Names | None = None  # others get no score; of all languages without it
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None  # of a tag; 0.5 where not given
    min_documents: Annotated[int, Field(ge=1)] | None = None  # of a value of a tag; 50 where not given
    pool_below: Annotated[int, Field(ge=1)] | None = None  # documents; 1,000 where not given
    training: Training | None = None

    @property
    def kind(self) -> str:
        """`train`, `model` or `learn`."""
        return next(name for name in ("train", "model", "learn") if getattr(self, name) is not None)

    @property
    def scores_quality(self) -> bool:
        """Whether its score counts for the quality bucket."""
        return self.learn is None

    @property
    def positive(self) -> str:
        """The label whose probability is the score."""
        return self.label or "positive"

    @property
    def settings(self) -> Training:
        return self.training or Training()

    @property
    def reads_bytes(self) -> int | None:
        """How much of a text it reads: as much as in training; a model from elsewhere reads it whole."""
        return None if self.model is not None else self.settings.document_bytes

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        given = [name for name in ("train", "model", "learn") if getattr(self, name) is not None]
        if len(given) != 1:
            words = f"{' and '.join(given)} are given" if given else "none is given"
            raise contradictions(((), f"a classifier has one of train, model and learn; {words}"))
        found: list[Complaint] = []
        allowed = {
            "train": {"label", "languages", "pool_below", "training"},
            "model": {"label", "languages", "pool_below"},
            "learn": {"languages", "min_documents", "min_score", "training"},
        }[given[0]]
        for name in ("label", "languages", "min_documents", "min_score", "pool_below", "training"):
            if getattr(self, name) is not None and name not in allowed:
                found.append(((name,), f"means nothing beside '{given[0]}'; leave it out"))
        if self.model is not None and self.label is None:
            found.append((("model",), "say which of the model's labels is the score: label: hq"))
        if self.train is not None:
            if self.positive not in self.train:
                words = (
                    f"no label {marked_yaml.shown(self.positive)} under 'train'; name the one whose "
                    f"probability is the score with 'label'"
                    f"{suggestion(self.positive, self.train, 'the labels')}"
                )
                found.append((("label",) if self.label else ("train",), words))
            seen: dict[str, str] = {}
            for label, sources in self.train.items():
                for index, source in enumerate(sources):
                    if source in seen:
                        words = f"{marked_yaml.shown(source)} is under {seen[source]!r} already"
                        found.append((("train", label, index), words))
                    seen.setdefault(source, label)
        if found:
            raise contradictions(*found)
        return self


def contradictions_of(
    classifiers: Mapping[str, Classifier], sources: Mapping[str, Any]
) -> Iterator[Complaint]:
    """What does not fit between the classifiers and the mixture's sources."""
    learned: dict[str, str] = {}
    for name, classifier in classifiers.items():
        for label, names in (classifier.train or {}).items():
            for index, source in enumerate(names):
                if source not in sources:
                    words = (
                        f"no source {marked_yaml.shown(source)}{suggestion(source, sources, 'the sources')}"
                    )
                    yield ("classifiers", name, "train", label, index), words
        if (tag := classifier.learn) is not None:
            if tag in learned:
                yield ("classifiers", name, "learn"), f"'{learned[tag]}' learns the {tag} already"
            learned.setdefault(tag, name)
