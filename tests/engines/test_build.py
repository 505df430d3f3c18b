"""From a model to an engine that is kept: compiled, compared, timed, and told in its manifest; or nothing at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines import load as loading
from engines.build import Clocks, build, fingerprint_of
from engines.cache import LOCK, Cache, Entry
from engines.errors import BackendMissing, EngineError, EngineMismatch, ModelInvalid
from engines.load import backend, load_engine
from engines.machine import cpu
from engines.manifest import MANIFEST_FILE
from engines.options import Options
from engines.spec import MODEL_FILE, PARITY_FILE, sha256_of
from engines.store import Model
from tests.engines.networks import (
    CROPS,
    emotion_model,
    emotion_spec,
    face_model,
    strips_model,
    write_emotion,
    write_model,
    write_parity,
)

SMALL = Options(max_batch=2)
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend whose engines do not run here."""
    monkeypatch.setitem(loading.BACKENDS, "far", ("tests.engines.far_backend", "pip install far"))
    return "far"


def names(cache: Cache) -> list[str]:
    return [name for name in os.listdir(cache.root) if not name.startswith(LOCK)] if cache.root.exists() else []


def test_what_was_built_is_told_in_the_manifest(tmp_path: Path, cache: Cache) -> None:
    model = strips_model(tmp_path / "model")
    done: list[float] = []
    seconds = itertools.count(100.0, 2.5)
    entry = build(model, "fake", SMALL, cache, done.append, Clocks(lambda: next(seconds), lambda: NOON))
    manifest = entry.manifest
    assert manifest.fingerprint == fingerprint_of(model, "fake", SMALL)
    assert (manifest.name, manifest.model_folder) == ("tiny-strips", str(tmp_path / "model"))
    assert (manifest.build_s, manifest.built_at) == (2.5, NOON)
    assert [layer.kind for layer in manifest.layers] == ["Mean"]
    assert entry.read() == {"engine.fake": model.spec.sha256.encode()}
    trial = manifest.trial
    assert (trial.parity.state, trial.parity.batches) == ("passed", (1, 2))
    assert trial.status == f"run on {cpu()}"
    assert trial.ms_per_sample.keys() == {1, 2}
    assert trial.best_batch in (1, 2)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert cache.find("tiny-strips", manifest.fingerprint) == entry


@pytest.mark.parametrize("model", [emotion_model, face_model])
def test_onnx_runtime_keeps_no_file_but_what_it_was_seen_to_do(
    tmp_path: Path, cache: Cache, model: Callable[[Path], Model]
) -> None:
    made = model(tmp_path / "model")
    entry = build(made, "onnxruntime", Options(max_batch=2, side_px=96), cache)
    assert entry.manifest.files == {}
    assert entry.manifest.trial.parity.state == "passed"
    assert any(layer.kind == "Conv" for layer in entry.manifest.layers)
    assert list((tmp_path / "engines").rglob("*.json")) == [entry.folder / MANIFEST_FILE]
    engine = load_engine(made, "onnxruntime", SMALL, entry)
    assert engine.best_batch == entry.manifest.trial.best_batch
    engine.close()


def test_it_is_built_once(tmp_path: Path, cache: Cache) -> None:
    model = strips_model(tmp_path / "model")
    first = build(model, "fake", SMALL, cache, clocks=Clocks(now=lambda: NOON))
    done: list[float] = []
    assert build(model, "fake", SMALL, cache, done.append) == first
    assert done == [1.0]


@pytest.mark.parametrize("file", ["engine.fake", MANIFEST_FILE])
def test_what_was_damaged_is_built_again(tmp_path: Path, cache: Cache, file: str) -> None:
    model = strips_model(tmp_path / "model")
    entry = build(model, "fake", SMALL, cache, clocks=Clocks(now=lambda: NOON))
    (entry.folder / file).write_bytes(b"cut")
    again = build(model, "fake", SMALL, cache)
    assert again.manifest.built_at > NOON
    assert again.read() == {"engine.fake": model.spec.sha256.encode()}
    assert names(cache) == [entry.folder.name]


def test_other_options_are_other_engines(tmp_path: Path, cache: Cache) -> None:
    model = strips_model(tmp_path / "model")
    for options in (Options(max_batch=1), Options(max_batch=2), Options(threads=2, max_batch=2)):
        assert build(model, "fake", options, cache).manifest.trial.parity.batches[-1] == options.max_batch
    assert len(names(cache)) == 3


