"""What a set of logits is worth: arithmetic over arrays, no network and no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15  # of the calibration error, as in Guo et al. 2017
TEMPERATURES = np.geomspace(0.25, 4.0, 401)  # steps of 0.7 %: finer than the data can tell apart


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How right, and how honest, the answers on one set are."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]  # (labels, labels): row = truth, column = answer
    temperature: float
    ece_before: float  # expected calibration error of softmax(logits)
    ece_after: float  # of softmax(logits / temperature)
    nll: float  # mean negative log-likelihood, after

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recall(self) -> NDArray[np.float64]:
        """(labels,) share of each truth that was found; 0 where there was none."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def macro_f1(self) -> float:
        """Unweighted mean of the F1 of the classes: rare ones count as much as frequent ones."""
        doubled = self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        return float(_ratio(2 * np.diag(self.confusion), doubled).mean())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded to 4 decimals, for JSON."""
        return {
            "images": int(self.confusion.sum()),
            "accuracy": round(self.accuracy, 4),
            "macro_f1": round(self.macro_f1, 4),
            "recall": {label: round(float(r), 4) for label, r in zip(self.labels, self.recall, strict=True)},
            "confusion": self.confusion.tolist(),
            "temperature": round(self.temperature, 4),
            "ece_before": round(self.ece_before, 4),
            "ece_after": round(self.ece_after, 4),
            "nll": round(self.nll, 4),
        }

    def as_text(self) -> str:
        """The report for people: two lines in short, then the confusion matrix."""
        return (
            f"{self.confusion.sum()} images  accuracy {self.accuracy:.2%}  macro F1 {self.macro_f1:.4f}\n"
            f"temperature {self.temperature:.3f}: calibration error {self.ece_before:.4f} -> {self.ece_after:.4f}\n"
            f"{self.confusion_text()}"
        )

    def confusion_text(self) -> str:
        """A table: one row per truth, one column per answer, and each row's recall."""
        rows = [f"{'truth / answer':>14}" + "".join(f"{label:>9}" for label in self.labels) + "   recall"]
        for label, counts, recall in zip(self.labels, self.confusion, self.recall, strict=True):
            rows.append(f"{label:>14}" + "".join(f"{count:>9}" for count in counts) + f"{recall:>9.1%}")
        return "\n".join(rows)


def report(logits: NDArray[np.float32], truth: NDArray[np.int64], labels: Sequence[str], temperature: float) -> Report:
    """Measure (N, labels) `logits` against (N,) `truth`."""
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, logits.argmax(axis=1)), 1)
    return Report(
        labels=tuple(labels),
        confusion=confusion,
        temperature=temperature,
        ece_before=calibration_error(softmax(logits), truth),
        ece_after=calibration_error(softmax(logits / temperature), truth),
        nll=nll(logits, truth, temperature),
    )


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, labels) -> probabilities."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def nll(logits: NDArray[np.float32], truth: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log-likelihood of the truth under softmax(logits / temperature)."""
    of_truth = softmax(logits / temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean())


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """The temperature with the least NLL (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    NLL has one minimum over the temperature, so a fine grid finds it, and finds the same one on every machine.
    """
    return float(min(TEMPERATURES, key=lambda temperature: nll(logits, truth, float(temperature))))


def calibration_error(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Expected calibration error: the gap of confidence and accuracy over BINS equal bins, weighted by their size."""
    confidence, answer = probabilities.max(axis=1), probabilities.argmax(axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gap = np.zeros(BINS)
    np.add.at(gap, bins, confidence - (answer == truth))
    return float(np.abs(gap).sum() / len(truth))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
