"""Annotated pictures of a camera as MJPEG, made only while somebody looks.

`boxes` shows no pixel of the camera, `blurred` hides every face that was found, `full` shows the picture; grey, because
a frame carries the decoder's luma, and colour would cost a conversion of every frame. A face is hidden from the frame
on in which the detector found it, and as long after as HIDE_S: one that it misses is seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray

from engines.preprocess import expand_range
from stream.records import Frame, Tracks

WIDTH_PX: Final = 640  # of a picture; smaller frames are not enlarged
QUALITY: Final = 75  # JPEG
MARGIN: Final = 0.25  # of a face's box, hidden around it on each side
MOSAIC: Final = 6  # a hidden face keeps so many patches across
HIDE_S: Final = 1.0  # of media time that a place stays hidden after its face was last found there
MOST_VIEWERS: Final = 16  # of all cameras
BOUNDARY: Final = "emostream-frame"

Boxes = NDArray[np.float32]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """One frame as it may be drawn."""

    frame: Frame
    tracks: Tracks
    hidden: tuple[Boxes, ...]  # every face found lately, (N, 4) pixels of the frame


class Preview:
    """`offer` is for the analysis thread, the rest for the web thread."""

    def __init__(self, mode: str = "off", hz: float = 5.0) -> None:
        self.mode, self.pause_s = mode, 1.0 / hz
        self.closed = False  # no picture comes any more: whoever looks is let go
        self._lock = threading.Lock()  # guards everything below
        self._viewers: Counter[str] = Counter()
        self._looks: dict[str, _Look] = {}
        self._lately: dict[str, deque[tuple[float, Boxes]]] = {}
        self._drawn: dict[str, tuple[int, bytes]] = {}  # frame index -> JPEG: several viewers share it

    def offer(self, frame: Frame, found: Boxes, tracks: Tracks) -> None:
        """The newest frame, the faces found in it (N, 4) and those that are followed; dropped if nobody looks."""
        if not self._viewers[frame.camera_id]:
            return
        with self._lock:
            lately = self._lately.setdefault(frame.camera_id, deque())
            if lately and frame.media_time_s < lately[-1][0]:
                lately.clear()
            lately.append((frame.media_time_s, np.concatenate([found, tracks.faces.boxes])))
            while lately[0][0] < frame.media_time_s - HIDE_S:
                lately.popleft()
            self._looks[frame.camera_id] = _Look(frame, tracks, tuple(boxes for _, boxes in lately))

    def close(self) -> None:
        """The run is over."""
        self.closed = True

    def join(self, camera_id: str) -> bool:
        """One viewer more; False when there are enough."""
        with self._lock:
            if self._viewers.total() >= MOST_VIEWERS:
                return False
            self._viewers[camera_id] += 1
            return True

    def leave(self, camera_id: str) -> None:
        """One viewer less; the last one takes the pictures along."""
        with self._lock:
            self._viewers[camera_id] -= 1
            if not self._viewers[camera_id]:
                del self._viewers[camera_id]
                self._looks.pop(camera_id, None)
                self._lately.pop(camera_id, None)
                self._drawn.pop(camera_id, None)

    def picture(self, camera_id: str, after: int) -> tuple[int, bytes] | None:
        """(index, JPEG) of the newest frame; None if it is the one with index `after`, or none came yet."""
        with self._lock:
            look, drawn = self._looks.get(camera_id), self._drawn.get(camera_id)
        if look is None or look.frame.index == after:
            return None
        if drawn is None or drawn[0] != look.frame.index:
            drawn = look.frame.index, encode(self.mode, look)
            with self._lock:
                if self._viewers[camera_id]:
                    self._drawn[camera_id] = drawn
        return drawn


def router(preview: Preview) -> APIRouter:
    """`/preview/{camera_id}.mjpeg`."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/preview/{camera_id}.mjpeg")
    async def pictures(camera_id: str) -> StreamingResponse:
        if preview.mode == "off":
            raise HTTPException(404, "the preview is off; web.preview turns it on")
        if not preview.join(camera_id):
            raise HTTPException(503, f"{MOST_VIEWERS} pictures are being watched already; close one first")
        media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return StreamingResponse(
            _stream(preview, camera_id), media_type=media_type, headers={"Cache-Control": "no-store"}
        )

    return routes


async def _stream(preview: Preview, camera_id: str) -> AsyncIterator[bytes]:
    """Every new picture, `preview_hz` of them a second at most, until the viewer leaves or the run is over."""
    shown = -1
    try:
        while not preview.closed:
            drawn = await asyncio.to_thread(preview.picture, camera_id, shown)
            if drawn is not None:
                shown, jpeg = drawn
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                yield head.encode() + jpeg + b"\r\n"
            await asyncio.sleep(preview.pause_s)
    finally:
        preview.leave(camera_id)


def encode(mode: str, look: _Look) -> bytes:
    """The picture of one frame as JPEG, at most WIDTH_PX wide."""
    frame = look.frame
    height, width = frame.luma.shape
    scale = min(1.0, WIDTH_PX / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if mode == "boxes":
        picture: Picture = np.zeros((size[1], size[0]), np.uint8)
    else:
        luma = np.asarray(cv2.resize(frame.luma, size, interpolation=cv2.INTER_AREA), np.uint8)
        picture = luma if frame.full_range else expand_range(luma)
    if mode == "blurred":
        for boxes in look.hidden:
            for box in boxes * scale:
                _hide(picture, box)
    for track_id, box in zip(look.tracks.ids, look.tracks.faces.boxes * scale, strict=True):
        _outline(picture, box, f"#{track_id}")
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _hide(picture: Picture, box: Boxes) -> None:
    """Large even patches in place of a face and its surroundings: nothing of it can be computed back."""
    more = MARGIN * (box[2:] - box[:2])
    left, top = np.maximum(np.floor(box[:2] - more), 0).astype(int)
    right, bottom = np.ceil(box[2:] + more).astype(int)
    region = picture[top:bottom, left:right]
    if region.size:
        patches = cv2.resize(region, (MOSAIC, MOSAIC), interpolation=cv2.INTER_AREA)
        region[:] = cv2.resize(patches, region.shape[::-1], interpolation=cv2.INTER_NEAREST)


def _outline(picture: Picture, box: Boxes, name: str) -> None:
    """Black around white, so that it can be seen on everything."""
    left, top, right, bottom = (round(float(edge)) for edge in box)
    place = left, max(12, top - 5)
    for value, thickness in ((0, 3), (255, 1)):
        cv2.rectangle(picture, (left, top), (right, bottom), (value,), thickness)
        cv2.putText(picture, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (value,), thickness, cv2.LINE_AA)
