"""What libraries in C write to stderr is shown without credentials, whole or cut, and all of it comes."""

from __future__ import annotations

import subprocess
import sys

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


def test_a_line_that_was_cut_shows_nothing_of_its_last_address() -> None:
    """The @ by which a login is known, or the ? before a token, may be what is missing."""
    head = f"opening rtsp://user:s3cr3t@host/a {'x' * CUT_BYTES} "
    for tail in ("rtsp://user:s3cr3", "rtsp://user:s3cr3t\n", "http://host/live?token=s3cr3t\n"):
        cleaned = clean(head + tail)
        assert "s3cr3" not in cleaned
        assert cleaned.startswith("opening rtsp://***@host/a xxx")
    assert clean("rtsp://host/short\n") == "rtsp://host/short\n"
