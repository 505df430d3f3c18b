"""What a set of logits is worth: arithmetic over arrays, no network and no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.probabilities import softmax

BINS = 15  # of the calibration error, as in Guo et al. 2017
TEMPERATURES = np.geomspace(0.25, 4.0, 401)  # steps of 0.7 %: finer than the data can tell apart


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How right, and how honest, the answers on one set are."""

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]  # (labels, labels): row = truth, column = answer
    missed: NDArray[np.int64]  # (labels,) pictures of a truth without an answer, as no face was found: not right
    temperature: float
    ece_before: float  # expected calibration error of softmax(logits)
    ece_after: float  # of softmax(logits / temperature)
    nll: float  # mean negative log-likelihood, after

    @property
    def images(self) -> NDArray[np.int64]:
        """(labels,) pictures of each truth."""
        counts: NDArray[np.int64] = self.confusion.sum(axis=1) + self.missed
        return counts

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.images.sum())

    @property
    def recall(self) -> NDArray[np.float64]:
        """(labels,) share of each truth that was found; 0 where there was none."""
        return _ratio(np.diag(self.confusion), self.images)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(labels,) share of each answer that was right; 0 where it was never given."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(labels,) harmonic mean of precision and recall."""
        doubled = self.confusion.sum(axis=0) + self.images
        return _ratio(2 * np.diag(self.confusion), doubled)

    @property
    def macro_f1(self) -> float:
        """Unweighted mean of the F1 of the classes that occur: rare ones count as much as frequent ones."""
        return float(self.f1[self.images > 0].mean())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded to 4 decimals, for JSON."""
        return {
            "images": int(self.images.sum()),
            "missed": int(self.missed.sum()),
            "accuracy": round(self.accuracy, 4),
            "macro_f1": round(self.macro_f1, 4),
            "recall": self._by_label(self.recall),
            "precision": self._by_label(self.precision),
            "confusion": self.confusion.tolist(),
            "temperature": round(self.temperature, 4),
            "ece_before": round(self.ece_before, 4),
            "ece_after": round(self.ece_after, 4),
            "nll": round(self.nll, 4),
        }

    def as_text(self) -> str:
        """The report for people: two lines in short, then the confusion matrix."""
        return (
            f"{self._images_text()}  accuracy {self.accuracy:.2%}  macro F1 {self.macro_f1:.4f}\n"
            f"temperature {self.temperature:.3f}: calibration error {self.ece_before:.4f} -> {self.ece_after:.4f}\n"
            f"{self.confusion_text()}"
        )

    def confusion_text(self) -> str:
        """A table: one row per truth, one column per answer; each row's recall, and last each column's precision."""
        rows = [f"{'truth / answer':>14}" + "".join(f"{label:>9}" for label in self.labels) + "   recall"]
        for label, counts, recall in zip(self.labels, self.confusion, self.recall, strict=True):
            rows.append(f"{label:>14}" + "".join(f"{count:>9}" for count in counts) + f"{recall:>9.1%}")
        rows.append(f"{'precision':>14}" + "".join(f"{share:>9.1%}" for share in self.precision))
        return "\n".join(rows)

    def _images_text(self) -> str:
        missed = f", {self.missed.sum()} without a face that was found" if self.missed.any() else ""
        return f"{self.images.sum()} images{missed}"

    def _by_label(self, values: NDArray[np.float64]) -> dict[str, float]:
        return {label: round(float(value), 4) for label, value in zip(self.labels, values, strict=True)}


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Confidence against truth, over BINS equal bins of confidence. A bin can be empty."""

    images: NDArray[np.int64]  # (BINS,) answers whose confidence fell into the bin
    confidence: NDArray[np.float64]  # (BINS,) their mean confidence
    accuracy: NDArray[np.float64]  # (BINS,) share of them that was right

    @property
    def error(self) -> float:
        """The expected calibration error: the bins' gaps of confidence and accuracy, weighted by their images."""
        return float((self.images * np.abs(self.confidence - self.accuracy)).sum() / self.images.sum())


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often the answer is what most FER+ voters said, over the images on which they clearly agree."""

    images: int  # with a clear majority; can be 0
    right: int

    @property
    def accuracy(self) -> float:
        """0 where there is no image."""
        return self.right / max(self.images, 1)


def report(
    logits: NDArray[np.float32],
    truth: NDArray[np.int64],
    labels: Sequence[str],
    temperature: float,
    missed: NDArray[np.int64] | None = None,
) -> Report:
    """Measure (N, labels) `logits` against (N,) `truth`; (labels,) `missed` counts pictures that have no logits."""
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, logits.argmax(axis=1)), 1)
    return Report(
        labels=tuple(labels),
        confusion=confusion,
        missed=np.zeros(len(labels), np.int64) if missed is None else missed,
        temperature=temperature,
        ece_before=calibration_error(softmax(logits), truth),
        ece_after=calibration_error(softmax(logits / temperature), truth),
        nll=nll(logits, truth, temperature),
    )


def ensemble(logits: Sequence[NDArray[np.float32]], temperatures: Sequence[float]) -> NDArray[np.float32]:
    """(N, labels) log of the mean of the members' probabilities, each member's logits at its own temperature.

    Computed from logarithms, so that no probability becomes 0 on the way.
    """
    members = [_log_softmax(part / temperature) for part, temperature in zip(logits, temperatures, strict=True)]
    return (np.logaddexp.reduce(members, axis=0) - np.log(len(members))).astype(np.float32)


def agreement(logits: NDArray[np.float32], votes: NDArray[np.uint8], clear: NDArray[np.bool_] | None) -> Agreement:
    """How (N, labels) `logits` agree with (N, labels) `votes` on the images that are (N,) `clear`; None is nowhere.

    The other images have no single answer that people would call right.
    """
    if clear is None:
        return Agreement(images=0, right=0)
    right = logits[clear].argmax(axis=1) == votes[clear].argmax(axis=1)
    return Agreement(int(clear.sum()), int(right.sum()))


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
    """Expected calibration error of (N, labels) `probabilities`, 0..1."""
    return reliability(probabilities, truth).error


def reliability(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> Reliability:
    """(N, labels) `probabilities` against (N,) `truth`, by the confidence of the answer."""
    confidence, answer = probabilities.max(axis=1), probabilities.argmax(axis=1)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images = np.bincount(bins, minlength=BINS)
    summed = np.bincount(bins, weights=confidence, minlength=BINS)
    right = np.bincount(bins, weights=answer == truth, minlength=BINS)
    return Reliability(images, _ratio(summed, images), _ratio(right, images))


def _log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logarithms: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms


def _ratio(part: NDArray[Any], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
