"""The Source protocol: something that gives the chosen frames of one camera, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from stream.records import Frame


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What an opened source turned out to be."""

    width_px: int  # after rotation
    height_px: int
    codec: str
    rate_hz: float | None  # what the container claims; None where it claims nothing


@dataclass(frozen=True, slots=True)
class SmallSize:
    """How large `Frame.small` is to be: what the detector asks for."""

    longer_px: int  # the frame's longer side is reduced to this, never enlarged
    stride: int  # both sides are padded to multiples of it


class Source(Protocol):
    """One camera or file. Made, used and closed by its camera's thread; opened at most once."""

    live: bool  # True: frames come when they come, and newer ones matter more; False: a recording, every frame counts

    def open(self) -> StreamInfo:
        """Connect and find the video stream. Raises SourceError (its classes say why), with a scrubbed message."""
        ...

    def frames(self) -> Iterator[Frame]:
        """The frames that the timeline chose; ends at the end of a recording. Raises SourceError when it breaks off."""
        ...

    def close(self) -> None:
        """Free the container and its socket. May be called twice, and before `open`."""
        ...
