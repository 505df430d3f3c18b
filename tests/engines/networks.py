"""Tiny model folders, written by the test that uses them, whose answers anyone can compute by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.backends.fake import LOGIT_SPAN
from engines.spec import MODEL_FILE, PARITY_FILE, SCHEMA, ModelSpec, sha256_of
from engines.store import Model

OPSET, IR_VERSION = 17, 8
STRIDES = (8, 16, 32)
LABELS = ("dark", "light", "even")
TEMPLATE = ((5.0, 6.0), (11.0, 6.0), (8.0, 9.0), (6.0, 12.0), (10.0, 12.0))  # pixels of a 16x16 crop
LOGIT_WEIGHTS, LOGIT_BIAS = (-1.0, 1.0, 0.25), (0.0, 0.0, 0.5)  # of the mean of the input
FACE_SIZE = 2.0  # a box of the tiny detector, in strides
CROPS = 6  # parity inputs of the tiny emotion networks
KPS = (0.25, 0.25, 0.75, 0.25, 0.5, 0.5, 0.25, 0.75, 0.75, 0.75)  # its landmarks, in strides from the cell's corner


def emotion_spec(**other: Any) -> ModelSpec:
    """Three labels of a 16x16 luma crop, scaled to -1..1."""
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "name": "tiny-emotion",
        "task": "emotion",
        "precision": "fp32",
        "input_shape": (1, 16, 16),
        "stride": 1,
        "color": "luma",
        "mean": (0.5,),
        "std": (0.5,),
        "outputs": ("logits",),
        "labels": LABELS,
        "template": TEMPLATE,
        "sha256": "0" * 64,
    }
    return ModelSpec.model_validate({**fields, **other})


def face_spec(**other: Any) -> ModelSpec:
    """Fed and read as YuNet is."""
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "name": "tiny-face",
        "task": "face",
        "precision": "fp32",
        "input_shape": (3, 0, 0),
        "stride": 32,
        "color": "bgr",
        "mean": (0.0,) * 3,
        "std": (1 / 255,) * 3,
        "outputs": [f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES],
        "decoding": "yunet",
        "score_threshold": 0.7,
        "nms_threshold": 0.3,
        "sha256": "0" * 64,
    }
    return ModelSpec.model_validate({**fields, **other})


def write_emotion(folder: Path, batch: int | str = "batch", **other: Any) -> ModelSpec:
    """Logits = the crop's mean times LOGIT_WEIGHTS plus LOGIT_BIAS, through a 3x3 convolution that changes nothing."""
    blur = np.zeros((1, 1, 3, 3), np.float32)
    blur[0, 0, 1, 1] = 1.0
    weights = {
        "keep": blur,
        "mix": np.array(LOGIT_WEIGHTS, np.float32).reshape(3, 1, 1, 1),
        "bias": np.array(LOGIT_BIAS, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "keep"], ["kept"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["kept"], ["mean"]),
        helper.make_node("Conv", ["mean", "mix", "bias"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["logits"]),
    ]
    shape = [batch, 1, 16, 16]
    return write_model(folder, emotion_spec(**other), nodes, weights, shape, {"logits": [batch, len(LABELS)]})


def write_face(folder: Path, **other: Any) -> ModelSpec:
    """YuNet's outputs: cls = obj = the mean brightness of a cell, 0..1, so that this is also the score.

    Each box is FACE_SIZE cells wide around its cell, each landmark at KPS in it.
    """
    nodes, weights, outputs = [], {}, {}
    for stride in STRIDES:
        mean = np.full((1, 3, stride, stride), 1 / (3 * 255 * stride * stride), np.float32)
        size = np.log(FACE_SIZE)
        for kind, weight, bias in (
            ("cls", mean, (0.0,)),
            ("obj", mean, (0.0,)),
            ("bbox", np.repeat(mean * 0, 4, axis=0), (0.5, 0.5, size, size)),
            ("kps", np.repeat(mean * 0, 10, axis=0), KPS),
        ):
            name, columns = f"{kind}_{stride}", len(bias)
            weights[f"{name}_w"], weights[f"{name}_b"] = weight, np.array(bias, np.float32)
            weights[f"{name}_shape"] = np.array([0, -1, columns], np.int64)
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"{name}_w", f"{name}_b"], [f"{name}_map"], strides=[stride, stride]
                ),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_rows"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_rows", f"{name}_shape"], [name]),
            ]
            outputs[name] = ["batch", f"cells_{stride}", columns]
    return write_model(folder, face_spec(**other), nodes, weights, ["batch", 3, "height", "width"], outputs)


