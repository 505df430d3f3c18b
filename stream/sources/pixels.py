"""Decoded frames -> `luma` and `small`: the decoder's Y plane without a copy, and one pass of swscale."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from stream.records import Letterbox
from stream.sources.base import FramePixels, Pixels, SmallSize, read_only

# 8-bit formats whose first plane is luma, one byte a pixel. Everything else is converted to grey first.
LUMA_PLANES = frozenset(
    ["gray", "nv12", "nv16", "nv21", "nv24", "nv42"]
    + [f"yuv{sampling}p" for sampling in (410, 411, 420, 422, 440, 444)]
    + [f"yuvj{sampling}p" for sampling in (411, 420, 422, 440, 444)]
    + [f"yuva{sampling}p" for sampling in (420, 422, 444)]
)


class Converter:
    """One per source: swscale keeps its tables between frames, and makes new ones when the format changes."""

    def __init__(self, size: SmallSize) -> None:
        self._size = size
        self._shrink, self._grey = VideoReformatter(), VideoReformatter()  # one each: a change of format costs a set-up

    def convert(self, frame: av.VideoFrame) -> FramePixels:
        """What analysis needs of a decoded frame, upright. `luma` may share the decoder's memory, and keeps it."""
        turns = quarter_turns(frame)
        luma, full_range = self._luma(frame)
        small, letterbox = self._small(frame, turns)
        if turns:
            luma = read_only(np.ascontiguousarray(np.rot90(luma, turns)))
        return FramePixels(luma, full_range, small, letterbox)

    def _luma(self, frame: av.VideoFrame) -> tuple[Pixels, bool]:
        """(H, W) read-only as stored, and whether it uses 0..255. Unspecified YUV is limited, as the standards say."""
        name = frame.format.name
        if name in LUMA_PLANES:
            return plane_rows(frame, 1), name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
        gray = self._grey.reformat(frame, format="gray", dst_color_range=ColorRange.JPEG, threads=1)
        return plane_rows(gray, 1), True  # swscale's grey is always full range

    def _small(self, frame: av.VideoFrame, turns: int) -> tuple[Pixels, Letterbox]:
        """The padded image, content at the top left, and how it was made."""
        letterbox, content, (width, height) = self._size.letterbox(*upright_size(frame))
        stored = content[::-1] if turns % 2 else content
        # fast bilinear: 0.9 ms from 1080p against 1.1 (area) and 1.5 (bilinear), and YuNet finds the same faces in all;
        # luma alone 0.4 ms
        name, channels = ("gray", ()) if self._size.luma else ("bgr24", (3,))
        shrunk = self._shrink.reformat(
            frame,
            *stored,
            format=name,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.FAST_BILINEAR,
            threads=1,
        )
        rows = np.rot90(plane_rows(shrunk, 3 if channels else 1).reshape(stored[1], stored[0], *channels), turns)
        small = np.empty((height, width, *channels), np.uint8)
        small[: content[1], : content[0]] = rows
        small[content[1] :] = 0
        small[: content[1], content[0] :] = 0
        return small, letterbox


def quarter_turns(frame: av.VideoFrame) -> int:
    """How many times to turn the stored picture by 90 degrees, counter-clockwise, to show it upright (0..3)."""
    return round(frame.rotation / 90) % 4


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """(width, height) in pixels after rotation."""
    return (frame.height, frame.width) if quarter_turns(frame) % 2 else (frame.width, frame.height)


def plane_rows(frame: av.VideoFrame, pixel_bytes: int) -> Pixels:
    """(height, width * pixel_bytes): the first plane without the padding of its lines, as a read-only view.

    PyAV's own buffer is writable, and writing into it would change the frames that the decoder predicts from it. The
    view holds the plane, the plane its frame, and the frame a reference to the buffer, so that FFmpeg's pool does not
    use it again.
    """
    plane = frame.planes[0]
    line = plane.line_size
    rows = np.frombuffer(memoryview(plane).toreadonly(), np.uint8).reshape(-1, abs(line))
    upright = rows[::-1] if line < 0 else rows  # stored bottom-up
    return upright[: frame.height, : frame.width * pixel_bytes]
