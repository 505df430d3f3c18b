"""What the bench's rivals compute in PyTorch: the network is ours, and a program with it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.models import MODELS
from train.models.base import Build

PROGRAMS = Path(__file__).resolve().parents[2] / "stream" / "bench" / "programs"


def test_layer_by_layer_it_is_our_mobilenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROGRAMS)
    import network

    monkeypatch.delitem(sys.modules, "network")  # nobody else shall find it under this name
    theirs, ours = network.mobilenet_v1(), MODELS["mobilenet_v1"](Build(classes=7), False)
    shapes = [[tuple(value.shape) for value in one.state_dict().values()] for one in (theirs, ours)]
    assert shapes[0] == shapes[1]
    assert theirs.eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


@pytest.mark.shared
def test_the_naive_program_finds_a_face_in_every_frame(face_clip: Path, shared: Path) -> None:
    yunet = shared / "models" / "yunet" / "yunet_n_dynamic.onnx"
    command = [sys.executable, PROGRAMS / "naive.py", face_clip, yunet]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    turn = json.loads(done.stdout.splitlines()[-1])
    assert (turn["frames"], turn["faces"]) == (50, 50)
    assert min(turn["wall_s"], turn["cpu_s"]) > 0
