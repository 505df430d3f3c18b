"""Which address becomes which source, and what that costs at import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream.config import CameraConfig, SourceConfig
from stream.errors import ConfigError, SourceError, SourceInvalid
from stream.sources import SOURCES, SmallSize, Timeline, is_live, kind, make_source, recording_path
from tests.contracts.source import connected


def camera(source: str, realtime: bool = False) -> CameraConfig:
    return CameraConfig(name="cam", source=source, settings=SourceConfig(realtime=realtime))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("video.mp4", "file"),
        ("/data/video.mp4", "file"),
        ("a:b.mp4", "file"),
        ("../12/0.mp4", "file"),
        ("rtsp:video.mp4", "file"),
        ("odd name://x.mp4", "file"),
        ("0", "device"),
        ("12", "device"),
        ("/dev/video2", "device"),
        ("rtsp://host/path", "rtsp"),
        ("RTSP://host/path", "rtsp"),
        ("rtsps://host/path", "rtsps"),
        ("http://host/live.m3u8", "http"),
        ("https://host/live.m3u8", "https"),
        ("synthetic:", "synthetic"),
        ("synthetic:64x64@5?seconds=1", "synthetic"),
    ],
)
def test_kinds(source: str, expected: str) -> None:
    assert kind(source) == expected
    assert expected in SOURCES


@pytest.mark.parametrize("source", ["ftp://user:secret@host/x", "rtmp://host/x?key=secret"])
def test_unknown_kinds_are_refused_without_their_secrets(source: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of source; use a file, rtsp") as caught:
        make_source(camera(source), "s", Timeline(None, 2.0), SmallSize(160, 32))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "realtime", "live"),
    [
        ("video.mp4", False, False),
        ("video.mp4", True, False),  # paced, yet every frame counts
        ("rtsp://host/x", False, True),
        ("https://host/x.mp4", False, True),
        ("3", False, True),
        ("synthetic:", False, False),
        ("synthetic:", True, True),
    ],
)
def test_what_is_live(source: str, realtime: bool, live: bool) -> None:
    config = camera(source, realtime)
    assert is_live(config) is live
    made = make_source(config, "s", Timeline(None, 2.0), SmallSize(160, 32))
    assert made.live is live
    made.close()


def test_the_pattern_is_one_plane_for_a_detector_of_luma() -> None:
    for luma, shape in ((True, (96, 160)), (False, (96, 160, 3))):
        source = make_source(camera("synthetic:"), "s", Timeline(None, 2.0), SmallSize(160, 32, luma))
        source.open()
        small = next(iter(source.frames())).small
        assert small.shape == shape
        assert small[:90].std() > 10
        source.close()


def test_recordings_have_a_path() -> None:
    assert recording_path(camera("a/b.mp4")) == Path("a/b.mp4")
    assert recording_path(camera("synthetic:")) is None
    assert recording_path(camera("rtsp://host/x")) is None


def test_ffmpeg_is_loaded_only_for_video() -> None:
    script = (
        "import sys, stream.sources as s\n"
        "from stream.config import CameraConfig\n"
        "def make(source):\n"
        "    camera = CameraConfig(name='c', source=source)\n"
        "    return s.make_source(camera, 's', s.Timeline(5, 2), s.SmallSize(64, 32))\n"
        "made = make('synthetic:')\n"
        "made.open(); next(made.frames())\n"
        "assert 'av' not in sys.modules\n"
        "make('x.mp4')\n"
        "assert 'av' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class TestDevice:
    @pytest.mark.parametrize("source", ["97", "/dev/video97"])
    def test_one_that_is_not_there(self, source: str) -> None:
        with connected(source) as made, pytest.raises(SourceError) as caught:
            made.open()
        assert str(caught.value) == f"{source}: there is no capture device /dev/video97; see what is: ls /dev/video*"


class TestSynthetic:
    def test_defaults(self) -> None:
        with connected("synthetic:", analyse_hz=1.0) as source:
            info = source.open()
            frames = list(source.frames())
        assert (info.width_px, info.height_px, info.rate_hz) == (640, 360, 25.0)
        assert len(frames) == 10

    @pytest.mark.parametrize(
        "address",
        [
            "synthetic:640",
            "synthetic:x@5",
            "synthetic:64x64@0",
            "synthetic:8x8",
            "synthetic:99999x64",
            "synthetic:?s=1",
        ],
    )
    def test_what_cannot_be_understood(self, address: str) -> None:
        with connected(address) as source, pytest.raises(SourceInvalid, match=r"^synthetic:"):
            source.open()

    def test_realtime_is_a_live_camera(self) -> None:
        waits: list[float] = []

        def wait(seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) > 3

        with connected("synthetic:64x64@10?seconds=5", wait=wait, realtime=True) as source:
            source.open()
            frames = list(source.frames())
        assert source.live
        assert len(frames) == 4  # the first at once
        assert {frame.clock_source for frame in frames} == {"arrival"}
        assert all(0 < seconds <= 0.1 * number for number, seconds in enumerate(waits, 1))

    def test_not_opened_there_is_nothing(self) -> None:
        with connected("synthetic:") as source:
            assert list(source.frames()) == []
