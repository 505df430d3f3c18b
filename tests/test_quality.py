"""The quality of a crop falls with everything that makes a network err, and with nothing else."""

from __future__ import annotations

import itertools
import math
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engines.preprocess import align
from engines.spec import ModelSpec
from stream.quality import NOSE_DEPTH, quality, sharpness, sharpness_factor, size_factor, turn_factor
from tests.clips import portrait

# Where YuNet sees the portrait's face, pixels of the portrait.
LANDMARKS = np.array([[121.4, 154.5], [205.6, 151.3], [163.2, 196.2], [131.1, 236.4], [203.5, 233.4]], np.float32)
BOX = np.array([74.4, 82.1, 257.9, 296.4], np.float32)
SCORE = 0.94
# Five landmarks of FER-2013's framing, and whatever else a spec must say.
SPEC = ModelSpec(
    schema_="emostream.model/1",
    name="emotion",
    task="emotion",
    precision="fp32",
    input_shape=(1, 48, 48),
    stride=1,
    color="luma",
    mean=(0.5,),
    std=(0.5,),
    outputs=("logits",),
    labels=("angry", "happy"),
    template=((15.3, 18.9), (31.9, 18.0), (23.7, 27.9), (17.4, 35.8), (31.4, 35.1)),
    sha256="0" * 64,
)


def seen(scale: float = 1.0, blur_px: float = 0.0, score: float = SCORE) -> float:
    """The quality of the portrait's face, as a camera would see it from afar or out of focus (pixels of the crop)."""
    luma = cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)
    luma = cv2.resize(luma, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    landmarks, box = ((LANDMARKS + 0.5) * scale - 0.5).astype(np.float32), BOX * scale
    crop = align(luma, landmarks, SPEC)
    return quality(cv2.GaussianBlur(crop, (0, 0), blur_px) if blur_px else crop, landmarks, box, score)


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    return align(cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY), LANDMARKS, SPEC)


def turned(yaw_degrees: float, roll_degrees: float = 0.0, pixels: float = 40.0) -> np.ndarray:
    """Eyes and nose of a head in space, seen from straight ahead and far away."""
    yaw, roll = math.radians(yaw_degrees), math.radians(roll_degrees)
    head = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.6, NOSE_DEPTH], [-0.3, 1, 0.2], [0.3, 1, 0.2]])
    x = head[:, 0] * math.cos(yaw) + head[:, 2] * math.sin(yaw)
    rotation = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    return (100 + pixels * np.column_stack([x, head[:, 1]]) @ rotation.T).astype(np.float32)


def test_a_good_portrait_is_worth_nearly_a_whole_frame():
    assert seen() > 0.85


def test_blur_lowers_step_by_step():
    qualities = [seen(blur_px=blur_px) for blur_px in (0.0, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)]
    assert qualities == sorted(qualities, reverse=True)
    assert qualities[3] > 0.5 * qualities[0]  # the network still got 80 % of its answers
    assert qualities[-1] < 0.25 * qualities[0]  # and none here


def test_distance_lowers_step_by_step():
    widths_px = (180, 90, 40, 30, 25, 20, 15, 10)
    qualities = [seen(scale=width_px / 183.5) for width_px in widths_px]
    assert all(near > far - 0.02 for near, far in itertools.pairwise(qualities))  # resampling trembles
    assert qualities[2] > 0.85 * qualities[0]
    assert qualities[-1] < 0.4 * qualities[0]


def test_a_moved_face_counts_as_blurred_in_whatever_direction(crop):
    for kernel in (np.full((1, 9), 1 / 9), np.full((9, 1), 1 / 9), np.eye(7) / 7, np.eye(7)[::-1] / 7):
        assert sharpness_factor(sharpness(cv2.filter2D(crop, -1, kernel))) < 0.85 * sharpness_factor(sharpness(crop))


def test_light_and_contrast_change_next_to_nothing(crop):
    dim = np.rint(crop * 0.4).astype(np.uint8)
    pale = np.rint(crop * 0.3 + 100).astype(np.uint8)
    for changed in (dim, pale):
        assert sharpness(changed) == pytest.approx(sharpness(crop), rel=0.05)


def test_camera_noise_is_no_detail(crop):
    noise = np.random.default_rng(3).normal(0, 5, crop.shape)
    blurred = cv2.GaussianBlur(crop, (0, 0), 2.0)
    noisy = np.clip(np.rint(blurred + noise), 0, 255).astype(np.uint8)
    assert sharpness(noisy) < 0.35 * sharpness(crop)


@pytest.mark.parametrize(
    ("yaw_degrees", "worth"), [(0, 1.0), (20, 0.883), (45, 0.5), (60, 0.25), (80, 0.03), (90, 0.0)]
)
@pytest.mark.parametrize("roll_degrees", [0, 30, -75])
def test_a_turned_head_is_worth_the_squared_cosine_however_it_is_rolled(yaw_degrees, worth, roll_degrees):
    assert turn_factor(turned(yaw_degrees, roll_degrees)) == pytest.approx(worth, abs=1e-3)
    assert turn_factor(turned(-yaw_degrees, roll_degrees, pixels=7)) == pytest.approx(worth, abs=1e-3)


def test_a_doubtful_detection_is_worth_less():
    assert seen(score=0.6) == pytest.approx(seen(score=0.9) * 0.6 / 0.9)


def test_small_faces_fade_without_a_step():
    steps = np.diff([size_factor(width_px) for width_px in np.arange(0, 80, 0.25)])
    assert steps.min() >= 0
    assert steps.max() < 0.02


def test_what_shows_nothing_is_worth_nothing():
    flat = np.full((48, 48), 90, np.uint8)
    assert quality(flat, LANDMARKS, BOX, SCORE) == 0.0
    assert turn_factor(np.zeros((5, 2), np.float32)) == 0.0


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.uint8, (48, 48)),
    arrays(np.float32, (5, 2), elements=st.floats(-1e4, 1e4, width=32)),
    st.floats(0, 8192),
    st.floats(0, 1),
)
def test_always_a_number_from_0_to_1(pixels, landmarks, width_px, score):
    box = np.array([5, 5, 5 + width_px, 50], np.float32)
    assert 0.0 <= quality(pixels, landmarks, box, score) <= 1.0


def test_cheap_beside_what_it_weighs(crop):
    """A crop costs the network about 0.4 ms; its quality took 0.02 ms when this was written."""

    def once() -> float:
        start = time.thread_time()
        for _ in range(200):
            quality(crop, LANDMARKS, BOX, SCORE)
        return (time.thread_time() - start) / 200

    assert min(once() for _ in range(10)) < 0.0002
