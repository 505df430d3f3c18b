"""A small RTSP/1.0 server that serves H.264 files as cameras, well or badly behaved.

    with RtspServer({"cam0": Behaviour(clip, speed=1.0, loop=True)}) as server:
        open(server.url("cam0"))
        server.set("cam0", Behaviour(clip, kind="cut"))     # from the next frame on, for open connections too

RTP is interleaved in the TCP connection (RFC 2326 section 10.12), H.264 is packed by RFC 6184 (single NAL units and
FU-A). One thread accepts, one serves each connection; leaving the context ends them all.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av

Kind = Literal["normal", "stall", "cut", "refuse", "401", "404", "silent", "corrupt"]

CLOCK_HZ = 90_000  # of RTP timestamps of video, RFC 3551
PAYLOAD_TYPE = 96
SSRC = 0x00E5_0001
MTU = 1400
START_SEQUENCE = 65_530  # wraps soon, as cameras' random starts do now and then
START_TIMESTAMP = 4_294_000_000  # wraps after some ten seconds


@dataclass(frozen=True)
class Behaviour:
    """What a path of the server does."""

    path: Path | None = None  # the H.264 file (MP4, MKV) that it plays
    kind: Kind = "normal"
    after: int = 0  # stall, cut, corrupt: begin once this many frames were sent on the connection
    lasting: int = 10**9  # corrupt: for this many frames
    speed: float | None = None  # times real time; None: as fast as the client reads
    loop: bool = False
    restart_pts: bool = False  # each round of a loop begins at the first timestamp again
    recording: bool = False  # the description tells a duration, as servers of files do and cameras do not
    user: str | None = None  # demanded with `password`, by Basic authentication
    password: str | None = None


@dataclass(frozen=True)
class AccessUnit:
    """One coded frame."""

    decode_s: float
    pts_s: float
    nals: tuple[bytes, ...]


@dataclass(frozen=True)
class Elementary:
    """An H.264 stream taken out of its container."""

    parameter_sets: tuple[bytes, ...]  # SPS and PPS
    units: tuple[AccessUnit, ...]  # in decoding order
    duration_s: float


@functools.cache
def read_elementary(path: Path) -> Elementary:
    """Demux an H.264 file whose NAL units are length-prefixed (ISO 14496-15), as in MP4 and Matroska."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        configuration = bytes(stream.codec_context.extradata or b"")
        length_size = (configuration[4] & 3) + 1
        packets = [packet for packet in container.demux(stream) if packet.size]
        first_s = min(float(packet.pts * packet.time_base) for packet in packets)
        units = tuple(
            AccessUnit(
                float(packet.dts * packet.time_base),
                float(packet.pts * packet.time_base) - first_s,
                tuple(_split(bytes(packet), length_size)),
            )
            for packet in packets
        )
        interval_s = float(1 / stream.average_rate)
    duration_s = max(unit.pts_s for unit in units) + interval_s
    return Elementary(tuple(_parameter_sets(configuration)), units, duration_s)


def _split(data: bytes, length_size: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + length_size], "big")
        yield data[at + length_size : at + length_size + length]
        at += length_size + length


def _parameter_sets(configuration: bytes) -> Iterator[bytes]:
    """SPS, then PPS, of an AVCDecoderConfigurationRecord."""
    at = 5
    for mask in (0x1F, 0xFF):
        count, at = configuration[at] & mask, at + 1
        for _ in range(count):
            length = int.from_bytes(configuration[at : at + 2], "big")
            yield configuration[at + 2 : at + 2 + length]
            at += 2 + length


def fragments(nal: bytes) -> Iterator[bytes]:
    """RTP payloads of one NAL unit: itself, or FU-A pieces (RFC 6184 section 5.8) where it is too long."""
    if len(nal) <= MTU:
        yield nal
        return
    indicator, kind = (nal[0] & 0xE0) | 28, nal[0] & 0x1F
    pieces = [nal[at : at + MTU - 2] for at in range(1, len(nal), MTU - 2)]
    for number, piece in enumerate(pieces):
        start, end = 0x80 * (number == 0), 0x40 * (number == len(pieces) - 1)
        yield bytes([indicator, start | end | kind]) + piece


