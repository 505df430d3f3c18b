"""A JSON Lines file: one event a line, exactly the bytes of `Event.to_json`.

Nothing of the transport is in it (no run, no accepted_at), so that the same run writes the same file byte for byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stream.errors import SinkError, SinkRefused
from stream.sinks.base import Accepted, HighWater


class JsonlSink:
    """Begins the file anew at the first `open`; later ones (after trouble) go on where the last whole line ended.

    What holds something else than JSON Lines is never overwritten: `--out` before a video is a slip, not a wish.
    A batch is one write of whole lines on an unbuffered file, and the file is locked, so that no line of another
    process ever stands inside one of ours.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._file: io.FileIO | None = None
        self._size = 0  # bytes of whole lines, ours
        self._high = HighWater()

    def open(self) -> None:
        if self._file is not None:
            return
        try:
            file = io.FileIO(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644), "w")
        except OSError as error:
            raise SinkRefused(
                f"{self.name}: the file cannot be written ({error.strerror}); give another path"
            ) from None
        try:
            self._begin(file)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _begin(self, file: io.FileIO) -> None:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return  # a pipe, a terminal or /dev/null is written as it is
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self._path.open("rb") as old:
                foreign = old.read(1) not in (b"", b"{")
        except BlockingIOError:
            raise SinkRefused(f"{self.name}: another process is writing this file; give another path") from None
        except OSError as error:
            raise SinkRefused(f"{self.name}: the file cannot be used ({error.strerror}); give another path") from None
        if foreign:
            raise SinkRefused(
                f"{self.name}: this file holds no events and would be lost; remove it, or give another path"
            )
        file.truncate(0)

    def send(self, batch: Sequence[Accepted]) -> None:
        if self._file is None:
            raise SinkError(f"{self.name}: the file is not open")
        new = self._high.above(batch)
        lines = b"".join(accepted.event.to_json().encode() + b"\n" for accepted in new)
        try:
            self._write(self._file, lines)
        except OSError as error:
            self._forget_partial(self._file)
            raise SinkError(f"{self.name}: {len(new)} events could not be written ({error.strerror})") from None
        self._size += len(lines)
        self._high.rise(new)

    @staticmethod
    def _write(file: io.FileIO, lines: bytes) -> None:
        rest = memoryview(lines)
        while rest:  # one turn, unless the disk is about to be full
            rest = rest[file.write(rest) :]

    def _forget_partial(self, file: io.FileIO) -> None:
        """Cut what a failed write left behind, so that the batch can be written again."""
        with contextlib.suppress(OSError):
            file.truncate(self._size)
            file.seek(self._size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
