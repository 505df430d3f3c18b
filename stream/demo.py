"""Four short camera clips for `emostream demo`, made on the spot from one public-domain portrait.

She is cut out once and put into four painted rooms, so
that faces move, leave, return, meet, and stand in changing light, while the cameras pan and zoom. The same installation
makes the same bytes every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.portrait import portrait

FRAME_PX = (640, 360)  # width, height
RATE_HZ = 15  # as many cameras send, and less to encode while somebody waits
DURATION_S = 8.0
FRAMES = round(DURATION_S * RATE_HZ)  # of each clip

FACE_XY = (265.0, 220.0)  # centre of her face in the portrait, in its pixels
FACE_PX = 128.0  # its width there
# Head, hat and shoulders in the portrait's pixels, drawn by hand. The lowest points lie below the picture, where the
# coat is continued (COAT_PX), so that nobody ends in mid-air when the face is small.
OUTLINE_XY = (
    *((4, 1000), (14, 530), (30, 430), (50, 388), (115, 358), (196, 322), (202, 304), (178, 294), (164, 262)),
    *((155, 215), (150, 170), (147, 130), (150, 102), (172, 84), (178, 58), (205, 40), (240, 25), (285, 23)),
    *((320, 38), (348, 64), (356, 86), (371, 102), (371, 150), (376, 190), (374, 222), (360, 270), (344, 304)),
    *((332, 320), (400, 347), (470, 378), (496, 402), (508, 450), (511, 1000)),
)
COAT_PX = 400
WORLD_PX = (960, 540)  # a room is larger than what its camera sees at zoom 1

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]  # (3, 3), homogeneous
Colour = tuple[int, int, int]  # BGR


@dataclass(frozen=True, slots=True)
class Person:
    """Where somebody stands in a room at one moment."""

    x: float  # centre of the face, in pixels of the room
    y: float
    face_px: float  # width of the face there
    lean_deg: float = 0.0
    mirrored: bool = False

    def matrix(self) -> Matrix:
        """(3, 3) from pixels of the portrait to pixels of the room."""
        scale, lean = self.face_px / FACE_PX, math.radians(self.lean_deg)
        across = -scale if self.mirrored else scale
        turn = np.array([[math.cos(lean), -math.sin(lean), 0], [math.sin(lean), math.cos(lean), 0], [0, 0, 1]])
        place = np.array([[1, 0, self.x], [0, 1, self.y], [0, 0, 1]])
        size = np.array([[across, 0, -across * FACE_XY[0]], [0, scale, -scale * FACE_XY[1]], [0, 0, 1]])
        placed: Matrix = place @ turn @ size
        return placed


@dataclass(frozen=True, slots=True)
class View:
    """What a camera looks at, at one moment."""

    x: float = WORLD_PX[0] / 2  # centre of the picture, in pixels of the room
    y: float = WORLD_PX[1] / 2
    zoom: float = 1.0  # pixels of the picture per pixel of the room

    def matrix(self) -> Matrix:
        """(3, 3) from pixels of the room to pixels of the picture."""
        width, height = FRAME_PX
        return np.array(
            [
                [self.zoom, 0, width / 2 - self.zoom * self.x],
                [0, self.zoom, height / 2 - self.zoom * self.y],
                [0, 0, 1],
            ]
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """One camera: its room, and who is where in it when. Times are seconds from the clip's start."""

    name: str
    wall: Colour
    floor: Colour
    people: Callable[[float], tuple[Person, ...]]
    view: Callable[[float], View] = lambda _: View()
    light: Callable[[float], float] = lambda _: 1.0  # factor on every pixel


def _path(time_s: float, *points: tuple[float, float]) -> float:
    """A value at `time_s` on straight lines between (seconds, value) points."""
    return float(np.interp(time_s, [at for at, _ in points], [value for _, value in points]))


def _wave(time_s: float, size: float, period_s: float) -> float:
    return size * math.sin(2 * math.pi * time_s / period_s)


def _lobby(time_s: float) -> tuple[Person, ...]:
    """Somebody walks out of the picture and comes back."""
    x = _path(time_s, (0, 260), (0.8, 320), (3.4, 980), (4.6, 980), (7.0, 520), (8.0, 490))
    return (Person(x, 245 + abs(_wave(time_s, 5, 1.1)), face_px=78, lean_deg=_wave(time_s, 2.5, 1.1)),)


def _desk(time_s: float) -> tuple[Person, ...]:
    """Somebody at a screen, swaying a little."""
    return (
        Person(480 + _wave(time_s, 14, 5.3), 250 + _wave(time_s, 4, 3.1), face_px=120, lean_deg=_wave(time_s, 4, 4.1)),
    )


def _door(time_s: float) -> tuple[Person, ...]:
    """Somebody comes up to the door."""
    nearer = _path(time_s, (0, 52), (6.5, 112), (8, 112))
    return (Person(470 + _wave(time_s, 10, 3.7), 225 + nearer / 4, face_px=nearer, lean_deg=_wave(time_s, 2, 1.3)),)


