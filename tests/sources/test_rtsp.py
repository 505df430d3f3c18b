"""RTSP cameras, well and badly behaved, against the server of `tests/rtsp_server.py`."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from stream.bench.rtp import fragments, read_elementary
from stream.config import CameraConfig, SourceConfig
from stream.errors import SourceError, SourceRefused, SourceTimeout
from stream.records import Frame
from stream.sources import SmallSize, Source, Timeline, make_source
from tests import clips
from tests.contracts.source import connected, read
from tests.rtsp_server import START_TIMESTAMP, Behaviour, Kind, RtspServer, recovered

pytestmark = pytest.mark.alone
SHORT_S = 0.5  # a timeout that is expected to pass
SLACK_S = 3.0  # how much later than a timeout its error may come on a busy machine


@pytest.fixture(scope="module")
def camera(clip_folder: Path) -> Path:
    """640x360, 25 fps, 2 s: large enough that its key frames need fragments."""
    return clips.make_clip(clip_folder / "camera.mp4", size=(640, 360))


@pytest.fixture
def server(camera: Path) -> Iterator[RtspServer]:
    with RtspServer({"cam": Behaviour(camera)}) as server:
        yield server


def behave(server: RtspServer, camera: Path, kind: Kind, **more: object) -> str:
    server.set("cam", Behaviour(camera, kind, **more))  # type: ignore[arg-type]
    return server.url("cam")


class TestTheServerItself:
    def test_what_it_sends_is_what_the_file_holds(self, server: RtspServer, camera: Path) -> None:
        with av.open(str(camera)) as container:
            expected = [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]
        with av.open(server.url("cam"), options={"rtsp_transport": "tcp"}, timeout=5) as container:
            assert [frame.to_ndarray().tobytes() for frame in container.decode(video=0)] == expected

    def test_large_nal_units_are_fragmented(self, camera: Path) -> None:
        largest = max((nal for unit in read_elementary(camera).units for nal in unit.nals), key=len)
        pieces = list(fragments(largest))
        assert len(pieces) > 1
        joined = bytes([(pieces[0][0] & 0xE0) | (pieces[0][1] & 0x1F)]) + b"".join(piece[2:] for piece in pieces)
        assert joined == largest

    def test_its_timestamps_wrap_in_these_tests(self) -> None:
        assert START_TIMESTAMP + 20 * 90_000 > 2**32

    def test_it_paces(self, server: RtspServer, camera: Path) -> None:
        url = behave(server, camera, "normal", speed=4.0)
        started = time.monotonic()
        with connected(url) as source:
            frames, _ = read(source)
        assert len(frames) == 50
        assert time.monotonic() - started > 0.4


class TestEnds:
    def test_a_camera_that_ends_broke_off(self, server: RtspServer) -> None:
        with connected(server.url("cam")) as source:
            frames, error = read(source)
        assert len(frames) == 50
        assert str(error) == f"{server.url('cam')}: the stream was closed by the other side"

    def test_a_recording_that_ends_has_ended(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "normal", recording=True)) as source:
            frames, error = read(source)
        assert (len(frames), error) == (50, None)

    def test_a_recording_that_is_cut_broke_off(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "cut", after=20, recording=True)) as source:
            frames, error = read(source)
        assert len(frames) >= 18
        assert type(error) is SourceError

    def test_a_cut_connection(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "cut", after=20)) as source:
            frames, error = read(source)
        assert 18 <= len(frames) <= 20
        assert type(error) is SourceError

    def test_a_loop_goes_on_for_ever(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "normal", loop=True)) as source:
            source.open()
            frames = [frame for frame, _ in zip(source.frames(), range(1000), strict=False)]
        assert frames[-1].media_time_s == pytest.approx(999 / 25)
        assert not any(frame.discontinuity for frame in frames)

    def test_a_loop_whose_timestamps_restart(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "normal", loop=True, restart_pts=True)) as source:
            source.open()
            frames = [frame for frame, _ in zip(source.frames(), range(120), strict=False)]
        assert [frame.index for frame in frames if frame.discontinuity == "pts_restarted"] == [50, 100]
        assert frames[-1].media_time_s == pytest.approx(119 / 25)


class TestTimeouts:
    def took(self, source: Source) -> tuple[SourceError | None, float]:
        started = time.monotonic()
        _, error = read(source)
        return error, time.monotonic() - started

    def test_a_camera_that_stalls(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "stall", after=10), read_timeout_s=SHORT_S) as source:
            error, took_s = self.took(source)
        assert isinstance(error, SourceTimeout)
        assert SHORT_S <= took_s < SHORT_S + SLACK_S

    def test_a_camera_that_never_answers(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "silent"), open_timeout_s=SHORT_S) as source:
            error, took_s = self.took(source)
        assert isinstance(error, SourceTimeout)
        assert str(error) == f"{server.url('cam')}: no answer in time"
        assert SHORT_S <= took_s < SHORT_S + SLACK_S

    def test_a_camera_that_answers_and_sends_no_picture(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "stall", after=0), open_timeout_s=SHORT_S) as source:
            error, took_s = self.took(source)
        assert isinstance(error, SourceTimeout)
        assert took_s < SHORT_S + SLACK_S

    def test_a_camera_that_sends_only_noise(self, server: RtspServer, camera: Path) -> None:
        url = behave(server, camera, "corrupt", after=5, loop=True, speed=1.0)
        with connected(url, read_timeout_s=0.75) as source:  # noise has to come within it, or it is silence
            error, _ = self.took(source)
        assert isinstance(error, SourceTimeout)
        assert str(error).endswith("sent no decodable picture for 1.5 s")

    def test_a_host_that_swallows_connections(self) -> None:
        """A full backlog drops the handshake, as a firewall does."""
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            address = listener.getsockname()
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(address)
            with connected(f"rtsp://127.0.0.1:{address[1]}/cam", open_timeout_s=SHORT_S) as source:
                error, took_s = self.took(source)
            for each in waiting:
                each.close()
        assert isinstance(error, SourceTimeout)
        assert took_s < SHORT_S + SLACK_S


class TestRefusals:
    @pytest.mark.parametrize(("kind", "number"), [("401", "401"), ("404", "404")])
    def test_refused_with_its_number(self, server: RtspServer, camera: Path, kind: Kind, number: str) -> None:
        with connected(behave(server, camera, kind)) as source:
            _, error = read(source)
        assert isinstance(error, SourceRefused)
        assert number in str(error)

    def test_a_path_that_is_not_there(self, server: RtspServer) -> None:
        with connected(server.url("other")) as source:
            _, error = read(source)
        assert isinstance(error, SourceRefused)

    def test_a_camera_that_hangs_up(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "refuse")) as source:
            _, error = read(source)
        assert type(error) is SourceError  # a camera that restarts does this: worth trying again soon
        assert "closed" in str(error)

    def test_nobody_there(self, server: RtspServer) -> None:
        server.close()
        with connected(server.url("cam")) as source:
            _, error = read(source)
        assert type(error) is SourceError
        assert "connection was refused" in str(error)

    def test_something_else_than_rtsp(self, face_clip: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"220 mail.example.org ESMTP\r\n\r\n")

            thread = threading.Thread(target=answer)
            thread.start()
            with connected(f"rtsp://127.0.0.1:{listener.getsockname()[1]}/cam") as source:
                _, error = read(source)
            thread.join()
        assert type(error) is SourceError

    def test_udp_where_the_camera_has_none(self, server: RtspServer) -> None:
        with connected(server.url("cam"), rtsp_transport="udp") as source:
            _, error = read(source)
        assert isinstance(error, SourceError)


class TestPasswords:
    SECRET = "pa%40ss%2Fw0rd"  # as an address has to spell pa@ss/w0rd

    def test_the_right_one_opens(self, server: RtspServer, camera: Path) -> None:
        server.set("cam", Behaviour(camera, user="admin", password="pa@ss/w0rd"))
        with connected(server.url("cam", "admin", self.SECRET)) as source:
            assert source.open().width_px == 640

    @pytest.mark.parametrize("kind", ["401", "404", "refuse", "cut", "stall", "silent"])
    def test_none_is_ever_told(
        self, server: RtspServer, camera: Path, kind: Kind, capfd: pytest.CaptureFixture[str]
    ) -> None:
        behave(server, camera, kind, after=5)
        url = server.url("cam", "admin", self.SECRET) + "?token=t0psecret"
        with connected(url, open_timeout_s=SHORT_S, read_timeout_s=SHORT_S) as source:
            _, error = read(source)
            shown = f"{error} {error!r} {source!r}"
        output = capfd.readouterr()
        for secret in ("pa%40ss", "w0rd", "pa@ss", "t0psecret", "admin"):
            assert secret not in shown + output.out + output.err
        assert "***" in shown


class TestDamage:
    def test_noise_for_a_while_is_skipped(self, server: RtspServer, camera: Path) -> None:
        with connected(behave(server, camera, "corrupt", after=10, lasting=10, recording=True)) as source:
            frames, error = read(source)
        assert error is None
        assert source.skipped["undecodable"] > 0
        assert frames[-1].media_time_s == pytest.approx(49 / 25)


class TestComingBack:
    def test_one_timeline_over_two_connections(self, server: RtspServer, camera: Path) -> None:
        """As the camera's thread does it: a new source, the old timeline."""
        behaviour = Behaviour(camera, "cut", after=20, recording=True)
        server.set("cam", behaviour)
        config = CameraConfig(name="cam", source=server.url("cam"), settings=SourceConfig(analyse_hz=None))
        timeline = Timeline(None, 2.0, live=True)
        frames: list[Frame] = []
        for _ in range(2):
            source = make_source(config, "session", timeline, SmallSize(160, 32))
            found, _ = read(source)
            source.close()
            frames += found
            timeline.reconnected()
            server.set("cam", recovered(behaviour))
        lost = [frame for frame in frames if frame.discontinuity == "reconnected"]
        assert len(lost) == 1
        assert [frame.index for frame in frames] == list(range(len(frames)))
        assert all(b.media_time_s > a.media_time_s for a, b in pairwise(frames))
        assert server.connections["cam"] == 2

    def test_behaviour_changes_on_an_open_connection(self, server: RtspServer, camera: Path) -> None:
        stalled = Behaviour(camera, "stall", after=10, recording=True)
        server.set("cam", stalled)
        with connected(server.url("cam")) as source:
            source.open()
            frames = source.frames()
            early = [next(frames) for _ in range(8)]
            server.set("cam", recovered(stalled))
            late = list(frames)
        assert len(early) + len(late) == 50

    def test_a_stop_is_seen_within_a_packet(self, server: RtspServer, camera: Path) -> None:
        stop = threading.Event()
        with connected(behave(server, camera, "normal", loop=True), wait=stop.wait) as source:
            source.open()
            frames = source.frames()
            next(frames)
            stop.set()
            assert len(list(frames)) <= 2
