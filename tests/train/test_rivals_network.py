"""The network of the bench's rivals is the one that is trained here."""

from __future__ import annotations

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

    theirs, ours = network.mobilenet_v1(), MODELS["mobilenet_v1"](Build(classes=7), False)
    assert [value.shape for value in theirs.state_dict().values()] == [
        value.shape for value in ours.state_dict().values()
    ]
    assert theirs.eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    del sys.modules["network"]
