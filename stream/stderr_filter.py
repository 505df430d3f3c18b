"""With --debug, stderr goes through a process of its own that takes credentials out of every line.

That is how FFmpeg's log can be had. PyAV would hand it to Python's logging, but in the thread that logs, which must
then wait for the interpreter: PyAV frees decoders while it holds the interpreter, and a decoder with threads of its own
(AV1) waits for those there. One such pair would stop all cameras. So FFmpeg writes to stderr as it does by default,
which waits for nobody but the pipe, and the filter at its other end needs nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stream.urls import HIDDEN, scrub

PACKAGES = Path(__file__).resolve().parent.parent
CUT_BYTES = 1000  # FFmpeg cuts its lines at 1,023, maybe before the @ by which a login is known
PATIENCE_S = 2.0  # for the last lines

_ADDRESSES = re.compile(r":/{1,2}.*", re.DOTALL)
_active = False


def is_active() -> bool:
    """Whether what C libraries write to stderr is filtered now."""
    return _active


@contextlib.contextmanager
def filtered() -> Iterator[None]:
    """Everything that this process writes to stderr is filtered, until it has been written at the end."""
    global _active
    try:
        before = os.dup(2)
    except OSError:  # started with stderr closed: nothing will be seen
        yield
        return
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", "stream.stderr_filter"]
    # a session of its own: Ctrl-C is for us, and what we say about it still has to come through
    child = subprocess.Popen(command, stdin=read_end, stdout=before, cwd=PACKAGES, start_new_session=True)
    os.close(read_end)
    os.dup2(write_end, 2)
    os.close(write_end)
    _active = True
    try:
        yield
    finally:
        _active = False
        if "stream.sources.video" in sys.modules:
            sys.modules["stream.sources.video"].set_log()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os.dup2(before, 2)
        os.close(before)
        with contextlib.suppress(subprocess.TimeoutExpired):  # somebody whom we started still has the pipe
            child.wait(PATIENCE_S)


def clean(line: str) -> str:
    """A line without credentials, whole or cut."""
    if len(line.encode(errors="replace")) >= CUT_BYTES:
        line = _ADDRESSES.sub(f"://{HIDDEN}\n", line)  # the next line may hang on to it, with another address
    return scrub(line)


def main() -> None:
    """stdin to stdout, line by line, until nobody can write any more."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(clean(line.decode(errors="replace")).encode(errors="replace"))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):  # they are for the worker, which has something to say about them yet
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        main()
