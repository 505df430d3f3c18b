"""Video files -> the small pictures that a camera's detector would see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from train.errors import DataMissing

# none of their frames is trained on
CLIPS = (
    "four_faces_1080p25.mp4",
    "crowd_cuts.mp4",
    "sad_to_happy.mp4",
    "one_woman.mp4",
    "single_face.mp4",
    "face_noface.mov",
    "noface_face.mov",
    "no_face.mp4",
    "intel/classroom.gif",
    "intel/face-demographics-walking-and-pause.gif",
    "intel/head-pose-face-detection-female-and-male.gif",
)


def frames(path: Path, longer_px: int, every: int = 1) -> Iterator[NDArray[np.uint8]]:
    """(H, W, 3) BGR of each `every`-th frame, its longer side reduced to `longer_px` and never enlarged.

    swscale with fast bilinear interpolation, as cameras do it. Raises DataMissing when the file is no video.
    """
    shrink = VideoReformatter()
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % every:
                    continue
                scale = min(1.0, longer_px / max(frame.width, frame.height))
                size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
                small = shrink.reformat(frame, *size, format="bgr24", interpolation=Interpolation.FAST_BILINEAR)
                yield small.to_ndarray()
    except (av.error.FFmpegError, IndexError) as error:
        raise DataMissing(f"{path} cannot be read as a video ({error}); name another") from None