def test_an_engine_that_takes_only_one_at_a_time_is_asked_no_more(tmp_path: Path, cache: Cache) -> None:
    trial = build(emotion_model(tmp_path / "model", batch=1), "onnxruntime", SMALL, cache).manifest.trial
    assert (trial.parity.batches, trial.best_batch) == ((1,), 1)


def test_what_cannot_run_here_is_built_only_and_not_compared(tmp_path: Path, cache: Cache, far: str) -> None:
    model = emotion_model(tmp_path / "model")
    entry = build(model, far, Options(max_batch=2, targets=("sm89",)), cache)
    trial = entry.manifest.trial
    assert trial.status == backend(far).STATUS
    assert (trial.parity.state, trial.parity.why) == ("not run", "there is no such device here")
    assert (trial.best_batch, trial.ms_per_sample) == (None, {})
    assert entry.manifest.fingerprint.compute_capability == "8.9"
    assert entry.manifest.fingerprint.targets == ("sm89",)


# Each writes a model that no engine may come of, and tells the backend; then the error and words of its sentence.
def wrong_answers(folder: Path) -> tuple[Model, str]:
    return emotion_model(folder), "fake"  # the network is not the fake's arithmetic


def no_numbers(folder: Path) -> tuple[Model, str]:
    model = emotion_model(folder)
    network = onnx.load_model(folder / MODEL_FILE)
    for weights in network.graph.initializer:
        if weights.name == "mix":
            weights.raw_data = np.full(3, np.nan, np.float32).tobytes()
    return _signed(model, network.SerializeToString()), "onnxruntime"


def unknown_operator(folder: Path) -> tuple[Model, str]:
    model = emotion_model(folder)
    network = onnx.load_model(folder / MODEL_FILE)
    network.graph.node[0].op_type = "Convolve"
    return _signed(model, network.SerializeToString()), "onnxruntime"


def no_network(folder: Path) -> tuple[Model, str]:
    return _signed(emotion_model(folder), b"not a network"), "onnxruntime"


def other_weights(folder: Path) -> tuple[Model, str]:
    model = strips_model(folder)
    with model.onnx_path.open("ab") as file:
        file.write(b"\0")
    return model, "fake"


def no_parity(folder: Path) -> tuple[Model, str]:
    model = strips_model(folder)
    model.parity_path.unlink()
    return model, "fake"


def parity_of_another(folder: Path) -> tuple[Model, str]:
    model = strips_model(folder)
    write_parity(folder, inputs=np.zeros((2, 48, 48), np.uint8), logits=np.zeros((2, 7), np.float32))
    return model, "fake"


def fixed_batch(folder: Path) -> tuple[Model, str]:
    return emotion_model(folder, batch=4), "onnxruntime"


def fixed_side(folder: Path) -> tuple[Model, str]:
    """A convolution cannot tell, the reshape behind it can: only pictures of one height, where the spec says any."""
    nodes = [helper.make_node("Reshape", ["input", "shape"], ["logits"])]
    weights = {"shape": np.array([0, 1, 16, 3], np.int64)}
    spec = emotion_spec(input_shape=(1, 0, 3), stride=8)
    spec = write_model(folder, spec, nodes, weights, ["batch", 1, "height", 3], {"logits": ["batch", 1, 16, 3]})
    write_parity(folder, inputs=np.zeros((2, 8, 3), np.uint8), logits=np.zeros((2, 3), np.float32))
    return Model(spec, folder / MODEL_FILE), "onnxruntime"


def half_precision(folder: Path) -> tuple[Model, str]:
    nodes = [helper.make_node("Cast", ["input"], ["logits"], to=TensorProto.FLOAT)]
    spec = emotion_spec(input_shape=(1, 16, 3))
    outputs = {"logits": ["batch", 1, 16, 3]}
    spec = write_model(folder, spec, nodes, {}, ["batch", 1, 16, 3], outputs, TensorProto.FLOAT16)
    write_parity(folder, inputs=np.zeros((2, 16, 3), np.uint8), logits=np.zeros((2, 3), np.float32))
    return Model(spec, folder / MODEL_FILE), "onnxruntime"


