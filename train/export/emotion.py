"""Export a checkpoint as three model folders, in fp32, fp16 and int8: model.onnx, spec.json, card.md, parity.npz each.

The folders appear only when each ONNX file, run as cameras run it, answers as the checkpoint does (MAX_DIFFERENCE in
probabilities, MAX_LOSS in accuracy), and answers for one face the same bits whatever else is in the batch. Otherwise
ExportRefused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from engines.base import Batch
from engines.load import load_engine
from engines.preprocess import to_batch
from engines.spec import MODEL_FILE, ModelSpec, Source, sha256_of
from engines.store import find_model
from train.checkpoint import build_model, read_checkpoint
from train.data import Fer2013
from train.errors import ExportRefused
from train.evaluate import Collection, collect, measure_on
from train.export.card import write_card
from train.export.float16 import to_float16
from train.export.int8 import to_int8
from train.export.model_folder import PARITY_FILE, model_folders, npz
from train.export.onnx_file import write_onnx
from train.export.parity import parity_inputs
from train.export.ranges import calibration_images
from train.export.worth import Worth, measure
from train.predict import Logits, onnx_infer, predict_torch
from train.spec import INPUT_NAME, OUTPUT_NAME, draft_spec

PRECISIONS = ("fp32", "fp16", "int8")
# Of any probability. fp16: computed in float16 throughout, as torch can, the shipped network came to 4.6e-3. int8 moves
# single probabilities by tenths but few answers, so what counts there is MAX_LOSS; 1 refuses what is no number.
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 1.0}
MAX_LOSS = 0.01  # of accuracy on PublicTest, against fp32
PROVENANCE = ("data_sha256", "epoch", "commit", "torch")  # what a card tells out of a checkpoint's record
BATCHES = range(1, 33)  # over which an answer must not change by a bit
CALIBRATION_BATCH = 32  # images in memory at once, with all that a network makes of them


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """One of the models that came out, for the command line to tell."""

    folder: Path
    spec: ModelSpec
    worth: Worth

    def facts(self) -> dict[str, Any]:
        """Plain values for JSON: what to know before using the file."""
        return {
            "folder": str(self.folder),
            "sha256": self.spec.sha256,
            "bytes": (self.folder / MODEL_FILE).stat().st_size,
            "parity_difference": self.worth.difference,
            "mean_difference": self.worth.mean_difference,
            "public_accuracy": round(self.worth.public.accuracy, 4),
            "private_accuracy": round(self.worth.private.accuracy, 4),
        }


def export(checkpoint_path: Path, folder: Path, data: Fer2013, elsewhere: Sequence[str] = ()) -> list[Exported]:
    """Write the model folders of a checkpoint, one for each of PRECISIONS: all of them or nothing.

    The cards also tell what the network is worth on the data sets `elsewhere`, as `train.data.load` knows them.
    """
    checkpoint = read_checkpoint(checkpoint_path)
    check_record(checkpoint.record, data)
    model, draft = build_model(checkpoint), draft_spec(checkpoint.recipe)
    collections = collected(elsewhere, draft)
    inputs = parity_inputs(draft)
    logits = predict_torch(model, inputs, draft)
    drafts = [named(draft, precision) for precision in PRECISIONS]
    folders = [sibling(folder, precision) for precision in PRECISIONS]
    with model_folders(folders) as rooms:
        write_networks(model, draft, data.training.images, rooms)
        worths = [measure(onnx_infer(room / MODEL_FILE), draft, data, inputs, logits) for room in rooms]
        for own, room, worth in zip(drafts, rooms, worths, strict=True):
            check_worth(own.precision, worth, worths[0])
            check_batch_invariance(onnx_infer(room / MODEL_FILE), inputs, own)
        source = Source(
            license="Apache-2.0",
            checkpoint_sha256=sha256_of(checkpoint_path),
            recipe=checkpoint.recipe.name,
            commit=checkpoint.record["commit"],
        )
        made = []
        for own, place, room, worth in zip(drafts, folders, rooms, worths, strict=True):
            spec = finished_spec(own, room, source, worth, checkpoint.record)
            spec.write(room)
            others = [measure_on([room], collection, data.public) for collection in collections]
            write_card(room, spec, checkpoint, len(data.training), (worth, worths[0]), others)
            (room / PARITY_FILE).write_bytes(npz(inputs=inputs, logits=logits))
            made.append(Exported(place, spec, worth))
    return made


def named(draft: ModelSpec, precision: str) -> ModelSpec:
    """The spec as that of a precision, which is a model of its own: `emotion`, `emotion_fp16`."""
    name = draft.name if precision == "fp32" else f"{draft.name}_{precision}"
    return draft.model_copy(update={"name": name, "precision": precision})


def sibling(folder: Path, precision: str) -> Path:
    """Where the model of a precision goes: fp32 into the folder itself, the others beside it."""
    folder = folder.absolute()  # "." has a name then
    return folder if precision == "fp32" else folder.with_name(f"{folder.name}_{precision}")


def write_networks(model: nn.Module, spec: ModelSpec, training: NDArray[np.uint8], rooms: Sequence[Path]) -> None:
    """The network's model.onnx in each of PRECISIONS."""
    batch = {0: "batch"}
    example = torch.zeros(1, *spec.input_shape)
    paths = [room / MODEL_FILE for room in rooms]
    write_onnx(model, example, INPUT_NAME, [OUTPUT_NAME], {INPUT_NAME: batch, OUTPUT_NAME: batch}, paths[0])
    images = calibration_images(training)
    batches = [
        to_batch(images[start : start + CALIBRATION_BATCH], spec) for start in range(0, len(images), CALIBRATION_BATCH)
    ]
    network = onnx.load(paths[0])
    for path, narrowed in zip(paths[1:], (to_float16(network, batches), to_int8(network, batches)), strict=True):
        path.write_bytes(narrowed.SerializeToString())


