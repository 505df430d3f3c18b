"""Where video comes from: files, RTSP, HTTP and HLS, capture devices. Each says how FFmpeg is to open it."""

from __future__ import annotations

import stat
from pathlib import Path

from stream.errors import SourceError, SourceInvalid
from stream.sources.video import Target, VideoSource

# Guessing the frame rate from twenty frames would cost an RTSP camera 0.8 s before its first picture (measured). Not
# `nobuffer`: it throws away what was read meanwhile, the first key frame with it.
LIVE_OPTIONS = {"fpsprobesize": "0"}

# What a playlist, a redirection or a description from the network may lead to: never a file of this machine.
RTSP_PROTOCOLS = {"protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy"}
HTTP_PROTOCOLS = {"protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto,data"}


class FileSource(VideoSource):
    """A recording on disk."""

    live = False

    def target(self) -> Target:
        path = Path(self.context.camera.source)
        try:
            found = path.stat()
        except PermissionError:
            raise self.error(SourceError, "no permission to read it") from None
        except (OSError, ValueError):  # also names that no file can have
            raise self.error(SourceError, "no such file; check the path") from None
        if stat.S_ISDIR(found.st_mode):
            raise self.error(SourceError, "this is a folder; name a video file in it")
        if not stat.S_ISREG(found.st_mode):  # a pipe would block for ever
            raise self.error(SourceError, "this is not a regular file")
        if found.st_size == 0:
            raise self.error(SourceInvalid, "the file is empty")
        return Target(str(path.absolute()))  # absolute: FFmpeg would take `a:b.mp4` for the protocol `a`


class RtspSource(VideoSource):
    """A camera over RTSP, by default interleaved in its TCP connection, where no packet is lost."""

    paced = True
    invalid = (SourceError, "the connection was closed, or what came is not RTSP")

    def target(self) -> Target:
        options = {"rtsp_transport": self.settings.rtsp_transport, "allowed_media_types": "video"}
        options |= LIVE_OPTIONS | RTSP_PROTOCOLS
        return Target(self.context.camera.source, None, options, self.timeouts_s())


class HttpSource(VideoSource):
    """Anything FFmpeg reads over HTTP: MJPEG cameras, HLS playlists, plain files.

    A live playlist (HLS, DASH) is played at its own speed from its first picture on, so its `captured_at` is the time
    of playing: some segments later than the camera saw it.
    """

    def target(self) -> Target:
        return Target(self.context.camera.source, None, LIVE_OPTIONS | HTTP_PROTOCOLS, self.timeouts_s())


class DeviceSource(VideoSource):
    """A capture device of this machine, by its number or as /dev/videoN."""

    paced = True

    def target(self) -> Target:
        source = self.context.camera.source
        device = Path(f"/dev/video{source}" if source.isdecimal() else source)
        if not device.exists():
            raise self.error(SourceError, f"there is no capture device {device}; see what is: ls /dev/video*")
        return Target(str(device), "v4l2", LIVE_OPTIONS, self.timeouts_s())
