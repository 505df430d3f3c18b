"""Checkpoints that cannot be believed are refused, and reading one never runs code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from safetensors.torch import save_file  # noqa: E402 - after the skip

from engines.spec import EMOTIONS  # noqa: E402
from train.checkpoint import (  # noqa: E402
    SCHEMA,
    Checkpoint,
    build_model,
    load_weights,
    read_checkpoint,
    save_checkpoint,
)
from train.errors import CheckpointInvalid  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.recipe import Recipe  # noqa: E402

RECORD = {"recipe": Recipe("tiny", "mobilenet_v1", seeded=False).as_dict(), "epoch": 1}


def weights() -> dict[str, torch.Tensor]:
    return {f"model.{name}": value for name, value in MODELS["mobilenet_v1"](Build(7, 0.2), False).state_dict().items()}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    saved = weights()
    save_checkpoint(path, Checkpoint(saved, RECORD))
    model = build_model(read_checkpoint(path))

    assert not model.training
    assert all(torch.equal(value, saved[f"model.{name}"]) for name, value in model.state_dict().items())
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]  # no part is left behind


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"\xff" * 64, pickle.dumps({"state_dict": 1}), b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointInvalid, match="no checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("record", ["{", "[]", '"text"', "{}", json.dumps({"schema": "other/1"})])
def test_a_record_of_another_kind_is_refused(tmp_path: Path, record: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"model.x": torch.zeros(1)}, path, metadata={"record": record})
    with pytest.raises(CheckpointInvalid):
        read_checkpoint(path)


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, Checkpoint(weights(), RECORD))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointInvalid):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"recipe": 3},
        {"recipe": {"name": "x", "model": "resnet"}},
        {"recipe": {"name": "x", "model": "mobilenet_v1", "epochs": "many"}},
    ],
)
def test_a_recipe_that_is_not_ours_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(CheckpointInvalid):
        build_model(Checkpoint(weights(), {"schema": SCHEMA, **record}))


def test_weights_that_do_not_fit_or_are_not_finite_are_refused() -> None:
    missing = weights()
    del missing["model.classifier.bias"]
    with pytest.raises(CheckpointInvalid, match=r"is of another network: Missing key.*classifier\.bias"):
        build_model(Checkpoint(missing, RECORD))

    broken = weights()
    broken["model.classifier.bias"] = torch.full((7,), float("nan"))
    with pytest.raises(CheckpointInvalid, match="not finite"):
        build_model(Checkpoint(broken, RECORD))


def test_the_rows_of_the_classifier_go_to_the_classes_of_their_names() -> None:
    saved = weights()
    classes = ("happy", "angry", "contempt")
    model = MODELS["mobilenet_v1"](Build(len(classes)), False)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    load_weights(model, Checkpoint(saved, RECORD), classes)
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, saved[f"model.{name}"]), name
            continue
        for row, known in enumerate(("happy", "angry")):
            assert torch.equal(value[row], saved[f"model.{name}"][EMOTIONS.index(known)])
        assert torch.equal(value[2], own[name][2])  # no checkpoint knows contempt


def test_a_classifier_of_another_width_is_not_cut_to_fit() -> None:
    narrow = MODELS["mobilenet_v1"](Build(3, width=0.5), False)
    with pytest.raises(CheckpointInvalid, match="is of another network: size mismatch"):
        load_weights(narrow, Checkpoint(weights(), RECORD), EMOTIONS[:3])
