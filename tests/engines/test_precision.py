"""Which of a network's precisions a run takes: int8 where the processor is fast at it and the model as good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.precision import preferred, sibling
from engines.spec import MODEL_FILE, Source
from engines.store import find_model
from tests.engines.networks import write_emotion

VNNI, PLAIN = "AMD EPYC avx2 avx512f avx512_vnni", "AMD EPYC avx2 fma"
GPU = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.1"
CHECKPOINT = "c" * 64


def lay(folder: Path, precision: str, accuracy: float | None, checkpoint: str | None = CHECKPOINT) -> Path:
    """A model of this precision, as `train export` lays it down."""
    name = "tiny" if precision == "fp32" else f"tiny_{precision}"
    measured: dict[str, Any] = {} if accuracy is None else {"public": {"accuracy": accuracy}}
    write_emotion(
        folder / name, name=name, precision=precision, metrics=measured, source=Source(checkpoint_sha256=checkpoint)
    )
    return folder / name


@pytest.mark.parametrize(
    ("backend", "cpu", "gpus", "expected"),
    [
        ("auto", VNNI, "", "tiny_int8"),
        ("onnxruntime", VNNI, "", "tiny_int8"),
        ("openvino", "Neoverse asimd asimddp", "", "tiny_int8"),
        ("auto", PLAIN, "", "tiny"),
        ("auto", VNNI, GPU, "tiny"),
        ("tensorrt-rtx", VNNI, "", "tiny"),
        ("fake", VNNI, "", "tiny"),
    ],
)
def test_int8_runs_where_the_machine_computes_it_faster(
    tmp_path: Path, backend: str, cpu: str, gpus: str, expected: str
) -> None:
    lay(tmp_path, "int8", 0.67)
    model = find_model(lay(tmp_path, "fp32", 0.672))
    assert preferred(model, backend, cpu, gpus).spec.name == expected


@pytest.mark.parametrize(
    ("accuracy", "checkpoint"),
    [(0.66, CHECKPOINT), (None, CHECKPOINT), (0.672, "d" * 64), (0.672, None)],
    ids=["worse", "not measured", "of another checkpoint", "of nobody knows which"],
)
def test_int8_that_is_not_known_to_be_as_good_is_left(
    tmp_path: Path, accuracy: float | None, checkpoint: str | None
) -> None:
    lay(tmp_path, "int8", accuracy, checkpoint)
    model = find_model(lay(tmp_path, "fp32", 0.672))
    assert preferred(model, "auto", VNNI, "") is model


def test_without_int8_beside_it_a_model_runs_as_it_is(tmp_path: Path) -> None:
    model = find_model(lay(tmp_path, "fp32", 0.672))
    assert preferred(model, "auto", VNNI, "") is model


def test_a_broken_int8_model_is_told_and_costs_nobody_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (lay(tmp_path, "int8", 0.672) / MODEL_FILE).write_bytes(b"not what the spec says")
    model = find_model(lay(tmp_path, "fp32", 0.672))
    assert preferred(model, "auto", VNNI, "") is model
    assert "tiny_int8" in caplog.text
    assert "tiny runs in its place" in caplog.text


def test_what_somebody_named_in_another_precision_is_taken_as_it_is(tmp_path: Path) -> None:
    lay(tmp_path, "fp32", 0.672)
    lay(tmp_path, "int8", 0.672)
    model = find_model(lay(tmp_path, "fp16", 0.672))
    assert preferred(model, "auto", VNNI, "") is model


def test_the_emotion_network_that_ships_is_as_good_in_int8() -> None:
    model = find_model("emotion", environment={}, download=False)
    assert preferred(model, "auto", VNNI, "").spec.name == "emotion_int8"
    assert preferred(model, "auto", PLAIN, "") is model
    assert sibling(preferred(model, "auto", VNNI, ""), "fp32") == model
