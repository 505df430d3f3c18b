"""The clips that the demo plays: they decode, they show faces where they should, and they are the same every time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stream import demo

LOOK_EVERY = 5  # frames


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return demo.make_clips(tmp_path_factory.mktemp("demo"))


def pictures(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame, (h, w, 3) BGR."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def test_one_clip_per_scene_named_after_it(clips: list[Path]) -> None:
    assert [clip.name for clip in clips] == ["lobby.mp4", "desk.mp4", "door.mp4", "hall.mp4"]


def test_they_are_what_they_say(clips: list[Path]) -> None:
    for clip in clips:
        with av.open(str(clip)) as container:
            video = container.streams.video[0]
            assert (video.codec_context.name, video.average_rate) == ("h264", demo.RATE_HZ)
            times = [frame.time for frame in container.decode(video)]
        assert times == pytest.approx([index / demo.RATE_HZ for index in range(demo.FRAMES)], abs=1e-3)
        assert (video.width, video.height) == demo.FRAME_PX


def test_no_picture_stands_still(clips: list[Path]) -> None:
    # not in the lobby, which is empty for a while
    for clip in clips[1:]:
        frames = pictures(clip)[::LOOK_EVERY]
        moved = [np.abs(a.astype(np.int16) - b).mean() for a, b in pairwise(frames)]
        assert min(moved) > 0.1, clip.name


def test_the_light_at_the_door_goes_off_and_on(clips: list[Path]) -> None:
    light = [picture.mean() for picture in pictures(clips[2])]
    assert min(light) < 0.5 * light[0]
    assert max(light) > 1.1 * light[0]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("scene", "faces"),
    [
        (0, lambda time_s: 0 if 3.2 < time_s < 5.0 else 1 if time_s < 2.6 or time_s > 5.6 else None),  # leaves, returns
        (1, lambda _: 1),
        (2, lambda _: 1),
        (3, lambda _: 2),
    ],
    ids=[scene.name for scene in demo.SCENES],
)
def test_faces_are_found_where_they_should_be(
    clips: list[Path], shared: Path, scene: int, faces: Callable[[float], int | None]
) -> None:
    detector = cv2.FaceDetectorYN.create(str(shared / "models/yunet/yunet_n_640_640.onnx"), "", demo.FRAME_PX)
    wrong = []
    for index, picture in list(enumerate(pictures(clips[scene])))[::LOOK_EVERY]:
        found = detector.detect(picture)[1]
        count, wanted = 0 if found is None else len(found), faces(index / demo.RATE_HZ)
        if wanted not in (None, count):  # None: on its way through the edge of the picture
            wrong.append((index, count))
    assert wrong == []


def test_the_same_bytes_every_time(clips: list[Path], tmp_path: Path) -> None:
    assert [clip.read_bytes() for clip in demo.make_clips(tmp_path)] == [clip.read_bytes() for clip in clips]
