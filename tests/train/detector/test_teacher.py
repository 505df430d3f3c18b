"""Pseudo labels: what a teacher says at several scales becomes one face, and how sure it is of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.fake import LANDMARK_PLACES, FakeEngine
from engines.decoding.base import Candidates
from tests.engines.networks import face_spec
from tests.train.detector.synthetic import labels_of, nothing
from train.detector.corpus import make_corpus
from train.detector.find import find_faces, in_color
from train.detector.photos import album, encoded
from train.detector.teacher import LOWEST, MOST, SCALES, SURE, Labels, joined, label, label_picture

BOX = (56, 40, 96, 80)  # x1 y1 x2 y2


def square(level: int = 250, size: tuple[int, int] = (130, 150)) -> NDArray[np.uint8]:
    """A light square on black: what the fake teacher takes for a face. Its brightness is the score."""
    picture = np.zeros((*size, 3), np.uint8)
    picture[BOX[1] : BOX[3], BOX[0] : BOX[2]] = level
    return picture


@pytest.fixture
def teacher() -> FakeEngine:
    return FakeEngine(face_spec())


def test_what_is_seen_at_many_scales_is_one_face(teacher: FakeEngine) -> None:
    boxes, landmarks, scores = label_picture(teacher, square())
    assert len(boxes) == 1
    assert boxes[0].tolist() == pytest.approx(BOX, abs=1.5)
    places = np.array(BOX[:2]) + np.array(LANDMARK_PLACES) * 40 - 0.5
    np.testing.assert_allclose(landmarks[0], places, atol=1.5)
    assert scores.shape == (1, len(SCALES))
    assert (scores[0] >= SURE).sum() >= MOST
    assert [batch for batch in teacher.batches if batch != 1] == []


def test_a_picture_without_a_face_has_no_row(teacher: FakeEngine) -> None:
    boxes, landmarks, scores = label_picture(teacher, np.zeros((60, 40, 3), np.uint8))
    assert (boxes.shape, landmarks.shape, scores.shape) == ((0, 4), (0, 5, 2), (0, len(SCALES)))


def test_half_a_belief_at_every_scale_is_a_doubt(teacher: FakeEngine) -> None:
    found = label(teacher, [square(130)])
    assert len(found.boxes) == 1
    assert LOWEST <= found.scores.max() < SURE
    assert found.sure().tolist() == [False]


def test_less_than_a_doubt_is_nothing(teacher: FakeEngine) -> None:
    assert len(label(teacher, [square(60)]).boxes) == 0


@pytest.mark.parametrize(("times", "sure"), [(MOST - 1, False), (MOST, True), (len(SCALES), True)])
def test_a_face_is_beyond_doubt_when_most_scales_are_sure(times: int, sure: bool) -> None:
    scores = np.full((1, len(SCALES)), SURE - 0.01, np.float32)
    scores[0, :times] = SURE + 0.01
    one = labels_of([np.float32(BOX)])
    assert Labels(one.first, one.boxes, one.landmarks, scores).sure().tolist() == [sure]


def test_rows_belong_to_their_pictures(teacher: FakeEngine) -> None:
    told: list[int] = []
    both = square(size=(130, 300))
    both[40:80, 220:260] = 250
    found = label(teacher, [square(), np.zeros((50, 50, 3), np.uint8), both], told.append)
    assert told == [1, 2, 3]
    assert len(found) == 3
    assert found.of(0) == slice(0, 1)
    assert found.of(1) == slice(1, 1)
    rows = found.of(2)  # with what the fake makes of both together where they are small
    assert sorted(found.boxes[rows][found.sure()[rows], 0].tolist()) == pytest.approx([56, 220], abs=1.5)
    assert rows.stop == len(found.boxes) == len(found.landmarks) == len(found.scores)


def test_albums_labels_are_joined_one_after_the_other() -> None:
    one, two = labels_of([np.float32([0, 0, 8, 8])]), labels_of([np.float32([1, 1, 9, 9]), np.float32([2, 2, 9, 9])])
    both = joined([one, nothing(2), two])
    assert len(both) == 5
    assert both.first.tolist() == [0, 1, 1, 1, 2, 3]
    assert both.boxes[both.of(4)].tolist() == [[2, 2, 9, 9]]
    assert both.landmarks.shape == (3, 5, 2)
    assert both.scores.shape == (3, len(SCALES))


def test_faces_are_found_in_pixels_of_a_picture_of_any_size(teacher: FakeEngine) -> None:
    found: Candidates = find_faces(teacher, square())  # 130 x 150: padded for the network
    assert found.boxes[0].tolist() == pytest.approx(BOX, abs=0.5)
    assert len(find_faces(teacher, square(130))) == 0  # the spec's own threshold is 0.7
    assert len(find_faces(teacher, square(130), 0.4)) == 1


def test_a_teacher_of_another_colour_order_is_given_it() -> None:
    """A red square is bright only to a network that is asked for the right channel."""
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[32:64, 32:64, 2] = 250
    for color in ("bgr", "rgb"):
        spec = face_spec(color=color, std=(1 / 255,) * 3)
        assert find_faces(FakeEngine(spec), in_color(picture, spec), 0.2).boxes[0].tolist() == pytest.approx(
            [32, 32, 64, 64], abs=1
        )
    grey = face_spec(color="luma", input_shape=(1, 0, 0), mean=(0.0,), std=(1 / 255,))
    assert find_faces(FakeEngine(grey), in_color(picture, grey), 0.2).boxes[0].tolist() == pytest.approx(
        [32, 32, 64, 64], abs=1
    )


def test_a_corpus_is_the_photos_their_faces_turned_and_the_backgrounds(teacher: FakeEngine) -> None:
    photos = album([encoded(square()), encoded(square(130)), encoded(square(240))], [True, False, False])
    empty = album([encoded(np.zeros((96, 96, 3), np.uint8))], [False])
    told: dict[str, tuple[int, int]] = {}

    def progress(what: str, done: int, total: int) -> None:
        told[what] = (done, total)

    made = make_corpus(photos, empty, teacher, progress)
    # the second photo shows only a doubt, which is not worth turning
    assert told == {"photos": (3, 3), "turning": (3, 3), "turned photos": (2, 2), "backgrounds": (1, 1)}
    assert len(made.pictures) == len(made.labels) == 6
    assert made.pictures.held_out.tolist() == [True, False, False, True, False, False]
    assert made.pictures[3].shape == made.pictures[0].shape
    assert not np.array_equal(made.pictures.file(3), made.pictures.file(0))
    assert np.diff(made.labels.first)[[0, 1, 2, 5]].tolist() == [1, 1, 1, 0]
    again = make_corpus(photos, empty, teacher, progress)
    assert again.sha256() == made.sha256()
    assert made.origin.tolist() == [0, 0, 0, 1, 1, 2]
    assert made.teacher.startswith(teacher.spec.name)


def test_no_pictures_have_no_labels(teacher: FakeEngine) -> None:
    found = label(teacher, album([], []))
    assert (len(found), found.boxes.shape, found.landmarks.shape) == (0, (0, 4), (0, 5, 2))
