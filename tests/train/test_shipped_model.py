"""The emotion network that ships: what its folder claims is so. Needs ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engines.base import Batch
from engines.preprocess import to_batch
from engines.spec import EMOTIONS, MODEL_FILE, ModelSpec, sha256_of
from train.metrics import softmax

FOLDER = Path(__file__).parents[2] / "engines" / "models" / "emotion"
PROMISED_ACCURACY = 0.64  # on PrivateTest
Infer = Callable[[Batch], np.ndarray]


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return ModelSpec.read(FOLDER)


@pytest.fixture(scope="module")
def parity() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "parity.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def infer() -> Infer:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(FOLDER / MODEL_FILE), options, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["input"]
    assert [item.name for item in session.get_outputs()] == ["logits"]
    return lambda batch: session.run(None, {"input": batch})[0]


def test_the_folder_is_whole(spec: ModelSpec) -> None:
    assert spec.sha256 == sha256_of(FOLDER / MODEL_FILE)
    assert (FOLDER / MODEL_FILE).stat().st_size <= 15_000_000
    assert spec.labels == EMOTIONS
    assert spec.metrics["private"]["accuracy"] >= PROMISED_ACCURACY
    card = (FOLDER / "card.md").read_text()
    assert "Article 5(1)(f)" in card
    assert f"{spec.metrics['private']['accuracy']:.1%}"[:4] in card


def test_it_answers_as_its_checkpoint_did(spec: ModelSpec, parity: dict[str, np.ndarray], infer: Infer) -> None:
    answers = softmax(infer(to_batch(parity["inputs"], spec)))
    assert np.abs(answers - softmax(parity["logits"])).max() <= 1e-4


@pytest.mark.parametrize("size", range(1, 33))
def test_a_face_gets_the_same_bits_in_any_company(
    spec: ModelSpec, parity: dict[str, np.ndarray], infer: Infer, size: int
) -> None:
    batch = to_batch(parity["inputs"][100 : 100 + size], spec)
    together = infer(batch)
    for row in range(size):
        assert infer(batch[row : row + 1]).tobytes() == together[row : row + 1].tobytes()


@pytest.mark.shared
def test_no_fer_image_is_shipped(shared: Path, parity: dict[str, np.ndarray]) -> None:
    with np.load(shared / "data/fer2013.npz") as file:
        theirs = {image.tobytes() for image in file["images"] if image.std() > 0}
    assert not [image for image in parity["inputs"] if image.tobytes() in theirs]
