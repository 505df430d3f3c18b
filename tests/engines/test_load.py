"""A model that is not what its spec says is never used: each way to be wrong is told in one sentence."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from engines import load as loading
from engines.errors import BackendMissing, EngineMismatch, ModelInvalid
from engines.load import backend, load_engine
from engines.spec import MODEL_FILE, SPEC_FILE, ModelSpec, sha256_of
from engines.store import Model
from tests.conftest import PROJECT
from tests.engines.networks import (
    LOGIT_BIAS,
    LOGIT_WEIGHTS,
    emotion_spec,
    face_spec,
    write_emotion,
    write_face,
    write_model,
)

IDENTITY = [helper.make_node("Identity", ["input"], ["logits"])]


def test_a_folder_becomes_an_engine_that_computes_what_the_network_says(tmp_path: Path) -> None:
    write_emotion(tmp_path)
    engine = load_engine(tmp_path)
    batch = np.stack([np.full((1, 16, 16), value, np.float32) for value in (-1.0, 0.5)])
    wanted = np.outer([-1.0, 0.5], LOGIT_WEIGHTS) + LOGIT_BIAS
    np.testing.assert_allclose(engine.infer(batch)["logits"], wanted, atol=1e-6)
    engine.close()


def test_the_backend_is_named_not_guessed(tmp_path: Path) -> None:
    write_emotion(tmp_path)
    assert load_engine(tmp_path, "fake").fingerprint.startswith("fake/")
    with pytest.raises(EngineMismatch, match=r"unknown backend 'onyx'; known: onnxruntime, .*fake"):
        load_engine(tmp_path, "onyx")


def test_a_backend_whose_package_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        loading.BACKENDS, "other", ("engines.backends.no_such_module", "pip install 'emostream[other]'")
    )
    with pytest.raises(BackendMissing, match=r"pip install 'emostream\[other\]'"):
        backend("other")


def test_every_extra_that_a_backend_asks_for_exists() -> None:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [
        match[1] for _, install in loading.BACKENDS.values() if (match := re.search(r"emostream\[(.+)\]", install))
    ]
    assert asked
    assert set(asked) <= extras.keys()


@pytest.mark.parametrize("backend_name", ["onnxruntime", "fake"])
def test_other_weights_than_the_spec_names_are_refused(tmp_path: Path, backend_name: str) -> None:
    spec = write_emotion(tmp_path)
    with (tmp_path / MODEL_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelInvalid, match=spec.sha256[:12]):
        load_engine(tmp_path, backend_name)


class Running:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def archived(content: bytes) -> bytes:
    """As torch.save packs a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("archive/data.pkl", content)
    return buffer.getvalue()


@pytest.mark.parametrize("pack", [bytes, archived])
def test_a_pickle_is_no_network_whatever_its_hash(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """The spec names its hash, so it is what its maker meant; loading it would run what he wants."""
    weights = pack(pickle.dumps(Running(tmp_path / "ran")))
    (tmp_path / MODEL_FILE).write_bytes(weights)
    emotion_spec(sha256=hashlib.sha256(weights).hexdigest()).write(tmp_path)
    with pytest.raises(ModelInvalid) as caught:
        load_engine(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["beside", "absolute"])
def test_weights_outside_of_the_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """ONNX may keep them in other files, of which the spec's hash knows nothing."""
    write_emotion(tmp_path)
    model = onnx.load(tmp_path / MODEL_FILE)
    outside = tmp_path / "outside.bin"
    for tensor in model.graph.initializer:
        if tensor.name == "mix":
            outside.write_bytes(tensor.raw_data)
            set_external_data(tensor, "outside.bin" if place == "beside" else str(outside))
            tensor.ClearField("raw_data")
    (tmp_path / MODEL_FILE).write_bytes(model.SerializeToString())
    spec = ModelSpec.read(tmp_path)
    spec.model_copy(update={"sha256": sha256_of(tmp_path / MODEL_FILE)}).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelInvalid, match="keeps weights in other files"):
        load_engine(tmp_path)


