"""Wipe what must not be seen from the process's own argument list, as `ps` shows it (Linux)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_ARG_START, _ARG_END = 47, 48  # fields 48 and 49 of /proc/self/stat, proc(5), counted from 0


def wipe(secret: str) -> bool:
    """Overwrite every occurrence of `secret` in our argv with `*`. False where the system has no such place."""
    try:
        # the second field is the program's name in brackets and may hold spaces, so count from behind it
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[_ARG_START - 2]), int(fields[_ARG_END - 2])
    except (OSError, IndexError, ValueError):
        return False
    if end <= start:
        return False
    arguments = ctypes.string_at(start, end - start)
    wanted = os.fsencode(secret)
    at = arguments.find(wanted)
    while at >= 0:
        ctypes.memset(start + at, ord("*"), len(wanted))
        at = arguments.find(wanted, at + len(wanted))
    return True
