"""HTTP: plain files, HLS, MJPEG cameras, and what servers say no with."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import pytest

from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.errors import SourceError, SourceInvalid, SourceRefused, SourceTimeout
from stream.records import Frame
from stream.sources import Timeline, make_source
from tests import clips
from tests.contracts.source import SMALL, connected
from tests.contracts.source import read as read_source
from tests.sources.http_server import Server, serving
from tests.sources.watch import Watch

pytestmark = pytest.mark.alone
SHORT_S = 0.5
SLACK_S = 3.0


@pytest.fixture
def server(matroska_clip: Path) -> Iterator[Server]:
    with serving(matroska_clip.parent) as server:
        yield server


def read(address: str, **settings: object) -> tuple[list[Frame], SourceError | None]:
    """Everything up to the end, and the error in which it ended."""
    with connected(address, **settings) as source:
        return read_source(source)


BEGIN = datetime(2026, 11, 21, 8, tzinfo=UTC)


def watched(address: str, watch: Watch, count: int) -> list[Frame]:
    """The first frames of a source whose clocks are this watch, which began at BEGIN."""
    camera = CameraConfig(name="cam", source=address, settings=SourceConfig(analyse_hz=None))
    begin_s = watch.now_s
    source = make_source(
        camera,
        "session",
        Timeline(None, camera.settings.gap_s, live=True),
        SMALL,
        wait=watch.wait,
        clocks=Clocks(lambda: watch.now_s, lambda: BEGIN + timedelta(seconds=watch.now_s - begin_s)),
    )
    try:
        source.open()
        return list(itertools.islice(source.frames(), count))
    finally:
        source.close()


class TestAnswers:
    @pytest.mark.parametrize("number", [401, 403, 404])
    def test_refused(self, server: Server, number: int) -> None:
        _, error = read(server.url(f"error/{number}"))
        assert isinstance(error, SourceRefused)
        assert str(number) in str(error)

    @pytest.mark.parametrize("number", [400, 429, 500, 503])
    def test_other_troubles_may_pass(self, server: Server, number: int) -> None:
        _, error = read(server.url(f"error/{number}"))
        assert type(error) is SourceError

    def test_a_page_is_no_video(self, server: Server, tmp_path: Path) -> None:
        with serving(tmp_path) as pages:
            (tmp_path / "index.html").write_text("<html><body>camera login</body></html>" * 50)
            _, error = read(pages.url("index.html"))
        assert isinstance(error, SourceInvalid)

    def test_no_answer(self, server: Server) -> None:
        started = time.monotonic()
        _, error = read(server.url("silent"), open_timeout_s=SHORT_S)
        assert isinstance(error, SourceTimeout)
        assert time.monotonic() - started < SHORT_S + SLACK_S

    def test_half_a_file_broke_off(self, server: Server, matroska_clip: Path) -> None:
        frames, error = read(server.url(f"short/{matroska_clip.name}"))
        assert 0 < len(frames) < 50
        assert type(error) is SourceError

    def test_a_whole_file_without_a_duration_ends(self, server: Server, tmp_path: Path) -> None:
        clips.make_clip(tmp_path / "face.ts")
        with serving(tmp_path) as other:
            frames, error = read(other.url("face.ts"))
        assert (len(frames), error) == (50, None)

    def test_passwords_are_not_told(self, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
        _, error = read(server.url("error/401?token=t0psecret", login="admin:hunter2@"))
        output = capfd.readouterr()
        for secret in ("admin", "hunter2", "t0psecret"):
            assert secret not in f"{error} {error!r} {output.out} {output.err}"

    def test_an_address_that_cannot_be_sent(self, server: Server) -> None:
        _, error = read(server.url("face.mkv") + "\ud800")
        assert isinstance(error, SourceInvalid)

    def test_a_host_that_is_not_there(self) -> None:
        _, error = read("http://camera.invalid/stream")
        assert type(error) is SourceError
        assert str(error).startswith("http://camera.invalid/stream: ")


class TestCameras:
    def test_motion_jpeg_counts_by_arrival(self, server: Server) -> None:
        """Such cameras send no times at all, and FFmpeg would claim 25 frames a second."""
        pictures = clips.pictures(0.4, 25, (320, 240), [])
        server.pictures = tuple(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures)
        frames, error = read(server.url("mjpeg"))
        assert [frame.index for frame in frames] == list(range(10))
        assert {frame.clock_source for frame in frames} == {"arrival"}
        assert frames[-1].full_range
        assert type(error) is SourceError  # a camera does not end
        assert frames[-1].media_time_s < 0.36  # they came as fast as they could

    def test_one_that_goes_on_with_its_sound_alone_is_noticed(self, tmp_path: Path) -> None:
        """Packets come, and none of its picture: neither FFmpeg nor PyAV would ever call that a timeout."""
        clips.make_talking(tmp_path / "talking.ts", picture_s=1, sound_s=30)
        watch = Watch()

        def look() -> float:  # time passes with every packet
            watch.now_s += 0.02
            return watch.now_s

        with serving(tmp_path) as server:
            camera = CameraConfig(name="cam", source=server.url("talking.ts"), settings=SourceConfig(analyse_hz=None))
            timeline = Timeline(None, camera.settings.gap_s, live=True)
            source = make_source(camera, "session", timeline, SMALL, wait=watch.wait, clocks=Clocks(look))
            source.open()
            frames = []
            with pytest.raises(SourceTimeout, match="no answer in time"):  # noqa: PT012 - the loop is what ends in it
                for frame in source.frames():
                    frames.append(frame)
            source.close()
        assert 20 <= len(frames) <= 25  # the last may be held by the decoder, which waits for the next


class TestHls:
    def test_a_recording_ends(self, playlist: Path) -> None:
        with serving(playlist.parent) as server:
            frames, error = read(server.url(playlist.name))
        assert (len(frames), error) == (50, None)

    def test_a_recording_is_not_played_but_read(self, playlist: Path) -> None:
        watch = Watch()
        with serving(playlist.parent) as server:
            assert len(watched(server.url(playlist.name), watch, 50)) == 50
        assert watch.waits == []

    def test_a_live_one_is_played_at_its_own_speed(self, live_playlist: Path) -> None:
        """It comes a second at a time; each picture arrives when its turn is, over the border of two segments."""
        watch = Watch()
        with serving(live_playlist.parent) as server:
            frames = watched(server.url(live_playlist.name), watch, 45)
        assert watch.waits == pytest.approx([0.04] * 44)
        assert [frame.media_time_s for frame in frames] == pytest.approx([k / 25 for k in range(45)])
        arrived = [(frame.captured_at - BEGIN).total_seconds() for frame in frames if frame.captured_at]
        assert arrived == pytest.approx([k / 25 for k in range(45)], abs=1e-5)

    def test_a_stop_ends_the_playing(self, live_playlist: Path) -> None:
        with (
            serving(live_playlist.parent) as server,
            connected(server.url(live_playlist.name), wait=lambda seconds: seconds > 0) as source,
        ):
            source.open()
            assert len(list(source.frames())) == 1

    def test_a_segment_that_is_gone(self, playlist: Path, tmp_path: Path) -> None:
        for part in playlist.parent.iterdir():
            (tmp_path / part.name).write_bytes(part.read_bytes())
        sorted(tmp_path.glob("*.ts"))[-1].unlink()
        with serving(tmp_path) as server:
            frames, _ = read(server.url(playlist.name))
        assert 20 <= len(frames) <= 25
