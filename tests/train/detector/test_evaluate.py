"""A detector against its teacher: against itself it is perfect, and what both said can be looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.base import Engine
from engines.decoding.base import Candidates
from engines.load import load_engine
from engines.spec import ModelSpec
from tests.squares import SIZE, SQUARE_PX
from tests.train.detector.synthetic import light_squares, square_photos
from train.detector.clips import frames
from train.detector.evaluate import PHOTO_HEIGHTS_PX, Result, evaluate
from train.detector.pictures import ACROSS, OURS, TEACHER, TILE_PX, both, disagreement, draw, write_pictures
from train.detector.scoring import SIZES_PX
from train.errors import DataMissing

WITH_SQUARE, WITHOUT = 8, 2  # frames of the clip: 0.3 s and 0.1 s at 25 a second


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder and a clip."""
    return light_squares(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture
def engine(world: tuple[Path, Path]) -> Iterator[Engine]:
    engine = load_engine(world[0])
    yield engine
    engine.close()


@pytest.fixture
def blind(world: tuple[Path, Path], tmp_path: Path) -> Iterator[Engine]:
    """The same network, which no square is light enough for."""
    (tmp_path / "model.onnx").write_bytes((world[0] / "model.onnx").read_bytes())
    ModelSpec.read(world[0]).model_copy(update={"name": "blind", "score_threshold": 0.95}).write(tmp_path)
    engine = load_engine(tmp_path)
    yield engine
    engine.close()


def test_a_detector_agrees_with_itself(world: tuple[Path, Path], engine: Engine) -> None:
    report = evaluate(engine, engine, [world[1]], square_photos(), [max(SIZE), 160])
    assert list(report.clips) == [320, 160]
    clip, total = report.clips[320]
    assert clip.pictures == total.pictures == WITH_SQUARE + WITHOUT
    assert clip.strict.count() == WITH_SQUARE
    for result in (clip, total, report.photos):
        row = result.rows()[-1]
        assert row["faces"] > 0
        assert (row["recall"], row["precision"], row["precision_lenient"], row["landmark_error"]) == (1, 1, 1, 0)
    assert total.rows()[2]["faces"] == WITH_SQUARE  # 96 px
    assert total.rows()[0] == {
        "size_px": "12-24", "faces": 0, "recall": None, "precision": None, "precision_lenient": None,
        "landmark_error": None, "landmark_error_median": None,
        "teacher_recall": None, "teacher_landmark_error": None,
    }  # fmt: skip
    seen = total.rows()[2]
    assert 0 < seen["teacher_recall"] <= 1  # it finds whole cells, and the picture moved by part of one
    assert seen["teacher_landmark_error"] > 0
    assert report.photos.pictures == len(PHOTO_HEIGHTS_PX)  # one photo is held out, the other was not looked at


def test_a_report_is_json_a_table_and_metrics(world: tuple[Path, Path], engine: Engine) -> None:
    report = evaluate(engine, engine, [world[1]], square_photos(), [320], every=5)
    told = json.loads(json.dumps(report.as_dict()))
    assert told["model"] == told["teacher"] == "light-squares"
    assert told["threshold"] == 0.5
    assert told["clips"]["320"][0]["name"] == "square.mp4"
    assert told["clips"]["320"][1]["pictures"] == 2  # frames 0 and 5
    assert told["clips"]["320"][1]["found"] == 2
    assert told["clips"]["320"][1]["ms"] > 0
    assert report.metrics()["clips"]["320"] == report.together(320).as_dict()
    text = report.as_text()
    assert text.startswith("light-squares against light-squares, scores from 0.5")
    assert "| square.mp4 | >48 | 2 | 1.000 | 1.000 | 1.000 | 0.000 |" in text


def test_a_detector_that_finds_nothing_recalls_nothing(world: tuple[Path, Path], engine: Engine, blind: Engine) -> None:
    report = evaluate(blind, engine, [world[1]], square_photos(), [320], every=2)
    row = report.together(320).rows()[-1]
    assert (row["recall"], row["precision"], row["landmark_error"]) == (0.0, None, None)


def test_answers_where_nothing_is_wanted_are_told(engine: Engine, blind: Engine, world: tuple[Path, Path]) -> None:
    report = evaluate(engine, blind, [world[1]], square_photos(), [320], every=2)
    row = report.together(320).rows()[-1]
    assert (row["faces"], row["recall"], row["precision"]) == (0, None, 0.0)
    # the teacher half believes in each of them, so that leniently nothing was wrong
    assert row["precision_lenient"] is None
    assert "| all clips | none | 0 | | 4 found | | |" in report.as_text()


def test_what_the_teacher_half_believes_counts_only_strictly() -> None:
    def found(x: float, score: float) -> Candidates:
        box = np.float32([[x, 0, x + 30, 30]])
        return Candidates(box, np.zeros((1, 5, 2), np.float32), np.float32([score]))

    result = Result("by hand", 0.5)
    result.add(found(0, 0.9), found(0, 0.8), found(100, 0.4), found(0, 0.8))
    result.add(found(100, 0.9), found(0, 0.8), found(100, 0.4), found(0, 0.8))
    row = result.rows()[-1]
    assert (row["faces"], row["recall"], row["precision"], row["precision_lenient"]) == (2, 0.5, 0.5, 1.0)
    assert (row["teacher_recall"], row["teacher_landmark_error"]) == (1.0, 0.0)
    assert [row["faces"] for row in result.rows()] == [0, 2, 0, 2]
    assert len(result.rows()) == len(SIZES_PX) + 1


def test_frames_are_made_smaller_and_never_larger(world: tuple[Path, Path]) -> None:
    width, height = SIZE
    assert [image.shape for image in frames(world[1], 160, every=4)] == [(height // 2, width // 2, 3)] * 3
    (first,) = frames(world[1], 5000, every=100)
    assert first.shape == (height, width, 3)
    assert first.dtype == np.uint8
    light = np.argwhere(first[..., 1] > 128)
    assert (light.max(axis=0) - light.min(axis=0) + 1).tolist() == pytest.approx([SQUARE_PX] * 2, abs=4)


@pytest.mark.parametrize("text", [b"", b"this is no video\n" * 100])
def test_what_is_no_video_is_told_in_a_sentence(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(text)
    with pytest.raises(DataMissing, match="cannot be read as a video"):
        list(frames(path, 320))


def test_a_clip_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"none\.mp4 cannot be read as a video"):
        list(frames(tmp_path / "none.mp4", 320))


def test_a_sheet_shows_both_detectors_boxes(world: tuple[Path, Path], engine: Engine, tmp_path: Path) -> None:
    (path,) = write_pictures(engine, engine, [world[1]], 320, tmp_path / "sheets")
    assert path == tmp_path / "sheets" / "square.jpg"
    sheet = cv2.imread(str(path))
    assert sheet is not None
    # both agree, so that the six pictures are evenly spread: two rows of four
    assert sheet.shape == (2 * 240, ACROSS * TILE_PX, 3)
    last = sheet[240:, 2 * TILE_PX :]
    assert last.mean() < 5  # no seventh and eighth


def test_boxes_are_drawn_in_each_detectors_colour(world: tuple[Path, Path], engine: Engine, blind: Engine) -> None:
    seen = next(iter(both(engine, blind, world[1], 320, 100)))
    image = draw(seen, "ours", "teacher")
    assert image.shape == seen.image.shape
    left, top, right, _ = np.rint(seen.ours.boxes[0]).astype(int).tolist()
    assert image[top, (left + right) // 2].tolist() == list(OURS)
    assert not (image[top:] == TEACHER).all(axis=2).any()  # it found nothing; its name stands above
    assert disagreement(seen) == pytest.approx(float(seen.ours.scores.sum()))
    assert disagreement(replace(seen, teacher=seen.ours)) == 0.0


def test_a_report_without_clips_is_only_of_photos(engine: Engine) -> None:
    report = evaluate(engine, engine, [], square_photos(), [])
    assert report.clips == {}
    assert "held-out photos" in report.as_text()
