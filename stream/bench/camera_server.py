"""Cameras that cost little: one clip over RTSP, to any number of connections at its own speed, for ever.

`python -m stream.bench.camera_server CLIP` listens on a free port of 127.0.0.1, prints the port, and ends when its
standard input does. Every path is a camera; the number at its end says at which key frame, and how much later than its
connection, it begins, so that the key frames of many cameras do not come all at once; `sample_cameras.py` serves a clip
of its own for each path. RTP is interleaved in the TCP connection. A coded frame is packed into its bytes once; each
time it is sent only counters in them change.
"""

from __future__ import annotations

import heapq
import re
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from stream.bench import rtsp
from stream.bench.rtp import (
    CLOCK_HZ,
    FRAME_BYTES,
    AccessUnit,
    Codec,
    Elementary,
    describe,
    fragments,
    interleaved,
    packets,
    read_elementary,
)
from stream.errors import SourceError

GOLDEN: Final = 0.618034  # multiples of it, without their whole part, lie evenly for any number of cameras
SPREAD_S: Final = 2.0  # within which cameras begin: much less than whoever opens one would wait
FIRST_TIMESTAMP: Final = CLOCK_HZ  # FFmpeg takes 0 for none
RECEIVE_BYTES: Final = 65536
END_S: Final = 5.0


