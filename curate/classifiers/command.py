"""`curate classifier train` and `curate classifier eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.classifiers import ClassifierError
from mixtures.classifiers import Preset, Training

console = Console()
_DEFAULTS = Training()
_DOCUMENTS = click.IntRange(10, 2_000_000)
_PRESETS = click.Choice(get_args(Preset))


@click.group()
def classifier() -> None:
    """Train and evaluate fastText classifiers: quality, topic, or whatever the labels say."""


def _inputs(command: Any) -> Any:
    """The options that say what the labelled texts are."""
    for option in (
        click.argument("inputs", nargs=-1, metavar="[LABELLED]..."),
        click.option("--positive", multiple=True, metavar="INPUT", help="Texts of the label `positive`."),
        click.option("--negative", multiple=True, metavar="INPUT", help="Texts of the label `negative`."),
        click.option("--of", multiple=True, metavar="LABEL=INPUT", help="Texts of any label."),
        click.option("--text", default="text", show_default=True, help="Column of the texts."),
        click.option("--label-column", default="label", show_default=True, help="Column of the labels."),
        click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True),
        click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON."),
    ):
        command = option(command)
    return command


@classifier.command()
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@_inputs
@click.option("--label", default=None, help="The label whose probability is the score (default: positive).")
@click.option(
    "--preprocess",
    type=_PRESETS,
    default="dclm",
    show_default=True,
    help="What is done to a text first; stored in the card.",
)
@click.option("--documents", type=_DOCUMENTS, default=_DEFAULTS.documents, show_default=True)
@click.option("--document-bytes", type=click.IntRange(64, 1 << 20), default=_DEFAULTS.document_bytes)
@click.option(
    "--repeat-up-to",
    type=click.IntRange(1, 1000),
    default=_DEFAULTS.repeat_up_to,
    show_default=True,
    help="How often a text of a rarer label is shown, so that labels weigh alike.",
)
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=_DEFAULTS.held_out,
    show_default=True,
    help="Share of the documents that is only measured on.",
)
@click.option("--dim", type=click.IntRange(1, 1024), default=_DEFAULTS.dim, show_default=True)
@click.option("--epochs", type=click.IntRange(1, 1000), default=_DEFAULTS.epochs, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, 10, min_open=True), default=_DEFAULTS.learning_rate)
@click.option("--word-ngrams", type=click.IntRange(1, 8), default=_DEFAULTS.word_ngrams, show_default=True)
@click.option("--buckets", type=click.IntRange(1, 100_000_000), default=_DEFAULTS.buckets, show_default=True)
@click.option(
    "--min-count", type=click.IntRange(1, 1_000_000), default=_DEFAULTS.min_count, show_default=True
)
@click.option("--loss", type=click.Choice(["softmax", "hs", "ns", "ova"]), default=_DEFAULTS.loss)
def train(
    model: Path,
    inputs: tuple[str, ...],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    of: tuple[str, ...],
    text: str,
    label_column: str,
    seed: int,
    as_json: bool,
    label: str | None,
    preprocess: str,
    **settings: Any,
) -> None:
    """Train MODEL (a .bin file) and write its card, MODEL.json, beside it.

    LABELLED are Parquet or JSON Lines files with a text and a label column; --positive, --negative and --of
    take files, globs, or RUN:SOURCE, the kept documents of a source in a run directory. The same texts,
    settings and seed give the same model, in whatever order they are given.

    \b
    curate classifier train hq.bin --positive runs/v4:plos --positive runs/v4:wikipedia --negative runs/v4:web
    """
    from curate.classifiers.inputs import feed
    from curate.classifiers.samples import Sampler
    from curate.classifiers.training import train as fit

    spec = Training(**settings)
    sampler = Sampler(spec, seed=seed, name="cli")
    feed(sampler, _labelled(inputs, positive, negative, of, text, label_column))
    sample = sampler.sample()
    named = label.removeprefix("__label__") if label else "positive"
    score_of = named if label or named in set(sample.labels) else None
    model.parent.mkdir(parents=True, exist_ok=True)
    made = model.with_name(f".{model.name}.tmp")
    try:
        card = fit(sample, spec, name=model.stem, preset=preprocess, seed=seed, positive=score_of, into=made)
        card_path(model).write_text(json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        made.replace(model)
    finally:
        made.unlink(missing_ok=True)
    if as_json:
        click.echo(json.dumps(card))
        return
    _show(card["held_out"], list(card["labels"]), card["label"])
    console.print(
        f"\nmodel {model} ({card['model']['bytes']:,} bytes), card {card_path(model)}", soft_wrap=True
    )


@classifier.command(name="eval")
@click.argument("model", type=click.Path(dir_okay=False, path_type=Path))
@_inputs
@click.option("--label", default=None, help="The label whose probability is the score (default: the card's).")
@click.option(
    "--preprocess",
    type=_PRESETS,
    default=None,
    help="Needed for a model without a card.",
)
@click.option("--documents", type=_DOCUMENTS, default=100_000, show_default=True)
def evaluate(
    model: Path,
    inputs: tuple[str, ...],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    of: tuple[str, ...],
    text: str,
    label_column: str,
    seed: int,
    as_json: bool,
    label: str | None,
    preprocess: str | None,
    documents: int,
) -> None:
    """Measure MODEL on labelled texts: precision, recall, F1, AUC, calibration, confusion.

    How the texts are prepared, how much of each is read and which label is the score come from the card
    beside the model. All documents count (up to --documents a label), also such as the model was trained on:
    its card has the held-out figures.
    """
    import numpy as np

    from curate.classifiers.inputs import feed
    from curate.classifiers.metrics import measure
    from curate.classifiers.samples import Sampler
    from curate.classifiers.scoring import check_label, load, matrix, sha256

    digest = sha256(str(model))
    card = _card(model, digest)
    preset: str | None = preprocess or (card["preprocess"]["name"] if card else None)
    if preset is None:
        raise ClassifierError(f"{model}: has no card beside it; say how it reads a text with --preprocess")
    loaded = load(str(model), digest)
    score_of: str | None = label or (card["label"] if card else None)
    if score_of is not None:
        score_of = check_label(str(model), loaded, score_of)
    read = card["reads_bytes"] if card else 1 << 20
    sampler = Sampler(Training(documents=documents, document_bytes=read), seed=seed, name="cli")
    feed(sampler, _labelled(inputs, positive, negative, of, text, label_column))
    sample = sampler.sample()
    if not len(sample.texts):
        raise ClassifierError("there is no text to evaluate on")
    found = sorted(set(sample.labels))
    for name in found:
        check_label(str(model), loaded, name)
    labels = sorted(loaded.labels)
    index = np.array([labels.index(name) for name in sample.labels], np.int64)
    metrics = measure(labels, index, matrix(loaded, sample.texts, preset, labels), score_of)
    metrics |= {"label": score_of, "preprocess": preset, "model": digest}
    if as_json:
        click.echo(json.dumps(metrics))
        return
    _show(metrics, labels, score_of)


def card_path(model: Path) -> Path:
    """Where a model's card lies: MODEL.json, or card.json where a run put it."""
    inside = model.with_name("card.json")
    return inside if model.name == "model.bin" else model.with_name(f"{model.name}.json")