def finished_spec(draft: ModelSpec, room: Path, source: Source, worth: Worth, record: dict[str, Any]) -> ModelSpec:
    """The draft with all that only the exported file has."""
    return draft.model_copy(
        update={
            "temperature": round(worth.public.temperature, 4),
            "sha256": sha256_of(room / MODEL_FILE),
            "source": source,
            "metrics": _metrics(worth, record),
        }
    )


def check_record(record: dict[str, Any], data: Fer2013) -> None:
    """Raise ExportRefused unless the card can tell where a network comes from, and that it saw no test image.

    Only data of the same digest has the same test images; of other data some may have been trained on.
    """
    if missing := [name for name in PROVENANCE if name not in record]:
        raise ExportRefused(f"the checkpoint does not say its {missing[0]}; train again with this version")
    if record["data_sha256"] != data.sha256:
        raise ExportRefused("the checkpoint was trained on other data than it would be measured on; name its own data")


def collected(names: Sequence[str], spec: ModelSpec) -> list[Collection]:
    """These data sets, cut out with the detector that ships."""
    if not names:
        return []
    detector = load_engine(find_model("face", download=False))
    return [collect(name, detector, spec) for name in names]


def check_worth(precision: str, worth: Worth, fp32: Worth) -> None:
    """Raise ExportRefused where a file's probabilities or its accuracy are too far from what they should be."""
    most = MAX_DIFFERENCE[precision]
    if not worth.difference <= most:  # also catches NaN
        raise ExportRefused(
            f"the {precision} model's probabilities differ from the checkpoint's by {worth.difference:.2e}, "
            f"more than {most:.0e}; nothing was written"
        )
    loss = fp32.public.accuracy - worth.public.accuracy
    if loss > MAX_LOSS:
        raise ExportRefused(
            f"in {precision} the network is right on {worth.public.accuracy:.2%} of PublicTest, in fp32 on "
            f"{fp32.public.accuracy:.2%}, which is more than {MAX_LOSS:.1%} lost; nothing was written"
        )


def check_batch_invariance(infer: Callable[[Batch], Logits], images: NDArray[np.uint8], spec: ModelSpec) -> None:
    """Raise ExportRefused unless each face's answer is the same bits alone and in a batch of any of BATCHES."""
    batch = to_batch(images[: max(BATCHES)], spec)
    alone = np.concatenate([infer(batch[row : row + 1]) for row in range(len(batch))])
    for size in BATCHES:
        if infer(batch[:size]).tobytes() != alone[:size].tobytes():
            raise ExportRefused(
                f"in a batch of {size} a face gets another answer than alone in {spec.precision}, so cameras would "
                "influence each other; look for a matrix product or a mean in the graph"
            )


def _metrics(worth: Worth, record: dict[str, Any]) -> dict[str, Any]:
    """What spec.json tells of the model's worth. PublicTest was chosen on, so PrivateTest is the honest number."""
    return {
        "data": "FER-2013",
        "data_sha256": record["data_sha256"],
        "epoch": record["epoch"],
        "parity": {"largest": float(f"{worth.difference:.2g}"), "mean": float(f"{worth.mean_difference:.2g}")},
        "public": {key: value for key, value in worth.public.as_dict().items() if key != "confusion"},
        "private": {key: value for key, value in worth.private.as_dict().items() if key != "confusion"},
    }