def test_missing_weights_and_a_missing_spec_are_told(tmp_path: Path) -> None:
    write_emotion(tmp_path)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(ModelInvalid, match="weights cannot be read"):
        load_engine(tmp_path)
    (tmp_path / SPEC_FILE).unlink()
    with pytest.raises(ModelInvalid, match="no readable model spec"):
        load_engine(tmp_path)


def test_bytes_that_are_no_network_are_refused(tmp_path: Path) -> None:
    spec = write_emotion(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"not a network")
    with pytest.raises(ModelInvalid, match="cannot load the network"):
        load_engine(Model(_signed(spec, tmp_path), tmp_path / MODEL_FILE))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": ("scores",)}, "names the outputs scores, the network has logits"),
        ({"labels": ("one", "two")}, "2 labels, the output 'logits' ends in"),
        ({"input_shape": (1, 24, 24)}, "the input 'input' is"),
        ({"input_shape": (1, 0, 0), "stride": 16}, "the input 'input' is"),
    ],
)
def test_a_network_that_is_not_what_the_spec_says_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    spec = write_emotion(tmp_path)
    with pytest.raises(ModelInvalid, match=words):
        load_engine(Model(spec.model_copy(update=changes), tmp_path / MODEL_FILE))


def test_a_detector_s_missing_output_is_named(tmp_path: Path) -> None:
    spec = write_face(tmp_path)
    wanted = spec.model_copy(update={"outputs": (*spec.outputs, "cls_64")})
    with pytest.raises(ModelInvalid, match="names the outputs cls_64"):
        load_engine(Model(wanted, tmp_path / MODEL_FILE))


def test_a_network_of_other_types_is_refused(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["input"], ["logits"], to=TensorProto.FLOAT)]
    spec = emotion_spec(input_shape=(1, 16, 3))
    write_model(tmp_path, spec, cast, {}, ["batch", 1, 16, 3], {"logits": ["batch", 1, 16, 3]}, TensorProto.FLOAT16)
    with pytest.raises(ModelInvalid, match="float32"):
        load_engine(tmp_path)


def test_a_fixed_batch_other_than_one_is_refused(tmp_path: Path) -> None:
    write_emotion(tmp_path, batch=4)
    with pytest.raises(ModelInvalid, match="batches of exactly 4"):
        load_engine(tmp_path)


def test_what_the_network_cannot_compute_is_a_mismatch(tmp_path: Path) -> None:
    reshape = [helper.make_node("Reshape", ["input", "shape"], ["logits"])]
    weights = {"shape": np.array([0, 1, 16, 3], np.int64)}
    spec = emotion_spec(input_shape=(1, 0, 3), stride=8)
    write_model(tmp_path, spec, reshape, weights, ["batch", 1, "height", 3], {"logits": ["batch", 1, 16, 3]})
    engine = load_engine(tmp_path)
    engine.infer(np.zeros((1, 1, 16, 3), np.float32))
    with pytest.raises(EngineMismatch, match="cannot compute a batch of"):
        engine.infer(np.zeros((1, 1, 8, 3), np.float32))
    engine.infer(np.zeros((2, 1, 16, 3), np.float32))  # and it still works
    engine.close()


def test_an_output_that_is_the_input_is_still_the_caller_s_own(tmp_path: Path) -> None:
    spec = emotion_spec(input_shape=(1, 16, 3))
    write_model(tmp_path, spec, IDENTITY, {}, ["batch", 1, 16, 3], {"logits": ["batch", 1, 16, 3]})
    engine = load_engine(tmp_path)
    batch = np.ones((1, 1, 16, 3), np.float32)
    engine.infer(batch)["logits"][...] = 7.0
    assert (batch == 1.0).all()
    engine.close()


def test_the_digest_of_a_spec_is_over_what_decides_an_answer() -> None:
    spec = face_spec()
    assert spec.digest() != face_spec(score_threshold=0.5).digest()
    assert spec.digest() == face_spec(metrics={"recall": 0.9}, source={"license": "MIT"}).digest()


def _signed(spec: ModelSpec, folder: Path) -> ModelSpec:
    return spec.model_copy(update={"sha256": sha256_of(folder / MODEL_FILE)})
