"""A torch network -> an ONNX file that every engine reads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from train.errors import ExportRefused

OPSET = 17  # LayerNorm and everything older; read by ONNX Runtime, OpenVINO and TensorRT alike
MAX_BYTES = 15_000_000  # a model that ships in the wheel


def write_onnx(
    model: nn.Module,
    example: Tensor,
    input_name: str,
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """The network with batch norm folded into its convolutions. `free` names, by tensor, the axes without fixed length.

    The TorchScript exporter makes a smaller graph than the new one and needs no further package. Raises ExportRefused
    when the file would be too large to ship.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it says that it is the old exporter, which we chose
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            model.to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            (example,),
            buffer,
            input_names=[input_name],
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in free.items()},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    graph = onnx.load_from_string(buffer.getvalue())
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())
    if path.stat().st_size > MAX_BYTES:
        raise ExportRefused(
            f"the model has {path.stat().st_size} bytes, more than {MAX_BYTES}; choose a smaller network"
        )
