"""Videos read by the real sources in a process of its own, so that a crash, a hang or memory is its own and is seen.

`python -m tests.sources.reader` takes an address a line on stdin and answers each with one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from stream.errors import SourceError
from tests.contracts.source import connected

PROJECT = Path(__file__).resolve().parents[2]
TIMEOUTS = {"open_timeout_s": 1.0, "read_timeout_s": 1.0}  # of live sources; files have none


@dataclass(frozen=True)
class Answer:
    """What came of one address."""

    frames: int
    error: str | None  # class and words, where it ended in one
    seconds: float
    rss_mb: float  # now
    peak_mb: float  # since the process began


class Reader:
    """The process. Started anew by the next question once it has crashed or hung."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._end()

    def ask(self, address: str, limit_s: float) -> Answer | str:
        """The answer, or how it failed to give one."""
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: there will be no answer
            child.stdin.write(f"{address}\n")
            child.stdin.flush()
        if not select.select([child.stdout], [], [], limit_s)[0]:
            child.kill()
            self._end()
            return f"hung for {limit_s:g} s"
        line = child.stdout.readline()
        return Answer(**json.loads(line)) if line else f"crashed: exit code {self._end()}"

    def send_signal(self, number: signal.Signals) -> None:
        """To the process, if there is one."""
        if self._child is not None:
            self._child.send_signal(number)

    @staticmethod
    def _start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.sources.reader"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)

    def _end(self) -> int | None:
        """Its exit code; it ends when nobody will ask any more."""
        child, self._child = self._child, None
        if child is None:
            return None
        with contextlib.suppress(BrokenPipeError), child:
            pass
        return child.returncode


def read(address: str) -> Answer:
    """Everything up to the end. What is no SourceError goes up and ends the process: nobody foresaw it."""
    began_s, frames, error = time.monotonic(), 0, None
    with connected(address, **TIMEOUTS) as source:
        try:
            source.open()
            for _ in source.frames():
                frames += 1
        except SourceError as trouble:
            error = f"{type(trouble).__name__}: {trouble}"
    rss_mb = psutil.Process().memory_info().rss / 2**20
    return Answer(frames, error, time.monotonic() - began_s, rss_mb, _peak_mb())


def _peak_mb() -> float:
    """Of this process: not getrusage's, which begins with what the parent had."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(asdict(read(line.rstrip("\n")))), flush=True)