def _card(model: Path, digest: str) -> dict[str, Any] | None:
    path = card_path(model)
    if not path.is_file():
        return None
    try:
        card: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if card["model"]["sha256"] == digest:
            return card
    except (ValueError, KeyError, TypeError) as error:
        raise ClassifierError(f"{path}: not a classifier's card ({error})") from error
    raise ClassifierError(f"{path}: is the card of another model; train again, or move it away")


def _labelled(
    inputs: tuple[str, ...],
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    of: tuple[str, ...],
    text: str,
    label_column: str,
) -> list[Any]:
    from curate.classifiers.inputs import Labelled, checked_label

    found = [Labelled(pattern, None, text, label_column) for pattern in inputs]
    found += [Labelled(pattern, "positive", text, label_column) for pattern in positive]
    found += [Labelled(pattern, "negative", text, label_column) for pattern in negative]
    for item in of:
        label, equals, pattern = item.partition("=")
        if not equals or not pattern:
            raise ClassifierError(f"--of {item}: write it as LABEL=INPUT, as in --of spam=bad.jsonl")
        found.append(Labelled(pattern, checked_label(label, f"--of {item}"), text, label_column))
    if not found:
        raise ClassifierError("no texts: give labelled files, or --positive and --negative")
    return found


def _show(metrics: dict[str, Any], labels: list[str], positive: str | None) -> None:
    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    table = Table("label", "documents", "precision", "recall", "F1", "AUC", box=None)
    for name in labels:
        row = metrics["labels"][name]
        figures = (cell(row[key]) for key in ("precision", "recall", "f1", "auc"))
        table.add_row(escape(name), f"{row['documents']:,}", *figures)
    console.print(table)
    calibration = metrics["calibration"]
    of = f"of {positive}" if positive else "of the top label"
    console.print(
        f"\naccuracy {cell(metrics['accuracy'])}, macro F1 {cell(metrics['macro_f1'])} "
        f"on {metrics['documents']:,} texts ({metrics['unscored']:,} without a known word)\n"
        f"calibration of the score {of}: ECE {cell(calibration['ece'])}",
        highlight=False,
    )
    table = Table("score", "documents", "mean score", "share right", box=None)
    for row in calibration["table"]:
        span = f"{row['from']:.1f} to {row['to']:.1f}"
        table.add_row(span, f"{row['documents']:,}", cell(row["mean_score"]), cell(row["share_right"]))
    console.print(table)
    if len(labels) > 2:
        table = Table("is \\ said", *map(escape, labels), box=None)
        for name, counts in zip(labels, metrics["confusion"], strict=True):
            table.add_row(escape(name), *map(str, counts))
        console.print(table)
