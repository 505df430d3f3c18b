"""What training exports is what the engine backends are tried with, where no PyTorch is."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from tests.engines.operators import operators, tried_operators
from train.data.pictures import SIDE_PX
from train.export.onnx_file import write_onnx
from train.models import MODELS
from train.models.base import Build


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_of_a_network_is_tried_on_the_backends(tmp_path: Path, name: str) -> None:
    network = MODELS[name](Build(classes=7), False).eval()
    free = {"input": {0: "batch"}, "logits": {0: "batch"}}
    write_onnx(network, torch.zeros(2, 1, SIDE_PX, SIDE_PX), "input", ["logits"], free, tmp_path / "network.onnx")
    assert operators(onnx.load(tmp_path / "network.onnx")) <= tried_operators(tmp_path)
