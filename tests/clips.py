"""Small real clips for tests: a public-domain portrait moves over a grey pattern, encoded with PyAV.

A face is described by a function from media time to where the face is: `Face(x_px, y_px, height_px)`, or
None while it is away.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from engines.portrait import portrait as whole_portrait

Image = NDArray[np.uint8]

# YuNet's box in the whole portrait is (177, 123)-(356, 336); the cut keeps head and collar around it.
CUT = (100, 40, 432, 420)  # x1 y1 x2 y2
FACE_CENTRE = (266.5 - CUT[0], 229.5 - CUT[1])  # pixels of the cut
FACE_HEIGHT = 213.0


@dataclass(frozen=True)
class Face:
    """Where a face is in the picture: its centre and its height, in pixels of the clip."""

    x_px: float
    y_px: float
    height_px: float


Path_ = Callable[[float], Face | None]


def still(x_px: float, y_px: float, height_px: float) -> Path_:
    """A face that stays where it is."""
    return lambda _: Face(x_px, y_px, height_px)


def during(path: Path_, from_s: float, to_s: float) -> Path_:
    """The same face, there only from `from_s` until before `to_s`."""
    return lambda time_s: path(time_s) if from_s <= time_s < to_s else None


def pan(start: Face, speed_px_s: float) -> Path_:
    """A face that moves to the right at a steady speed."""
    return lambda time_s: Face(start.x_px + speed_px_s * time_s, start.y_px, start.height_px)


@functools.cache
def portrait() -> Image:
    """(380, 332, 3) BGR: the head and collar of the portrait."""
    x1, y1, x2, y2 = CUT
    return np.ascontiguousarray(whole_portrait()[y1:y2, x1:x2])


def background(width: int, height: int) -> Image:
    """A smooth grey-blue gradient: nothing in it looks like a face."""
    x = np.linspace(70, 150, width, dtype=np.float32)[None, :]
    y = np.linspace(0, 50, height, dtype=np.float32)[:, None]
    return np.stack([x + y, x + 0.6 * y, x + 0.4 * y], axis=-1).astype(np.uint8)


def paint(picture: Image, face: Face) -> None:
    """Draw the portrait into `picture`; what lies outside of it is cut off."""
    scale = face.height_px / FACE_HEIGHT
    shift_x, shift_y = face.x_px - FACE_CENTRE[0] * scale, face.y_px - FACE_CENTRE[1] * scale
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]], np.float32)
    height, width = picture.shape[:2]
    warped = cv2.warpAffine(portrait(), matrix, (width, height), flags=cv2.INTER_AREA)
    inside = cv2.warpAffine(np.full(portrait().shape[:2], 255, np.uint8), matrix, (width, height))
    picture[inside > 127] = warped[inside > 127]


def pictures(seconds: float, fps: float, size: tuple[int, int], faces: Sequence[Path_]) -> list[Image]:
    """Each frame as (height, width, 3) BGR. A bar below moves one pixel a frame, so that no two are equal."""
    width, height = size
    frames = []
    for index in range(round(seconds * fps)):
        picture = background(width, height)
        for path in faces:
            face = path(index / fps)
            if face is not None:
                paint(picture, face)
        picture[-6:, index % width : index % width + 8] = 255
        frames.append(picture)
    return frames


def make_clip(
    path: Path,
    seconds: float = 2.0,
    fps: float = 25.0,
    size: tuple[int, int] = (320, 240),
    faces: Sequence[Path_] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    full_range: bool = False,
    rotation: int = 0,
    gop: int = 25,
    b_frames: int = 0,
    frames: Sequence[Image] | None = None,
    ticks: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode a clip and give its path back; the suffix chooses the container.

    `rotation` (degrees counter-clockwise) is written as metadata only. `frames` replaces the painted pictures, `ticks`
    the presentation times in units of 1/fps. One face of a third of the height is in the middle unless told otherwise.
    """
    if faces is None:
        faces = [still(size[0] / 2, size[1] / 2, size[1] / 3)]
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pix_fmt
        stream.codec_context.color_range = 2 if full_range else 1
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if codec in ("libx264", "libx265"):
            stream.options = {"preset": "ultrafast", "crf": "18"}
        if codec == "libx265":
            stream.options |= {"x265-params": "log-level=none:pools=none:frame-threads=1"}
        if rotation:
            stream.set_display_rotation(rotation)
        for index, picture in enumerate(frames or pictures(seconds, fps, size, faces)):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
                format=pix_fmt, dst_color_range="JPEG" if full_range else "MPEG"
            )
            frame.pts = ticks[index] if ticks else index
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_sound(path: Path, cover: bool = False) -> Path:
    """A second of silence: a media file without a video. `cover` adds a picture of the album."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if picture is not None:
            still = av.VideoFrame.from_ndarray(background(64, 64), format="bgr24")
            container.mux(picture.encode(still))
            container.mux(picture.encode(None))
    return path


def make_talking(path: Path, picture_s: int, sound_s: int) -> Path:
    """Pictures (160x120, 25 fps) that end long before their sound does, in the container that the suffix names."""
    rate = 16_000
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("mp2", rate=rate)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio.layout = "mono"
        for index, picture in enumerate(pictures(picture_s, 25, (160, 120), [])):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, rate * sound_s), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = rate, 0
        container.mux(audio.encode(silence))
        container.mux(audio.encode(None))
    return path


def truncated(whole: Path, path: Path, share: float = 0.6) -> Path:
    """The first `share` of a file's bytes. Of an MP4 the index at the end is lost, and nothing can be read."""
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def has_encoder(codec: str) -> bool:
    """Whether this build of FFmpeg can encode it."""
    try:
        return bool(av.codec.Codec(codec, "w").is_encoder)
    except av.error.FFmpegError:
        return False


def damaged(whole: Path, path: Path, from_share: float, to_share: float) -> Path:
    """A copy of an MP4 whose coded pictures are noise between two shares of their bytes; its index stays whole."""
    content = bytearray(whole.read_bytes())
    at = content.index(b"mdat") + 4
    length = int.from_bytes(content[at - 8 : at - 4], "big") - 8
    begin, end = at + int(length * from_share), at + int(length * to_share)
    content[begin:end] = np.random.default_rng(5).bytes(end - begin)
    path.write_bytes(content)
    return path
