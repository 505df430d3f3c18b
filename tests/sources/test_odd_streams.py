"""RTSP cameras that change, lie, begin in the middle or lose packets: what comes of their pictures and their time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.errors import SourceError, SourceTimeout
from stream.records import Frame
from stream.sources.pixels import plane_rows
from tests import clips
from tests.contracts.source import connected, read
from tests.rtsp_server import Behaviour, RtspServer, recovered

FPS = 25
COUNT = 50  # frames of each clip
GOP = 25
SHORT_S = 0.5  # a read timeout that is expected to pass


@pytest.fixture(scope="module")
def wide(clip_folder: Path) -> Path:
    return clips.make_clip(clip_folder / "wide.mp4", size=(480, 270))


@pytest.fixture(scope="module")
def hevc(clip_folder: Path) -> Path:
    if not clips.has_encoder("libx265"):
        pytest.skip("this build of FFmpeg has no encoder libx265")
    return clips.make_clip(clip_folder / "hevc.mp4", codec="libx265")


@pytest.fixture(scope="module")
def full_colour(clip_folder: Path) -> Path:
    """The face clip with a colour for every pixel: another profile of H.264, another pixel format."""
    return clips.make_clip(clip_folder / "yuv444p.mp4", pix_fmt="yuv444p")


@pytest.fixture(scope="module")
def ten_bits(clip_folder: Path) -> Path:
    return clips.make_clip(clip_folder / "yuv420p10le.mp4", pix_fmt="yuv420p10le")


@contextmanager
def camera(
    behaviour: Behaviour, **settings: object
) -> Iterator[tuple[list[Frame], SourceError | None, dict[str, int]]]:
    """What came of a whole connection to a camera that behaves so: frames, the error in the end, what was skipped."""
    with RtspServer({"cam": behaviour}) as server, connected(server.url("cam"), **settings) as source:
        frames, error = read(source)
        yield frames, error, source.skipped


def sent(path: Path) -> list[NDArray[np.uint8]]:
    """The pictures of a clip as its decoder gives them."""
    with av.open(str(path)) as container:
        return [plane_rows(frame, 1).copy() for frame in container.decode(video=0)]


def as_sent(frames: list[Frame], pictures: list[NDArray[np.uint8]]) -> bool:
    return len(frames) == len(pictures) and all(map(np.array_equal, (frame.luma for frame in frames), pictures))


class TestChangesInMidStream:
    def test_resolution(self, face_clip: Path, wide: Path) -> None:
        with camera(Behaviour(face_clip, then=(wide, face_clip))) as (frames, _, skipped):
            assert as_sent(frames, [*sent(face_clip), *sent(wide), *sent(face_clip)])
        sizes = [(frame.letterbox.width_px, frame.letterbox.height_px) for frame in frames]
        assert sizes == [(320, 240)] * COUNT + [(480, 270)] * COUNT + [(320, 240)] * COUNT
        assert {frame.small.shape for frame in frames} == {(128, 160, 3), (96, 160, 3)}
        assert not skipped

    def test_pixel_format(self, face_clip: Path, full_colour: Path, ten_bits: Path) -> None:
        with camera(Behaviour(face_clip, then=(full_colour, ten_bits, face_clip))) as (frames, _, skipped):
            pass
        assert [frame.full_range for frame in frames[::COUNT]] == [False, False, True, False]
        assert as_sent(frames[:COUNT], sent(face_clip))
        assert as_sent(frames[COUNT : 2 * COUNT], sent(full_colour))
        assert as_sent(frames[-COUNT:], sent(face_clip))
        grey = [frame.small[:120].astype(int).mean() for frame in frames[:: COUNT // 2]]
        assert max(grey) - min(grey) < 2.0  # the same pictures in all of them
        assert not skipped

    def test_codec(self, face_clip: Path, hevc: Path) -> None:
        """What was described as one and becomes another can only be opened anew, which its caller does."""
        behaviour = Behaviour(face_clip, then=(hevc,) * 16, speed=8.0)  # noise has to last, or it is silence
        with camera(behaviour, read_timeout_s=1.5) as (frames, error, skipped):
            assert as_sent(frames, sent(face_clip))
        assert isinstance(error, SourceTimeout)
        assert "sent no decodable picture" in str(error)
        assert skipped["undecodable"] > 0
        with camera(Behaviour(hevc)) as (frames, _, _):
            assert as_sent(frames, sent(hevc))


class TestBeginningWithoutAKeyFrame:
    @pytest.mark.parametrize("clip", ["face_clip", "hevc"])
    def test_the_first_picture_is_a_whole_one(self, clip: str, request: pytest.FixtureRequest) -> None:
        """Pictures predicted from ones that never came would be grey smears, in which faces look like anything."""
        path = request.getfixturevalue(clip)
        with camera(Behaviour(path, begin_at=5)) as (frames, _, _):
            assert as_sent(frames, sent(path)[GOP:])
        assert (frames[0].index, frames[0].media_time_s, frames[0].discontinuity) == (0, 0.0, None)

    def test_one_that_never_sends_a_key_frame_is_told(self, face_clip: Path) -> None:
        behaviour = Behaviour(face_clip, "stall", begin_at=1, after=GOP - 2)
        with camera(behaviour, read_timeout_s=SHORT_S, open_timeout_s=SHORT_S) as (frames, error, _):
            assert (frames, type(error)) == ([], SourceTimeout)


def jumping(number: int, pts_s: float) -> float:
    return pts_s + (100.0 if number >= 20 else 0.0)


def restarting(number: int, pts_s: float) -> float:
    return pts_s + (50.0 if number < 20 else 0.0)


def repeating(number: int, _: float) -> float:
    return number // 5 * 0.2


def swinging(number: int, pts_s: float) -> float:
    return pts_s + 10.0 * (number // 10 % 2)


SWINGS = [(10, "pts_jumped", 10.04), (20, "pts_restarted", 0.0), (30, "pts_jumped", 10.04), (40, "pts_restarted", 0.0)]


class TestTimestamps:
    @pytest.mark.parametrize(
        ("retime", "told"),
        [
            (jumping, [(20, "pts_jumped", 100.04)]),
            (restarting, [(20, "pts_restarted", 0.0)]),
            (repeating, []),
            (swinging, SWINGS),
        ],
        ids=["jump", "restart", "repeat", "swing"],
    )
    def test_no_frame_is_lost_and_time_goes_on(
        self, face_clip: Path, retime: Callable[[int, float], float], told: list[tuple[int, str, float]]
    ) -> None:
        with camera(Behaviour(face_clip, retime=retime)) as (frames, _, skipped):
            assert as_sent(frames, sent(face_clip))
        assert all(later.media_time_s > earlier.media_time_s for earlier, later in pairwise(frames))
        assert [
            (frame.index, frame.discontinuity, round(frame.skipped_s, 2)) for frame in frames if frame.discontinuity
        ] == told
        assert not skipped

    def test_a_camera_that_says_25_and_sends_8(self, clip_folder: Path) -> None:
        """Analysis goes by the times of the frames, not by what the camera says of itself."""
        path = clips.make_clip(clip_folder / "eight.mp4", ticks=[number * 3 for number in range(COUNT)])
        behaviour = Behaviour(path, claims_hz=25.0)
        with camera(behaviour) as (frames, _, _):
            steps = [later.media_time_s - earlier.media_time_s for earlier, later in pairwise(frames)]
            assert len(frames) == COUNT
        assert steps[1:] == pytest.approx([3 / FPS] * (COUNT - 2))  # the first has no timestamp yet: that is of RTSP
        with camera(behaviour, analyse_hz=4.0) as (frames, _, _):
            chosen = [frame.media_time_s for frame in frames]
        assert len(chosen) == pytest.approx(frames[-1].media_time_s * 4, abs=1.5)
        assert max(later - earlier for earlier, later in pairwise(chosen)) < 1 / 4 + 3 / FPS


@pytest.mark.alone
class TestUdp:
    """A busy machine drops packets, and nobody sends them again."""

    def test_its_pictures_come_as_they_were_sent(self, face_clip: Path) -> None:
        with camera(Behaviour(face_clip, speed=4.0), rtsp_transport="udp") as (frames, error, skipped):
            assert as_sent(frames, sent(face_clip)[: len(frames)])
        assert len(frames) >= COUNT - 1  # the farewell may overtake the last
        assert isinstance(error, SourceError)
        assert not skipped

    def test_lost_packets_spoil_pictures_and_no_more(self, wide: Path) -> None:
        behaviour = Behaviour(wide, speed=4.0, loop=True, lose_every=15)
        with RtspServer({"cam": behaviour}) as server, connected(server.url("cam"), rtsp_transport="udp") as source:
            source.open()
            frames = [frame for frame, _ in zip(source.frames(), range(COUNT), strict=False)]
        assert len(frames) == COUNT
        assert not as_sent(frames, sent(wide))  # FFmpeg mends what it can, and says of hardly any that it did
        assert not any(frame.discontinuity for frame in frames)
        assert all(later.media_time_s > earlier.media_time_s for earlier, later in pairwise(frames))

    def test_silence_is_noticed(self, face_clip: Path) -> None:
        """No connection is there that could break: only the clock tells."""
        behaviour = Behaviour(face_clip, "stall", after=20, speed=4.0)
        with camera(behaviour, rtsp_transport="udp", read_timeout_s=2.0) as (frames, error, _):
            assert 18 <= len(frames) <= 20
            assert isinstance(error, SourceTimeout)

    def test_it_comes_back(self, face_clip: Path) -> None:
        behaviour = Behaviour(face_clip, "cut", after=20, speed=4.0)
        settings = {"rtsp_transport": "udp", "read_timeout_s": 2.0}
        with RtspServer({"cam": behaviour}) as server:
            for then in (recovered(behaviour), behaviour):
                with connected(server.url("cam"), **settings) as source:
                    frames, error = read(source)
                    assert len(frames) >= 18
                    assert isinstance(error, SourceError)
                server.set("cam", then)
            assert server.connections["cam"] == 2
