"""Where a frame is searched: what has changed, no more than is paid for, and all of it when all may be new."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.config import DetectorConfig
from stream.detectors.gaze import AHEAD, CHANGED, Area, Gaze, everything
from stream.records import Frame, Letterbox
from tests.makers import moment

WIDTH, HEIGHT = 320, 192
ALL = [(0, 0, WIDTH, HEIGHT)]
GREY = 90
FPS = 25
NOBODY = np.zeros((0, 4), np.float32)
Picture = NDArray[np.uint8]


def seen(small: Picture, media_time_s: float, scale: float = 1.0, discontinuity: str | None = None) -> Frame:
    """A frame whose small picture has so many pixels for each of its own."""
    height, width = (round(side / scale) for side in small.shape[:2])
    luma = np.zeros((height, width), np.uint8)
    luma.flags.writeable = False
    box = Letterbox(width, height, scale, scale)
    return Frame(
        **moment(media_time_s=media_time_s), index=0, luma=luma, full_range=True, small=small, letterbox=box,
        discontinuity=discontinuity,
    )  # fmt: skip


def plain(*patches: tuple[int, int, int, int], level: int = 200, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """Grey with patches x1 y1 x2 y2 of another level."""
    picture = np.full((height, width), GREY, np.uint8)
    for left, top, right, bottom in patches:
        picture[top:bottom, left:right] = level
    return picture


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def gaze(stride: int = 32, **settings: float | None) -> Gaze:
    return Gaze(DetectorConfig(**{"scan_hz": 2.0, "idle_scan_s": 100.0, **settings}), stride)


def after_a_look(stride: int = 32, picture: Picture | None = None, **settings: float | None) -> Gaze:
    """One that has searched all of a plain picture at 0 s; at 1 s everything is paid for."""
    made = gaze(stride, **settings)
    assert made.areas(seen(plain() if picture is None else picture, 0.0), NOBODY, NOBODY) != []
    return made


def watch(looker: Gaze, picture_at: Callable[[int], Picture], seconds: float = 10.0) -> Iterable[tuple[float, float]]:
    """(media time, share of the picture that is searched) of each frame."""
    for number in range(round(seconds * FPS)):
        picture = picture_at(number)
        areas = looker.areas(seen(picture, number / FPS), NOBODY, NOBODY)
        yield number / FPS, size(areas) / picture.size


def size(areas: list[Area]) -> int:
    return sum((right - left) * (bottom - top) for left, top, right, bottom in areas)


class TestWhenAllIsSearched:
    def test_at_the_first_frame(self) -> None:
        frame = seen(plain(), 7.0)
        assert gaze().areas(frame, NOBODY, NOBODY) == everything(frame) == ALL

    def test_where_time_is_not_continuous(self) -> None:
        frame = seen(plain(), 0.04, discontinuity="pts_restarted")
        assert after_a_look().areas(frame, NOBODY, NOBODY) == ALL

    def test_at_a_cut_however_little_was_paid_for(self) -> None:
        looker = after_a_look()
        assert looker.areas(seen(plain(level=GREY), 0.04), NOBODY, NOBODY) == []
        other = plain((0, 0, 200, HEIGHT))  # five eighths of it
        assert looker.areas(seen(other, 0.08), NOBODY, NOBODY) == ALL

    def test_at_another_size(self) -> None:
        small = plain(width=160, height=96)
        assert after_a_look().areas(seen(small, 0.04), NOBODY, NOBODY) == [(0, 0, 160, 96)]

    def test_every_so_many_seconds(self) -> None:
        told = [at for at, share in watch(gaze(idle_scan_s=2.0), lambda _: plain(), 7.0) if share]
        assert told == pytest.approx([0.0, 2.0, 4.0, 6.0])

    def test_in_every_frame_where_it_may_cost_that(self) -> None:
        assert [share for _, share in watch(gaze(scan_hz=None), lambda _: plain(), 1.0)] == [1.0] * FPS

    def test_where_most_of_it_has_changed_little_by_little(self) -> None:
        looker = after_a_look()
        looker.areas(seen(plain((0, 0, 120, HEIGHT)), 0.04), NOBODY, NOBODY)
        assert looker.areas(seen(plain((0, 0, 240, HEIGHT)), 1.0), NOBODY, NOBODY) == ALL


class TestWhatChanges:
    def test_a_picture_that_stays_costs_nothing(self) -> None:
        assert [share for _, share in watch(gaze(), lambda _: plain())][1:] == [0.0] * (10 * FPS - 1)

    def test_nor_does_a_cameras_noise(self) -> None:
        dice = np.random.default_rng(1)

        def trembling(_: int) -> Picture:
            return np.clip(plain() + dice.normal(0, 8, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)

        assert [share for _, share in watch(gaze(), trembling)][1:] == [0.0] * (10 * FPS - 1)

    def test_a_change_is_searched_with_a_block_around_it(self) -> None:
        here = plain((96, 64, 128, 96))
        assert after_a_look().areas(seen(here, 1.0), NOBODY, NOBODY) == [(64, 32, 160, 128)]

    def test_a_change_is_searched_once(self) -> None:
        looker = after_a_look()
        for number in range(3):
            areas = looker.areas(seen(plain((96, 64, 128, 96)), 1.0 + number), NOBODY, NOBODY)
            assert (areas == []) == (number > 0)

    def test_two_places_are_two_areas(self) -> None:
        areas = after_a_look().areas(seen(plain((0, 0, 32, 32), (256, 160, 288, 192)), 1.0), NOBODY, NOBODY)
        assert sorted(areas) == [(0, 0, 64, 64), (224, 128, 320, 192)]

    def test_a_change_of_a_single_cell_is_none(self) -> None:
        assert after_a_look().areas(seen(plain((96, 64, 104, 72)), 1.0), NOBODY, NOBODY) == []
        assert after_a_look().areas(seen(plain((96, 64, 112, 72)), 1.0), NOBODY, NOBODY) != []

    def test_what_changes_slowly_adds_up(self) -> None:
        looker = after_a_look()
        told = []
        for number in range(1, CHANGED + 2):
            here = plain((96, 64, 128, 96), level=GREY + number)
            told.append(looker.areas(seen(here, float(number)), NOBODY, NOBODY) != [])
        assert told == [*[False] * CHANGED, True]

    def test_what_waits_is_not_forgotten(self) -> None:
        looker = after_a_look()  # paid for until 0.5 s
        flash = plain((96, 64, 128, 96))
        assert looker.areas(seen(flash, 0.1), NOBODY, NOBODY) == []
        assert looker.areas(seen(flash, 0.45), NOBODY, NOBODY) == []
        assert looker.areas(seen(flash, 0.5), NOBODY, NOBODY) == [(64, 32, 160, 128)]


class TestFacesThatAreFollowed:
    MOVED = plain((96, 64, 128, 96))

    def test_where_a_known_face_is_nothing_is_searched(self) -> None:
        assert after_a_look().areas(seen(self.MOVED, 1.0), boxes((90, 60, 130, 100)), NOBODY) == []

    def test_half_a_face_around_it_is_its_own(self) -> None:
        assert after_a_look().areas(seen(self.MOVED, 1.0), boxes((112, 64, 144, 96)), NOBODY) == []
        assert after_a_look().areas(seen(self.MOVED, 1.0), boxes((144, 64, 176, 96)), NOBODY) != []

    def test_boxes_are_in_pixels_of_the_frame(self) -> None:
        frame = seen(self.MOVED, 1.0, scale=0.5)
        assert after_a_look().areas(frame, boxes((180, 120, 260, 200)), NOBODY) == []
        assert after_a_look().areas(frame, boxes((90, 60, 130, 100)), NOBODY) != []

    def test_a_missing_face_is_searched_for_around_its_place(self) -> None:
        areas = after_a_look().areas(seen(plain(), 1.0), NOBODY, boxes((100, 70, 120, 90)))
        assert areas == [(64, 32, 160, 128)]  # 90..130 and 60..100 in whole blocks

    def test_a_missing_face_waits_for_its_turn_and_costs_what_a_change_costs(self) -> None:
        looker, lost = gaze(), boxes((100, 70, 120, 90))
        spent = sum(
            size(looker.areas(seen(plain(), number / FPS), NOBODY, lost)) for number in range(10 * FPS)
        ) / (WIDTH * HEIGHT)  # fmt: skip
        assert spent == pytest.approx(20, abs=1.5)

    @pytest.mark.parametrize("place", [(-40, -30, -5, -2), (310, 180, 400, 300), (500, 400, 600, 500)])
    def test_places_at_the_edge_and_outside_are_no_trouble(self, place: tuple[float, float, float, float]) -> None:
        for areas in (
            after_a_look().areas(seen(plain(), 1.0), boxes(place), NOBODY),
            after_a_look().areas(seen(plain(), 1.0), NOBODY, boxes(place)),
        ):
            assert all(0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT for x1, y1, x2, y2 in areas)


DICE = np.random.default_rng(2)
UNREST: dict[str, Callable[[int], Picture]] = {
    "snow": lambda _: DICE.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8),
    "lightning": lambda number: plain(level=GREY + 100 * (number % 2)) + np.uint8(100 * (number % 2)),
    "a moving bar": lambda number: plain((4 * number % WIDTH, 0, 4 * number % WIDTH + 64, HEIGHT)),
    "a blinking corner": lambda number: plain((0, 0, 64, 64), level=GREY + 100 * (number % 2)),
}


@pytest.mark.parametrize("name", UNREST)
@pytest.mark.parametrize("scan_hz", [0.5, 2.0, 5.0])
def test_never_more_than_was_allowed_however_much_changes(name: str, scan_hz: float) -> None:
    shares = np.array([share for _, share in watch(gaze(scan_hz=scan_hz), UNREST[name])])
    assert shares.sum() <= 10 * scan_hz + 1 + AHEAD
    if scan_hz == 2.0:
        assert shares.sum() >= 10  # and it is spent


@pytest.mark.parametrize("stride", [8, 16, 64])
def test_areas_are_whole_blocks_of_the_networks_stride(stride: int) -> None:
    areas = after_a_look(stride).areas(seen(plain((128, 64, 160, 96)), 1.0), NOBODY, NOBODY)
    assert areas == [
        {8: (120, 56, 168, 104), 16: (112, 48, 176, 112), 64: (64, 0, 256, 192)}[stride],
    ]


@pytest.mark.parametrize(("stride", "width", "height"), [(1, 321, 190), (4, 324, 196), (12, 324, 192), (20, 320, 200)])
def test_where_blocks_are_no_whole_cells_all_is_searched_in_every_frame(stride: int, width: int, height: int) -> None:
    looker, picture = gaze(stride), plain(width=width, height=height)
    assert [share for _, share in watch(looker, lambda _: picture, 1.0)] == [1.0] * FPS


def test_a_frame_that_is_asked_about_again_is_answered_as_before() -> None:
    """After a failure in a neighbour's data each frame is analysed again, alone."""
    looker = gaze()
    first = seen(plain(), 0.0)
    assert looker.areas(first, NOBODY, NOBODY) == looker.areas(first, NOBODY, NOBODY) == ALL
    moved = seen(plain((96, 64, 128, 96)), 1.0)
    assert looker.areas(moved, NOBODY, NOBODY) == looker.areas(moved, NOBODY, NOBODY) == [(64, 32, 160, 128)]
    looker.searched_all(moved)
    assert looker.areas(moved, NOBODY, NOBODY) == ALL


def test_after_all_was_searched_for_a_hint_it_is_paid_for() -> None:
    looker = after_a_look()
    looker.areas(seen(plain((96, 64, 128, 96)), 1.0), NOBODY, NOBODY)
    looker.searched_all(seen(plain((96, 64, 128, 96)), 1.0))
    again = plain((96, 64, 128, 96), (224, 64, 256, 96))
    assert looker.areas(seen(again, 1.5), NOBODY, NOBODY) == []
    assert looker.areas(seen(again, 1.6), NOBODY, NOBODY) == [(192, 32, 288, 128)]
