"""A camera's thread on real RTSP sessions: what changes between them and in them, and what is told of it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.backoff import Backoff
from stream.cameras import Camera
from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.errors import Closed
from stream.handover import Inputs
from stream.reader import FIRST_DELAY_S, LOST_CAP_S, REFUSED_CAP_S
from stream.records import CameraEnded, CameraState, Frame, Input
from stream.sources import SmallSize, Source, Timeline, make_source
from tests import clips
from tests.fakes import FakeStop
from tests.rtsp_server import Behaviour, RtspServer

PATIENCE_S = 30.0


def watched(url: str, on_wait: Callable[[int], None], waits: int, **settings: object) -> list[Input]:
    """What a camera hands on while it comes back so often; `on_wait(n)` is called when it is away for the n-th time."""
    values = {"open_timeout_s": 5.0, "read_timeout_s": 5.0, **settings}
    config = CameraConfig(name="cam", source=url, settings=SourceConfig.model_validate(values))
    inputs, stop = Inputs(["cam"], []), FakeStop(waits)
    stop.on_wait = lambda _: on_wait(len(stop.waits))

    def source(session: str, timeline: Timeline, wait: Callable[[float], bool]) -> Source:
        return make_source(config, session, timeline, SmallSize(160, 32), wait=wait)

    def backoff() -> Backoff:
        return Backoff(FIRST_DELAY_S, LOST_CAP_S, random.Random(3))

    camera = Camera(config, lambda: "s", True, source, inputs, stop, Clocks(), backoff)
    camera.start()
    taken: list[Input] = []
    with contextlib.suppress(Closed):
        while True:
            taken += inputs.take()
    assert camera.join(PATIENCE_S) is None
    assert camera.failed is None
    return taken


def told(inputs: list[Input]) -> list[str]:
    """States and endings, in order."""
    return [item.state for item in inputs if isinstance(item, (CameraState, CameraEnded))]


def test_a_password_that_is_changed_while_it_runs(face_clip: Path) -> None:
    """The camera is asked ever more rarely, for ever, and is back once it takes the old password again."""
    refusals = 20
    right = Behaviour(face_clip, "cut", after=30, user="admin", password="secret")
    with RtspServer({"cam": right}) as server:

        def on_wait(number: int) -> None:
            changed = 1 <= number <= refusals
            server.set("cam", Behaviour(face_clip, user="admin", password="another") if changed else right)

        inputs = watched(server.url("cam", "admin", "secret"), on_wait, refusals + 2)
    away = [item for item in inputs if isinstance(item, CameraEnded)]
    assert told(inputs) == [
        *("connecting", "live", "offline"),
        *("connecting", "offline") * refusals,
        *("connecting", "live", "offline", "ended"),
    ]
    refused, delays_s = away[1:-2], [item.retry_in_s or 0.0 for item in away[1:-2]]
    assert all("401, user or password are missing or wrong" in str(item.reason) for item in refused)
    assert not any("secret" in str(item) or "admin" in str(item) for item in away)
    assert LOST_CAP_S < max(delays_s) <= REFUSED_CAP_S
    assert away[-2].retry_in_s is not None
    assert away[-2].retry_in_s <= LOST_CAP_S  # the loss after it is the first again


def test_a_camera_that_comes_back_with_another_codec_and_size(face_clip: Path, clip_folder: Path) -> None:
    if not clips.has_encoder("libx265"):
        pytest.skip("this build of FFmpeg has no encoder libx265")
    other = clips.make_clip(clip_folder / "other.mp4", codec="libx265", size=(480, 270))
    with RtspServer({"cam": Behaviour(face_clip)}) as server:
        inputs = watched(server.url("cam"), lambda _: server.set("cam", Behaviour(other)), 2)
    live = [item for item in inputs if isinstance(item, CameraState) and item.state == "live"]
    assert [(item.width_px, item.height_px) for item in live] == [(320, 240), (480, 270)]
    assert told(inputs) == [*("connecting", "live", "offline") * 2, "ended"]


def test_another_size_in_mid_stream_is_told_and_ends_the_tracks(face_clip: Path, clip_folder: Path) -> None:
    wide = clips.make_clip(clip_folder / "wide_again.mp4", size=(480, 270))
    with RtspServer({"cam": Behaviour(face_clip, then=(wide,))}) as server:
        inputs = watched(server.url("cam"), lambda _: None, 1)
    at = [number for number, item in enumerate(inputs) if isinstance(item, CameraState) and item.state == "live"]
    assert [(inputs[number].width_px, inputs[number + 1].letterbox.width_px) for number in at] == [
        (320, 320), (480, 480)
    ]  # fmt: skip
    frames = [item for item in inputs if isinstance(item, Frame)]
    assert [frame.discontinuity for frame in frames if frame.discontinuity] == ["size_changed"]
    assert told(inputs) == ["connecting", "live", "live", "offline", "ended"]
