"""What an exported file is worth: how far it is from its checkpoint, and how right it is on FER-2013."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.base import Batch
from engines.probabilities import softmax
from engines.spec import ModelSpec
from train.data import Fer2013
from train.metrics import Agreement, Report, agreement, fit_temperature, report
from train.predict import Logits, predict_onnx


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """Measured on the file itself. Both reports are at the temperature that fits it on PublicTest."""

    public: Report
    private: Report
    ferplus: Agreement  # on PrivateTest
    difference: float  # largest between its probabilities and the checkpoint's
    mean_difference: float  # the mean of the absolute differences


def measure(
    infer: Callable[[Batch], Logits], spec: ModelSpec, data: Fer2013, inputs: NDArray[np.uint8], logits: Logits
) -> Worth:
    """The worth of a file. `logits` are its checkpoint's answers to `inputs`, (N, H, W)."""
    answers, reported = (predict_onnx(infer, faces.images, spec) for faces in (data.public, data.private))
    temperature = fit_temperature(answers, data.public.labels)
    differences = np.abs(softmax(predict_onnx(infer, inputs, spec)) - softmax(logits))
    return Worth(
        public=report(answers, data.public.labels, spec.labels, temperature),
        private=report(reported, data.private.labels, spec.labels, temperature),
        ferplus=agreement(reported, data.private.votes, data.private.clear),
        difference=float(differences.max()),
        mean_difference=float(differences.mean()),
    )
