"""An ONNX network in float32 -> the same with its large convolutions in int8, told by QuantizeLinear/DequantizeLinear.

One file has to suit three engines, and each rule below is one engine's:
- TensorRT takes symmetric int8 only (zero point 0), for the values as for the weights, and no integer biases. So biases
  stay float32; the others make integers of them by themselves.
- A weight uses 7 bits: on x86 without VNNI two products are added in 16 bits, and with all 8 bits they overflow.
  MobileNetV1 then fell from 64 to 56 % on PublicTest. With 7 bits every processor computes the same integers.
  (ONNX Runtime calls it `reduce_range`, OpenVINO's NNCF `overflow_fix`.)
- ONNX Runtime computes a convolution in integers only if a pair of Quantize and Dequantize stands before and behind it,
  and each pair has one reader alone. Its own quantiser shares pairs, and squeeze-and-excitation then ran 1.8 times
  *slower* than in float32; as it is written here, 0.7 times as long.

What stays in float32 has few channels or one place: the first layer (it cost the most accuracy), the small convolutions
inside attentions, the classifier. They are a few percent of the work.

Rounding moves the mean of what a convolution answers, and the next layers add that up. So each bias is set right for
it, one convolution after the other, from the first to the last: Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", https://arxiv.org/abs/1906.04721, section 4.2, with data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from engines.base import Batch
from train.errors import ExportRefused
from train.export.ranges import best_steps, channel_means, leave_out_unread

Array = NDArray[np.generic]
MIN_CHANNELS = 8  # of what a convolution reads and writes
VALUE_STEPS, WEIGHT_STEPS = 127, 64  # from 0 to the largest
MAX_BIAS_STEPS = 2.0**30  # of a bias in int32, with room to add products to it
ACTIVATIONS = ("Relu", "Clip")


def to_int8(network: onnx.ModelProto, batches: Sequence[Batch]) -> onnx.ModelProto:
    """A copy in Q/DQ form, whose steps and biases suit `batches` best. The same arguments give the same bytes.

    Raises ExportRefused for a network so narrow that all of it would stay in float32.
    """
    made = onnx.shape_inference.infer_shapes(network)
    graph = made.graph
    _pool_means(graph)
    constants = _constants(graph)
    chosen = _worthwhile(graph, constants)
    if not chosen:
        raise ExportRefused(
            f"no convolution reads and writes {MIN_CHANNELS} channels or more, so an int8 model would be none; make "
            "the network wider"
        )
    _put_biases_behind(graph, chosen, constants)
    leave_out_unread(graph)
    behind = _measured_behind(graph, chosen)
    of_interest = {node.input[0] for node in graph.node if node.name in chosen} | set(behind.values())
    scales = best_steps(made, of_interest, batches, VALUE_STEPS)
    reference = onnx.ModelProto()
    reference.CopyFrom(made)
    writer = _Writer()
    for node in graph.node:
        if node.name in chosen:
            writer.convolution(node, constants, scales[node.input[0]], scales[behind[node.name]])
        else:
            writer.nodes.append(node)
    tensors = [*graph.initializer, *writer.tensors]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend(tensors)
    leave_out_unread(graph)
    _correct_biases(made, reference, [node for node in reference.graph.node if node.name in chosen], batches)
    onnx.checker.check_model(made, full_check=True)
    return made


def _correct_biases(
    made: onnx.ModelProto, reference: onnx.ModelProto, convolutions: Sequence[NodeProto], batches: Sequence[Batch]
) -> None:
    """Move each bias by what rounding took from the mean of its channel, all convolutions before it set right.

    What the convolution itself answers is compared: what is cut off behind it is mostly what its activation cuts off
    too. The network runs as far as each convolution, once for each.
    """
    wanted = channel_means(reference, [node.output[0] for node in convolutions], batches)
    tensors = {tensor.name: tensor for tensor in made.graph.initializer}
    for node in convolutions:
        came = channel_means(made, [f"{node.name}/output"], batches)[f"{node.name}/output"]
        bias = tensors[f"{node.name}/bias_corrected"]
        moved = numpy_helper.to_array(bias) + wanted[node.output[0]] - came
        bias.CopyFrom(numpy_helper.from_array(moved, bias.name))


class _Writer:
    """The nodes and tensors of the new graph, in order."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = [numpy_helper.from_array(np.zeros((), np.int8), "zero_point")]

    def convolution(self, node: NodeProto, constants: dict[str, Array], before: float, behind: float) -> None:
        """A convolution in int8; `before` and `behind` are the steps of what it reads and writes."""
        name, weights = node.name, constants[node.input[1]]
        bias = constants[node.input[2]] if len(node.input) > 2 else np.zeros(len(weights), np.float32)
        steps = _weight_steps(weights, bias, before)
        column = steps.reshape(-1, *[1] * (weights.ndim - 1))
        rounded = np.clip(np.rint(weights / column), -WEIGHT_STEPS, WEIGHT_STEPS).astype(np.int8)
        self._pair(node.input[0], f"{name}/input", before)
        inputs = [
            self._tensor(f"{name}/weight_quantized", rounded),
            self._tensor(f"{name}/weight_scale", steps),
            self._tensor(f"{name}/weight_zero_point", np.zeros(len(weights), np.int8)),
        ]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/weight"], f"{name}/weight", axis=0))
        made = NodeProto()
        made.CopyFrom(node)
        made.input[:] = [f"{name}/input", f"{name}/weight", self._tensor(f"{name}/bias_corrected", bias)]
        made.output[:] = [f"{name}/output"]
        self.nodes.append(made)
        self._pair(f"{name}/output", node.output[0], behind)

    def _pair(self, read: str, written: str, step: float) -> None:
        settings = [self._tensor(f"{written}_scale", np.array(step, np.float32)), "zero_point"]
        quantized = f"{written}_quantized"
        self.nodes += [
            helper.make_node("QuantizeLinear", [read, *settings], [quantized], f"{written}/quantize"),
            helper.make_node("DequantizeLinear", [quantized, *settings], [written], f"{written}/dequantize"),
        ]

    def _tensor(self, name: str, values: Array) -> str:
        self.tensors.append(numpy_helper.from_array(values, name))
        return name


