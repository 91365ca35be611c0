"""The mixture file: a closed, typed YAML schema, and `load_mixture`, which reads one.

A mixture says what a run reads, which rules and filters apply, in which proportions and sequence lengths
the tokens are used, and how the shards are laid out; `docs/mixture.md` explains it key by key. An unknown
key, a wrong type or a contradiction stops before any work with the file, the line and the nearest valid
name, all of them at once (what contradicts across sections, once each section is valid). Loading a file of
100 lines takes about 15 ms.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError, to_jsonable_python

from mixtures import marked_yaml
from mixtures.classifiers import Classifier, ClassifierName, contradictions_of
from mixtures.complaints import Complaint, complaints_of, contradictions, nearest, suggestion
from mixtures.complaints import MixtureError as MixtureError  # part of this module's interface
from mixtures.privacy import Privacy
from mixtures.tags import DocumentType, Topic
from mixtures.units import BINARY, DECIMAL, expand_braces, length_name, parse_size

#: No document is used more often than this, whatever a file says: OLMo 3 caps repetition at 4-7 times
#: (arXiv:2512.13961); up to 4 epochs are about as good as fresh data (arXiv:2305.16264), hence the default.
MAX_EPOCHS = 7.0

#: Bands and rows of published MinHash settings: Dolma 3 web (arXiv:2512.13961), FineWeb (arXiv:2406.17557).
NEAR_PRESETS = {"dolma3": (26, 11), "fineweb": (14, 8)}

Kind = Literal["warc", "jsonl", "parquet", "files", "repositories", "html", "jats", "roff", "mallard"]
KINDS: tuple[str, ...] = get_args(Kind)

#: Rules that cut lines, by the profile that they come from; the kernel has their definitions.
LineRules = Literal["c4", "c4_no_punctuation", "refinedweb"]

CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _binary(value: object) -> int:
    return _size(value, BINARY)


def _size(value: object, units: dict[str, int]) -> int:
    try:
        return parse_size(value, units)
    except ValueError as error:
        raise PydanticCustomError("size", "{words}", {"words": str(error)}) from error


def _share_or_tokens(value: object) -> object:
    """Numbers up to `MAX_EPOCHS` are shares of the inventory (float), larger ones and sizes tokens (int)."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value <= MAX_EPOCHS:
        return float(value)
    if isinstance(value, float):
        words = f"a share of the inventory is at most {MAX_EPOCHS:g}, and tokens are whole, as in 32T"
        raise PydanticCustomError("size", "{words}", {"words": words})
    return _size(value, DECIMAL)


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _distinct(rules: tuple[str, ...]) -> tuple[str, ...]:
    twice = [index for index, rule in enumerate(rules) if rule in rules[:index]]
    if twice:
        raise contradictions(*(((i,), f"the rules '{rules[i]}' are named twice") for i in twice))
    return rules


#: Names become file names and SQL values, so they are plain.
_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
Text = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f]*$")]
Size = Annotated[int, BeforeValidator(_binary)]
Share = Annotated[float, Field(ge=0, le=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_one_or_more)]
#: A rule set by name, or the path of its YAML file.
RuleSets = Annotated[
    tuple[Annotated[str, Field(pattern=rf"^({_NAME}|[^\x00-\x1f]{{1,4090}}\.ya?ml)$")], ...],
    BeforeValidator(_one_or_more),
]


