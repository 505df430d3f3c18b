"""A moving test pattern that needs no file: `synthetic:640x360@25?seconds=4`, every part optional.

For trials and tests of the plumbing: deterministic, no faces. With `realtime` it plays at its own speed and counts as a
live camera.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from stream.errors import SourceInvalid
from stream.records import Frame
from stream.sources.base import Context, FramePixels, Pacer, Pixels, StreamInfo, read_only

_ADDRESS = re.compile(
    r"synthetic:(?:(?P<width>\d{1,5})x(?P<height>\d{1,5}))?(?:@(?P<rate>\d{1,4}(?:\.\d{1,4})?))?"
    r"(?:\?seconds=(?P<seconds>\d{1,6}(?:\.\d{1,4})?))?"
)
MIN_SIDE_PX = 16
STEP_PX = 3  # the pattern moves this far between two frames
TINT = (1.0, 0.9, 0.8)  # blue, green, red per luma, so that colour channels can be told apart


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an address asks for."""

    width_px: int
    height_px: int
    rate_hz: Fraction
    count: int  # frames


class SyntheticSource:
    """Diagonal waves that wander to the right, one picture per frame."""

    def __init__(self, context: Context) -> None:
        self.skipped: Counter[str] = Counter()
        self._context = context
        self.live = context.camera.settings.realtime
        self._pattern: Pattern | None = None
        self._numbers = iter(range(0))  # of the frames still to come

    def open(self) -> StreamInfo:
        """Read the address. Raises SourceInvalid when it cannot be understood."""
        pattern = self._pattern = self._parsed()
        self._numbers = iter(range(pattern.count))
        self._context.timeline.expect(float(1 / pattern.rate_hz))
        return StreamInfo(pattern.width_px, pattern.height_px, "synthetic", float(pattern.rate_hz))

    def frames(self) -> Iterator[Frame]:
        """The chosen frames of the pattern."""
        context, pattern = self._context, self._pattern
        if pattern is None:
            return
        pacer = Pacer(context.wait, context.clocks.monotonic) if self.live else None
        for number in self._numbers:
            if self._pattern is None:  # closed meanwhile
                return
            pts_s = float(number / pattern.rate_hz)
            if pacer.until(pts_s) if pacer else context.wait(0.0):
                return
            stamp = context.timeline.stamp(pts_s, context.clocks.monotonic())
            if stamp.chosen:
                pixels = self._pixels(picture(pattern.width_px, pattern.height_px, number))
                yield context.frame(stamp, context.clocks.wall() if self.live else None, pixels)

    def close(self) -> None:
        """Nothing is held."""
        self._pattern = None

    def _parsed(self) -> Pattern:
        match = _ADDRESS.fullmatch(self._context.camera.source)
        if match is None:
            raise self._error("expected synthetic:WIDTHxHEIGHT@RATE?seconds=SECONDS")
        width, height = int(match["width"] or 640), int(match["height"] or 360)
        rate, seconds = Fraction(match["rate"] or 25), Fraction(match["seconds"] or 10)
        largest = self._context.camera.settings.max_frame_px
        if not MIN_SIDE_PX <= min(width, height) <= max(width, height) <= largest:
            raise self._error(f"{width}x{height} is outside {MIN_SIDE_PX}..{largest} pixels")
        if rate <= 0:
            raise self._error("the rate must be above 0")
        return Pattern(width, height, rate, max(1, int(rate * seconds)))

    def _pixels(self, luma: Pixels) -> FramePixels:
        letterbox, content, (width, height) = self._context.small.letterbox(luma.shape[1], luma.shape[0])
        shrunk = cv2.resize(luma, content, interpolation=cv2.INTER_AREA)
        if self._context.small.luma:
            small = np.zeros((height, width), np.uint8)
            small[: content[1], : content[0]] = shrunk
            return FramePixels(luma, True, small, letterbox)
        small = np.zeros((height, width, 3), np.uint8)
        for channel, share in enumerate(TINT):
            small[: content[1], : content[0], channel] = shrunk * share
        return FramePixels(luma, True, small, letterbox)

    def _error(self, words: str) -> SourceInvalid:
        return SourceInvalid(f"{self._context.shown}: {words}")


def picture(width_px: int, height_px: int, number: int) -> Pixels:
    """(height, width) luma of one frame, read-only: the same for the same arguments on every machine."""
    x = np.arange(width_px, dtype=np.int32) - number * STEP_PX
    y = np.arange(height_px, dtype=np.int32)
    waves = (x[None, :] + 2 * y[:, None]) & 0xFF
    luma: Pixels = np.minimum(waves, 255 - waves).astype(np.uint8) + np.uint8(64)
    return read_only(luma)
