"""Every detector here, through the contract; and YuNet's reading against OpenCV's own on real clips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.fake import FakeEngine
from engines.load import load_engine
from engines.store import find_model
from stream.config import DetectorConfig
from stream.detectors import make_detector
from stream.detectors.base import Detector
from stream.records import Faces, Frame, Letterbox
from tests.contracts.detector import DetectorContract, Make, search_all
from tests.contracts.source import connected
from tests.detectors.pictures import frame_of, portraits, squares
from tests.engines.networks import face_spec, write_face

CLIPS = (
    "crowd_cuts.mp4",
    "face_noface.mov",
    "four_faces_1080p25.mp4",
    "no_face.mp4",
    "noface_face.mov",
    "one_woman.mp4",
    "sad_to_happy.mp4",
    "single_face.mp4",
    "intel/classroom.gif",
    "intel/face-demographics-walking-and-pause.gif",
    "intel/head-pose-face-detection-female-and-male.gif",
)


class OnSquares(DetectorContract):
    """For networks that take a light square for a face."""

    @pytest.fixture
    def frames(self) -> Sequence[Frame]:
        return [
            frame_of(squares(320, 192, (32, 32, 32, 255), (192, 96, 32, 220))),
            frame_of(squares(320, 192, (160, 64, 32, 240))),
            frame_of(squares(250, 150, (96, 64, 32, 250), (224, 128, 22, 255))),
        ]


class TestFakeEngine(OnSquares):
    @pytest.fixture
    def make(self) -> Make:
        return lambda **settings: make_detector(DetectorConfig(**settings), FakeEngine(face_spec()))


class TestFakeEngineFedOneByOne(OnSquares):
    @pytest.fixture
    def make(self) -> Make:
        return lambda **settings: make_detector(DetectorConfig(**settings), FakeEngine(face_spec(), best_batch=1))


class TestFakeEngineOnLuma(DetectorContract):
    """It can follow."""

    @pytest.fixture
    def make(self) -> Make:
        spec = face_spec(color="luma", input_shape=(1, 0, 0), mean=(0.0,), std=(1 / 255,))
        return lambda **settings: make_detector(DetectorConfig(**settings), FakeEngine(spec))

    @pytest.fixture
    def frames(self) -> Sequence[Frame]:
        return [
            frame_of(squares(320, 192, (32, 32, 32, 255), (192, 96, 32, 220)), grey=True),
            frame_of(squares(320, 192, (160, 64, 32, 240)), grey=True),
            frame_of(squares(250, 150, (96, 64, 32, 250), (208, 112, 22, 255)), grey=True),
        ]


class TestOurOwn(DetectorContract):
    """The one that ships, and can follow."""

    @pytest.fixture
    def make(self) -> Make:
        return lambda **settings: make_detector(DetectorConfig(**settings), load_engine(find_model("face")))

    @pytest.fixture
    def frames(self) -> Sequence[Frame]:
        return [
            frame_of(portraits(640, 360, (30, 20, 200), (380, 60, 120)), grey=True),
            frame_of(portraits(1280, 720, (250, 100, 150), (800, 300, 90)), grey=True),
            frame_of(portraits(480, 500, (100, 40, 300)), grey=True),
        ]


class TestOnnxRuntime(OnSquares):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        write_face(tmp_path)
        return lambda **settings: make_detector(DetectorConfig(**settings), load_engine(tmp_path))


@pytest.mark.shared
class TestYuNet(DetectorContract):
    @pytest.fixture
    def make(self, shared: Path) -> Make:
        return lambda **settings: yunet(shared, **settings)

    @pytest.fixture
    def frames(self) -> Sequence[Frame]:
        return [
            frame_of(portraits(640, 360, (30, 20, 200), (380, 60, 120))),
            frame_of(portraits(640, 360, (250, 100, 150))),
            frame_of(portraits(480, 500, (100, 40, 300))),
        ]


def yunet(shared: Path, **settings: Any) -> Detector:
    model = find_model("yunet", environment={"EMOSTREAM_MODELS": str(shared / "models")}, download=False)
    return make_detector(DetectorConfig(**settings), load_engine(model))


@pytest.mark.shared
@pytest.mark.parametrize("clip", CLIPS)
def test_yunet_is_read_as_opencv_reads_it(shared: Path, clip: str) -> None:
    with connected(str(shared / "videos" / clip), analyse_hz=2.0) as source:
        source.open()
        frames = list(islice(source.frames(), 5))
    height, width = frames[0].small.shape[:2]
    model = shared / "models" / "yunet" / "yunet_n_dynamic.onnx"
    judge = cv2.FaceDetectorYN.create(str(model), "", (width, height), 0.7, 0.3, 5000)
    detector = yunet(shared, input_px=640)
    for frame, faces in zip(frames, search_all(detector, frames), strict=True):
        wanted = _opencv_faces(judge, frame)
        assert len(faces) == len(wanted)
        assert (len(faces) == 0) or clip != "no_face.mp4"
        for row in range(len(wanted)):  # both sort by score
            assert _iou(faces.boxes[row], wanted.boxes[row]) >= 0.99
            np.testing.assert_allclose(faces.landmarks[row], wanted.landmarks[row], atol=0.05)
            assert faces.scores[row] == pytest.approx(wanted.scores[row], abs=1e-3)


def _opencv_faces(judge: Any, frame: Frame) -> Faces:
    """Rows of OpenCV: x y width height, five points, score; in pixels of the small image."""
    _, found = judge.detect(frame.small)
    if found is None:
        return Faces()
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
    points = found[:, 4:14].reshape(-1, 5, 2)
    letterbox: Letterbox = frame.letterbox
    order = np.argsort(-found[:, 14], kind="stable")
    return Faces(letterbox.boxes_to_frame(boxes[order]), letterbox.points_to_frame(points[order]), found[order, 14])


def _iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    return shared / float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared)
