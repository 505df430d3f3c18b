"""Where models are looked for, in which order, and what is said when they are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import store
from engines.errors import ModelInvalid, ModelMissing
from engines.spec import MODEL_FILE, SPEC_FILE, ModelSpec, Source, sha256_of
from engines.store import VARIABLE, find_model, shipped_names
from tests.engines.file_server import SHA256, FileServer, serving
from tests.engines.networks import emotion_spec, write_emotion

NAME = "tiny-emotion"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models in a user's cache of our own, still empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "emostream" / "models"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's models: one spec without its weights, which people call `weights.onnx`."""
    monkeypatch.setattr(store, "SHIPPED", tmp_path / "shipped")
    folder = tmp_path / "shipped" / NAME
    spec = write_emotion(folder, source=Source(file_names=("weights.onnx",)))
    (folder / MODEL_FILE).rename(tmp_path / "weights.onnx")
    spec.write(folder)
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server


def place(weights: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(weights.read_bytes())
    return target


def test_a_complete_folder_is_taken_as_it_is(tmp_path: Path, cache: Path) -> None:
    spec = write_emotion(tmp_path / "mine")
    for named in (tmp_path / "mine", str(tmp_path / "mine")):
        model = find_model(named, environment={}, download=False)
        assert (model.spec, model.onnx_path) == (spec, tmp_path / "mine" / MODEL_FILE)


def test_what_a_name_means_does_not_depend_on_the_working_directory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_emotion(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert find_model("./mine", environment={}, download=False).spec.name == NAME
    with pytest.raises(ModelMissing, match=r"no model is named 'mine'; known: .*yunet.*; for a folder write \./mine"):
        find_model("mine", environment={}, download=False)


def test_a_shipped_model_is_found_by_its_name(tmp_path: Path, shipped: Path, cache: Path) -> None:
    place(tmp_path / "weights.onnx", shipped / MODEL_FILE)
    assert find_model(NAME, environment={}).onnx_path == shipped / MODEL_FILE
    assert shipped_names() == (NAME,)


@pytest.mark.parametrize("file_name", [MODEL_FILE, "weights.onnx"])
def test_weights_alone_are_enough_for_a_spec_that_ships(
    tmp_path: Path, shipped: Path, cache: Path, file_name: str
) -> None:
    path = place(tmp_path / "weights.onnx", tmp_path / "two" / NAME / file_name)
    environment = {VARIABLE: os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")])}
    assert find_model(NAME, environment=environment, download=False).onnx_path == path


def test_a_complete_model_in_the_environment_brings_its_own_spec(tmp_path: Path, shipped: Path, cache: Path) -> None:
    own = write_emotion(tmp_path / "one" / NAME, temperature=2.5)
    assert find_model(NAME, environment={VARIABLE: str(tmp_path / "one")}, download=False).spec == own
    write_emotion(tmp_path / "one" / "other", name="other")
    assert find_model("other", environment={VARIABLE: str(tmp_path / "one")}, download=False).spec.name == "other"


def test_a_named_folder_without_weights_keeps_its_own_spec(tmp_path: Path, shipped: Path, cache: Path) -> None:
    write_emotion(tmp_path / "one" / NAME, temperature=2.5)
    assert find_model(shipped, environment={VARIABLE: str(tmp_path / "one")}, download=False).spec.temperature == 1.0


def test_the_cache_is_asked_after_the_environment(tmp_path: Path, shipped: Path, cache: Path) -> None:
    cached = place(tmp_path / "weights.onnx", cache / NAME / MODEL_FILE)
    assert find_model(NAME, environment={}, download=False).onnx_path == cached
    nearer = place(tmp_path / "weights.onnx", tmp_path / "one" / NAME / MODEL_FILE)
    assert find_model(NAME, environment={VARIABLE: str(tmp_path / "one")}).onnx_path == nearer


def test_a_file_with_another_hash_is_passed_over(
    tmp_path: Path, shipped: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = tmp_path / "one" / NAME / MODEL_FILE
    wrong.parent.mkdir(parents=True)
    wrong.write_bytes(b"something else")
    environment = {VARIABLE: str(tmp_path / "one")}
    wanted, came = ModelSpec.read(shipped).sha256[:12], sha256_of(wrong)[:12]
    with pytest.raises(ModelInvalid, match=f"{wrong}.*{came}.*{wanted}"):
        find_model(NAME, environment=environment, download=False)
    right = place(tmp_path / "weights.onnx", wrong.with_name("weights.onnx"))
    assert find_model(NAME, environment=environment, download=False).onnx_path == right
    assert str(wrong) in caplog.text


def test_missing_weights_say_what_to_do(tmp_path: Path, shipped: Path, cache: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        find_model(NAME, environment={}, download=False)
    sentence = str(caught.value)
    assert str(cache / NAME / MODEL_FILE) in sentence
    assert VARIABLE in sentence
    assert "weights.onnx" in sentence
    assert "\n" not in sentence


def test_a_broken_spec_and_no_folder_are_told(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ModelMissing, match="no such model folder"):
        find_model(tmp_path / "nowhere")
    (tmp_path / SPEC_FILE).write_text("{}")
    with pytest.raises(ModelInvalid, match=SPEC_FILE):
        find_model(tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "Über"])
def test_the_name_in_a_spec_is_fit_for_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        emotion_spec(name=name)


def test_weights_are_fetched_once_into_the_cache(tmp_path: Path, cache: Path, server: FileServer) -> None:
    emotion_spec(sha256=SHA256, source=Source(url=server.at("/file"))).write(tmp_path)
    for _ in range(2):
        assert find_model(tmp_path, environment={}).onnx_path == cache / NAME / MODEL_FILE
    assert server.requests == ["/file"]


def test_a_failed_download_is_one_sentence_with_the_way_out(tmp_path: Path, cache: Path, server: FileServer) -> None:
    emotion_spec(source=Source(url=server.at("/nowhere"), file_names=("weights.onnx",))).write(tmp_path)
    with pytest.raises(ModelMissing, match=r"404 Not Found; place weights\.onnx .* or set EMOSTREAM_MODELS"):
        find_model(tmp_path, environment={})
    with pytest.raises(ModelMissing):
        find_model(tmp_path, environment={}, download=False)
    assert server.requests == ["/nowhere"]


def test_the_face_detector_ships_its_spec() -> None:
    spec = ModelSpec.read(store.SHIPPED / "yunet")
    assert (spec.task, spec.decoding, spec.stride, spec.color) == ("face", "yunet", 32, "bgr")
    assert spec.source.url is not None
    assert spec.source.url.startswith("https://")
    assert (store.SHIPPED / "yunet" / "card.md").is_file()