def _weight_steps(weights: Array, bias: Array, before: float) -> NDArray[np.float32]:
    """(out,) the step of each output channel's weights.

    An engine counts a bias in steps of `before` times these, in int32: a channel with hardly any weight but a bias
    needs larger ones than its weights do.
    """
    largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
    steps = np.maximum(largest / WEIGHT_STEPS, np.abs(bias) / (before * MAX_BIAS_STEPS))
    return np.where(steps > 0, steps, 1.0).astype(np.float32)


def _worthwhile(graph: onnx.GraphProto, constants: dict[str, Array]) -> set[str]:
    """Names of the convolutions that are large enough, of those that read the same tensor only the largest."""
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    largest: dict[str, NodeProto] = {}  # by what it reads
    for node in graph.node:
        if node.op_type != "Conv" or not _is_large(shapes.get(node.input[0], []), shapes.get(node.output[0], [])):
            continue
        rival = largest.get(node.input[0])
        if rival is None or constants[rival.input[1]].size < constants[node.input[1]].size:
            largest[node.input[0]] = node
    return {node.name for node in largest.values()}


def _is_large(before: list[int], behind: list[int]) -> bool:
    """Both are (0, channels, height, width), as 0 stands for what is free or not known."""
    if len(before) != 4 or len(behind) != 4:
        return False
    return min(before[1], behind[1]) >= MIN_CHANNELS and behind[2] * behind[3] > 1


def _pool_means(graph: onnx.GraphProto) -> None:
    """Write each mean over a picture as a pooling.

    Behind an integer convolution ONNX Runtime turns the axes of a mean, and then its rounding depends on the batch.
    """
    for node in graph.node:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "ReduceMean" and settings == {"axes": [2, 3], "keepdims": 1}:
            node.op_type = "GlobalAveragePool"
            del node.attribute[:]


def _put_biases_behind(graph: onnx.GraphProto, chosen: set[str], constants: dict[str, Array]) -> None:
    """Where several nodes read a convolution, give it one reader: an Add, of its bias."""
    readers = _readers(graph)
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.name in chosen and len(node.input) > 2 and len(readers[node.output[0]]) > 1:
            bias, output, unbiased = node.input[2], node.output[0], f"{node.name}/unbiased"
            column = numpy_helper.from_array(constants[bias].reshape(1, -1, 1, 1), f"{node.name}/bias")
            graph.initializer.append(column)
            del node.input[2:]
            node.output[0] = unbiased
            nodes.append(helper.make_node("Add", [unbiased, column.name], [output], f"{node.name}/add_bias"))
    del graph.node[:]
    graph.node.extend(nodes)


def _measured_behind(graph: onnx.GraphProto, chosen: set[str]) -> dict[str, str]:
    """Name of a convolution -> the tensor whose range counts behind it.

    That of the activation, if nothing else reads the convolution: what it cuts off needs no steps.
    """
    readers = _readers(graph)
    measured = {}
    for node in graph.node:
        if node.name in chosen:
            found = readers[node.output[0]]
            cut_off = len(found) == 1 and found[0].op_type in ACTIVATIONS
            measured[node.name] = found[0].output[0] if cut_off else node.output[0]
    return measured


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """The weights by name, those too that torch wrote once for several readers, which see them through an Identity."""
    constants: dict[str, Array] = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def _readers(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers
