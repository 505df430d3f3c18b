"""Every camera of a configuration opened for two seconds, for `emostream doctor`: what it shows, or what is wrong."""

from __future__ import annotations

import queue
import shlex
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from stream.clocks import CLOCKS
from stream.config import CameraConfig, Config
from stream.errors import ConfigError, SourceError, SourceInvalid, SourceRefused
from stream.sources import SmallSize, Timeline, is_live, make_source
from stream.urls import mask, scrub

TRIAL_S = 2.0  # of frames
MOST_AT_ONCE = 16  # cameras, so that a large configuration does not run out of memory
SLACK_S = 5.0  # beyond a camera's own timeouts; then it hangs inside FFmpeg
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
SMALL = SmallSize(longer_px=640, stride=32)  # pictures are made, as in a run, and thrown away


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one camera."""

    detail: str
    mend: str | None = None  # what to do; None: it works


def try_cameras(config: Config) -> Iterator[tuple[CameraConfig, Outcome]]:
    """Each camera with its outcome, in their order; MOST_AT_ONCE are opened at the same time."""
    for first in range(0, len(config.cameras), MOST_AT_ONCE):
        group = config.cameras[first : first + MOST_AT_ONCE]
        begun = [(camera, _begin(camera)) for camera in group]
        for camera, answer in begun:
            settings = camera.settings
            limit_s = 2 * settings.open_timeout_s + settings.read_timeout_s + TRIAL_S + SLACK_S
            try:
                yield camera, answer.get(timeout=limit_s)
            except queue.Empty:
                shown = mask(camera.source)
                yield camera, Outcome(f"{shown}: FFmpeg did not return within {limit_s:g} s", _reach(camera))


def _begin(camera: CameraConfig) -> queue.SimpleQueue[Outcome]:
    """Where the outcome will be. The thread is a daemon: one that hangs must not keep the process alive."""
    answer: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    name = f"trial-{camera.name}"
    threading.Thread(target=lambda: answer.put(try_camera(camera)), name=name, daemon=True).start()
    return answer


def try_camera(camera: CameraConfig) -> Outcome:
    """Open it and read TRIAL_S of it: seconds on the clock of a live one, of media time of a recording."""
    try:
        return _seen(camera)
    except SourceRefused as error:
        return Outcome(str(error), f"correct user, password and path of the camera {camera.name} in the configuration")
    except SourceInvalid as error:
        return Outcome(str(error), f"ffprobe {shlex.quote(mask(camera.source))}")
    except (SourceError, ConfigError) as error:
        return Outcome(str(error), _reach(camera))
    except Exception as error:  # a thread's own end would tell nobody
        return Outcome(scrub(f"{mask(camera.source)}: unforeseen {type(error).__name__}: {error}"), _reach(camera))


def _seen(camera: CameraConfig) -> Outcome:
    monotonic = CLOCKS.monotonic
    unpaced = camera.settings.model_copy(update={"realtime": False, "analyse_hz": None})
    camera = camera.model_copy(update={"settings": unpaced})
    timeline = Timeline(None, unpaced.gap_s, live=is_live(camera))
    # a live playlist is paced by waiting; this event is never set
    source = make_source(camera, "doctor", timeline, SMALL, wait=threading.Event().wait)
    times_s: list[float] = []  # of frames: when a live one came, when a recorded one is shown
    try:
        info = source.open()
        begun_s = monotonic()
        for frame in source.frames():
            times_s.append(monotonic() if source.live else frame.media_time_s)
            if monotonic() - begun_s >= TRIAL_S or times_s[-1] - times_s[0] >= TRIAL_S:
                break
        skipped = source.skipped.total()
    finally:
        source.close()
    claimed = f"{info.rate_hz:.4g}" if info.rate_hz else "none"
    span_s = times_s[-1] - times_s[0] if times_s else 0.0
    rate = f"{(len(times_s) - 1) / span_s:.3g}" if span_s > 0 else "none"
    lost = f", {skipped} not decoded" if skipped else ""
    size = f"{info.width_px}x{info.height_px} {info.codec}"
    detail = f"{mask(camera.source)}: {size}, frames a second: {rate} seen, {claimed} claimed{lost}"
    return Outcome(detail, None if times_s else f"ffprobe {shlex.quote(mask(camera.source))}")


def _reach(camera: CameraConfig) -> str:
    """How to find out whether there is anything at this address."""
    # of the masked address, so that no odd password is taken for a host
    try:
        parts = urlsplit(mask(camera.source))
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme.lower())
    except ValueError:
        host, port = None, None
    if host and port:
        return f"nc -vz {shlex.quote(host)} {port}"
    return f"ls -l {shlex.quote(mask(camera.source))}"
