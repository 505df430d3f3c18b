"""A TCP proxy between a client and a server that does to connections what networks do: late, cut, half-open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 65536


class Proxy:
    """Listens on a port of its own and passes on what comes, in a thread, until the end of `proxied`."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._deaf: set[asyncio.Task[None]] = set()  # connections on which nothing passes any more
        self._cut_at: int | None = None
        self.delay_s = 0.0  # before each piece is passed on, in either direction
        self.cuts = 0  # connections that were cut
        self._server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def swallow(self) -> None:
        """Of connections that there are, nothing arrives any more on either side, and neither is closed."""
        self._loop.call_soon_threadsafe(lambda: self._deaf.update(self._connections))

    def cut_after(self, count: int) -> None:
        """Close the connection that brings the server's next answers after so many bytes of them."""
        self._cut_at = count

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        writers = [writer]
        try:
            answers, asks = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(asks)
            pumps = [self._pump(task, reader, asks), self._pump(task, answers, writer, answer=True)]
            _, running = await asyncio.wait(map(asyncio.ensure_future, pumps), return_when=asyncio.FIRST_COMPLETED)
            for pump in running:
                pump.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is not there, or the proxy ends
        finally:
            for each in writers:
                each.transport.abort()
            self._connections.discard(task)
            self._deaf.discard(task)

    async def _pump(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: bool = False,
    ) -> None:
        """Until one end closes, or the cut."""
        try:
            while piece := await reader.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if task in self._deaf:
                    continue
                if answer and self._cut_at is not None:
                    if len(piece) >= self._cut_at:
                        writer.write(piece[: self._cut_at])
                        await writer.drain()
                        self._cut_at, self.cuts = None, self.cuts + 1
                        writer.close()
                        return
                    self._cut_at -= len(piece)
                writer.write(piece)
                await writer.drain()
        except OSError:
            return


@contextmanager
def proxied(port: int) -> Iterator[Proxy]:
    """A proxy before 127.0.0.1:port."""
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
