"""ONNX Runtime on a GPU, as far as a machine without one can tell; the rest wherever one is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.backends import onnxruntime_cuda as backend
from engines.backends.onnxruntime import session_of, session_settings
from engines.backends.onnxruntime_cuda import OnnxRuntimeCudaEngine
from engines.base import Batch, Outputs, example
from engines.cache import Cache
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import MODEL_FILE
from tests.engines.gpu_engine import answers_as_the_checkpoint_and_twice_the_same
from tests.engines.networks import write_emotion

WHY_NOT = backend.can_run(Options())
on_a_gpu = pytest.mark.skipif(WHY_NOT is not None, reason="no NVIDIA GPU for ONNX Runtime is here")


def on_the_cpu(folder: Path, options: Options) -> OnnxRuntimeCudaEngine:
    """The engine with the provider that every machine has."""
    spec = write_emotion(folder)
    weights = (folder / MODEL_FILE).read_bytes()
    return OnnxRuntimeCudaEngine(spec, session_of(spec, weights, session_settings(1)), options)


@pytest.mark.parametrize(
    ("options", "why"), [(Options(bf16=True), "no bfloat16"), (Options(targets=("sm89",)), "takes no --target")]
)
def test_what_it_cannot_do_is_said(tmp_path: Path, options: Options, why: str) -> None:
    assert why in (backend.can_run(options) or "")
    spec = write_emotion(tmp_path)
    with pytest.raises(EngineMismatch, match=f"tiny-emotion: .*{why}"):
        backend.load(spec, (tmp_path / MODEL_FILE).read_bytes(), options)


@pytest.mark.skipif(WHY_NOT is None, reason="an NVIDIA GPU is here")
def test_without_a_gpu_it_is_no_candidate_and_says_why() -> None:
    assert "not its GPU wheel" in str(WHY_NOT) or "no NVIDIA GPU is here" in str(WHY_NOT)


def test_only_those_sizes_run_that_were_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = on_the_cpu(tmp_path, Options(max_batch=6))
    batch = example(engine.spec, 6)
    whole = engine.infer(batch)["logits"]
    ran: list[int] = []

    def counted(self: object, batch: Batch) -> Outputs:
        ran.append(len(batch))
        return infer(self, batch)

    infer = OnnxRuntimeCudaEngine.__mro__[1].infer
    monkeypatch.setattr(OnnxRuntimeCudaEngine.__mro__[1], "infer", counted)
    for count in range(1, 7):
        np.testing.assert_allclose(engine.infer(batch[:count])["logits"], whole[:count], atol=1e-6)
    assert ran == [1, 2, 4, 4, 6, 6]
    with pytest.raises(EngineMismatch, match=r"batch of 7 is outside 1\.\.6"):
        engine.infer(example(engine.spec, 7))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("name", ["emotion", "face"])
def test_on_a_gpu_it_answers_as_the_checkpoint_and_twice_the_same(tmp_path: Path, name: str) -> None:
    answers_as_the_checkpoint_and_twice_the_same("onnxruntime-cuda", name, Cache(tmp_path))
