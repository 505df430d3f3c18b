"""Export a detector's checkpoint as a model folder: model.onnx, spec.json, card.md, parity.npz.

The folder appears only when the ONNX file answers as the checkpoint does (MAX_DIFFERENCE in any output), at several
sizes, and answers for one picture the same bits whatever else is in the batch. Otherwise ExportRefused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.base import Batch, Engine, Outputs
from engines.load import load_engine
from engines.preprocess import to_batch
from engines.spec import MODEL_FILE, ModelSpec, Source, sha256_of
from train.checkpoint import Checkpoint, load_weights, read_checkpoint
from train.detector.card import write_detector_card
from train.detector.corpus import Corpus
from train.detector.evaluate import Report
from train.detector.fit import held_out_samples, tally
from train.detector.network import OUTPUTS, Exported, FaceNet
from train.detector.parity import parity_pictures
from train.detector.recipe import COLORS, DetectorRecipe, detector_recipe_from
from train.detector.spec import INPUT_NAME, draft_spec
from train.errors import CheckpointInvalid, ExportRefused, RecipeInvalid
from train.export.model_folder import PARITY_FILE, model_folder, npz
from train.export.onnx_file import write_onnx

MAX_DIFFERENCE = 1e-3  # of any output: probabilities, and offsets in strides
SIZES = ((64, 64), (96, 160), (352, 640))  # height, width
BATCHES = (2, 3, 8)  # in which an answer must not differ by a bit from the one alone
THRESHOLD_PICTURES = 1000  # mosaics that the threshold is chosen on: the last percents of precision are few mistakes
# On the held-out mosaics; it decides the threshold. A face that is not there costs more than one that is found late.
WANTED_PRECISION = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What came out, for the command line to tell."""

    spec: ModelSpec
    parameters: int
    difference: float  # largest between the ONNX file's outputs and the checkpoint's
    report: Report


def export(
    checkpoint_path: Path,
    folder: Path,
    corpus: Corpus,
    measure: Callable[[Engine], Report],
) -> Made:
    """Write the model folder of a checkpoint, all of it or nothing. `measure` looks at what will be shipped."""
    checkpoint = read_checkpoint(checkpoint_path)
    recipe, network = build_detector(checkpoint)
    draft = draft_spec(recipe)
    if checkpoint.record["data_sha256"] != corpus.sha256():
        raise CheckpointInvalid("the checkpoint was trained on another corpus; its threshold is chosen on its own")
    with model_folder(folder) as room:
        write_detector_onnx(network, draft, room / MODEL_FILE)
        held_out = tally(network, held_out_samples(recipe, corpus, THRESHOLD_PICTURES), recipe)
        threshold = round(held_out.threshold_for(WANTED_PRECISION), 2)
        if threshold >= 1:
            raise ExportRefused(
                f"no score of this network is right in {WANTED_PRECISION:.0%} of the held-out cases; train it longer"
            )
        draft = draft.model_copy(
            update={
                "score_threshold": threshold,
                "sha256": sha256_of(room / MODEL_FILE),
                "source": Source(
                    license="Apache-2.0",
                    checkpoint_sha256=sha256_of(checkpoint_path),
                    recipe=recipe.name,
                    commit=checkpoint.record["commit"],
                ),
            }
        )
        draft.write(room)
        engine = load_engine(room)
        difference = check_parity(engine, network)
        check_batch_invariance(engine)
        report = measure(engine)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        spec = draft.model_copy(update={"metrics": {"parameters": parameters, **report.metrics()}})
        spec.write(room)
        write_detector_card(room, spec, checkpoint, corpus, report)
        inputs = parity_pictures(spec.color)
        answers = predict(network, to_batch(list(inputs), spec))
        (room / PARITY_FILE).write_bytes(npz(inputs=inputs, **answers))
        engine.close()
    return Made(spec, parameters, difference, report)


def build_detector(checkpoint: Checkpoint) -> tuple[DetectorRecipe, FaceNet]:
    """The trained network, in evaluation mode. Raises CheckpointInvalid when its weights do not fit its recipe."""
    try:
        recipe = detector_recipe_from(checkpoint.record["recipe"])
    except (KeyError, RecipeInvalid) as error:
        raise CheckpointInvalid(f"this is no checkpoint of a detector ({error}); train again") from None
    network = FaceNet(COLORS[recipe.color])
    load_weights(network, checkpoint)
    return recipe, network


def write_detector_onnx(network: FaceNet, spec: ModelSpec, path: Path) -> None:
    """The network with batch, height and width free."""
    free = {INPUT_NAME: {0: "batch", 2: "height", 3: "width"}, **{name: {0: "batch", 1: "cells"} for name in OUTPUTS}}
    example = torch.zeros(1, spec.input_shape[0], spec.stride * 2, spec.stride * 2)
    write_onnx(Exported(network).eval(), example, INPUT_NAME, OUTPUTS, free, path)


def predict(network: nn.Module, batch: Batch) -> Outputs:
    """What the checkpoint answers, by the names of the outputs."""
    with torch.inference_mode():
        outputs = Exported(network).eval()(torch.from_numpy(batch))  # type: ignore[arg-type]
    return {name: output.numpy() for name, output in zip(OUTPUTS, outputs, strict=True)}


def check_parity(engine: Engine, network: nn.Module) -> float:
    """The largest difference between the file's outputs and the checkpoint's at several sizes, if it is small."""
    random = np.random.default_rng(0)
    largest = 0.0
    for height, width in SIZES:
        batch = to_batch([_noise(random, height, width, engine.spec)], engine.spec)
        found, wanted = engine.infer(batch), predict(network, batch)
        largest = max([largest, *[float(np.abs(found[name] - wanted[name]).max()) for name in OUTPUTS]])
    if not largest <= MAX_DIFFERENCE:  # also catches NaN
        raise ExportRefused(
            f"the ONNX model's outputs differ from the checkpoint's by {largest:.2e}, more than {MAX_DIFFERENCE:.0e}; "
            "nothing was written"
        )
    return largest


def check_batch_invariance(engine: Engine) -> None:
    """Raise ExportRefused unless a picture's answer is the same bits alone and in a batch."""
    random = np.random.default_rng(1)
    batch = to_batch([_noise(random, *SIZES[1], engine.spec) for _ in range(max(BATCHES))], engine.spec)
    alone = [engine.infer(batch[row : row + 1]) for row in range(len(batch))]
    for size in BATCHES:
        together = engine.infer(batch[:size])
        if any(
            together[name][row].tobytes() != alone[row][name][0].tobytes() for name in OUTPUTS for row in range(size)
        ):
            raise ExportRefused(
                f"in a batch of {size} a picture gets another answer than alone, so cameras would influence each other"
            )


def _noise(random: np.random.Generator, height: int, width: int, spec: ModelSpec) -> NDArray[np.uint8]:
    shape = (height, width) if spec.color == "luma" else (height, width, 3)
    return random.integers(0, 256, shape, dtype=np.uint8)
