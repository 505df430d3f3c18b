"""A small RTSP/1.0 server that serves H.264 and HEVC files as cameras, well or badly behaved.

    with RtspServer({"cam0": Behaviour(clip, speed=1.0, loop=True)}) as server:
        open(server.url("cam0"))
        server.set("cam0", Behaviour(clip, kind="cut"))     # from the next frame on, for open connections too

RTP is interleaved in the TCP connection (RFC 2326 section 10.12) or goes over UDP, as the client asks. One thread
accepts, one serves each connection; leaving the context ends them all.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from stream.bench import rtsp
from stream.bench.rtp import CLOCK_HZ, SSRC, Codec, describe, fragments, interleaved, packets, read_elementary

Kind = Literal["normal", "stall", "cut", "refuse", "401", "404", "silent", "corrupt", "garbage"]

START_SEQUENCE = 65_530  # wraps soon, as cameras' random starts do now and then
RESERVED_NAL = 0x77  # of a type that no decoder knows: noise behind a slice's own type is a picture now and then
START_TIMESTAMP = 4_294_000_000  # wraps after some ten seconds


@dataclass(frozen=True)
class Behaviour:
    """What a path of the server does."""

    path: Path | None = None  # the file (MP4, MKV) that it plays
    kind: Kind = "normal"
    after: int = 0  # stall, cut, corrupt: begin once this many frames were sent on the connection
    lasting: int = 10**9  # corrupt: for this many frames
    speed: float | None = None  # times real time; None: as fast as the client reads
    loop: bool = False
    then: tuple[
        Path, ...
    ] = ()  # played after `path` in the same session; parameter sets stand before each one's frames
    restart_pts: bool = False  # each round of a loop begins at the first timestamp again
    retime: Callable[[int, float], float] | None = None  # number and timestamp of a frame -> the timestamp it is given
    begin_at: int = 0  # the frame that a connection begins with, key frame or not
    claims_hz: float | None = None  # the frame rate that the description tells
    lose_every: int | None = None  # over UDP, one in so many packets does not arrive
    recording: bool = False  # the description tells a duration, as servers of files do and cameras do not
    user: str | None = None  # demanded with `password`, by Basic authentication
    password: str | None = None


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
        self._stack = contextlib.ExitStack()  # what the connection holds besides itself
        self._datagrams: Datagrams | None = None  # None: interleaved

    def run(self) -> None:
        """Serve until either side closes."""
        with self._reader, self._stack:
            while request := self._request():
                behaviour = self._find(request)
                if behaviour is not None and behaviour.kind == "refuse":
                    return
                while (
                    behaviour is not None and behaviour.kind == "silent"
                ):  # as one that hangs; then it answers after all
                    self._server.pause(self._name, behaviour, None)
                    behaviour = self._server.behaviour(self._name)
                if not self._answer(request, behaviour):
                    return

    def _request(self) -> rtsp.Request | None:
        lines: list[str] = []
        while (line := self._reader.readline().decode()).strip():
            lines.append(line)
        return rtsp.parse("".join(lines))

    def _find(self, request: rtsp.Request) -> Behaviour | None:
        if not self._name:
            self._name = request.name
            self._server.connections[request.name] += 1
        return self._server.behaviour(request.name)

    def _answer(self, request: rtsp.Request, behaviour: Behaviour | None) -> bool:
        """Reply to one request; False ends the connection."""
        reply = self._connection.sendall
        if request.method == "OPTIONS":
            reply(request.reply("200 OK", Public=rtsp.METHODS))
        elif behaviour is None or behaviour.kind == "404" or behaviour.path is None:
            reply(request.reply("404 Not Found"))
        elif behaviour.kind == "401" or not _authorized(behaviour, request.headers):
            reply(request.reply("401 Unauthorized", **{"WWW-Authenticate": 'Basic realm="camera"'}))
        elif request.method == "DESCRIBE":
            sdp = describe(read_elementary(behaviour.path), behaviour.recording, behaviour.claims_hz)
            reply(request.described(sdp))
        elif request.method == "SETUP":
            reply(self._set_up(request))
        elif request.method == "PLAY":
            reply(request.reply("200 OK", Session="1", Range="npt=0-"))
            self._play()
            return False
        else:
            reply(request.reply("200 OK", Session="1"))
        return request.method != "TEARDOWN"

    def _set_up(self, request: rtsp.Request) -> bytes:
        """The answer to SETUP."""
        wanted = request.headers.get("transport", "")
        if "TCP" in wanted:
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
        else:
            ports = wanted.partition("client_port=")[2].partition(";")[0]
            self._datagrams = self._stack.enter_context(Datagrams(int(ports.partition("-")[0])))
            transport = f"RTP/AVP;unicast;client_port={ports};server_port={self._datagrams.ports}"
        return request.reply("200 OK", Session="1;timeout=60", Transport=transport)

    def _play(self) -> None:
        """Send frames as the path's behaviour of the moment says. Returns when the connection is to be closed."""
        noise = random.Random(7)
        started = time.monotonic()
        for number, (due_s, timestamp_s, codec, nals) in enumerate(self._rounds()):
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
            elif behaviour.kind == "garbage":
                nals = tuple(bytes([RESERVED_NAL]) + noise.randbytes(len(nal)) for nal in nals)
            if behaviour.retime is not None:
                timestamp_s = behaviour.retime(number, timestamp_s)
            self._send([part for nal in nals for part in fragments(nal, codec)], timestamp_s, behaviour.lose_every)
        self._send_bye()

    def _rounds(self) -> Iterator[tuple[float, float, Codec, tuple[bytes, ...]]]:
        """(when it is due, its timestamp, its codec, its NAL units) of each frame, over all rounds of a loop."""
        begin_s, first = 0.0, (self._server.behaviour(self._name) or Behaviour()).begin_at
        while (behaviour := self._server.behaviour(self._name)) is not None and behaviour.path is not None:
            round_s = begin_s
            for number, stream in enumerate(map(read_elementary, (behaviour.path, *behaviour.then))):
                stamp_s = begin_s - round_s if behaviour.restart_pts else begin_s
                sets = stream.parameter_sets if behaviour.then or number else ()
                for unit in stream.units[first:]:
                    yield begin_s + unit.decode_s, stamp_s + unit.pts_s, stream.codec, (*sets, *unit.nals)
                    sets = ()
                first, begin_s = 0, begin_s + stream.duration_s
            if not behaviour.loop:
                return

    def _send(self, payloads: list[bytes], timestamp_s: float, lose_every: int | None) -> None:
        unit = packets(payloads, self._sequence, START_TIMESTAMP + round(timestamp_s * CLOCK_HZ))
        self._sequence = (self._sequence + len(unit)) & 0xFFFF
        if self._datagrams is not None:
            self._datagrams.send(unit, lose_every)
        else:
            self._connection.sendall(b"".join(interleaved(0, packet) for packet in unit))

    def _send_bye(self) -> None:
        """RTCP BYE (RFC 3550 section 6.6) after an empty receiver report: this source has ended."""
        packet = struct.pack(">BBHI", 0x80, 201, 1, SSRC) + struct.pack(">BBHI", 0x81, 203, 1, SSRC)
        if self._datagrams is not None:
            self._datagrams.send_control(packet)
        else:
            self._connection.sendall(interleaved(1, packet))


class Datagrams:
    """RTP and RTCP to one client over UDP. Its sockets live while it is entered."""

    def __init__(self, client_port: int) -> None:
        self._client_port = client_port
        self._sent = 0
        self._data, self._control = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self._data, self._control):
            each.bind(("127.0.0.1", 0))
        self.ports = f"{self._data.getsockname()[1]}-{self._control.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._data.close()
        self._control.close()

    def send(self, packets: list[bytes], lose_every: int | None) -> None:
        for packet in packets:
            self._sent += 1
            if lose_every is None or self._sent % lose_every:
                self._data.sendto(packet, ("127.0.0.1", self._client_port))

    def send_control(self, packet: bytes) -> None:
        self._control.sendto(packet, ("127.0.0.1", self._client_port + 1))


def _authorized(behaviour: Behaviour, headers: dict[str, str]) -> bool:
    if behaviour.user is None:
        return True
    wanted = base64.b64encode(f"{behaviour.user}:{behaviour.password}".encode()).decode()
    return headers.get("authorization", "") == f"Basic {wanted}"


def recovered(behaviour: Behaviour) -> Behaviour:
    """The same camera, well again."""
    return replace(behaviour, kind="normal")
