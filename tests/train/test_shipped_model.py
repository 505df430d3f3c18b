"""The emotion network that ships, in three precisions: what each folder claims is so. Needs ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engines.base import Batch
from engines.preprocess import to_batch
from engines.probabilities import softmax
from engines.spec import EMOTIONS, MODEL_FILE, ModelSpec, sha256_of

MODELS = Path(__file__).parents[2] / "engines" / "models"
# precision -> largest difference of a probability from the checkpoint's; int8's is told in its spec
DIFFERENCES = {"fp32": 1e-4, "fp16": 1e-2, "int8": None}
FOLDERS = ("emotion", "emotion_fp16", "emotion_int8")
PROMISED_ACCURACY = {"fp32": 0.675, "fp16": 0.675, "int8": 0.67}  # on PrivateTest
Infer = Callable[[Batch], np.ndarray]


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest) -> Path:
    return MODELS / str(request.param)


@pytest.fixture(scope="module")
def spec(folder: Path) -> ModelSpec:
    return ModelSpec.read(folder)


@pytest.fixture(scope="module")
def parity(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "parity.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def infer(folder: Path) -> Infer:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == ["input"]
    assert [item.name for item in session.get_outputs()] == ["logits"]
    return lambda batch: session.run(None, {"input": batch})[0]


def test_the_folder_is_whole(folder: Path, spec: ModelSpec) -> None:
    assert spec.name == folder.name
    assert spec.precision == (folder.name.removeprefix("emotion_") if "_" in folder.name else "fp32")
    assert spec.sha256 == sha256_of(folder / MODEL_FILE)
    assert (folder / MODEL_FILE).stat().st_size <= 15_000_000
    assert spec.labels == EMOTIONS
    assert spec.metrics["private"]["accuracy"] >= PROMISED_ACCURACY[spec.precision]
    card = (folder / "card.md").read_text()
    assert "Article 5(1)(f)" in card
    assert f"| PrivateTest | {spec.metrics['private']['accuracy']:.2%} |" in card


def test_it_answers_as_its_checkpoint_did(spec: ModelSpec, parity: dict[str, np.ndarray], infer: Infer) -> None:
    differences = np.abs(softmax(infer(to_batch(parity["inputs"], spec))) - softmax(parity["logits"]))
    assert differences.max() <= (DIFFERENCES[spec.precision] or 1.1 * spec.metrics["parity"]["largest"])


def test_all_precisions_are_of_one_checkpoint(spec: ModelSpec, parity: dict[str, np.ndarray]) -> None:
    fp32 = ModelSpec.read(MODELS / "emotion")
    assert spec.source == fp32.source
    with np.load(MODELS / "emotion" / "parity.npz") as file:
        assert (parity["logits"] == file["logits"]).all()
    assert spec.metrics["public"]["accuracy"] >= fp32.metrics["public"]["accuracy"] - 0.01


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
