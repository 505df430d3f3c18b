"""What every Source promises, whatever it reads. An implementation gives `connect` and inherits the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

from stream.config import CameraConfig, SourceConfig
from stream.errors import SourceError
from stream.records import Frame
from stream.sources import SmallSize, Source, Timeline, is_live, make_source

SMALL = SmallSize(longer_px=160, stride=32)
TIMEOUT_S = 5.0  # of a connection that is expected to work

Connect = Callable[..., AbstractContextManager[Source]]


@contextmanager
def connected(address: str, wait: Callable[[float], bool] | None = None, **settings: object) -> Iterator[Source]:
    """An unopened source for this address, closed in the end. `settings` are those of SourceConfig."""
    config = {"analyse_hz": None, "open_timeout_s": TIMEOUT_S, "read_timeout_s": TIMEOUT_S, **settings}
    camera = CameraConfig(name="cam", source=address, settings=SourceConfig.model_validate(config))
    timeline = Timeline(camera.settings.analyse_hz, camera.settings.gap_s, is_live(camera))
    waiting = {} if wait is None else {"wait": wait}
    source = make_source(camera, "session", timeline, SMALL, **waiting)
    try:
        yield source
    finally:
        source.close()


def read(source: Source) -> tuple[list[Frame], SourceError | None]:
    """Everything up to the end, and the error in which it ended."""
    frames: list[Frame] = []
    try:
        source.open()
        frames.extend(source.frames())
    except SourceError as error:
        return frames, error
    return frames, None


class SourceContract:
    """Two seconds of video at 25 frames a second, 320x240."""

    count = 50
    interval_s = 0.04

    @pytest.fixture
    def connect(self) -> Connect:
        """`connect(**settings)`: an unopened source of the video described above."""
        raise NotImplementedError

    def test_open_says_what_was_found(self, connect: Connect) -> None:
        with connect() as source:
            info = source.open()
        assert (info.width_px, info.height_px) == (320, 240)
        assert info.codec
        assert info.rate_hz is None or info.rate_hz == pytest.approx(25.0)

    def test_every_frame_comes_once_in_order(self, connect: Connect) -> None:
        with connect() as source:
            source.open()
            frames = list(source.frames())
        times = np.array([frame.media_time_s for frame in frames])
        assert [frame.index for frame in frames] == list(range(self.count))
        assert times[0] == 0.0
        assert np.diff(times) == pytest.approx(self.interval_s, abs=2e-3)
        assert source.skipped["undecodable"] == 0

    def test_only_chosen_frames_come_but_all_are_counted(self, connect: Connect) -> None:
        with connect(analyse_hz=5.0) as source:
            source.open()
            frames = list(source.frames())
        assert [frame.index for frame in frames] == list(range(0, self.count, 5))

    def test_a_frame_says_whose_and_when(self, connect: Connect) -> None:
        with connect(analyse_hz=1.0) as source:
            source.open()
            frame = next(source.frames())
        assert (frame.camera_id, frame.session, frame.discontinuity) == ("cam", "session", None)
        if source.live:
            assert frame.clock_source == "arrival"
            assert frame.captured_at is not None
            assert frame.captured_at.utcoffset() is not None
        else:
            assert (frame.clock_source, frame.captured_at) == ("media", None)

    def test_luma_cannot_be_written(self, connect: Connect) -> None:
        with connect() as source:
            source.open()
            luma = next(source.frames()).luma
            assert luma.shape == (240, 320)
            with pytest.raises(ValueError, match="read-only"):
                luma[0, 0] = 1
            with pytest.raises(ValueError, match="WRITEABLE"):
                luma.flags.writeable = True

    def test_pixels_outlive_decoding_and_the_source(self, connect: Connect) -> None:
        kept: list[tuple[Frame, bytes, bytes]] = []
        with connect(analyse_hz=10.0) as source:
            source.open()
            kept = [(frame, frame.luma.tobytes(), frame.small.tobytes()) for frame in source.frames()]
        for frame, luma, small in kept:
            assert frame.luma.tobytes() == luma
            assert frame.small.tobytes() == small

    def test_the_picture_moves(self, connect: Connect) -> None:
        with connect(analyse_hz=5.0) as source:
            source.open()
            frames = list(source.frames())
        assert len({frame.luma.tobytes() for frame in frames}) == len(frames)

    def test_small_is_padded_below_and_right(self, connect: Connect) -> None:
        with connect(analyse_hz=1.0) as source:
            source.open()
            frame = next(source.frames())
        assert frame.small.shape == (128, 160, 3)
        assert (frame.letterbox.width_px, frame.letterbox.height_px) == (320, 240)
        assert (frame.letterbox.scale_x, frame.letterbox.scale_y) == (0.5, 0.5)
        assert not frame.small[120:].any()
        assert frame.small[:120].any(axis=(1, 2)).all()

    def test_small_shows_what_luma_shows(self, connect: Connect) -> None:
        with connect(analyse_hz=1.0) as source:
            source.open()
            frame = next(source.frames())
        halved = frame.luma.reshape(120, 2, 160, 2).mean(axis=(1, 3))
        grey = frame.small[:120].mean(axis=2)
        assert np.corrcoef(halved.ravel(), grey.ravel())[0, 1] > 0.9

    def test_it_ends_and_stays_ended(self, connect: Connect) -> None:
        with connect(analyse_hz=1.0) as source:
            source.open()
            assert len(list(source.frames())) == 2
            assert list(source.frames()) == []

    def test_it_stops_when_told(self, connect: Connect) -> None:
        given: list[Frame] = []
        with connect(wait=lambda _: len(given) >= 3) as source:
            source.open()
            for frame in source.frames():
                given.append(frame)
                assert len(given) < 10
        assert len(given) >= 3

    def test_close_at_any_time(self, connect: Connect) -> None:
        with connect() as source:
            source.close()
        with connect() as source:
            source.open()
            source.close()
            source.close()
        with connect() as source:
            source.open()
            frames = source.frames()
            next(frames)
            source.close()
            source.close()
            assert list(frames) == []

    def test_the_same_again(self, connect: Connect) -> None:
        runs = []
        for _ in range(2):
            with connect(analyse_hz=5.0) as source:
                source.open()
                runs.append([(f.index, f.media_time_s, f.luma.tobytes(), f.small.tobytes()) for f in source.frames()])
        assert runs[0] == runs[1]
