"""An ONNX network in float32 -> the same in float16.

ONNX Runtime has such a converter too, but it leaves the nodes in an order that ONNX's own checker refuses.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.base import Batch
from train.errors import ExportRefused
from train.export.ranges import peaks

LARGEST = float(np.finfo(np.float16).max)


def to_float16(network: onnx.ModelProto, batches: Iterable[Batch]) -> onnx.ModelProto:
    """A copy whose weights, and all tensors between input and output, are float16; input and output stay float32.

    Raises ExportRefused where a tensor outgrows float16 on `batches`. A processor would not show it: ONNX Runtime
    computes float16 networks in float32 there.
    """
    check_range(network, batches)
    made = onnx.ModelProto()
    made.CopyFrom(network)
    graph = made.graph
    inner = {value.name: f"{value.name}_float16" for value in (*graph.input, *graph.output)}
    for tensor in graph.initializer:
        tensor.CopyFrom(_narrow(tensor))
    for node in graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.CopyFrom(_narrow(attribute.t))
    first = [helper.make_node("Cast", [v.name], [inner[v.name]], to=TensorProto.FLOAT16) for v in graph.input]
    last = [helper.make_node("Cast", [inner[v.name]], [v.name], to=TensorProto.FLOAT) for v in graph.output]
    nodes = [*first, *graph.node, *last]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def check_range(network: onnx.ModelProto, batches: Iterable[Batch]) -> None:
    """Raise ExportRefused unless everything that is computed on `batches` fits into float16."""
    computed = [name for node in network.graph.node if node.op_type != "Constant" for name in node.output]
    largest = peaks(network, computed, batches)
    for name in largest:
        if largest[name] <= LARGEST:
            continue  # which no NaN is
        raise ExportRefused(
            f"{name} reaches {largest[name]:.0f}, more than float16 holds ({LARGEST:.0f}), so there can be no fp16 "
            "model; train with a lower rate or more weight decay"
        )


def _narrow(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
