"""Tiny networks that hold, between them and the shipped models, every operator that `train` exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines.spec import MODEL_FILE, ModelSpec
from engines.store import SHIPPED
from tests.engines.networks import LABELS, emotion_spec, write_model

SIDE = 16
OUTPUT = {"logits": ["batch", len(LABELS)]}
INPUT = ["batch", 1, SIDE, SIDE]
Write = Callable[[Path], ModelSpec]


def write_transformer(folder: Path) -> ModelSpec:
    """A spatial transformer as `train.models.deep_emotion` exports it: a network chooses where to look."""
    middles = (np.arange(SIDE, dtype=np.float32) * 2 + 1) / SIDE - 1
    rows, columns = np.meshgrid(middles, middles, indexing="ij")
    weights = {
        "local": _noise(6, 1, 3, 3),
        "ones": np.array([1] * 6, np.int64),
        "channel": np.array([1], np.int64),
        "last": np.array([-1], np.int64),
        "columns": columns[None],
        "rows": rows[None],
        "all": _noise(len(LABELS), 1, SIDE, SIDE),
    }
    letters = "abcdef"
    nodes = [
        helper.make_node("Conv", ["input", "local"], ["seen"]),
        helper.make_node("MaxPool", ["seen"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["pooled"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["transform"]),
        helper.make_node("Split", ["transform", "ones"], [f"{letter}_" for letter in letters], axis=1),
        *(helper.make_node("Squeeze", [f"{letter}_", "channel"], [letter]) for letter in letters),
        *_affine("x", "a", "b", "c"),
        *_affine("y", "d", "e", "f"),
        helper.make_node("Concat", ["x", "y"], ["grid"], axis=-1),
        helper.make_node(
            "GridSample", ["input", "grid"], ["warped"], mode="bilinear", padding_mode="zeros", align_corners=0
        ),
        helper.make_node("Conv", ["warped", "all"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["logits"]),
    ]
    return write_model(folder, emotion_spec(), nodes, weights, INPUT, OUTPUT)


def write_attention(folder: Path) -> ModelSpec:
    """Channels are weighed, then places, as in `train.models.residual_cbam`."""
    weights = {
        "stem": _noise(8, 1, 3, 3),
        "inner": _noise(8, 8, 1, 1),
        "shares": np.full((1, 8, 1, 1), 1 / 8, np.float32),
        "place": _noise(1, 2, 7, 7),
        "mix": _noise(len(LABELS), 8, 1, 1),
    }
    nodes = [
        helper.make_node("Constant", [], ["low"], value=numpy_helper.from_array(np.float32(0))),
        helper.make_node("Constant", [], ["high"], value=numpy_helper.from_array(np.float32(6))),
        helper.make_node("Identity", ["inner"], ["same"]),
        helper.make_node("Conv", ["input", "stem"], ["wide"], pads=[1] * 4),
        helper.make_node("Clip", ["wide", "low", "high"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[2, 3], keepdims=1),
        helper.make_node("ReduceMax", ["features"], ["most"], axes=[2, 3], keepdims=1),
        helper.make_node("Conv", ["mean", "inner"], ["of_mean"]),
        helper.make_node("Conv", ["most", "same"], ["of_most"]),
        helper.make_node("Add", ["of_mean", "of_most"], ["weight"]),
        helper.make_node("Sigmoid", ["weight"], ["channels"]),
        helper.make_node("Mul", ["features", "channels"], ["weighed"]),
        helper.make_node("Conv", ["weighed", "shares"], ["mean_of_channels"]),
        helper.make_node("ReduceMax", ["weighed"], ["most_of_channels"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean_of_channels", "most_of_channels"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "place"], ["place_weight"], pads=[3] * 4),
        helper.make_node("Sigmoid", ["place_weight"], ["places"]),
        helper.make_node("Mul", ["weighed", "places"], ["looked_at"]),
        helper.make_node("GlobalAveragePool", ["looked_at"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "mix"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["logits"]),
    ]
    return write_model(folder, emotion_spec(), nodes, weights, INPUT, OUTPUT)


def write_half(folder: Path) -> ModelSpec:
    """float16 between its ends, as `train export` makes it."""
    weights = {"all": _noise(len(LABELS), 1, SIDE, SIDE).astype(np.float16)}
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["half", "all"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["logits"], to=TensorProto.FLOAT),
    ]
    return write_model(folder, emotion_spec(precision="fp16"), nodes, weights, INPUT, OUTPUT)


def write_integers(folder: Path) -> ModelSpec:
    """A convolution between symmetric Q/DQ pairs, its weights with a step for each channel."""
    weights = {
        "step": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "weights": np.random.default_rng(0).integers(-64, 65, (4, 1, 3, 3)).astype(np.int8),
        "steps": np.full(4, 0.01, np.float32),
        "zeros": np.zeros(4, np.int8),
        "mix": _noise(len(LABELS), 4, 1, 1),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "step", "zero"], ["pixels"]),
        helper.make_node("DequantizeLinear", ["pixels", "step", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["weights", "steps", "zeros"], ["kernel"], axis=0),
        helper.make_node("Conv", ["values", "kernel"], ["seen"]),
        helper.make_node("GlobalAveragePool", ["seen"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "mix"], ["mixed"]),
        helper.make_node("Flatten", ["mixed"], ["logits"]),
    ]
    return write_model(folder, emotion_spec(precision="int8"), nodes, weights, INPUT, OUTPUT)


NETWORKS: tuple[Write, ...] = (write_transformer, write_attention, write_half, write_integers)


def tried_operators(folder: Path) -> set[str]:
    """The operators that building NETWORKS and the shipped models tries. Writes into `folder`."""
    for write in NETWORKS:
        write(folder / write.__name__)
    files = [folder / write.__name__ / MODEL_FILE for write in NETWORKS] + sorted(SHIPPED.glob(f"*/{MODEL_FILE}"))
    return {operator for file in files for operator in operators(onnx.load(file))}


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def _affine(name: str, first: str, second: str, shift: str) -> list[NodeProto]:
    """first * columns + second * rows + shift, with one more axis."""
    return [
        helper.make_node("Mul", [first, "columns"], [f"{name}_by_column"]),
        helper.make_node("Mul", [second, "rows"], [f"{name}_by_row"]),
        helper.make_node("Add", [f"{name}_by_column", f"{name}_by_row"], [f"{name}_turned"]),
        helper.make_node("Add", [f"{name}_turned", shift], [f"{name}_shifted"]),
        helper.make_node("Unsqueeze", [f"{name}_shifted", "last"], [name]),
    ]


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)
