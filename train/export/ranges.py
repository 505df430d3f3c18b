"""What the tensors inside an ONNX network become on faces: what a narrower kind of number has to hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.base import Batch
from train.predict import open_session

IMAGES = 512  # FER-2013 training images that are looked at
SEED = 20261121
CUT_OFFS = np.arange(0.2, 1.01, 0.1)  # of a tensor's largest value: where a narrower number may end
THINNED = 7  # one value in so many decides where; no side of a picture is a multiple, so all columns are seen

Values = NDArray[np.float32]


def calibration_images(training: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W) -> IMAGES of them, or all where there are fewer: the same ones at every call."""
    chosen = np.random.default_rng(SEED).permutation(len(training))[:IMAGES]
    return training[np.sort(chosen)]


def peaks(network: onnx.ModelProto, tensors: Collection[str], batches: Iterable[Batch]) -> dict[str, float]:
    """The largest absolute value of each of the tensors over all batches."""
    largest = dict.fromkeys(sorted(tensors), 0.0)
    look = watch(network, tensors)
    for batch in batches:
        for name, values in look(batch).items():
            largest[name] = float(np.maximum(largest[name], np.abs(values).max()))  # a NaN stays one
    return largest


def best_steps(
    network: onnx.ModelProto, tensors: Collection[str], batches: Sequence[Batch], count: int
) -> dict[str, float]:
    """The step of each tensor at which `count` steps to either side of 0 err least, by the mean square.

    A few large values cost less when they are cut off than all others do when their steps are as wide as those need.
    """
    largest = peaks(network, tensors, batches)
    errors = {name: np.zeros(len(CUT_OFFS)) for name in largest}
    look = watch(network, tensors)
    for batch in batches:
        for name, values in look(batch).items():
            thin = values.ravel()[::THINNED]
            for number, step in enumerate(CUT_OFFS * (largest[name] or 1.0) / count):
                rounded = np.clip(np.rint(thin / step), -count, count) * step
                errors[name][number] += float(np.square(thin - rounded, dtype=np.float64).sum())
    return {
        name: float(CUT_OFFS[int(errors[name].argmin())]) * (largest[name] or 1.0) / count for name in sorted(largest)
    }


def channel_means(network: onnx.ModelProto, tensors: Sequence[str], batches: Iterable[Batch]) -> dict[str, Values]:
    """(C,) the mean of each channel of each (B, C, H, W) tensor over all batches."""
    look, totals, images = watch(network, tensors), dict[str, Any](), 0
    for batch in batches:
        images += len(batch)
        for name, values in look(batch).items():
            totals[name] = totals.get(name, 0.0) + values.mean(axis=(2, 3), dtype=np.float64).sum(axis=0)
    return {name: (total / images).astype(np.float32) for name, total in totals.items()}


def watch(network: onnx.ModelProto, tensors: Collection[str]) -> Callable[[Batch], dict[str, Values]]:
    """A batch -> the values of some tensors inside the network, by name."""
    names = sorted(tensors)
    watched = onnx.ModelProto()
    watched.CopyFrom(network)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    leave_out_unread(watched.graph)
    session = open_session(watched.SerializeToString())
    input_name = session.get_inputs()[0].name
    return lambda batch: dict(zip(names, session.run(names, {input_name: batch}), strict=True))


def leave_out_unread(graph: onnx.GraphProto) -> None:
    """Take away the nodes and weights that nothing reads any more."""
    read = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if read.intersection(node.output):
            nodes.append(node)
            read.update(node.input)
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(tensors)
