"""What cross-validation has come to: the answers of each finished fold in one JSON file, and what they are worth.

The answers are kept, not the networks: two runs over the same folds can then be compared image by image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.errors import CheckpointInvalid, RecipeInvalid
from train.metrics import Report, report
from train.recipe import recipe_from_record

RESULTS_FILE = "results.json"
SCHEMA = "emostream.folds/1"
DECIMALS = 4  # of the logits that are kept
MEASURED = "averaged weights after the last epoch, each image once; nothing is chosen on"


@dataclass(frozen=True, slots=True, eq=False)
class FoldResult:
    """What the network of one fold said of the images that it was not trained on."""

    rows: NDArray[np.int64]  # (N,) which these are, as numbers of the data's rows
    logits: NDArray[np.float64]  # (N, classes), `rounded`
    seen: int  # images trained on, counted as often as they were
    training_s: float
    wall_s: float  # training, and all before and after
    commit: str | None  # of the code

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` takes them back."""
        return {
            "rows": self.rows.tolist(),
            "logits": self.logits.tolist(),
            "seen": self.seen,
            "training_s": self.training_s,
            "wall_s": self.wall_s,
            "commit": self.commit,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FoldResult:
        """Raises KeyError, TypeError or ValueError for anything else than `as_dict` makes."""
        rows = np.array(values["rows"], np.int64)
        logits = np.array(values["logits"], np.float64).reshape(len(rows), -1)
        times = (float(values["training_s"]), float(values["wall_s"]))
        return cls(rows, logits, int(values["seen"]), *times, values["commit"])


@dataclass(frozen=True, slots=True, eq=False)
class FoldResults:
    """The finished folds of one cross-validation, in order."""

    asked: dict[str, Any]  # whatever would change the answers: recipe, data, folds, first weights
    names: dict[str, Any]  # what people call these
    classes: tuple[str, ...]
    labels: NDArray[np.int64]  # (N,) of all rows of the data
    folds: tuple[FoldResult, ...] = ()

    def plus(self, fold: FoldResult) -> FoldResults:
        """These and one more."""
        return replace(self, folds=(*self.folds, fold))

    def pooled(self) -> Report:
        """Over the held-out images of all finished folds, each of which is held out once."""
        rows = np.concatenate([fold.rows for fold in self.folds])
        logits = np.concatenate([fold.logits for fold in self.folds]).astype(np.float32)
        return report(logits, self.labels[rows], self.classes, temperature=1.0)

    def accuracy_by_fold(self) -> list[float]:
        """Shares, 0..1, in the order of the folds."""
        return [float((fold.logits.argmax(axis=1) == self.labels[fold.rows]).mean()) for fold in self.folds]

    def images_per_s(self) -> float:
        """In training."""
        return sum(fold.seen for fold in self.folds) / sum(fold.training_s for fold in self.folds)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain values. The deviation is that of these folds, divided by their count."""
        pooled, accuracies = self.pooled(), self.accuracy_by_fold()
        names = ("images", "accuracy", "macro_f1", "recall", "precision", "confusion")
        worth = pooled.as_dict()
        return {
            **self.names,
            "measured": MEASURED,
            "folds_finished": len(self.folds),
            "labels": list(self.classes),
            **{name: worth[name] for name in names},
            "accuracy_by_fold": [round(accuracy, 4) for accuracy in accuracies],
            "accuracy_mean": round(float(np.mean(accuracies)), 4),
            "accuracy_std": round(float(np.std(accuracies)), 4),
            "images_per_s": round(self.images_per_s(), 1),
            "wall_s": round(sum(fold.wall_s for fold in self.folds), 1),
        }

    def as_text(self) -> str:
        """The numbers for people."""
        pooled, accuracies = self.pooled(), self.accuracy_by_fold()
        by_fold = "  ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        return (
            f"{len(accuracies)} of {self.names['folds']} folds by {self.names['by']}: {pooled.confusion.sum()} images, "
            f"{pooled.accuracy:.2%} right, macro F1 {pooled.macro_f1:.4f} ({MEASURED})\n"
            f"folds: mean {np.mean(accuracies):.2%}, standard deviation {np.std(accuracies):.2%}: {by_fold}\n"
            f"{self.images_per_s():.0f} images/s in training, {sum(fold.wall_s for fold in self.folds) / 60:.1f} min\n"
            f"{pooled.confusion_text()}"
        )

    def write(self, folder: Path) -> None:
        """All of it or nothing, so that a kill between two folds loses neither."""
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"schema": SCHEMA, **self.as_dict(), "asked": self.asked}
        whole["held_out"] = [fold.as_dict() for fold in self.folds]
        part = folder / f"{RESULTS_FILE}.part"
        part.write_text(json.dumps(whole) + "\n")
        part.replace(folder / RESULTS_FILE)

    def resumed(self, folder: Path) -> FoldResults:
        """These with the folds that the file in `folder` holds, if there is one.

        Raises CheckpointInvalid when that was asked for something else, or is no such file.
        """
        path = folder / RESULTS_FILE
        if not path.exists():
            return self
        try:
            whole = json.loads(path.read_text())
            asked = {**whole["asked"], "recipe": _as_now(whole["asked"]["recipe"])}
            finished = tuple(FoldResult.from_dict(values) for values in whole["held_out"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointInvalid(
                f"{path} is not what cross-validation writes ({error}); choose another --out, or remove it"
            ) from None
        differs = [name for name in self.asked if asked.get(name) != self.asked[name]]
        if differs:
            raise CheckpointInvalid(
                f"the results in {folder} were made with another choice of {differs[0]}; choose another --out, or "
                "remove them"
            )
        return replace(self, folds=finished)


def _as_now(recipe: object) -> object:
    """A recipe that was kept, with the settings that recipes have now; itself when nobody can follow it any more."""
    try:
        return recipe_from_record(recipe).as_dict()
    except RecipeInvalid:
        return recipe


def rounded(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """As they are kept, so that what is read again gives the same answers; in float64, which JSON writes shortly."""
    return logits.astype(np.float64).round(DECIMALS)