REFUSED: dict[Callable[[Path], tuple[Model, str]], tuple[type[EngineError], str]] = {
    wrong_answers: (EngineMismatch, "does not answer as the checkpoint did .*largest .*, at most 0.0001 in fp32"),
    no_numbers: (EngineMismatch, "does not answer as the checkpoint did .*no number"),
    unknown_operator: (ModelInvalid, "cannot load the network .*Convolve"),
    other_weights: (ModelInvalid, "SHA-256"),
    no_parity: (ModelInvalid, "without them nobody can tell whether an engine is right; export the model again"),
    parity_of_another: (ModelInvalid, r"parity.npz: expected uint8 pictures .*, got \(2, 48, 48\)"),
    no_network: (ModelInvalid, "cannot load the network"),
    fixed_batch: (ModelInvalid, "batches of exactly 4"),
    fixed_side: (EngineError, "tiny-emotion"),
    half_precision: (ModelInvalid, "float32"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_told_in_one_sentence_and_nothing_is_kept(
    tmp_path: Path, cache: Cache, case: Callable[[Path], tuple[Model, str]]
) -> None:
    error, words = REFUSED[case]
    model, backend = case(tmp_path / "model")
    with pytest.raises(error, match=words) as caught:
        build(model, backend, SMALL, cache)
    assert "\n" not in str(caught.value)
    assert names(cache) == []


def test_nobody_waits_for_a_compiler_to_hear_that_parity_inputs_are_missing(tmp_path: Path, cache: Cache) -> None:
    done: list[float] = []
    model, backend = no_parity(tmp_path / "model")
    with pytest.raises(ModelInvalid, match=PARITY_FILE):
        build(model, backend, SMALL, cache, done.append)
    assert done == []


@pytest.mark.parametrize(
    ("backend", "options", "error", "words"),
    [
        ("onyx", SMALL, EngineMismatch, "unknown backend 'onyx'"),
        ("onnxruntime", Options(bf16=True), EngineMismatch, "no bfloat16"),
        ("onnxruntime", Options(targets=("sm89",)), EngineMismatch, "no --target"),
    ],
)
def test_what_a_backend_cannot_do_is_told(
    tmp_path: Path, cache: Cache, backend: str, options: Options, error: type[EngineError], words: str
) -> None:
    with pytest.raises(error, match=words):
        build(emotion_model(tmp_path / "model"), backend, options, cache)
    assert names(cache) == []


def test_a_missing_extra_is_named(tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.BACKENDS, "absent", ("tests.engines.no_such_backend", "pip install absent"))
    with pytest.raises(BackendMissing, match="pip install absent"):
        build(emotion_model(tmp_path / "model"), "absent", SMALL, cache)
    assert not cache.root.exists()


def test_a_refusal_leaves_the_engine_that_was_there(tmp_path: Path, cache: Cache) -> None:
    model = strips_model(tmp_path / "model")
    kept = build(model, "fake", SMALL, cache)
    model.parity_path.unlink()
    with pytest.raises(ModelInvalid):
        build(model, "fake", Options(max_batch=1), cache)
    assert cache.entries() == [kept]
    assert build(model, "fake", SMALL, cache) == kept  # compared already: nothing is asked again


def test_progress_that_raises_ends_the_build(tmp_path: Path, cache: Cache) -> None:
    def enough(done: float) -> None:
        if done > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(strips_model(tmp_path / "model"), "fake", SMALL, cache, enough)
    assert names(cache) == []
    with cache.locked(fingerprint_of(strips_model(tmp_path / "model"), "fake", SMALL)):
        pass  # and nobody holds the lock


def test_the_engine_of_a_manifest_is_fed_as_it_likes(tmp_path: Path, cache: Cache) -> None:
    model = strips_model(tmp_path / "model")
    entry = build(model, "fake", SMALL, cache)
    trial = entry.manifest.trial.model_copy(update={"best_batch": 2})  # whatever was measured
    greedy = Entry(entry.folder, entry.manifest.model_copy(update={"trial": trial}))
    assert load_engine(model, "fake", SMALL, greedy).best_batch == 2
    assert load_engine(model, "fake", Options(max_batch=1), greedy).best_batch == 1


def test_the_tiny_models_have_parity_inputs(tmp_path: Path) -> None:
    with np.load(emotion_model(tmp_path).parity_path) as file:
        assert len(file["inputs"]) == CROPS
    write_emotion(tmp_path / "other")
    assert not (tmp_path / "other" / PARITY_FILE).exists()


def _signed(model: Model, weights: bytes) -> Model:
    """The model with other weights, whose hash its spec names."""
    model.onnx_path.write_bytes(weights)
    return Model(model.spec.model_copy(update={"sha256": sha256_of(model.onnx_path)}), model.onnx_path)