class RtspServer:
    """Serves on 127.0.0.1 while its context is open. `set` may be called from any thread."""

    def __init__(self, streams: dict[str, Behaviour], port: int = 0) -> None:
        self.connections: Counter[str] = Counter()  # per path, those that got as far as naming it
        self._changed = threading.Condition()  # guards everything below
        self._streams = dict(streams)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._start(self._accept, "rtsp-accept")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def url(self, name: str, user: str | None = None, password: str | None = None) -> str:
        """The address of a path, with credentials if given."""
        login = f"{user}:{password}@" if user else ""
        return f"rtsp://{login}127.0.0.1:{self.port}/{name}"

    def set(self, name: str, behaviour: Behaviour) -> None:
        """Change what a path does, for open connections too."""
        with self._changed:
            self._streams[name] = behaviour
            self._changed.notify_all()

    def close(self) -> None:
        """End every thread and socket. May be called twice."""
        with self._changed:
            self._closing = True
            sockets, threads = [self._listener, *self._sockets], list(self._threads)
            self._changed.notify_all()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        self._listener.close()

    def behaviour(self, name: str) -> Behaviour | None:
        """What a path does now; None for a path that is not served, and for all once the server closes."""
        with self._changed:
            return None if self._closing else self._streams.get(name)

    def pause(self, name: str, behaviour: Behaviour, seconds: float | None) -> None:
        """Wait until the path's behaviour changes or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._streams.get(name) != behaviour, seconds)

    def _start(self, body: object, name: str, *arguments: object) -> None:
        thread = threading.Thread(target=body, name=name, args=arguments)  # type: ignore[arg-type]
        with self._changed:
            if not self._closing:
                self._threads.append(thread)
                thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down by close()
                return
            with self._changed:
                self._sockets.add(connection)
            self._start(self._serve, "rtsp-connection", connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Session(self, connection).run()
        finally:
            with self._changed:
                self._sockets.discard(connection)


class Session:
    """One connection: requests until PLAY, then frames until the end."""

    def __init__(self, server: RtspServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._name = ""
        self._sequence = START_SEQUENCE

    def run(self) -> None:
        """Serve until either side closes."""
        with self._reader:
            while request := self._request():
                method, url, headers = request
                behaviour = self._find(url)
                if behaviour is not None and behaviour.kind == "refuse":
                    return
                if behaviour is not None and behaviour.kind == "silent":
                    self._reader.read()  # until the client gives up
                    return
                if not self._answer(method, url, headers, behaviour):
                    return

    def _request(self) -> tuple[str, str, dict[str, str]] | None:
        line = self._reader.readline().decode()
        if not line.strip():
            return None
        method, url, _ = line.split()
        headers = {}
        while (line := self._reader.readline().decode().strip()) != "":
            key, _, value = line.partition(":")
            headers[key.strip().lower()] = value.strip()
        return method, url, headers

    def _find(self, url: str) -> Behaviour | None:
        name = url.split("://", 1)[-1].partition("/")[2].partition("?")[0].removesuffix("/").removesuffix("/track0")
        if not self._name:
            self._name = name
            self._server.connections[name] += 1
        return self._server.behaviour(name)

    def _answer(self, method: str, url: str, headers: dict[str, str], behaviour: Behaviour | None) -> bool:
        """Reply to one request; False ends the connection."""
        sequence = headers.get("cseq", "0")
        if method == "OPTIONS":
            self._reply(sequence, "200 OK", Public="OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER")
        elif behaviour is None or behaviour.kind == "404" or behaviour.path is None:
            self._reply(sequence, "404 Not Found")
        elif behaviour.kind == "401" or not _authorized(behaviour, headers):
            self._reply(sequence, "401 Unauthorized", **{"WWW-Authenticate": 'Basic realm="camera"'})
        elif method == "DESCRIBE":
            text = describe(read_elementary(behaviour.path), behaviour.recording)
            base = {"Content-Base": url + "/", "Content-Type": "application/sdp"}
            self._reply(sequence, "200 OK", text, **base)
        elif method == "SETUP":
            self._set_up(sequence, headers)
        elif method == "PLAY":
            self._reply(sequence, "200 OK", Session="1", Range="npt=0-")
            self._play(read_elementary(behaviour.path))
            return False
        else:
            self._reply(sequence, "200 OK", Session="1")
        return method != "TEARDOWN"

    def _set_up(self, sequence: str, headers: dict[str, str]) -> None:
        if "TCP" in headers.get("transport", ""):
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            self._reply(sequence, "200 OK", Session="1;timeout=60", Transport=transport)
        else:
            self._reply(sequence, "461 Unsupported Transport")

    def _reply(self, sequence: str, status: str, body: str = "", **headers: str) -> None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {sequence}", *(f"{key}: {value}" for key, value in headers.items())]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self._connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())

    def _play(self, stream: Elementary) -> None:
        """Send frames as the path's behaviour of the moment says. Returns when the connection is to be closed."""
        noise = random.Random(7)
        started = time.monotonic()
        for number, (due_s, timestamp_s, nals) in enumerate(self._rounds(stream)):
            behaviour = self._server.behaviour(self._name)
            while behaviour is not None and behaviour.kind == "stall" and number >= behaviour.after:
                self._server.pause(self._name, behaviour, None)
                behaviour = self._server.behaviour(self._name)
            if behaviour is None or (behaviour.kind == "cut" and number >= behaviour.after):
                return
            if behaviour.speed is not None:
                self._server.pause(self._name, behaviour, started + due_s / behaviour.speed - time.monotonic())
            if behaviour.kind == "corrupt" and 0 <= number - behaviour.after < behaviour.lasting:
                nals = tuple(bytes([nal[0]]) + noise.randbytes(max(len(nal) - 1, 20)) for nal in nals)
            self._send(nals, timestamp_s)
        self._send_bye()

    def _rounds(self, stream: Elementary) -> Iterator[tuple[float, float, tuple[bytes, ...]]]:
        """(when it is due, its timestamp, its NAL units) of each frame, over all rounds of a loop."""
        begin_s = 0.0
        while True:
            behaviour = self._server.behaviour(self._name) or Behaviour()
            stamp_s = 0.0 if behaviour.restart_pts else begin_s
            for unit in stream.units:
                yield begin_s + unit.decode_s, stamp_s + unit.pts_s, unit.nals
            if not behaviour.loop:
                return
            begin_s += stream.duration_s

    def _send(self, nals: tuple[bytes, ...], timestamp_s: float) -> None:
        payloads = [payload for nal in nals for payload in fragments(nal)]
        timestamp = (START_TIMESTAMP + round(timestamp_s * CLOCK_HZ)) & 0xFFFF_FFFF
        message = bytearray()
        for number, payload in enumerate(payloads):
            marker = 0x80 * (number == len(payloads) - 1)
            header = struct.pack(">BBHII", 0x80, marker | PAYLOAD_TYPE, self._sequence, timestamp, SSRC)
            message += struct.pack(">cBH", b"$", 0, len(header) + len(payload)) + header + payload
            self._sequence = (self._sequence + 1) & 0xFFFF
        self._connection.sendall(message)

    def _send_bye(self) -> None:
        """RTCP BYE (RFC 3550 section 6.6) after an empty receiver report: this source has ended."""
        packet = struct.pack(">BBHI", 0x80, 201, 1, SSRC) + struct.pack(">BBHI", 0x81, 203, 1, SSRC)
        self._connection.sendall(struct.pack(">cBH", b"$", 1, len(packet)) + packet)


def describe(stream: Elementary, recording: bool) -> str:
    """The SDP of a stream (RFC 4566, and RFC 6184 section 8.2 for H.264)."""
    sets = stream.parameter_sets
    encoded = ",".join(base64.b64encode(each).decode() for each in sets)
    profile = sets[0][1:4].hex()
    end = f"{stream.duration_s:.3f}" if recording else ""
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=camera",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        f"a=range:npt=0-{end}",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} H264/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={encoded}",
        "a=control:track0",
    ]
    return "\r\n".join(lines) + "\r\n"


def _authorized(behaviour: Behaviour, headers: dict[str, str]) -> bool:
    if behaviour.user is None:
        return True
    wanted = base64.b64encode(f"{behaviour.user}:{behaviour.password}".encode()).decode()
    return headers.get("authorization", "") == f"Basic {wanted}"


def recovered(behaviour: Behaviour) -> Behaviour:
    """The same camera, well again."""
    return replace(behaviour, kind="normal")
