"""Every engine here, through the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.backends.fake import FakeEngine
from engines.base import Engine
from engines.load import backend, load_engine
from engines.options import Options
from engines.spec import MODEL_FILE, ModelSpec
from engines.store import SHIPPED, Model, find_model
from tests.contracts.engine import EngineContract, Load
from tests.engines.networks import emotion_spec, face_spec, write_emotion, write_face


def loader(folder: Path, threads: int = 1) -> Load:
    """Engines of this folder's model on ONNX Runtime."""
    model = find_model(folder, environment={}, download=False)

    def load(**changes: Any) -> Engine:
        spec = model.spec.model_copy(update=changes)
        return load_engine(Model(spec, model.onnx_path), "onnxruntime", Options(threads))

    return load


def openvino_loader(folder: Path, threads: int = 1, built: bool = False, bf16: bool = False) -> Load:
    """The same on OpenVINO, of blobs where it is `built`."""
    pytest.importorskip("engines.backends.openvino", reason="openvino is not installed")
    module, options = backend("openvino"), Options(threads, bf16=bf16)
    if bf16 and (why := module.can_run(options)):
        pytest.skip(why)
    spec, weights = ModelSpec.read(folder), (folder / MODEL_FILE).read_bytes()
    files = module.build(spec, weights, options, lambda done: None).files if built else None

    def load(**changes: Any) -> Engine:
        return module.load(spec.model_copy(update=changes), weights, options, files)

    return load


class TestFakeForFaces(EngineContract):
    @pytest.fixture
    def load(self) -> Load:
        return lambda **changes: FakeEngine(face_spec(**changes))


class TestFakeForEmotions(EngineContract):
    @pytest.fixture
    def load(self) -> Load:
        return lambda **changes: FakeEngine(emotion_spec(**changes), best_batch=4)


class TestOnnxRuntimeForFaces(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_face(tmp_path)
        return loader(tmp_path)


class TestOnnxRuntimeForEmotions(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path)
        return loader(tmp_path)


class TestOnnxRuntimeOnTwoThreads(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path)
        return loader(tmp_path, threads=2)


class TestOnnxRuntimeWithABatchOfOne(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path, batch=1)
        return loader(tmp_path)


@pytest.mark.shared
class TestOnnxRuntimeWithYuNet(EngineContract):
    @pytest.fixture
    def load(self, shared: Path) -> Load:
        model = find_model("yunet", environment={"EMOSTREAM_MODELS": str(shared / "models")}, download=False)
        assert model.onnx_path.name != MODEL_FILE  # found under the name that its makers gave it
        return lambda **changes: load_engine(Model(model.spec.model_copy(update=changes), model.onnx_path))


class TestOpenVinoForFaces(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_face(tmp_path)
        return openvino_loader(tmp_path)


class TestOpenVinoForEmotions(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path)
        return openvino_loader(tmp_path)


class TestBuiltOpenVinoForFaces(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_face(tmp_path)
        return openvino_loader(tmp_path, built=True)


class TestBuiltOpenVinoForEmotions(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path)
        return openvino_loader(tmp_path, built=True)


class TestOpenVinoOnTwoThreads(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path)
        return openvino_loader(tmp_path, threads=2)


class TestOpenVinoWithABatchOfOne(EngineContract):
    @pytest.fixture
    def load(self, tmp_path: Path) -> Load:
        write_emotion(tmp_path, batch=1)
        return openvino_loader(tmp_path, built=True)


class TestOpenVinoInBfloat16(EngineContract):
    """As `auto` takes it: the network that ships."""

    @pytest.fixture
    def load(self) -> Load:
        return openvino_loader(SHIPPED / "emotion", built=True, bf16=True)