class CameraServer:
    """The server in a process of its own, while entered. Raises SourceError when the clip cannot be served."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "stream.bench.camera_server", str(self._clip)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            _, trouble = self._process.communicate()
            words = (trouble.strip().splitlines() or ["it said nothing"])[-1]
            raise SourceError(f"the server of cameras did not start: {words}")
        self._port = int(said)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._process.communicate(timeout=END_S)  # closes its standard input
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def url(self, number: int) -> str:
        """The address of a camera."""
        return f"rtsp://127.0.0.1:{self._port}/cam{number}"


@dataclass(frozen=True, slots=True)
class Packed:
    """A coded frame as it is sent, but for the counters of its packets."""

    template: bytes
    headers: tuple[int, ...]  # where in it the RTP headers begin
    due_s: float  # since the beginning of the clip
    pts_s: float

    @classmethod
    def of(cls, unit: AccessUnit, codec: Codec) -> Packed:
        parts = packets([part for nal in unit.nals for part in fragments(nal, codec)], 0, 0)
        ends = [0]
        for part in parts:
            ends.append(ends[-1] + FRAME_BYTES + len(part))
        headers = tuple(end + FRAME_BYTES for end in ends[:-1])
        return cls(b"".join(interleaved(0, part) for part in parts), headers, unit.decode_s, unit.pts_s)

    def numbered(self, sequence: int, timestamp: int) -> bytearray:
        """Its bytes, the first packet with this sequence number."""
        filled = bytearray(self.template)
        for number, at in enumerate(self.headers):
            struct.pack_into(">HI", filled, at + 2, (sequence + number) & 0xFFFF, timestamp & 0xFFFF_FFFF)
        return filled


class Clip:
    """What all connections share."""

    def __init__(self, stream: Elementary) -> None:
        self.sdp = describe(stream)
        self.duration_s = stream.duration_s
        self.units = tuple(Packed.of(unit, stream.codec) for unit in stream.units)
        self._keys = [number for number, unit in enumerate(stream.units) if unit.is_key]

    def begin_at(self, number: int) -> int:
        """The key frame that this camera begins with."""
        return self._keys[number % len(self._keys)]


Choose = Callable[[str], Clip | None]  # the path that a client asks for -> its clip, if there is one


class Connection:
    """One client: requests until PLAY, then frames; what it says afterwards is read and left."""

    def __init__(self, choose: Choose, taken: socket.socket) -> None:
        self.socket = taken
        self._choose = choose
        self._heard = b""
        self._waiting = bytearray()  # what the client has not taken yet; it is never dropped
        self._playing = False
        self._sequence = 0
        self._at = 0  # the next unit
        self._origin_s = 0.0  # monotonic clock, at the beginning of the clip in its present round
        self._offset_s = 0.0  # of the timestamps in this round

    @property
    def blocked(self) -> bool:
        """Whether something waits for the client."""
        return bool(self._waiting)

    @property
    def due_s(self) -> float:
        """When the next frame is, on the monotonic clock."""
        return self._origin_s + self._clip.units[self._at].due_s

    def hear(self, now_s: float) -> bool:
        """Take what the client sent and answer it. True: PLAY was among it. Raises OSError when the client has gone."""
        heard = self.socket.recv(RECEIVE_BYTES)
        if not heard:
            raise ConnectionResetError
        if self._playing:
            return False
        *requests, self._heard = (self._heard + heard).split(b"\r\n\r\n")
        for text in requests:
            if (request := rtsp.parse(text.decode(errors="replace"))) is not None:
                self._answer(request, now_s)
        return self._playing

    def send_frame(self) -> None:
        """The next frame is due: send it. Raises OSError when the client has gone."""
        unit = self._clip.units[self._at]
        timestamp = FIRST_TIMESTAMP + round((self._offset_s + unit.pts_s) * CLOCK_HZ)
        self._waiting += unit.numbered(self._sequence, timestamp)
        self._sequence += len(unit.headers)
        self._at += 1
        if self._at == len(self._clip.units):
            self._at = 0
            self._origin_s += self._clip.duration_s
            self._offset_s += self._clip.duration_s
        self.flush()

    def flush(self) -> None:
        """Send as much as the client takes now."""
        try:
            del self._waiting[: self.socket.send(self._waiting)]
        except BlockingIOError:
            return

    def _answer(self, request: rtsp.Request, now_s: float) -> None:
        clip = self._choose(request.name)
        match request.method:
            case "OPTIONS":
                answer = request.reply("200 OK", Public=rtsp.METHODS)
            case _ if clip is None:
                answer = request.reply("404 Not Found")
            case "DESCRIBE":
                answer = request.described(clip.sdp)
            case "SETUP" if "TCP" not in request.headers.get("transport", ""):
                answer = request.reply("461 Unsupported Transport")
            case "SETUP":
                transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
                answer = request.reply("200 OK", Session="1;timeout=60", Transport=transport)
            case "PLAY":
                self._play(clip, request.name, now_s)
                answer = request.reply("200 OK", Session="1", Range="npt=0-")
            case _:
                answer = request.reply("200 OK", Session="1")
        self._waiting += answer
        self.flush()

    def _play(self, clip: Clip, name: str, now_s: float) -> None:
        number = int(found[0]) if (found := re.search(r"\d+$", name)) else 0
        self._playing = True
        self._clip = clip
        self._at = clip.begin_at(number)
        self._origin_s = now_s + number * GOLDEN % 1.0 * SPREAD_S - clip.units[self._at].due_s


def serve(choose: Choose, listener: socket.socket, end: socket.socket | TextIO) -> None:
    """Until there is something to be read at `end`, or it is over; in one thread."""
    listener.setblocking(False)
    due: list[tuple[float, int, Connection]] = []  # a heap; the number keeps equal times apart
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(end, selectors.EVENT_READ)
        while True:
            wait_s = max(0.0, due[0][0] - time.monotonic()) if due else None
            for key, events in selector.select(wait_s):
                if key.fileobj is end:
                    return
                if key.fileobj is listener:
                    _accept(choose, listener, selector)
                elif _talk(key.data, events, selector):
                    heapq.heappush(due, (key.data.due_s, key.fd, key.data))
            _send_due(due, selector)


def _accept(choose: Choose, listener: socket.socket, selector: selectors.BaseSelector) -> None:
    taken, _ = listener.accept()
    taken.setblocking(False)
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(taken, selectors.EVENT_READ, Connection(choose, taken))


def _talk(connection: Connection, events: int, selector: selectors.BaseSelector) -> bool:
    """Whether the connection plays from now on."""
    played = False
    try:
        if events & selectors.EVENT_WRITE:
            connection.flush()
        if events & selectors.EVENT_READ:
            played = connection.hear(time.monotonic())
    except OSError:
        _close(connection, selector)
        return False
    _watch(connection, selector)
    return played


def _send_due(due: list[tuple[float, int, Connection]], selector: selectors.BaseSelector) -> None:
    """Every frame whose time has come."""
    while due and due[0][0] <= time.monotonic():
        _, number, connection = due[0]
        try:
            connection.send_frame()
        except OSError:  # it has gone, or was closed before
            heapq.heappop(due)
            _close(connection, selector)
        else:
            heapq.heapreplace(due, (connection.due_s, number, connection))
            _watch(connection, selector)


def _watch(connection: Connection, selector: selectors.BaseSelector) -> None:
    """Wait for room, too, while something waits for it."""
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.blocked else 0)
    key = selector.get_key(connection.socket)
    if key.events != wanted:
        selector.modify(connection.socket, wanted, connection)


def _close(connection: Connection, selector: selectors.BaseSelector) -> None:
    if connection.socket.fileno() >= 0:
        selector.unregister(connection.socket)
        connection.socket.close()


def main(arguments: Sequence[str]) -> int:
    try:
        clip = Clip(read_elementary(Path(arguments[0])))
    except SourceError as error:
        print(error, file=sys.stderr)
        return 1
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(lambda _: clip, listener, sys.stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