def write_strips(folder: Path, **other: Any) -> ModelSpec:
    """The network of the fake backend's arithmetic, so that two backends give the same answers: a strip for a label."""
    size, labels = 16, len(LABELS)
    strips = np.zeros((labels, 1, size, size), np.float32)
    for strip, rows in zip(strips, np.array_split(np.arange(size), labels), strict=True):
        strip[:, rows] = LOGIT_SPAN / 2 / (len(rows) * size)  # the input is -1..1, brightness 0..1
    weights = {"strips": strips, "middle": np.full(labels, LOGIT_SPAN / 2, np.float32)}
    nodes = [
        helper.make_node("Conv", ["input", "strips", "middle"], ["map"]),
        helper.make_node("Flatten", ["map"], ["logits"]),
    ]
    shape, outputs = ["batch", 1, size, size], {"logits": ["batch", labels]}
    return write_model(folder, emotion_spec(name="tiny-strips", **other), nodes, weights, shape, outputs)


def emotion_model(folder: Path, **other: Any) -> Model:
    """`write_emotion` with its parity inputs: crops from dark to light, whose answers are known by hand."""
    spec = write_emotion(folder, **other)
    crops = _crops()
    means = (crops.mean(axis=(1, 2)) / 255 - spec.mean[0]) / spec.std[0]
    return _with_parity(folder, spec, crops, logits=np.outer(means, LOGIT_WEIGHTS) + LOGIT_BIAS)


def strips_model(folder: Path, **other: Any) -> Model:
    """`write_strips` with its parity inputs."""
    spec = write_strips(folder, **other)
    crops = _crops()
    strips = np.array_split(crops / 255, len(LABELS), axis=1)
    return _with_parity(folder, spec, crops, logits=np.stack([s.mean(axis=(1, 2)) for s in strips], 1) * LOGIT_SPAN)


def face_model(folder: Path, **other: Any) -> Model:
    """`write_face` with its parity inputs: two pictures with light squares, which are its faces, and one with none."""
    spec = write_face(folder, **other)
    pictures = np.zeros((3, 64, 96, 3), np.uint8)
    pictures[0, 32:64, 32:64] = 255
    pictures[1, 8:16, 80:88] = 230
    pictures[1, 16:32, 0:16] = 200
    return _with_parity(folder, spec, pictures, **face_answers(pictures))


def face_answers(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """What `write_face` says of (N, H, W, 3) uint8."""
    count, height, width, _ = pictures.shape
    answers: dict[str, np.ndarray] = {}
    for stride in STRIDES:
        cells = pictures.reshape(count, height // stride, stride, width // stride, stride, 3) / 255
        scores = cells.mean(axis=(2, 4, 5)).reshape(count, -1, 1)
        answers[f"cls_{stride}"] = answers[f"obj_{stride}"] = scores
        for kind, row in (("bbox", (0.5, 0.5, np.log(FACE_SIZE), np.log(FACE_SIZE))), ("kps", KPS)):
            answers[f"{kind}_{stride}"] = np.tile(np.array(row), (count, scores.shape[1], 1))
    return answers


def write_parity(folder: Path, **arrays: np.ndarray) -> Path:
    """`parity.npz` in `folder`, with whatever a test wants to stand in it."""
    np.savez_compressed(folder / PARITY_FILE, **arrays)  # type: ignore[arg-type]
    return folder / PARITY_FILE


def write_model(
    folder: Path,
    spec: ModelSpec,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    input_shape: Sequence[int | str],
    outputs: dict[str, Sequence[int | str]],
    input_type: int = TensorProto.FLOAT,
) -> ModelSpec:
    """`model.onnx` and `spec.json` in `folder`; the spec, now with the file's hash."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        list(nodes),
        spec.name,
        [helper.make_tensor_value_info("input", input_type, list(input_shape))],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
            for name, shape in sorted(outputs.items(), key=lambda item: _place(spec, item[0]))
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString())
    signed = spec.model_copy(update={"sha256": sha256_of(folder / MODEL_FILE)})
    signed.write(folder)
    return signed


def _place(spec: ModelSpec, output: str) -> int:
    return spec.outputs.index(output) if output in spec.outputs else len(spec.outputs)


def _crops() -> np.ndarray:
    """(CROPS, 16, 16) uint8, from dark to light, no two rows of pixels alike."""
    levels = np.linspace(0, 200, CROPS)[:, None, None]
    texture = np.random.default_rng(3).integers(0, 56, (CROPS, 16, 16))
    crops: np.ndarray = (levels + texture).astype(np.uint8)
    return crops


def _with_parity(folder: Path, spec: ModelSpec, inputs: np.ndarray, **answers: np.ndarray) -> Model:
    write_parity(folder, inputs=inputs, **{name: values.astype(np.float32) for name, values in answers.items()})
    return Model(spec, folder / MODEL_FILE)
