"""Export a checkpoint as a model folder: model.onnx, spec.json, card.md, parity.npz.

The folder appears only when the ONNX file, run as cameras run it, answers as the checkpoint does (MAX_DIFFERENCE in
probabilities), and answers for one face the same bits whatever else is in the batch. Otherwise ExportRefused.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.base import Batch
from engines.preprocess import to_batch
from engines.spec import MODEL_FILE, SPEC_FILE, ModelSpec, Source, sha256_of
from train.card import CARD_FILE, write_card
from train.checkpoint import build_model, read_checkpoint
from train.data import Fer2013
from train.errors import ExportRefused
from train.metrics import Report, fit_temperature, report, softmax
from train.onnx_file import write_onnx
from train.parity import parity_inputs
from train.predict import Logits, onnx_infer, predict_onnx, predict_torch
from train.spec import INPUT_NAME, OUTPUT_NAME, draft_spec

PARITY_FILE = "parity.npz"
MODEL_FILES = frozenset([MODEL_FILE, SPEC_FILE, CARD_FILE, PARITY_FILE])
MAX_DIFFERENCE = 1e-4  # of any probability
BATCHES = range(1, 33)  # over which an answer must not change by a bit


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What came out, for the command line to tell."""

    spec: ModelSpec
    public: Report
    private: Report
    difference: float  # largest between the ONNX file's probabilities and the checkpoint's


def export(checkpoint_path: Path, folder: Path, data: Fer2013) -> Exported:
    """Write the model folder of a checkpoint, all of it or nothing."""
    checkpoint = read_checkpoint(checkpoint_path)
    model, draft = build_model(checkpoint), draft_spec(checkpoint.recipe)
    inputs = parity_inputs(draft)
    with model_folder(folder) as room:
        path = room / MODEL_FILE
        batch = {0: "batch"}
        example = torch.zeros(1, *draft.input_shape)
        write_onnx(model, example, INPUT_NAME, [OUTPUT_NAME], {INPUT_NAME: batch, OUTPUT_NAME: batch}, path)
        infer = onnx_infer(path)
        logits = predict_torch(model, inputs, draft)
        difference = check_parity(infer, inputs, logits, draft)
        check_batch_invariance(infer, inputs, draft)
        temperature = fit_temperature(predict_onnx(infer, data.public.images, draft), data.public.labels)
        public, private = (
            report(predict_onnx(infer, faces.images, draft), faces.labels, draft.labels, temperature)
            for faces in (data.public, data.private)
        )
        spec = draft.model_copy(
            update={
                "temperature": round(temperature, 4),
                "sha256": sha256_of(path),
                "source": Source(
                    license="Apache-2.0",
                    checkpoint_sha256=sha256_of(checkpoint_path),
                    recipe=checkpoint.recipe.name,
                    commit=checkpoint.record["commit"],
                ),
                "metrics": _metrics(public, private, checkpoint.record),
            }
        )
        spec.write(room)
        write_card(room, spec, checkpoint, public, private)
        (room / PARITY_FILE).write_bytes(npz(inputs=inputs, logits=logits))
    return Exported(spec, public, private, difference)


@contextmanager
def model_folder(folder: Path) -> Iterator[Path]:
    """A folder to write a model into, which takes the place of `folder` when all went well, and else is gone.

    Raises ExportRefused before any work where `folder` holds something else than a model: it would be lost.
    """
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - MODEL_FILES)):
        raise ExportRefused(f"{folder} holds {others[0]}, which is no part of a model; name an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as room:
        made, old = Path(room) / "made", Path(room) / "old"
        made.mkdir()
        yield made
        if folder.exists():
            folder.rename(old)
        made.rename(folder)


def check_parity(infer: Callable[[Batch], Logits], images: NDArray[np.uint8], logits: Logits, spec: ModelSpec) -> float:
    """The largest difference in probability between the ONNX file and the checkpoint's `logits`, if it is small."""
    difference = float(np.abs(softmax(predict_onnx(infer, images, spec)) - softmax(logits)).max())
    if not difference <= MAX_DIFFERENCE:  # also catches NaN
        raise ExportRefused(
            f"the ONNX model's probabilities differ from the checkpoint's by {difference:.2e}, "
            f"more than {MAX_DIFFERENCE:.0e}; nothing was written"
        )
    return difference


def check_batch_invariance(infer: Callable[[Batch], Logits], images: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Raise ExportRefused unless each face's answer is the same bits alone and in a batch of any of BATCHES."""
    batch = to_batch(images[: max(BATCHES)], spec)
    alone = np.concatenate([infer(batch[row : row + 1]) for row in range(len(batch))])
    for size in BATCHES:
        if infer(batch[:size]).tobytes() != alone[:size].tobytes():
            raise ExportRefused(
                f"in a batch of {size} a face gets another answer than alone, so cameras would influence each other; "
                "look for a matrix product in the graph"
            )


def _metrics(public: Report, private: Report, record: dict[str, Any]) -> dict[str, Any]:
    """What spec.json tells of the model's worth. PublicTest was chosen on, so PrivateTest is the honest number."""
    return {
        "data": "FER-2013",
        "data_sha256": record["data_sha256"],
        "epoch": record["epoch"],
        "public": {key: value for key, value in public.as_dict().items() if key != "confusion"},
        "private": {key: value for key, value in private.as_dict().items() if key != "confusion"},
    }


def npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
