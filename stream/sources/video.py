"""Video through PyAV: files, RTSP, HTTP and HLS, capture devices. The only place that names `av.error`.

Every frame is decoded, because each is predicted from the others, but only those that the timeline chose are converted.
FFmpeg's own log stays off: its lines hold the address, password included.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stream.errors import SourceError, SourceInvalid, SourceRefused, SourceTimeout
from stream.records import Frame
from stream.sources.base import Context, Pacer, StreamInfo
from stream.sources.pixels import Converter, upright_size

av.logging.set_level(None)

SLICE_THREADS_FROM_PX = 1080  # live pictures higher than this are decoded on several threads, without added delay
BLIND_READ_TIMEOUTS = 2.0  # a live stream may send packets without a picture for this many read timeouts

# Guessing the frame rate from twenty frames would cost an RTSP camera 0.8 s before its first picture (measured). Not
# `nobuffer`: it throws away what was read meanwhile, the first key frame with it.
LIVE_OPTIONS = {"fpsprobesize": "0"}

# The first row that fits an error of FFmpeg gives its class and words. FFmpeg's own text can hold the whole address.
_ERRORS: tuple[tuple[type[Exception], type[SourceError], str], ...] = (
    (av.error.HTTPUnauthorizedError, SourceRefused, "401, user or password are missing or wrong"),
    (av.error.HTTPForbiddenError, SourceRefused, "403, this user may not see the stream"),
    (av.error.HTTPNotFoundError, SourceRefused, "404, there is no stream at this address"),
    (av.error.HTTPError, SourceError, "the server reported an error"),
    (av.error.HTTPClientError, SourceError, "the server did not accept the request"),
    (av.error.ExitError, SourceTimeout, "no answer in time"),  # PyAV's timeout interrupts FFmpeg
    (av.error.TimeoutError, SourceTimeout, "no answer in time"),
    (av.error.LookupError, SourceInvalid, "FFmpeg has no decoder or protocol for this kind of video"),
    (av.error.PatchWelcomeError, SourceInvalid, "FFmpeg cannot decode this kind of video"),
    (av.error.ConnectionRefusedError, SourceError, "the connection was refused; is the camera on, and the port right?"),
    (av.error.FileNotFoundError, SourceError, "no such file or device; check the path"),
    (av.error.PermissionError, SourceError, "no permission to read it"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What `av.open` is given."""

    url: str = field(repr=False)
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    timeout_s: tuple[float, float] | None = None  # open, read; None: a local file, which cannot be interrupted anyway


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded frame and when its packet came."""

    frame: av.VideoFrame
    arrived_s: float  # monotonic clock
    arrived_at: datetime  # wall clock, UTC


class VideoSource:
    """What all kinds have in common. Owns one container, opened once and used by one thread."""

    live = True
    _invalid: tuple[type[SourceError], str] = (
        SourceInvalid,
        "this is no video that FFmpeg can read, or it is cut off or damaged",
    )

    def __init__(self, context: Context) -> None:
        self.decode_errors = 0
        self._context = context
        self._settings = context.camera.settings
        self._converter = Converter(context.small)
        self._container: InputContainer | None = None
        self._pictures: Iterator[Picture] = iter(())
        self._finite = not self.live  # whether an end of the stream is its proper end
        self._stopped = False

    def open(self) -> StreamInfo:
        """Connect and decode the first picture, which alone knows the true size and rotation. Raises SourceError."""
        container = self._container = self._connect(self._target())
        self._finite = self._finite or (container.duration or 0) > 0
        stream = self._video_stream(container)
        self._context.timeline.expect(1 / rate if (rate := float(stream.average_rate or 0)) > 0 else 0.0)
        decoded = self._decode(container, stream)
        first = next(decoded, None)
        if first is None:
            raise self._no_picture()
        self._pictures = itertools.chain([first], decoded)
        return StreamInfo(*upright_size(first.frame), stream.codec_context.name, rate or None)

    def frames(self) -> Iterator[Frame]:
        """The chosen frames. Raises SourceError when the stream breaks off."""
        context, wait = self._context, self._context.wait
        pacer = Pacer(wait, context.monotonic) if self._settings.realtime and not self.live else None
        for picture in self._pictures:
            stamp = context.timeline.stamp(_pts_s(picture.frame), picture.arrived_s)
            if not stamp.chosen:
                continue
            pixels = self._converter.convert(picture.frame)
            if pacer is not None and pacer.until(stamp):
                return
            yield context.frame(stamp, picture.arrived_at if self.live else None, pixels)

    def close(self) -> None:
        """Close the container and its socket. Frames already given stay valid: they hold their own memory."""
        self._pictures = iter(())
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _target(self) -> Target:
        raise NotImplementedError

    def _connect(self, target: Target) -> InputContainer:
        """Open it. FFmpeg hides some of its interruptions, as invalid data or as success, so the clock has a say."""
        asked_s = self._context.monotonic()
        limit_s = target.timeout_s[0] if target.timeout_s else math.inf
        try:
            container = av.open(target.url, "r", format=target.format, options=target.options, timeout=target.timeout_s)
        except av.error.FFmpegError as error:
            late = self._context.monotonic() - asked_s >= limit_s
            raise self._late() if late else self._turned(error) from None
        except UnicodeError:
            raise self._error(SourceInvalid, "the address holds characters that FFmpeg cannot take") from None
        if self._context.monotonic() - asked_s >= limit_s:
            container.close()
            raise self._late()
        return container

    def _video_stream(self, container: InputContainer) -> VideoStream:
        """The stream to decode, set up for it. Raises SourceInvalid when there is none that we can."""
        stream = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
        if stream is None:
            raise self._error(SourceInvalid, "has no video stream")
        context = stream.codec_context
        if context is None:
            raise self._error(SourceInvalid, "FFmpeg has no decoder for this kind of video")
        self._check_size(context.width, context.height)
        # Without threads a frame costs the same CPU and comes out one packet after it went in; the cores are filled by
        # decoding several cameras at once.
        many = self.live and min(context.width, context.height) > SLICE_THREADS_FROM_PX
        stream.thread_type = "SLICE" if many else "NONE"
        return stream

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[Picture]:
        """Every picture that the stream gives. Packets that cannot be decoded are counted and skipped."""
        wall = self._context.wall
        blind_s = self._settings.read_timeout_s * BLIND_READ_TIMEOUTS if self.live else math.inf
        seen_s = self._context.monotonic()
        try:
            for packet, arrived_s in self._packets(container, stream):
                arrived_at = wall()
                for frame in self._frames_of(packet):
                    seen_s = arrived_s
                    yield Picture(frame, arrived_s, arrived_at)
                if arrived_s - seen_s > blind_s:
                    raise self._error(SourceTimeout, f"sent no decodable picture for {blind_s:g} s")
                if self._stop():
                    return
        except av.error.FFmpegError as error:
            raise self._turned(error) from None
        if not self._finite:
            raise self._error(SourceError, "the stream was closed by the other side")

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[av.Packet[VideoStream], float]]:
        """Each packet and when it came. Raises SourceTimeout after the read timeout, FFmpeg's errors as they are."""
        monotonic, limit_s = self._context.monotonic, self._settings.read_timeout_s if self.live else math.inf
        packets = container.demux(stream)
        asked_s = monotonic()
        for packet in packets:
            arrived_s = monotonic()
            yield packet, arrived_s
            if arrived_s - asked_s >= limit_s:  # the timeout only shook out what FFmpeg's parser was still holding
                raise self._late()
            asked_s = monotonic()

    def _frames_of(self, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.decode_errors += 1
            return []
        for frame in frames:
            self._check_size(frame.width, frame.height)
        return frames

    def _check_size(self, width: int, height: int) -> None:
        limit = self._settings.max_frame_px
        if max(width, height) > limit:
            raise self._error(SourceInvalid, f"{width}x{height} is larger than max_frame_px, {limit}")

    def _stop(self) -> bool:
        self._stopped = self._stopped or self._context.wait(0.0)
        return self._stopped

    def _no_picture(self) -> SourceError:
        if self._stopped:
            return self._error(SourceError, "stopped before the first picture")
        if self.decode_errors:
            return self._error(SourceInvalid, f"none of its {self.decode_errors} packets could be decoded")
        return self._error(SourceInvalid, "the video stream is empty")

    def _late(self) -> SourceError:
        return self._error(SourceTimeout, "no answer in time")

    def _turned(self, error: av.error.FFmpegError) -> SourceError:
        """FFmpeg's error as ours, in words without the address's secrets."""
        if isinstance(error, av.error.InvalidDataError):
            return self._error(*self._invalid)
        for theirs, ours, words in _ERRORS:
            if isinstance(error, theirs):
                return self._error(ours, words)
        return self._error(SourceError, f"it cannot be read ({error.strerror})")

    def _error(self, kind: type[SourceError], words: str) -> SourceError:
        return kind(f"{self._context.shown}: {words}")


class FileSource(VideoSource):
    """A recording on disk."""

    live = False

    def _target(self) -> Target:
        path = Path(self._context.camera.source)
        try:
            if path.is_dir():
                raise self._error(SourceError, "this is a folder; name a video file in it")
            if not path.exists():
                raise self._error(SourceError, "no such file; check the path")
            if not path.is_file():  # a pipe would block for ever
                raise self._error(SourceError, "this is not a regular file")
            if path.stat().st_size == 0:
                raise self._error(SourceInvalid, "the file is empty")
            return Target(str(path.absolute()))  # absolute: FFmpeg would take `a:b.mp4` for the protocol `a`
        except (OSError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise self._error(SourceError, "no such file; check the path") from None


class RtspSource(VideoSource):
    """A camera over RTSP, by default interleaved in its TCP connection, where no packet is lost."""

    _invalid = (SourceError, "the connection was closed, or what came is not RTSP")

    def _target(self) -> Target:
        options = {"rtsp_transport": self._settings.rtsp_transport, "allowed_media_types": "video", **LIVE_OPTIONS}
        return Target(self._context.camera.source, None, options, _timeouts(self._context))


class HttpSource(VideoSource):
    """Anything FFmpeg reads over HTTP: MJPEG cameras, HLS playlists, plain files."""

    def _target(self) -> Target:
        return Target(self._context.camera.source, None, LIVE_OPTIONS, _timeouts(self._context))


class DeviceSource(VideoSource):
    """A capture device of this machine, by its number or as /dev/videoN."""

    def _target(self) -> Target:
        source = self._context.camera.source
        device = Path(f"/dev/video{source}" if source.isdecimal() else source)
        if not device.exists():
            raise self._error(SourceError, f"there is no capture device {device}; see what is: ls /dev/video*")
        return Target(str(device), "v4l2", LIVE_OPTIONS, _timeouts(self._context))


def _timeouts(context: Context) -> tuple[float, float]:
    return context.camera.settings.open_timeout_s, context.camera.settings.read_timeout_s


def _pts_s(frame: av.VideoFrame) -> float | None:
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)
