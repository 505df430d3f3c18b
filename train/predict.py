"""Images -> logits, through a torch network, an exported model or a built engine. All take what `to_batch` makes.

`open_network` opens any, so that what measures need not know which it was given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from engines.base import Batch
from engines.cache import Cache
from engines.errors import ModelInvalid
from engines.manifest import MANIFEST_FILE
from engines.preprocess import to_batch
from engines.spec import MODEL_FILE, ModelSpec, sha256_of
from engines.stale import opened
from train.checkpoint import build_model, read_checkpoint
from train.spec import draft_spec

BATCH = 128  # images in memory at once
ONNX_BATCH = 16

Logits = NDArray[np.float32]  # (N, labels)
Predict = Callable[[NDArray[np.uint8]], Logits]  # (N, H, W) luma -> logits


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """An emotion network that can be asked, whatever runs it."""

    spec: ModelSpec
    predict: Predict
    temperature: float | None  # an exported model's own; a checkpoint has none yet


def open_network(target: Path) -> Network:
    """The network in a checkpoint (a file), an exported model or a built engine (folders).

    Raises CheckpointInvalid or ModelInvalid when it is no emotion network of ours, EngineMismatch for a stale engine.
    """
    if not target.is_dir():
        checkpoint = read_checkpoint(target)
        model, draft = build_model(checkpoint), draft_spec(checkpoint.recipe)
        return Network(draft, lambda images: predict_torch(model, images, draft), None)
    spec, infer = open_engine(target) if (target / MANIFEST_FILE).is_file() else open_model(target)
    if spec.task != "emotion" or spec.color != "luma":
        raise ModelInvalid(f"{target} is a {spec.task} model on {spec.color}; name an emotion network on luma")
    return Network(spec, lambda images: predict_onnx(infer, images, spec), spec.temperature)


def flip_averaged(predict: Predict) -> Predict:
    """A `predict` that answers the mean of the logits of each picture and of its mirror image."""
    return lambda images: (predict(images) + predict(images[:, :, ::-1])) / np.float32(2)


def predict_torch(model: nn.Module, images: NDArray[np.uint8], spec: ModelSpec) -> Logits:
    """(N, H, W) uint8 -> logits, computed where the network lies. It is left in evaluation mode."""
    model.eval()
    device = next(model.parameters(), torch.empty(0)).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(to_batch(images[start : start + BATCH], spec))
            seen = batch.to(device).contiguous(memory_format=torch.channels_last)
            parts.append(model(seen).cpu().numpy())
    return np.concatenate(parts)


def predict_onnx(infer: Callable[[Batch], Logits], images: NDArray[np.uint8], spec: ModelSpec) -> Logits:
    """(N, H, W) uint8 -> logits, `ONNX_BATCH` at a time."""
    parts = [infer(to_batch(images[start : start + ONNX_BATCH], spec)) for start in range(0, len(images), ONNX_BATCH)]
    return np.concatenate(parts)


def open_model(folder: Path) -> tuple[ModelSpec, Callable[[Batch], Logits]]:
    """An exported model's spec, and batch -> logits on ONNX Runtime with one thread, as cameras run it.

    Raises ModelInvalid when the folder does not hold what its spec says.
    """
    spec = ModelSpec.read(folder)
    path = folder / MODEL_FILE
    if not path.is_file() or sha256_of(path) != spec.sha256:
        raise ModelInvalid(f"{path} is not the file that spec.json was written for; export the model again")
    return spec, onnx_infer(path)


def open_engine(folder: Path) -> tuple[ModelSpec, Callable[[Batch], Logits]]:
    """The spec of a built engine's model, and batch -> logits by the engine. Raises EngineMismatch."""
    engine, model = opened(Cache(folder.parent).at(folder))
    size, name = min(ONNX_BATCH, engine.max_batch), model.spec.outputs[0]

    def infer(batch: Batch) -> Logits:
        parts = [engine.infer(batch[start : start + size])[name] for start in range(0, len(batch), size)]
        return np.concatenate(parts)

    return model.spec, infer


def open_session(network: Path | bytes) -> onnxruntime.InferenceSession:
    """An ONNX file, or its content, on one CPU thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def onnx_infer(path: Path) -> Callable[[Batch], Logits]:
    """Batch -> logits of an ONNX file, on one CPU thread."""
    session = open_session(path)
    name = session.get_inputs()[0].name

    def infer(batch: Batch) -> Logits:
        logits: Logits = session.run(None, {name: batch})[0]
        return logits

    return infer