def _hall(time_s: float) -> tuple[Person, ...]:
    """Two people who talk; the one behind is smaller."""
    return (
        Person(360 + _wave(time_s, 8, 4.3), 236, face_px=62, lean_deg=_wave(time_s, 3, 3.3)),
        Person(600 - _wave(time_s, 12, 5.1), 250, face_px=80, lean_deg=_wave(time_s, -3, 2.9), mirrored=True),
    )


SCENES = (
    Scene("lobby", wall=(196, 206, 210), floor=(96, 112, 128), people=_lobby),
    Scene(
        "desk",
        wall=(150, 160, 150),
        floor=(70, 90, 120),
        people=_desk,
        view=lambda t: View(zoom=_path(t, (0, 1.0), (3, 1.3), (5, 1.3), (8, 1.0))),
    ),
    Scene(
        "door",
        wall=(120, 130, 165),
        floor=(80, 84, 90),
        people=_door,
        light=lambda t: _path(t, (0, 1.0), (2.4, 1.0), (2.7, 0.4), (4.8, 0.4), (5.0, 1.25), (8, 1.05)),
    ),
    Scene(
        "hall",
        wall=(205, 190, 170),
        floor=(120, 110, 96),
        people=_hall,
        view=lambda t: View(x=_path(t, (0, 400), (3.5, 560), (8, 440)), zoom=1.1),
    ),
)


def make_clips(folder: Path) -> list[Path]:
    """One H.264 file for each of SCENES, `<name>.mp4` in `folder`, which must exist.

    Raises ModelInvalid when the portrait cannot be read.
    """
    cutout = _cut_out(portrait())
    with ThreadPoolExecutor(len(SCENES), thread_name_prefix="demo") as pool:  # OpenCV and PyAV release the GIL
        return list(pool.map(lambda scene: _encode(scene, cutout, folder / f"{scene.name}.mp4"), SCENES))


def _cut_out(picture: Image) -> Image:
    """(H + COAT_PX, W, 4) BGRA: her without the background, colours already multiplied by alpha."""
    import cv2

    tall = cv2.copyMakeBorder(picture, 0, COAT_PX, 0, 0, cv2.BORDER_REPLICATE)
    alpha = np.zeros(tall.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [np.array(OUTLINE_XY, np.int32)], 255)
    alpha = cv2.erode(alpha, np.ones((5, 5), np.uint8))  # a little inside the line, so that no old background shows
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2.0)
    colours = cv2.multiply(tall, cv2.merge([alpha] * 3), scale=1 / 255)
    return np.dstack([colours, alpha])


def _room(scene: Scene) -> Image:
    """(h, w, 4) BGRA of WORLD_PX: a wall that is lit from above, a window, a door and a floor, out of focus."""
    import cv2

    width, height = WORLD_PX
    skirting = round(height * 0.8)
    room = np.empty((height, width, 3), np.uint8)
    fall_off = np.linspace(1.1, 0.75, skirting)[:, None, None]
    room[:skirting] = np.clip(np.array(scene.wall) * fall_off, 0, 255)
    room[skirting:] = scene.floor
    cv2.rectangle(room, (190, 90), (330, 250), (235, 232, 225), -1)
    cv2.rectangle(room, (256, 90), (264, 250), scene.wall, -1)
    cv2.rectangle(room, (690, 110), (800, skirting), scene.floor, -1)
    cv2.circle(room, (706, 290), 6, (190, 210, 220), -1)
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(room, (0, 0), 2.0), cv2.COLOR_BGR2BGRA), np.uint8)


def _pictures(scene: Scene, cutout: Image) -> Iterator[Image]:
    """FRAMES pictures, each (h * 3 / 2, w) I420 of FRAME_PX.

    Drawn in BGRA, because OpenCV warps four channels four times as fast as three, and turned into the encoder's own
    format here, because OpenCV does that ten times as fast as swscale.
    """
    import cv2

    room = _room(scene)
    for index in range(FRAMES):
        time_s = index / RATE_HZ
        view = scene.view(time_s).matrix()
        picture = cv2.warpAffine(room, view[:2], FRAME_PX, borderMode=cv2.BORDER_REPLICATE)
        for person in scene.people(time_s):
            layer = cv2.warpAffine(cutout, (view @ person.matrix())[:2], FRAME_PX)
            behind = cv2.merge([255 - layer[:, :, 3]] * 4)
            picture = cv2.add(cv2.multiply(picture, behind, scale=1 / 255), layer)
        lit = cv2.convertScaleAbs(picture, alpha=scene.light(time_s))
        yield np.asarray(cv2.cvtColor(lit, cv2.COLOR_BGRA2YUV_I420), np.uint8)


def _encode(scene: Scene, cutout: Image, path: Path) -> Path:
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE_HZ, options={"preset": "ultrafast", "crf": "28"})
        video.width, video.height = FRAME_PX
        video.pix_fmt = "yuv420p"
        video.thread_count = 1  # the bytes must not depend on the number of cores
        for picture in _pictures(scene, cutout):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(video.encode())
    return path
