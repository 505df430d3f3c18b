"""From batches to faces of the full frame: what is fed together, what is dropped, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.fake import FakeEngine
from engines.base import Outputs
from engines.decoding.base import Candidates, Decoding
from engines.decoding.reader import Reader
from engines.errors import ModelInvalid
from engines.load import load_engine
from stream.config import DetectorConfig
from stream.detectors import make_detector
from stream.detectors.engine_detector import EngineDetector
from stream.records import Letterbox
from tests.contracts.detector import search_all
from tests.detectors.pictures import frame_of, squares
from tests.engines.networks import FACE_SIZE, KPS, emotion_spec, face_spec, write_face


def fixed(candidates: Candidates, most: int = 50) -> Reader:
    """Of a family that finds the same in every image."""

    def decode(outputs: Outputs, size: tuple[int, int], score_threshold: float) -> tuple[Candidates, NDArray[np.intp]]:
        return candidates, np.zeros(len(candidates), np.intp)

    return Reader(Decoding((), decode), 0.5, 0.3, most)


def candidates(*boxes: tuple[float, float, float, float], scores: tuple[float, ...] | None = None) -> Candidates:
    rows = np.array(boxes, np.float32)
    landmarks = np.repeat(rows[:, None, :2], 5, axis=1)
    return Candidates(rows, landmarks, np.array(scores or [0.9] * len(rows), np.float32))


def test_a_light_cell_becomes_a_face_at_the_right_place(tmp_path: Path) -> None:
    write_face(tmp_path)
    detector = make_detector(DetectorConfig(input_px=320), load_engine(tmp_path))
    # 640x384 is halved to 320x192: the square fills the 16 px cell in row 3, column 5
    frame = frame_of(squares(640, 384, (160, 96, 32, 255)), longer_px=320)
    (faces,) = search_all(detector, [frame])
    middle, half = np.array([5.5, 3.5]) * 32, FACE_SIZE / 2 * 32
    best = faces.boxes[faces.boxes[:, 2] - faces.boxes[:, 0] > 60][0]  # the 8 px cells in it answer too
    np.testing.assert_allclose(best, [*(middle - half), *(middle + half)], atol=1e-3)
    row = int(np.flatnonzero((faces.boxes == best).all(axis=1))[0])
    points = (np.array(KPS).reshape(5, 2) + np.array([5, 3])) * 16
    np.testing.assert_allclose(faces.landmarks[row], (points + 0.5) * 2 - 0.5, atol=1e-3)
    assert faces.scores[row] == pytest.approx(1.0, abs=1e-5)


def test_frames_of_one_size_go_together_as_the_engine_likes() -> None:
    wide, tall = frame_of(squares(320, 192)), frame_of(squares(192, 320))
    engine = FakeEngine(face_spec(), best_batch=3)
    detector = make_detector(DetectorConfig(), engine)
    search_all(detector, [wide, tall, wide, wide, wide, tall, wide])
    assert engine.batches == [3, 2, 2]
    alone = FakeEngine(face_spec(), best_batch=1)
    search_all(make_detector(DetectorConfig(), alone), [wide, tall, wide])
    assert alone.batches == [1, 1, 1]


def test_a_grey_threshold_of_the_configuration_wins() -> None:
    frame = frame_of(squares(320, 192, (64, 64, 32, 128)))
    assert len(search_all(make_detector(DetectorConfig(), FakeEngine(face_spec())), [frame])[0]) == 0
    lenient = make_detector(DetectorConfig(score_threshold=0.4), FakeEngine(face_spec()))
    assert len(search_all(lenient, [frame])[0]) == 1


def test_luma_is_fed_as_it_comes() -> None:
    plain = FakeEngine(face_spec(color="luma", input_shape=(1, 0, 0), mean=(0.0,), std=(1 / 255,)))
    frame = frame_of(squares(320, 192, (64, 64, 32, 255)))
    luma = replace(frame, small=np.ascontiguousarray(frame.small[..., 0]))
    (found,) = search_all(make_detector(DetectorConfig(), plain), [luma])
    (same,) = search_all(make_detector(DetectorConfig(), plain), [frame])
    assert found.boxes.tolist() == same.boxes.tolist() == [[64, 64, 96, 96]]


@pytest.mark.parametrize("color", ["bgr", "rgb", "luma"])
def test_the_network_gets_the_colours_it_wants(color: str) -> None:
    channels = 1 if color == "luma" else 3
    seen = []

    class Watching(FakeEngine):
        def infer(self, batch: np.ndarray) -> Outputs:
            seen.append(batch.copy())
            return super().infer(batch)

    picture = np.zeros((32, 32, 3), np.uint8)
    picture[...] = (10, 20, 200)
    spec = face_spec(color=color, input_shape=(channels, 0, 0), mean=(0.0,) * channels, std=(1 / 255,) * channels)
    search_all(make_detector(DetectorConfig(), Watching(spec)), [frame_of(picture)])
    wanted = {"bgr": [10, 20, 200], "rgb": [200, 20, 10], "luma": [73]}[color]
    assert seen[0][0, :, 0, 0].tolist() == wanted


def test_what_lies_on_the_padding_or_is_no_number_is_dropped() -> None:
    frame = frame_of(squares(100, 100))  # padded to 128x128
    found = candidates(
        (10, 10, 30, 30),
        (105, 10, 125, 30),
        (10, 101, 30, 120),
        (-50, 10, -1, 30),
        (50, 50, 70, np.nan),
        (99.5, 40, 120, 60),
        (90, 40, 120, 60),
    )
    (faces,) = search_all(EngineDetector(FakeEngine(face_spec()), fixed(found)), [frame])
    assert faces.boxes.tolist() == [[10, 10, 30, 30], [90, 40, 100, 60]]


def test_the_same_face_seen_twice_is_told_once_and_ties_keep_their_order() -> None:
    found = candidates((40, 0, 60, 20), (41, 0, 61, 20), (0, 0, 20, 20), (0, 40, 20, 60), scores=(0.8, 0.9, 0.8, 0.8))
    detector = EngineDetector(FakeEngine(face_spec()), fixed(found))
    (faces,) = search_all(detector, [frame_of(squares(96, 96))])
    assert faces.boxes.tolist() == [[41, 0, 61, 20], [0, 0, 20, 20], [0, 40, 20, 60]]
    two = EngineDetector(FakeEngine(face_spec()), fixed(found, most=2))
    assert len(search_all(two, [frame_of(squares(96, 96))])[0]) == 2


@pytest.mark.parametrize("most", [1, 50, 200])
def test_a_picture_that_is_all_faces_gives_the_best_of_them_and_no_more(tmp_path: Path, most: int) -> None:
    """A poster of a crowd, or noise at a threshold of 0: what follows is paid for each of them."""
    write_face(tmp_path)
    noise = np.random.default_rng(3).integers(150, 255, (320, 512, 3), np.uint8)  # 600 cells that do not overlap
    frame = frame_of(noise, longer_px=512)
    detector = make_detector(DetectorConfig(input_px=512, score_threshold=0.0, max_faces=most), load_engine(tmp_path))
    (faces,) = search_all(detector, [frame])
    assert len(faces) == most
    assert (np.diff(faces.scores) <= 0).all()
    (all_of_them,) = search_all(
        make_detector(DetectorConfig(input_px=512, max_faces=1000), load_engine(tmp_path)), [frame]
    )
    assert faces.scores[0] == all_of_them.scores[0]


def test_boxes_are_clipped_to_the_frame_and_landmarks_are_not() -> None:
    found = candidates((-10, -5, 50, 200))
    frame = replace(frame_of(squares(96, 96)), letterbox=Letterbox(192, 192, 0.5, 0.5))
    (faces,) = search_all(EngineDetector(FakeEngine(face_spec()), fixed(found)), [frame])
    assert faces.boxes.tolist() == [[0, 0, 100, 192]]
    assert faces.landmarks[0, 0].tolist() == [-19.5, -9.5]


def test_a_model_that_is_no_detector_is_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"expected a face detector with decoding yunet, got task emotion"):
        make_detector(DetectorConfig(), FakeEngine(emotion_spec()))


def test_a_detector_of_one_size_is_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"any height and width"):
        make_detector(DetectorConfig(), FakeEngine(face_spec(input_shape=(3, 640, 640))))


def test_a_detector_without_its_outputs_is_refused() -> None:
    with pytest.raises(ModelInvalid, match=r"also reads the outputs cls_16, cls_32"):
        make_detector(DetectorConfig(), FakeEngine(face_spec(outputs=("cls_8",))))
