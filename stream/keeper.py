"""Stands between a worker and its private Redis, so that the Redis ends when the worker does, however that dies.

Run as a script by private_redis.py: `python -I -S keeper.py redis-server ...`, with a pipe from the worker as standard
input. It starts the command, writes its pid as one line, and waits for the first of two ends: the pipe's (the worker
has closed it, or is gone, even by kill -9) or the command's.

Why not PR_SET_PDEATHSIG from the worker: that signal comes when the forking *thread* ends, and never if the worker
dies before it is set. A pipe has neither fault. The keeper itself uses it for the case that somebody kills the keeper:
it has one thread, and it checks for its own death after setting it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence

GRACE_S = 5.0  # Redis writes its last data within this, or is killed
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>, Linux


def keep(command: Sequence[str]) -> int:
    """Run `command` until it ends or the pipe does; its exit status."""
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # only so that the wake-up byte is written
    signal.set_wakeup_fd(wake)
    keeper = os.getpid()
    # close_fds=False: Redis inherits the lock on its folder, and so holds it exactly as long as it lives
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, close_fds=False, preexec_fn=lambda: _die_with(keeper)
    )
    print(child.pid, flush=True)
    while child.poll() is None:
        readable, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in readable:
            os.read(ended, 64)
        elif not os.read(sys.stdin.fileno(), 64):
            return _end(child)
    return child.returncode


def _end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        return child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _die_with(keeper: int) -> None:
    """In the child, before it becomes Redis. Where there is no prctl, only the pipe protects."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != keeper:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
