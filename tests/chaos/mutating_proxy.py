"""A bad line between a camera and its reader: what the camera says arrives changed, always at the same bytes."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from types import TracebackType
from typing import Self

ANSWERS = 900  # bytes of an RTSP camera's answers before its video begins, about


class MutatingProxy:
    """Takes one connection after the other to `upstream` on 127.0.0.1; each is changed in the same way."""

    def __init__(self, upstream: int, seed: int) -> None:
        chance = random.Random(seed)
        reach = chance.choice((ANSWERS, 4 * ANSWERS, 40 * ANSWERS))
        self._flips = {chance.randrange(reach): 1 << chance.randrange(8) for _ in range(chance.choice((0, 1, 4, 32)))}
        self._dropped = range(0)
        if not self._flips or chance.random() < 0.3:
            begin = chance.randrange(reach)
            self._dropped = range(begin, begin + chance.choice((1, 7, 200, 3000)))
        self._end = chance.randrange(reach) if chance.random() < 0.2 else None
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="mutating-proxy")]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # shut down by __exit__
            while True:
                reader, _ = self._listener.accept()
                camera = socket.create_connection(("127.0.0.1", self._upstream))
                self._sockets += [reader, camera]
                for pump, name in ((self._forward, "asked"), (self._answer, "answered")):
                    self._threads.append(threading.Thread(target=pump, args=(reader, camera), name=f"proxy-{name}"))
                    self._threads[-1].start()

    @staticmethod
    def _forward(reader: socket.socket, camera: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := reader.recv(4096):
                camera.sendall(data)
            camera.shutdown(socket.SHUT_WR)

    def _answer(self, reader: socket.socket, camera: socket.socket) -> None:
        at = 0
        with contextlib.suppress(OSError):
            while data := camera.recv(4096):
                reader.sendall(self._changed(data, at))
                at += len(data)
                if self._end is not None and at >= self._end:
                    break
            reader.shutdown(socket.SHUT_RDWR)

    def _changed(self, data: bytes, at: int) -> bytes:
        """These bytes, of which the first has the place `at` in all that the camera says."""
        numbered = enumerate(data[: None if self._end is None else max(0, self._end - at)], start=at)
        return bytes(value ^ self._flips.get(place, 0) for place, value in numbered if place not in self._dropped)