class TokenizerSpec(BaseModel):
    """Which tokenizer, and the defaults of what is added to a document. Plain text is the preset."""

    model_config = CLOSED
    preset: Text = "deepseek-v4"
    bos: bool = True
    eos: bool = True
    fim: Share = 0.1  # share of documents that are permuted; V3's published rate (arXiv:2412.19437)

    @model_validator(mode="before")
    @classmethod
    def _plain_text_is_the_preset(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value


class Read(BaseModel):
    """What a source's files are and where: `{warc: "web/*.warc.gz"}`, or with `kind` and `patterns` as keys.

    `patterns` are globs relative to the mixture's `data`, braces expanded (`**` crosses folders). `text`,
    `url` and `id` name fields of jsonl or columns of parquet.
    """

    model_config = CLOSED
    kind: Kind
    patterns: Annotated[Texts, Field(min_length=1)]
    exclude: Texts = ()
    text: Text = "text"
    url: Text | None = None
    id: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _the_kind_is_a_key(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "kind" in value:
            return value
        kinds = [key for key in value if key in KINDS]
        if len(kinds) != 1:
            raise contradictions(_kind_complaint(kinds, list(value)))
        rest = {key: item for key, item in value.items() if key != kinds[0]}
        return {"kind": kinds[0], "patterns": value[kinds[0]], **rest}

    @field_validator("patterns", "exclude")
    @classmethod
    def _relative_globs(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        found: list[Complaint] = []
        expanded: dict[str, None] = {}
        for index, pattern in enumerate(patterns):
            try:
                globs = expand_braces(pattern)
            except ValueError as error:
                found.append(((index,), f"the pattern {marked_yaml.shown(pattern)}: {error}"))
                continue
            for glob in globs:
                if glob.startswith(("/", "~")) or "://" in glob or ".." in glob.split("/") or not glob:
                    words = "has to stay inside the folder that 'data' names: no leading '/' and no '..'"
                    found.append(((index,), f"the pattern {marked_yaml.shown(glob)} {words}"))
            expanded |= dict.fromkeys(globs)
        if found:
            raise contradictions(*found)
        return tuple(expanded)


def _kind_complaint(kinds: list[str], keys: list[str]) -> Complaint:
    if kinds:
        return (kinds[1],), f"one kind of source at a time, but both '{kinds[0]}' and '{kinds[1]}' are given"
    unknown = [key for key in keys if key not in Read.model_fields]
    for key in unknown:
        if kind := nearest(key, KINDS):
            return (key,), f"unknown kind of source {marked_yaml.shown(key)}; did you mean '{kind}'?"
    return (*unknown[:1],), f"no kind of source; expected exactly one of {', '.join(KINDS)}"


class LanguageFilter(BaseModel):
    """How the languages of documents are told, and what is asked of them.

    `model` is a fastText model by path or URL, lid.176 by default. Each document's score has to reach
    `min_score` and, with `thresholds` (a name or a path), that of its language; `min_share` is the least
    share of its language among its paragraphs; `scripts` asks for letters that its language is written in.
    """

    model_config = CLOSED
    model: Text | None = None
    clean: bool = True
    thresholds: Text | None = None
    scripts: bool = False
    min_score: Share = 0.0
    min_share: Share = 0.0
    allow: Names | None = None
    deny: Names = ()

    @model_validator(mode="after")
    def _allowed_or_denied(self) -> Self:
        both = sorted(set(self.allow or ()) & set(self.deny))
        if both:
            raise contradictions((("deny",), f"both allowed and denied: {', '.join(both)}"))
        return self

    def filled(self, defaults: LanguageFilter | None) -> Self:
        """With the keys of `defaults` that it leaves out; `allow` and `deny` go together."""
        if defaults is None:
            return self
        own = self.model_fields_set
        together = {"allow", "deny"} if own & {"allow", "deny"} else set()
        keys = defaults.model_fields_set - own - together
        return self.model_copy(update={key: getattr(defaults, key) for key in keys})


class LineEdits(BaseModel):
    """What is cut from lines, and in which languages: the profiles were made for English, and see one word
    in a line of Chinese. Plain text or a list is the rules."""

    model_config = CLOSED
    rules: Annotated[tuple[LineRules, ...], BeforeValidator(_one_or_more)] = ()
    languages: Names | None = None
    except_languages: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _plain_text_is_the_rules(cls, value: Any) -> Any:
        return value if isinstance(value, dict | LineEdits) else {"rules": value}

    @field_validator("rules")
    @classmethod
    def _once_each(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(rules)


class Source(BaseModel):
    """A kind of input, the domain whose weight it counts to, and what is checked of its documents."""

    model_config = CLOSED
    read: Read
    domain: Annotated[str, Field(pattern=f"^({_NAME})?$")] = ""  # a Mixture puts the source's name for ""
    rules: RuleSets = ()
    lines: LineEdits = LineEdits()
    language: LanguageFilter | None = None
    topic: Topic | None = None
    document_type: DocumentType | None = None
    fim: Share | None = None
    optional: bool = False

    def filled(self, name: str, language: LanguageFilter | None) -> Self:
        """With what it leaves out: its name as its domain, and the mixture's language keys, if it has any."""
        own = self.language and self.language.filled(language)
        return self.model_copy(update={"domain": self.domain or name, "language": own})

    @field_validator("rules")
    @classmethod
    def _once_each(cls, rules: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(rules)


class Limits(BaseModel):
    """Bounds of a run, in bytes: one document, one unit of work; and of what may be unreadable."""

    model_config = CLOSED
    document_bytes: Annotated[Size, Field(ge=1024, le=1 << 31)] = 64 << 20
    split_bytes: Annotated[Size, Field(ge=4096, le=1 << 40)] = 64 << 20
    quarantine_share: Share = 0.05  # per source; beyond it the run stops


class Near(BaseModel):
    """Near-duplicates: MinHash-LSH over word n-grams, verified by true Jaccard. Plain text is the preset."""

    model_config = CLOSED
    preset: Literal["dolma3", "fineweb"] | None = None
    bands: Annotated[int, Field(ge=1, le=1024)]
    rows: Annotated[int, Field(ge=1, le=128)]
    jaccard: Annotated[float, Field(gt=0, le=1)] = 0.8
    ngram: Annotated[int, Field(ge=1, le=64)] = 5

    @model_validator(mode="before")
    @classmethod
    def _preset_gives_bands_and_rows(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, dict):
            return value
        preset = value.get("preset")
        if preset is None and not {"bands", "rows"} & value.keys():
            raise contradictions(((), f"name a preset ({', '.join(NEAR_PRESETS)}), or give bands and rows"))
        if not isinstance(preset, str) or preset not in NEAR_PRESETS:
            # A wrong preset is complained about once, by its own field, and not as missing bands and rows.
            return value if preset is None else {"bands": 1, "rows": 1, **value}
        bands, rows = NEAR_PRESETS[preset]
        for key, number in (("bands", bands), ("rows", rows)):
            if value.get(key, number) != number:
                words = f"the preset '{preset}' has {number} {key}; leave one of the two out"
                raise contradictions(((key,), words))
        return {**value, "bands": bands, "rows": rows}


class Dedup(BaseModel):
    """Which duplicates are removed."""

    model_config = CLOSED
    exact: bool = True
    near: Near | None = None

    @model_validator(mode="after")
    def _near_stands_on_exact(self) -> Self:
        if self.near is not None and not self.exact:
            raise contradictions(
                (("exact",), "near-duplicates are found among different texts: leave 'exact' on")
            )
        return self


class Weights(BaseModel):
    """What is drawn from each domain: relative weights, a cap on repetition, and how much in all.

    `budget` as a float is a share of the inventory's tokens (1.0: as many as there are), as an int tokens.
    """

    model_config = CLOSED
    weights: Annotated[dict[Name, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    max_epochs: Annotated[float, Field(gt=0, le=MAX_EPOCHS)] = 4.0
    budget: Annotated[float | int, Field(gt=0, le=10**15), BeforeValidator(_share_or_tokens)] = 1.0

    @field_validator("weights")
    @classmethod
    def _not_all_zero(cls, weights: dict[str, float]) -> dict[str, float]:
        if not sum(weights.values()) > 0:
            raise contradictions(((), "every weight is zero; at least one domain has to be drawn from"))
        return weights


class Stage(BaseModel):
    """One sequence length of the curriculum, in tokens, and its share of the budget.

    `favour_long` is how many times more likely a document longer than the previous stage's length is drawn,
    `context_parallel_size` over how many ranks the trainer splits a sequence.
    """

    model_config = CLOSED
    length: Annotated[Size, Field(ge=16, le=1 << 24)]
    share: Annotated[float, Field(gt=0, le=1)]
    favour_long: Annotated[float, Field(ge=1, le=1000)] = 1.0
    context_parallel_size: Annotated[Size, Field(ge=1, le=1 << 16)] = 1

    @property
    def name(self) -> str:
        """`4K`, `16K`, `64K`, `1M`."""
        return length_name(self.length)


class Curriculum(BaseModel):
    """Sequence lengths in training order. One batch, in tokens, holds whole sequences of every stage."""

    model_config = CLOSED
    batch_tokens: Annotated[Size, Field(ge=16, le=1 << 40)]
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_as_tuple), Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _lengths_and_shares(self) -> Self:
        found: list[Complaint] = []
        previous = 0
        for index, stage in enumerate(self.stages):
            if stage.length <= previous:
                words = f"{stage.name} after {length_name(previous)}: stage lengths have to increase"
                found.append((("stages", index, "length"), words))
            if self.batch_tokens % stage.length:
                words = f"batch_tokens {self.batch_tokens:,} is not a multiple of the length {stage.length:,}"
                found.append((("stages", index, "length"), words))
            previous = stage.length
        total = math.fsum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            found.append((("stages",), f"the shares of the stages sum to {total:g}, not to 1"))
        if found:
            raise contradictions(*found)
        return self


def _multiple(value: object) -> object:
    return value if value == "trainer" else _binary(value)


class Shards(BaseModel):
    """The layout of the shards: document padding and shard size in tokens, and the split over ranks."""

    model_config = CLOSED
    pad_documents_to: Annotated[
        Annotated[int, Field(ge=1, le=1 << 20)] | Literal["trainer"], BeforeValidator(_multiple)
    ] = 1
    tensor_parallel_size: Annotated[Size, Field(ge=1, le=1 << 16)] = 1
    documents_per_sequence: Annotated[Size, Field(ge=1, le=1 << 20)] = 1024
    shard_tokens: Annotated[Size, Field(ge=16, le=1 << 36)] = 64 << 20
    context_parallel: Literal["contiguous", "zigzag", "zigzag_documents"] = "contiguous"

    def document_multiple(self, stage: Stage) -> int:
        """What a document's slot is a multiple of; `trainer` is CP * lcm(2, TP), as MindSpeed asks for."""
        if self.pad_documents_to == "trainer":
            return stage.context_parallel_size * math.lcm(2, self.tensor_parallel_size)
        return self.pad_documents_to

    def complaint(self, stage: Stage) -> tuple[str, str] | None:
        """The key that does not go together with a stage, and why."""
        multiple, length, ranks = self.document_multiple(stage), stage.length, stage.context_parallel_size
        if length % multiple:
            return "pad_documents_to", f"{multiple} does not divide the length of stage {stage.name}"
        if ranks > 1 and length % (128 * ranks):
            words = (
                f"stage {stage.name} over {ranks} ranks gives each {length / ranks:g} tokens, no multiple"
                f" of 128 (512 bytes): a context_parallel_size of at most {max(1, length // 128)}"
            )
            return "context_parallel", words
        if self.context_parallel != "contiguous" and length % (2 * ranks):
            return (
                "context_parallel",
                f"the length of stage {stage.name} does not divide into {2 * ranks} chunks",
            )
        if self.context_parallel == "zigzag_documents" and multiple % (2 * ranks):
            words = (
                f"{self.context_parallel} cuts each document of stage {stage.name} into {2 * ranks} chunks:"
                f" pad_documents_to has to be `trainer`, or a multiple of {2 * ranks}"
            )
            return "context_parallel", words
        return None


class Mixture(BaseModel):
    """A whole mixture file."""

    model_config = CLOSED
    name: Name
    seed: Annotated[int, Field(ge=0, lt=1 << 64)] = 0
    data: Text = "data"
    tokenizer: TokenizerSpec = TokenizerSpec()
    language: LanguageFilter | None = None  # what the sources' own `language` leaves out
    sources: Annotated[dict[Name, Source], Field(min_length=1)]
    limits: Limits = Limits()
    privacy: Privacy = Privacy()
    classifiers: Annotated[dict[ClassifierName, Classifier], Field(max_length=32)] = {}
    dedup: Dedup = Dedup()
    mixture: Weights
    curriculum: Curriculum
    shards: Shards = Shards()

    @field_validator("sources")
    @classmethod
    def _sources_are_filled(cls, sources: dict[str, Source], info: ValidationInfo) -> dict[str, Source]:
        defaults = info.data.get("language")
        return {name: source.filled(name, defaults) for name, source in sources.items()}

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of the sources, sorted."""
        return tuple(sorted({source.domain for source in self.sources.values()}))

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        found: list[Complaint] = []
        weights, domains = self.mixture.weights, self.domains
        for name in weights:
            if name not in domains:
                hint = suggestion(name, domains, "the domains")
                words = f"a weight for {marked_yaml.shown(name)}, a domain that no source has{hint}"
                found.append((("mixture", "weights", name), words))
        if missing := [domain for domain in domains if domain not in weights]:
            words = f"no weight for {', '.join(missing)}; give every domain one, 0 to leave it out"
            found.append((("mixture", "weights"), words))
        for name in self.privacy.domains:
            if name not in domains:
                hint = suggestion(name, domains, "the domains")
                words = f"{marked_yaml.shown(name)} is a domain that no source has{hint}"
                found.append((("privacy", "domains", name), words))
        for stage in self.curriculum.stages:
            if complaint := self.shards.complaint(stage):
                found.append((("shards", complaint[0]), complaint[1]))
        found += contradictions_of(self.classifiers, self.sources)
        longest = self.curriculum.stages[-1]
        if self.shards.shard_tokens < longest.length:
            words = (
                f"a shard of {self.shards.shard_tokens:,} tokens cannot hold one sequence of {longest.name}"
            )
            found.append((("shards", "shard_tokens"), words))
        if found:
            raise contradictions(*found)
        return self


def canonical(part: object) -> str:
    """Any part of a mixture (a model, or dicts and tuples of them) as sorted JSON: what fingerprints hash."""
    plain = to_jsonable_python(part)
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def load_mixture(path: str, *, environ: Mapping[str, str] = os.environ) -> Mixture:
    """Read a mixture file. Raises `MixtureError`, which lists every problem as `path:line: what`."""
    try:
        with FilePath(path).open("rb") as file:
            content = file.read(marked_yaml.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = re.sub(r"^\[Errno \d+\] ", "", str(error)).partition(": '")[0]
        raise MixtureError(path, [marked_yaml.Problem(0, reason.lower())]) from error
    marked = marked_yaml.parse(content, environ)
    mixture: Mixture | None = None
    problems = list(marked.problems)
    # After a syntax error there is no value to check; after, say, a duplicate key there is.
    if marked.value is not None or not problems:
        try:
            mixture = Mixture.model_validate(marked.value)
        except ValidationError as error:
            problems += complaints_of(error, Mixture, marked)
    if mixture is None or problems:
        raise MixtureError(path, problems)
    return mixture
