"""The face detector that ships: what its folder claims is so, and it finds faces where they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.base import Engine
from engines.decoding import reader_of
from engines.decoding.base import Candidates
from engines.load import load_engine
from engines.portrait import portrait
from engines.preprocess import to_batch
from engines.spec import MODEL_FILE, ModelSpec, sha256_of
from engines.store import find_model

FOLDER = Path(__file__).parents[2] / "engines" / "models" / "face"
EYES_AND_MOUTH = ((224.3, 197.3), (306.8, 195.6), (265.4, 238.9), (229.8, 274.0), (304.4, 272.3))  # by YuNet
MOST_PARAMETERS = 120_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = load_engine(find_model("face", environment={}, download=False))
    yield engine
    engine.close()


def faces(engine: Engine, luma: NDArray[np.uint8]) -> Candidates:
    """What is found in (H, W) luma, best first."""
    spec = engine.spec
    padded = cv2.copyMakeBorder(luma, 0, -luma.shape[0] % 32, 0, -luma.shape[1] % 32, cv2.BORDER_CONSTANT)
    outputs = engine.infer(to_batch([padded.astype(np.uint8)], spec))
    one = {name: values[0] for name, values in outputs.items()}
    return reader_of(spec, most=50).faces(one, (padded.shape[0], padded.shape[1]), (luma.shape[0], luma.shape[1]))


def grey_portrait(height_px: int) -> NDArray[np.uint8]:
    picture = cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)
    scale = height_px / picture.shape[0]
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)


def test_the_folder_is_whole(engine: Engine) -> None:
    spec = ModelSpec.read(FOLDER)
    assert spec.sha256 == sha256_of(FOLDER / MODEL_FILE)
    assert spec.input_shape[1:] == (0, 0)
    assert spec.metrics["parameters"] < MOST_PARAMETERS
    card = (FOLDER / "card.md").read_text()
    assert str(spec.score_threshold) in card
    assert "agreement" in card


def test_it_answers_as_its_checkpoint_did(engine: Engine) -> None:
    with np.load(FOLDER / "parity.npz") as parity:
        found = [engine.infer(to_batch([image], engine.spec)) for image in parity["inputs"]]
        for name in engine.spec.outputs:
            assert np.abs(np.concatenate([one[name] for one in found]) - parity[name]).max() <= 1e-3, name


@pytest.mark.parametrize("height_px", [600, 300, 150, 75])
def test_the_portrait_has_one_face(engine: Engine, height_px: int) -> None:
    found = faces(engine, grey_portrait(height_px))
    assert len(found) == 1
    points = np.array(EYES_AND_MOUTH) * (height_px / 600)
    eyes = float(np.linalg.norm(points[1] - points[0]))
    assert np.linalg.norm(found.landmarks[0] - points, axis=1).mean() / eyes < 0.12


@pytest.mark.parametrize("grey", [0, 60, 128, 255])
def test_a_wall_has_none(engine: Engine, grey: int) -> None:
    assert len(faces(engine, np.full((352, 640), grey, np.uint8))) == 0


def test_noise_has_none(engine: Engine) -> None:
    assert len(faces(engine, np.random.default_rng(0).integers(0, 256, (352, 640), dtype=np.uint8))) == 0


@pytest.mark.shared
def test_the_cartoon_has_none_that_would_be_believed(engine: Engine, shared: Path) -> None:
    """A flicker in one frame of four seconds is never a track (tests/test_same_answer.py sees none at any rate)."""
    with av.open(str(shared / "videos/no_face.mp4")) as container:
        small = [frame.reformat(640, 360, format="gray").to_ndarray() for frame in container.decode(video=0)]
    assert sum(len(faces(engine, luma)) for luma in small) <= len(small) // 50
