"""How good a classifier is on texts that it has not seen: precision, recall, F1, AUC, calibration, confusion.

The top label decides. AUC is the probability that a text of the label scores higher than another one, ties
half. Calibration compares the score with the share of texts that were right, in ten bins of equal width; ECE
is the mean difference, weighted by texts (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10


def auc(scores: Any, positive: Any) -> float | None:
    """Area under the ROC curve, from ranks; None where one side is empty."""
    count = int(positive.sum())
    if count == 0 or count == len(positive):
        return None
    _, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def reliability(scores: Any, right: Any) -> dict[str, Any]:
    """The reliability table and the expected calibration error of scores in [0, 1]."""
    bins = np.minimum((np.clip(scores, 0, 1) * BINS).astype(np.int64), BINS - 1)
    table, error = [], 0.0
    for number in range(BINS):
        inside = bins == number
        if not (size := int(inside.sum())):
            continue
        score, share = float(scores[inside].mean()), float(right[inside].mean())
        error += size / len(scores) * abs(score - share)
        table.append(
            {
                "from": number / BINS,
                "to": (number + 1) / BINS,
                "documents": size,
                "mean_score": round(score, 6),
                "share_right": round(share, 6),
            }
        )
    return {"ece": round(error, 6) if len(scores) else None, "table": table}


def measure(labels: Sequence[str], truth: Any, scores: Any, positive: str | None) -> dict[str, Any]:
    """All figures as plain values.

    `truth` is an index of `labels` per text, `scores` a matrix texts x labels, NaN where a text was not
    scored (that counts as wrong). Calibration is of the score of `positive`, or else of the top label's.
    """
    unscored = np.isnan(scores).any(axis=1)
    known = np.where(unscored[:, None], 0.0, scores)
    top = np.where(unscored, -1, known.argmax(axis=1)) if len(known) else np.zeros(0, np.int64)
    by_label: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(labels):
        is_it, said = truth == index, top == index
        hits = int((is_it & said).sum())
        precision = hits / int(said.sum()) if said.any() else None
        recall = hits / int(is_it.sum()) if is_it.any() else None
        either = int(said.sum()) + int(is_it.sum())
        by_label[label] = {
            "documents": int(is_it.sum()),
            "precision": _rounded(precision),
            "recall": _rounded(recall),
            "f1": _rounded(2 * hits / either if either else None),
            "auc": _rounded(auc(known[:, index], is_it)),
        }
    if positive is not None:
        place = list(labels).index(positive)
        calibration = reliability(known[:, place], truth == place)
    else:
        calibration = reliability(known.max(axis=1, initial=0.0), top == truth)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    said = top >= 0
    np.add.at(confusion, (truth[said], top[said]), 1)
    scored = [row["f1"] for row in by_label.values() if row["f1"] is not None]
    return {
        "documents": len(truth),
        "unscored": int(unscored.sum()),
        "accuracy": _rounded(float((top == truth).mean())) if len(truth) else None,
        "macro_f1": _rounded(float(np.mean(scored))) if scored else None,
        "labels": by_label,
        "calibration": calibration,
        "confusion": confusion.tolist(),  # row: what it is; column: what the model says
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
