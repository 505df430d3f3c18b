"""TensorRT-RTX builds real plans here, GPU or not; what runs them needs one (`gpu`)."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

from engines.backends import cuda, tensorrt_build, tensorrt_rtx  # noqa: E402  imports what may be absent
from engines.backends.base import Backend, Built  # noqa: E402
from engines.backends.tensorrt import TensorRt  # noqa: E402
from engines.build import build  # noqa: E402
from engines.cache import Cache  # noqa: E402
from engines.errors import EngineMismatch, ModelInvalid  # noqa: E402
from engines.load import backend, verified  # noqa: E402
from engines.options import Options  # noqa: E402
from engines.spec import MODEL_FILE, ModelSpec  # noqa: E402
from engines.store import Model, find_model  # noqa: E402
from tests.engines.gpu_engine import answers_as_the_checkpoint_and_twice_the_same  # noqa: E402
from tests.engines.networks import emotion_spec, write_emotion, write_face, write_model  # noqa: E402
from tests.engines.operators import NETWORKS, Write  # noqa: E402

NAME = "tensorrt-rtx"
WHY_NOT = tensorrt_rtx.can_run(Options())
on_a_gpu = pytest.mark.skipif(WHY_NOT is not None, reason="no NVIDIA GPU for TensorRT-RTX is here")
without_a_gpu = pytest.mark.skipif(WHY_NOT is None, reason="an NVIDIA GPU is here")
TARGETS = ("sm89", "sm120")
LOG = tensorrt_rtx._backend._library.log
HEADER_BYTES = 64


def compiled(spec: ModelSpec, weights: bytes, options: Options | None = None) -> Built:
    return tensorrt_rtx.build(spec, weights, options or Options(targets=("sm89",)), lambda done: None)


def weights_in(folder: Path) -> bytes:
    return (folder / MODEL_FILE).read_bytes()


def sentence(raised: pytest.ExceptionInfo[BaseException]) -> str:
    """The message, which is one sentence: of one line, with the name of the model or of the library in front."""
    message = str(raised.value)
    assert message.startswith(("tiny-", f"{NAME} {trt.__version__}"))
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    return message


@pytest.fixture
def emotion(tmp_path: Path) -> tuple[ModelSpec, bytes]:
    """A tiny network."""
    return write_emotion(tmp_path / "emotion"), weights_in(tmp_path / "emotion")


class TestPlans:
    @pytest.mark.parametrize("name", ["emotion", "face"])
    @pytest.mark.parametrize("targets", [("sm89",), ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")])
    def test_a_shipped_model_becomes_a_plan(self, name: str, targets: tuple[str, ...]) -> None:
        model = find_model(name, environment={}, download=False)
        built = compiled(model.spec, verified(model), Options(targets=targets))
        (plan,) = built.files.values()
        assert plan[:4] == b"vtrt"
        assert struct.unpack_from("<Q", plan, 16) == (len(plan),)
        assert ".".join(map(str, plan[24:28])) == trt.__version__
        assert HEADER_BYTES < len(plan) < 20_000_000
        assert set(targets) <= {name.decode() for name in re.findall(rb"\bsm\d+\b", plan)}
        assert any(layer.precision == "Float" for layer in built.layers)
        assert all(layer.name and layer.kind for layer in built.layers)

    @pytest.mark.parametrize("write", NETWORKS)
    def test_every_operator_that_training_exports_is_known(self, tmp_path: Path, write: Write) -> None:
        spec = write(tmp_path)
        assert "engine.plan" in compiled(spec, weights_in(tmp_path), Options(targets=TARGETS)).files

    def test_a_network_with_a_fixed_batch_of_one(self, tmp_path: Path) -> None:
        spec = write_emotion(tmp_path, batch=1)
        assert compiled(spec, weights_in(tmp_path)).layers

    def test_progress_goes_up_to_the_end(self, emotion: tuple[ModelSpec, bytes]) -> None:
        told: list[float] = []
        tensorrt_rtx.build(*emotion, Options(targets=TARGETS), told.append)
        assert told == sorted(set(told))
        assert len(told) > 10
        assert 0.0 < told[0] < 0.1
        assert told[-1] == 1.0

    def test_it_is_kept_as_what_it_is(self, tmp_path: Path) -> None:
        model = model_in(tmp_path / "model", write_face)
        options = Options(targets=(elsewhere(),))
        entry = build(model, NAME, options, Cache(tmp_path / "cache"))
        assert entry.manifest.trial.status == tensorrt_rtx.STATUS
        assert entry.manifest.trial.parity.state == "not run"
        assert entry.manifest.trial.parity.why == tensorrt_rtx.can_run(options)
        assert entry.manifest.trial.best_batch is None
        assert entry.manifest.fingerprint.device == f"targets {elsewhere()}"
        assert entry.read()["engine.plan"][:4] == b"vtrt"
        told: list[float] = []
        again = build(model, NAME, options, Cache(tmp_path / "cache"), told.append)
        assert (again.manifest, told) == (entry.manifest, [1.0])

    def test_a_second_backend_in_the_process_hears_the_same_logger(self, emotion: tuple[ModelSpec, bytes]) -> None:
        other = TensorRt(trt, NAME)
        options = Options(targets=("sm86",))
        assert other.build(*emotion, options, lambda done: None).layers == compiled(*emotion, options).layers != ()


class TestRefusals:
    def test_an_operator_that_it_lacks_is_named_with_its_node(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Unique", ["input"], ["logits"], name="only_once")]
        spec = write_model(tmp_path, emotion_spec(), nodes, {}, ["batch", 1, 16, 16], {"logits": ["many"]})
        with pytest.raises(ModelInvalid) as raised:
            compiled(spec, weights_in(tmp_path))
        assert "cannot compute the operator Unique (node only_once); export" in sentence(raised)

    @pytest.mark.parametrize("weights", [b"", b"hello world, this is no network", bytes(100)])
    def test_what_holds_no_network(self, weights: bytes) -> None:
        with pytest.raises(ModelInvalid) as raised:
            compiled(emotion_spec(), weights)
        assert "there is no network in the file" in sentence(raised)

    def test_a_file_that_was_cut_off(self, emotion: tuple[ModelSpec, bytes]) -> None:
        spec, weights = emotion
        with pytest.raises(ModelInvalid) as raised:
            compiled(spec, weights[: len(weights) // 2])
        assert "cannot read the network, MODEL_DESERIALIZE_FAILED" in sentence(raised)

    def test_a_network_that_lacks_an_input(self, tmp_path: Path) -> None:
        graph = helper.make_graph(
            [helper.make_node("Relu", ["nothing"], ["logits"])],
            "broken",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 16, 16])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, 16, 16])],
        )
        with pytest.raises(ModelInvalid) as raised:
            compiled(emotion_spec(), helper.make_model(graph, ir_version=8).SerializeToString())
        assert "cannot read the network at the operator Relu (node 0) (" in sentence(raised)

    def test_a_network_that_is_not_what_the_spec_says(self, emotion: tuple[ModelSpec, bytes]) -> None:
        spec, weights = emotion
        with pytest.raises(ModelInvalid) as raised:
            compiled(spec.model_copy(update={"input_shape": (1, 24, 24)}), weights)
        assert "the spec says" in sentence(raised)

    def test_a_fixed_batch_of_several(self, tmp_path: Path) -> None:
        spec = write_emotion(tmp_path, batch=4)
        with pytest.raises(ModelInvalid) as raised:
            compiled(spec, weights_in(tmp_path))
        assert "batches of exactly 4" in sentence(raised)

    def test_a_batch_of_none(self, emotion: tuple[ModelSpec, bytes]) -> None:
        with pytest.raises(EngineMismatch) as raised:
            compiled(*emotion, Options(targets=("sm89",), max_batch=0))
        assert "no batches up to (0, 1, 16, 16)" in sentence(raised)

    def test_a_stride_that_is_not_the_network_s(self, tmp_path: Path) -> None:
        model = find_model("face", environment={}, download=False)
        spec = model.spec.model_copy(update={"name": "tiny-stride", "stride": 20})
        with pytest.raises(EngineMismatch) as raised:
            compiled(spec, verified(model))
        assert "violate shape constraints" in sentence(raised)

    def test_too_little_memory(self, emotion: tuple[ModelSpec, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tensorrt_build, "WORKSPACE", 1 << 20)
        model = find_model("emotion", environment={}, download=False)
        with pytest.raises(EngineMismatch) as raised:
            compiled(model.spec.model_copy(update={"name": "tiny-memory"}), verified(model))
        assert "cannot build it within 1 MiB of the GPU's memory" in sentence(raised)

    @pytest.mark.parametrize("target", ["sm90", "SM89", "8.9", "current", ""])
    def test_a_target_that_it_does_not_name(self, emotion: tuple[ModelSpec, bytes], target: str) -> None:
        options = Options(targets=("sm89", target))
        for refused in (
            lambda: tensorrt_rtx.identity(options),
            lambda: compiled(*emotion, options),
        ):
            with pytest.raises(EngineMismatch) as raised:
                refused()
            assert sentence(raised).endswith(f"builds for sm75, sm80, sm86, sm89, sm120, sm121, not for {target}")
        assert tensorrt_rtx.can_run(options) == str(raised.value)

    def test_targets_where_a_library_has_none(self, emotion: tuple[ModelSpec, bytes]) -> None:
        full = TensorRt(SimpleNamespace(__version__="11.4", ILogger=trt.ILogger), "tensorrt")
        with pytest.raises(
            EngineMismatch, match=r"tensorrt 11\.4 builds only for the GPU that is here: leave --target"
        ):
            full.build(*emotion, Options(targets=("sm89",)), lambda done: None)

    def test_bfloat16(self, emotion: tuple[ModelSpec, bytes]) -> None:
        options = Options(targets=("sm89",), bf16=True)
        with pytest.raises(EngineMismatch) as raised:
            compiled(*emotion, options)
        assert "no model folders in bfloat16" in sentence(raised)
        assert "no model folders in bfloat16" in str(tensorrt_rtx.can_run(options))

    def test_an_engine_that_was_not_built(self, emotion: tuple[ModelSpec, bytes]) -> None:
        with pytest.raises(EngineMismatch) as raised:
            tensorrt_rtx.load(*emotion, Options())
        assert "build it first: emostream engines build tiny-emotion --backend tensorrt-rtx" in sentence(raised)


class TestEndingABuild:
    class Enough(Exception):
        """What a caller raises."""

    def test_by_what_progress_raises(self, emotion: tuple[ModelSpec, bytes]) -> None:
        told: list[float] = []

        def progress(done: float) -> None:
            told.append(done)
            if done > 0.3:
                raise self.Enough

        with pytest.raises(self.Enough):
            tensorrt_rtx.build(*emotion, Options(targets=TARGETS), progress)
        assert 0.3 < told[-1] < 0.9
        assert told[-2] <= 0.3  # it was called no more
        assert not LOG.layers  # and TensorRT did not come to its end
        assert compiled(*emotion).files  # and the next build is none the worse


class TestMachine:
    def test_it_is_a_backend(self) -> None:
        module: Backend = backend(NAME)
        assert callable(module.build)
        assert "built only" in tensorrt_rtx.STATUS

    def test_targets_are_a_device(self) -> None:
        identity = tensorrt_rtx.identity(Options(targets=("sm120", "sm89", "sm120")))
        assert identity.library == f"tensorrt-rtx {trt.__version__}"
        assert identity.device == "targets sm89,sm120"
        assert (identity.compute_capability, identity.driver) == ("sm89,sm120", "")

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.171.04  Tue Mar 19 20:30:00 UTC 2024", "535.171.04"),
            ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build", "580.65.06"),
            ("GCC version:  gcc version 12.2.0", ""),
        ],
    )
    def test_a_driver_has_a_version(self, text: str, wanted: str) -> None:
        assert cuda.driver_version(text) == wanted

    def test_memory_is_looked_at_where_it_is(self) -> None:
        memory = np.arange(6, dtype=np.float32)
        view = cuda.floats_at(memory.ctypes.data, 6)
        view[1] = 7.0
        assert memory.tolist() == [0.0, 7.0, 2.0, 3.0, 4.0, 5.0]

    @without_a_gpu
    def test_without_a_gpu_there_is_nothing_to_build_for_or_to_run_on(self, emotion: tuple[ModelSpec, bytes]) -> None:
        for refused in (
            lambda: tensorrt_rtx.identity(Options()),
            lambda: compiled(*emotion, Options()),
        ):
            with pytest.raises(EngineMismatch) as raised:
                refused()
            assert re.search(r"no NVIDIA GPU is here.* \(cudaError\w+\); name what to build for by", sentence(raised))
        with pytest.raises(EngineMismatch, match=r"^tiny-emotion: no NVIDIA GPU is here"):
            tensorrt_rtx.load(*emotion, Options(), compiled(*emotion).files)
        with pytest.raises(cuda.CudaError, match=r"the GPU refused: cudaError\w+ \("):
            cuda.Stream()


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("name", ["emotion", "face"])
def test_on_a_gpu_it_answers_as_the_checkpoint_and_twice_the_same(tmp_path: Path, name: str) -> None:
    answers_as_the_checkpoint_and_twice_the_same(NAME, name, Cache(tmp_path))


def model_in(folder: Path, write: Write) -> Model:
    return Model(write(folder), folder / MODEL_FILE)


def elsewhere() -> str:
    """A target that is not this machine's GPU."""
    return "sm89" if WHY_NOT or cuda.gpu().compute_capability != "sm89" else "sm75"
