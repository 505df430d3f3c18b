"""Video through PyAV, whatever it comes from. The only place that names `av.error`.

Every frame is decoded, because each is predicted from the others, but only those that the timeline chose are converted.
FFmpeg's own log holds the address, password included: it is off but with --debug, where stderr is filtered.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stream import stderr_filter
from stream.errors import SourceError, SourceInvalid, SourceRefused, SourceTimeout
from stream.records import Frame
from stream.sources.base import BurstPacer, Context, FramePixels, Pacer, StreamInfo
from stream.sources.lag import Effort, LagWatch
from stream.sources.pixels import Converter, upright_size

log = logging.getLogger(__name__)


def set_log() -> None:
    """Let FFmpeg write its warnings to stderr, where that is filtered; else it says nothing."""
    if stderr_filter.is_active():
        av.logging.set_libav_level(av.logging.WARNING)
        av.logging.restore_default_callback()
    else:
        av.logging.set_level(None)


set_log()

SLICE_THREADS_FROM_PX = 1080  # live pictures higher than this are decoded on several threads, without added delay
PADDING_PX = 128  # by which a decoder may round up a side of the picture that it allocates
END_SLACK_S = 1.0  # a recording may be this much shorter than the server says
BLIND_READ_TIMEOUTS = 2.0  # a live stream may send packets without a picture for this many read timeouts

# Formats without timestamps: FFmpeg makes them up from a rate that it assumes. Of a live camera only arrival is true.
TIMELESS_FORMATS = frozenset(["mpjpeg", "mjpeg", "h264", "hevc", "m4v"])

PLAYLIST_FORMATS = frozenset(["hls", "dash"])

# What FFmpeg's decoder leaves out at each effort, and under which name the frames are counted.
DECODED: dict[Effort, Literal["DEFAULT", "NONREF", "NONKEY"]] = {
    Effort.ALL: "DEFAULT",
    Effort.REFERENCES: "NONREF",
    Effort.KEY_FRAMES: "NONKEY",
}
SKIPPED = {
    Effort.REFERENCES: "late_not_referenced",
    Effort.KEY_FRAMES: "late_not_key",
    Effort.NONE: "late_dropped",
}

UNDECODABLE = "undecodable"  # damaged on the way or on disk: each packet of these counts as a frame

NOT_CONVERTED = "not_converted"  # decoded, but of a format or colour space that swscale does not know
NOT_CONVERTED_LIMIT = 50  # so many at the beginning, and it is no accident

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
    """A decoded frame and when its packet came; of a live playlist, when it is played."""

    frame: av.VideoFrame
    arrived_s: float  # monotonic clock
    arrived_at: datetime  # wall clock, UTC
    thinned: bool = False  # whether frames just before it were left out, because this camera is late


class VideoSource:
    """What all kinds have in common. Owns one container, opened once and used by one thread."""

    live = True
    paced = False  # whether packets come at the camera's own speed, so that lag is ours (HLS comes in bursts)
    invalid: tuple[type[SourceError], str] = (
        SourceInvalid,
        "this is no video that FFmpeg can read, or it is cut off or damaged",
    )

    def __init__(self, context: Context) -> None:
        self.skipped: Counter[str] = Counter()
        self.context = context
        self.settings = context.camera.settings
        self._converter = Converter(context.small)
        self._container: InputContainer | None = None
        self._decoded: Generator[Picture, None, None] | None = None
        self._pictures: Iterator[Picture] = iter(())
        self._lag: LagWatch | None = None
        self._effort_before = Effort.ALL  # for the packet before
        self._end_s = 0.0  # an end of the stream before this much of it was seen means that it broke off
        self._seen_s = 0.0  # from the first PTS of this connection to the last
        self._timeless = False  # whether its timestamps are made up
        self._bursts = False  # whether it is a live stream that comes a segment at a time
        self._converted = False  # whether a picture ever was
        self._stopped = False

    def open(self) -> StreamInfo:
        """Connect and decode the first picture, which alone knows the true size and rotation. Raises SourceError."""
        container = self._container = self._connect(self.target())
        self._stop()  # asked here, too, because whoever waits for this thread learns by it that FFmpeg has returned
        self._end_s = self._proper_end_s(container)
        self._lag = LagWatch(self.settings.max_lag_s) if self.paced and math.isinf(self._end_s) else None
        self._bursts = container.format.name in PLAYLIST_FORMATS and math.isinf(self._end_s)
        self._timeless = self.live and container.format.name in TIMELESS_FORMATS
        stream = self._video_stream(container)
        self.context.timeline.expect(1 / rate if (rate := float(stream.average_rate or 0)) > 0 else 0.0)
        self._decoded = self._decode(container, stream)
        first = next(self._decoded, None)
        if first is None:
            raise self._no_picture()
        self._pictures = itertools.chain([first], self._decoded)
        return StreamInfo(*upright_size(first.frame), stream.codec_context.name, rate or None)

    def frames(self) -> Iterator[Frame]:
        """The chosen frames. Raises SourceError when the stream breaks off."""
        context, wait = self.context, self.context.wait
        pacer = Pacer(wait, context.clocks.monotonic) if self.settings.realtime and not self.live else None
        for picture in self._played() if self._bursts else self._pictures:
            pts_s: float | None = None if self._timeless else picture.frame.time
            stamp = context.timeline.stamp(pts_s, picture.arrived_s, picture.thinned)
            if not stamp.chosen:
                continue
            pixels = self._pixels(picture.frame)
            if pixels is None:
                context.timeline.give_back(stamp)
                continue
            if pacer is not None and pacer.until(stamp.media_time_s, stamp.discontinuity is not None):
                return
            yield context.frame(stamp, picture.arrived_at if self.live else None, pixels)

    def close(self) -> None:
        """Close the container and its socket. Frames already given stay valid: they hold their own memory."""
        if self._decoded is not None:
            self._decoded.close()  # resumed by a caller that kept `frames`, it would read freed memory
        self._pictures = iter(())
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def target(self) -> Target:
        """Where to connect, checked as far as it can be without. Raises SourceError."""
        raise NotImplementedError

    def timeouts_s(self) -> tuple[float, float]:
        """For opening and for each read."""
        return self.settings.open_timeout_s, self.settings.read_timeout_s

    def error(self, kind: type[SourceError], words: str) -> SourceError:
        """An error that names the source without its secrets."""
        return kind(f"{self.context.shown}: {words}")

    def _connect(self, target: Target) -> InputContainer:
        """Open it. FFmpeg hides some of its interruptions, as invalid data or as success, so the clock has a say."""
        asked_s = self.context.clocks.monotonic()
        limit_s = target.timeout_s[0] if target.timeout_s else math.inf
        options = {**target.options, **self._decoding_limits()}  # opening decodes, too, to learn what the stream is
        try:
            container = av.open(target.url, "r", format=target.format, options=options, timeout=target.timeout_s)
        except av.error.FFmpegError as error:
            late = self.context.clocks.monotonic() - asked_s >= limit_s
            raise self._late() if late else self._turned(error) from None
        except UnicodeError:  # half of a surrogate pair
            raise self.error(SourceInvalid, "the address holds characters that FFmpeg cannot take") from None
        if self.context.clocks.monotonic() - asked_s >= limit_s:
            container.close()
            raise self._late()
        return container

    def _video_stream(self, container: InputContainer) -> VideoStream:
        """The stream to decode, set up for it. Raises SourceInvalid when there is none that we can."""
        stream = next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)
        if stream is None:
            raise self.error(SourceInvalid, "has no video stream")
        context = stream.codec_context
        if context is None:
            raise self.error(SourceInvalid, "FFmpeg has no decoder for this kind of video")
        self._check_size(context.width, context.height)
        # Without threads a frame costs the same CPU and comes out one packet after it went in; the cores are filled by
        # decoding several cameras at once.
        context.options = self._decoding_limits()
        many = self.live and min(context.width, context.height) > SLICE_THREADS_FROM_PX
        stream.thread_type = "SLICE" if many else "NONE"
        return stream

    def _decoding_limits(self) -> dict[str, str]:
        """A stream may claim any size in its own headers; FFmpeg refuses what is larger before it allocates for it."""
        return {"max_pixels": str((self.settings.max_frame_px + PADDING_PX) ** 2)}

    def _proper_end_s(self, container: InputContainer) -> float:
        """How much there must have been of it when it ends properly; infinite for a camera, which never ends."""
        if not self.live:
            return 0.0
        duration_s = (container.duration or 0) / av.time_base
        if self.paced:
            return duration_s - END_SLACK_S if duration_s > 0 else math.inf
        # HTTP itself reports a file that is cut short. A playlist has a size, whatever it lists.
        sized = container.format.name not in PLAYLIST_FORMATS and container.size > 0
        return 0.0 if duration_s > 0 or sized else math.inf

    def _decode(self, container: InputContainer, stream: VideoStream) -> Generator[Picture, None, None]:
        """Every picture that the stream gives. Packets that cannot be decoded are counted and skipped."""
        wall = self.context.clocks.wall
        blind_s = self.settings.read_timeout_s * BLIND_READ_TIMEOUTS if self.live else math.inf
        alive_s = self.context.clocks.monotonic()
        first_s: float | None = None
        thinned = False
        try:
            for packet, arrived_s in self._packets(container, stream):
                arrived_at, effort = wall(), self._effort(packet, arrived_s)
                frames = self._frames_of(packet, effort)
                if frames or effort is not Effort.ALL:
                    alive_s = arrived_s
                thinned = thinned or effort is not Effort.ALL
                for frame in frames:
                    first_s = frame.time if first_s is None else first_s
                    self._seen_s = (frame.time or 0.0) - (first_s or 0.0)
                    yield Picture(frame, arrived_s, arrived_at, thinned)
                    thinned = False
                if arrived_s - alive_s > blind_s:
                    raise self.error(SourceTimeout, f"sent no decodable picture for {blind_s:g} s")
                if self._stop():
                    return
        except av.error.FFmpegError as error:
            raise self._turned(error) from None
        if self._seen_s < self._end_s:
            raise self.error(SourceError, "the stream was closed by the other side")

    def _played(self) -> Iterator[Picture]:
        """The pictures of a live playlist, each when it is its turn, which then counts as its arrival.

        FFmpeg gives all of a segment at once and then nothing until the next: a camera that stalls every few seconds.
        """
        context = self.context
        pacer = BurstPacer(context.wait, context.clocks.monotonic, self.settings.gap_s)
        for picture in self._pictures:
            if picture.frame.time is not None and pacer.until(picture.frame.time):
                return
            yield replace(picture, arrived_s=context.clocks.monotonic(), arrived_at=context.clocks.wall())

    def _packets(
        self, container: InputContainer, stream: VideoStream
    ) -> Iterator[tuple[av.Packet[VideoStream], float]]:
        """Each packet and when it came. Raises SourceTimeout after the read timeout, FFmpeg's errors as they are.

        Of a live source all streams are read: PyAV gives each packet its own timeout, those that it does not hand out
        too, and so would never return from a camera that goes on with its sound alone.
        """
        monotonic, limit_s = self.context.clocks.monotonic, self.settings.read_timeout_s if self.live else math.inf
        asked_s = monotonic()
        for packet in _demuxed(container, () if self.live else (stream,)):
            arrived_s = monotonic()
            ours = packet.stream.index == stream.index  # not `stream_index`: that of the last, empty ones is 0
            if ours:
                yield packet, arrived_s
            if arrived_s - asked_s >= limit_s:  # the timeout only shook out what FFmpeg's parser was still holding
                raise self._late()
            if ours:
                asked_s = monotonic()

    def _frames_of(self, packet: av.Packet[VideoStream], effort: Effort) -> list[av.VideoFrame]:
        """The pictures that come out with this packet. Raises SourceInvalid for one that is too large.

        A decoder that may have to reorder holds pictures back until others have come. Of key frames alone those would
        be seconds late, so it is drained where pictures become rare, and after each key frame.
        """
        stream = packet.stream
        rarer = effort >= Effort.KEY_FRAMES and effort is not self._effort_before
        self._effort_before = effort
        frames = self._drained(stream) if rarer else []
        try:
            own = packet.decode() if effort is not Effort.NONE else []
        except av.error.FFmpegError:
            self.skipped[UNDECODABLE] += 1
            return frames
        if effort is Effort.KEY_FRAMES and packet.is_keyframe:
            own += self._drained(stream)
        if effort is not Effort.ALL and not own:
            self.skipped[SKIPPED[effort]] += 1
        frames += own
        for frame in frames:
            self._check_size(frame.width, frame.height)
        return frames

    def _drained(self, stream: VideoStream) -> list[av.VideoFrame]:
        """What the decoder still holds. It goes on with the next key frame."""
        try:
            frames = stream.decode(None)
        except av.error.FFmpegError:
            frames = []
        stream.codec_context.flush_buffers()
        for frame in frames:
            frame.time_base = stream.time_base  # PyAV knows it from the packet only
        return frames

    def _effort(self, packet: av.Packet[VideoStream], arrived_s: float) -> Effort:
        """How much to decode, told to the decoder. A recording is decoded whole."""
        if self._lag is None or packet.dts is None:
            return Effort.ALL
        effort = self._lag.update(float(packet.dts * packet.time_base), arrived_s, packet.is_keyframe)
        if effort is not Effort.NONE:
            packet.stream.codec_context.skip_frame = DECODED[effort]
        return effort

    def _check_size(self, width: int, height: int) -> None:
        limit = self.settings.max_frame_px
        if max(width, height) > limit:
            raise self.error(SourceInvalid, f"{width}x{height} is larger than max_frame_px, {limit}")

    def _pixels(self, frame: av.VideoFrame) -> FramePixels | None:
        """The frame's pixels, or None for one that FFmpeg cannot convert, which is counted.

        Cameras send an odd frame now and then. Raises SourceInvalid when all are: nothing would ever come of them.
        """
        try:
            pixels = self._converter.convert(frame)
        except av.error.FFmpegError as error:
            self.skipped[NOT_CONVERTED] += 1
            if not self._converted and self.skipped[NOT_CONVERTED] >= NOT_CONVERTED_LIMIT:
                words = f"none of its first {NOT_CONVERTED_LIMIT} pictures could be converted ({error.strerror})"
                raise self.error(SourceInvalid, words) from None
            return None
        self._converted = True
        return pixels

    def _stop(self) -> bool:
        self._stopped = self._stopped or self.context.wait(0.0)
        return self._stopped

    def _no_picture(self) -> SourceError:
        if self._stopped:
            return self.error(SourceError, "stopped before the first picture")
        if damaged := self.skipped[UNDECODABLE]:
            limit = self.settings.max_frame_px
            words = f"none of its {damaged} packets could be decoded; damaged, or larger than max_frame_px, {limit}"
            return self.error(SourceInvalid, words)
        return self.error(SourceInvalid, "the video stream is empty")

    def _late(self) -> SourceError:
        return self.error(SourceTimeout, "no answer in time")

    def _turned(self, error: av.error.FFmpegError) -> SourceError:
        """FFmpeg's error as ours, in words without the address's secrets."""
        if isinstance(error, av.error.InvalidDataError):
            return self.error(*self.invalid)
        for theirs, ours, words in _ERRORS:
            if isinstance(error, theirs):
                return self.error(ours, words)
        return self.error(SourceError, f"it cannot be read ({error.strerror})")


def _demuxed(container: InputContainer, streams: Sequence[VideoStream]) -> Iterator[av.Packet[Any]]:
    """Every packet of these streams (none: of all), and the empty ones at their end. Raises FFmpeg's errors."""
    try:
        yield from container.demux(*streams)
    except IndexError:
        # PyAV 18.1 may end so, after the last packet, when another stream appeared on the way: it then flushes streams
        # that it has no object for.
        log.debug("a stream appeared while the video was read, and is left alone")
