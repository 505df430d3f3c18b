"""The bench's server of cameras, read by PyAV as a worker reads it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import av
import pytest

from stream.bench.camera_server import CameraServer
from stream.bench.rtp import read_elementary
from stream.errors import SourceError, SourceInvalid
from tests import clips

OPTIONS = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
GOP = 5  # frames between key frames, a fifth of the clip
FRAMES = 25


@pytest.fixture(scope="module")
def camera(clip_folder: Path) -> Path:
    """640x360, 25 fps, 1 s: large enough that its key frames need fragments, with B frames."""
    return clips.make_clip(clip_folder / "bench_camera.mp4", seconds=1.0, size=(640, 360), gop=GOP, b_frames=2)


def pictures(source: str, count: int, **options: str) -> list[tuple[float | None, bytes]]:
    """Time and pixels of the first so many pictures. FFmpeg gives the first one of an RTSP session no time."""
    found: list[tuple[float | None, bytes]] = []
    with av.open(source, options=options, timeout=10) as container:
        for frame in container.decode(video=0):
            found.append((frame.time, frame.to_ndarray().tobytes()))
            if len(found) == count:
                break
    return found


def test_it_plays_the_clip_in_rounds_and_time_goes_on(camera: Path) -> None:
    """From the end of one round into the next, and on: what the file holds, at the file's distances, at its speed."""
    expected = [pixels for _, pixels in pictures(str(camera), FRAMES)]
    began_s = time.monotonic()
    with CameraServer(camera) as server:
        seen = pictures(server.url(0), FRAMES + 10, **OPTIONS)
    assert time.monotonic() - began_s > 0.04 * (FRAMES + 5)  # nobody but the server makes this client wait
    assert [pixels for _, pixels in seen] == [*expected, *expected[:10]]
    times_s = [time_s for time_s, _ in seen[1:] if time_s is not None]
    assert [after - before for before, after in pairwise(times_s)] == pytest.approx([0.04] * (FRAMES + 8))


def test_each_camera_begins_at_a_key_frame_of_its_own(camera: Path) -> None:
    expected = [pixels for _, pixels in pictures(str(camera), FRAMES)]
    with CameraServer(camera) as server:
        begins = [expected.index(pictures(server.url(number), 1, **OPTIONS)[0][1]) for number in range(3)]
    assert begins == [0, GOP, 2 * GOP]


def test_a_client_that_leaves_disturbs_no_other(camera: Path) -> None:
    with CameraServer(camera) as server, av.open(server.url(1), options=OPTIONS, timeout=10) as stays:
        packets = stays.demux(video=0)
        next(packets)
        pictures(server.url(2), 1, **OPTIONS)  # comes, and leaves in the middle
        assert sum(1 for _, packet in zip(range(FRAMES), packets, strict=False) if packet.size) == FRAMES


@pytest.mark.parametrize(("name", "codec"), [("other.mkv", "mpeg4"), ("raw.h264", "libx264")])
def test_a_clip_that_it_cannot_serve(clip_folder: Path, name: str, codec: str) -> None:
    clip = clips.make_clip(clip_folder / name, codec=codec, seconds=0.4)
    with pytest.raises(SourceInvalid, match=r"H\.264 or HEVC in MP4, MOV or Matroska"):
        read_elementary(clip)
    with pytest.raises(SourceError, match=rf"did not start: {name}: a camera"), CameraServer(clip):
        pass
