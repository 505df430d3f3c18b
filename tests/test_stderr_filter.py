"""What libraries in C write to stderr is shown without credentials, whole or cut, and all of it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from subprocess import PIPE

import psutil
import pytest

from stream.stderr_filter import CUT_BYTES, clean

PROGRAM = """
import os, sys
from stream.stderr_filter import filtered, is_active
with filtered():
    assert is_active()
    for number in range(5000):
        os.write(2, b"[rtsp @ 0x1] %d rtsp://user:s3cr3t@host/x failed\\n" % number)
    print("from Python rtsp://user:s3cr3t@host/y", file=sys.stderr)
    os.write(2, b"no line end rtsp://user:s3cr3t@host/z")
assert not is_active()
os.write(2, b"\\nafterwards")
"""


def test_every_line_comes_through_in_order_before_the_process_ends() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    lines = ended.stderr.splitlines()
    assert lines[:5000] == [f"[rtsp @ 0x1] {number} rtsp://***@host/x failed" for number in range(5000)]
    assert lines[5000:] == ["from Python rtsp://***@host/y", "no line end rtsp://***@host/z", "afterwards"]


def test_a_process_without_stderr_goes_on() -> None:
    program = f"import os; os.close(2)\n{PROGRAM.partition('with filtered')[0]}\nwith filtered(): print('here')"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "here\n"


def test_a_line_that_was_cut_shows_nothing_of_its_addresses() -> None:
    """The @ by which a login is known, or the ? before a token, may be what is missing."""
    head = f"opening rtsp://user:s3cr3t@host/a {'x' * CUT_BYTES} "
    for tail in ("rtsp://user:s3cr3", "rtsp://user:s3cr3t\n", "http://host/live?token=s3cr3t\n"):
        cleaned = clean(head + tail)
        assert "s3cr3" not in cleaned
        assert cleaned == "opening rtsp://***\n"
    assert clean("rtsp://host/short\n") == "rtsp://host/short\n"


def test_two_lines_of_which_the_first_was_cut_show_no_address() -> None:
    """With its end FFmpeg takes the line end, too."""
    joined = f"opening {'x' * CUT_BYTES} rtsp://user:s3cr3[h264] reading http://host/next\n"
    assert clean(joined) == f"opening {'x' * CUT_BYTES} rtsp://***\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_no_byte_and_no_letter_ends_it(encoding: str) -> None:
    filter_ = [sys.executable, "-m", "stream.stderr_filter"]
    said = "caf\xe9 \N{SNOWMAN} ".encode() + b"\xff\xfe\nnext\n"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run(filter_, input=said, capture_output=True, timeout=60, check=True, env=environment)
    assert ended.stdout == "caf\xe9 \N{SNOWMAN} \ufffd\ufffd\nnext\n".encode()


def test_a_signal_for_the_whole_unit_does_not_take_the_workers_last_words() -> None:
    program = """
import os, signal, sys
from stream.stderr_filter import filtered
signal.signal(signal.SIGTERM, lambda *_: print("stopping", file=sys.stderr))
with filtered():
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.readline()
    print("done", file=sys.stderr)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=PIPE, stderr=PIPE, text=True, start_new_session=True
    ) as worker:
        assert worker.stderr is not None
        assert worker.stderr.readline() == "ready\n"
        for process in (*psutil.Process(worker.pid).children(), worker):
            process.send_signal(signal.SIGTERM)
        assert worker.stderr.readline() == "stopping\n"
        _, said = worker.communicate("go\n", timeout=60)
    assert (worker.returncode, said) == (0, "done\n")
