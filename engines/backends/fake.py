"""A backend without a network, for tests: answers are plain arithmetic over each sample's own pixels.

For faces it answers as YuNet does: every bright patch up to 64 px wide on a dark ground is a face, its box the patch.
For emotions, the first label is favoured by a bright top strip of the crop, the last by a bright bottom one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines import machine
from engines.backends.base import Built, Files, Identity, Layer, Progress
from engines.base import Batch, Outputs, check_batch
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import ModelSpec

STATUS = "computes no network"
CELL = 32  # pixels; the stride at which faces are answered
STRIDES = (8, 16, 32)
LANDMARK_PLACES = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))  # fractions of the box
LOGIT_SPAN = 8.0  # between a black and a white strip

Brightness = NDArray[np.float32]  # (H, W), 0 black .. 1 white


def identity(options: Options) -> Identity:
    """See engines.backends.base."""
    return Identity("fake 1", machine.cpu())


def can_run(options: Options) -> str | None:
    """Everywhere, in float32."""
    return "the fake computes no bfloat16" if options.bf16 else None


def build(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
    """One file, so that all that is true of files can be tried."""
    for done in (0.25, 0.5, 0.75, 1.0):
        progress(done)
    return Built({"engine.fake": spec.sha256.encode()}, (Layer("strips", "Mean", "fp32"),))


def load(spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> FakeEngine:
    """An engine that keeps to the spec and looks at no weights."""
    return FakeEngine(spec, max_batch=options.max_batch)


class FakeEngine:
    """See engines.base.Engine."""

    def __init__(self, spec: ModelSpec, best_batch: int | None = None, max_batch: int = 64) -> None:
        self.spec = spec
        self.max_batch = max_batch
        self.fingerprint = f"fake/{spec.name}-{spec.sha256[:16]}-{spec.digest()}"
        self.best_batch = best_batch or max_batch
        self.batches: list[int] = []  # sizes of the batches computed so far
        self._closed = False

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        if self._closed:
            raise EngineMismatch(f"{self.spec.name}: the engine is closed; load it again")
        check_batch(self, batch)
        self.batches.append(len(batch))
        answers = [self._answer(_brightness(sample, self.spec)) for sample in batch]
        return {name: np.stack([answer[name] for answer in answers]) for name in self.spec.outputs}

    def close(self) -> None:
        """May be called twice."""
        self._closed = True

    def _answer(self, brightness: Brightness) -> Outputs:
        if self.spec.task == "face":
            return yunet_answer(brightness)
        return {self.spec.outputs[0]: emotion_logits(brightness, len(self.spec.labels))}


def emotion_logits(brightness: Brightness, labels: int) -> NDArray[np.float32]:
    """(labels,): the mean brightness of as many strips, from top to bottom, each times LOGIT_SPAN."""
    strips = np.array_split(brightness, labels, axis=0)
    return np.array([strip.mean() * LOGIT_SPAN for strip in strips], np.float32)


def yunet_answer(brightness: Brightness) -> Outputs:
    """YuNet's twelve outputs for one image, without B; only those at stride 32 are not zero."""
    height, width = brightness.shape
    answer: Outputs = {}
    for stride in STRIDES:
        cells = (height // stride) * (width // stride)
        for kind, columns in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            answer[f"{kind}_{stride}"] = np.zeros((cells, columns), np.float32)
    for row, column in _peaks(brightness):
        cell = row * (width // CELL) + column
        score, box, points = _face(brightness, row, column)
        centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        answer["cls_32"][cell] = answer["obj_32"][cell] = score
        answer["bbox_32"][cell] = [*(centre / CELL - (column, row)), *np.log(size / CELL)]
        answer["kps_32"][cell] = (points / CELL - (column, row)).ravel()
    return answer


def _brightness(sample: NDArray[np.float32], spec: ModelSpec) -> Brightness:
    """(C, H, W) as the network takes it -> (H, W) mean of its channels, 0..1."""
    std, mean = (np.array(values, np.float32)[:, None, None] for values in (spec.std, spec.mean))
    values: Brightness = (sample * std + mean).mean(axis=0, dtype=np.float32)
    return values


def _peaks(brightness: Brightness) -> list[tuple[int, int]]:
    """(row, column) of each cell that is brighter than its eight neighbours; of equal neighbours the first counts."""
    rows, columns = brightness.shape[0] // CELL, brightness.shape[1] // CELL
    means = brightness.reshape(rows, CELL, columns, CELL).mean(axis=(1, 3))
    around = np.pad(means, 1, constant_values=-1.0)
    found = means > 0.02  # darker is the ground
    for place in range(9):
        y, x = divmod(place, 3)
        neighbour = around[y : y + rows, x : x + columns]
        if place != 4:
            found &= (means > neighbour) if place < 4 else (means >= neighbour)
    return [(int(row), int(column)) for row, column in np.argwhere(found)]


def _face(brightness: Brightness, row: int, column: int) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Score, box (x1 y1 x2 y2) and five landmarks, in pixels, of the patch in the 3 x 3 cells around a peak."""
    top, left = max(row - 1, 0) * CELL, max(column - 1, 0) * CELL
    window = brightness[top : (row + 2) * CELL, left : (column + 2) * CELL]
    y, x = np.indices(window.shape)
    total = float(window.sum())
    centre = np.array([left + (x * window).sum() / total, top + (y * window).sum() / total]) + 0.5
    score = float(window.max())
    side = np.sqrt(total / score)  # an even square patch has exactly this side
    box = np.concatenate([centre - side / 2, centre + side / 2])
    return score, box, box[:2] + np.array(LANDMARK_PLACES) * side - 0.5
