"""What processes and threads of this machine have spent, out of Linux' /proc. Seconds of CPU, user and system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

TICKS_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")
PROC: Final = Path("/proc")
IDLE: Final = (3, 4)  # of the numbers of /proc/stat: idle, iowait
USED: Final = 8  # the numbers that count time; guests' are in them already


def process_cpu_s(pid: int) -> float:
    """Of a process with all its threads; 0.0 when it has ended."""
    return _cpu_s(PROC / str(pid) / "stat")


def thread_cpu_s() -> dict[int, float]:
    """Of each thread of this process, by the number that the system gave it."""
    return {int(folder.name): _cpu_s(folder / "stat") for folder in (PROC / "self" / "task").iterdir()}


def machine_cpu_s() -> float:
    """Of everything on this machine, the time that a virtual one was kept waiting included."""
    spent = [int(word) for word in (PROC / "stat").read_text().partition("\n")[0].split()[1 : USED + 1]]
    return TICKS_S * (sum(spent) - sum(spent[number] for number in IDLE))


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    parents: dict[int, int] = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal() and (fields := _fields(folder / "stat")):
            parents[int(folder.name)] = int(fields[1])
    found = [pid]
    for parent in found:  # grows on the way
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


def rss_mb() -> float:
    """Memory of this process that is resident now."""
    pages = int((PROC / "self" / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _cpu_s(path: Path) -> float:
    fields = _fields(path)
    return TICKS_S * (int(fields[11]) + int(fields[12])) if fields else 0.0


def _fields(path: Path) -> list[str]:
    """What stands behind the name in a `stat` file, from the state on; nothing when it has ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []
