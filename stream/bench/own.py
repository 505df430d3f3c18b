"""emostream's own turn among its rivals: `python -m stream.bench.own decode|every CLIP`.

Prints the same JSON line as the rivals' programs, measured likewise: user and system seconds of all threads and of the
private Redis, and the wall clock, loading the models included and imports not.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import av

from engines.choice import DEFAULT
from engines.load import backend
from stream.config import CameraConfig, Config, RunConfig, SourceConfig
from stream.launch import launch

LATE = ("scipy.optimize", "stream.private_redis", "stream.sources.video")


def main() -> None:
    kind, clip = sys.argv[1], Path(sys.argv[2])
    clip.read_bytes()  # into the page cache
    for module in LATE:
        importlib.import_module(module)
    backend(DEFAULT)
    cpu_s, wall_s = _cpu_s(), time.perf_counter()
    if kind == "every":
        _analyse(clip)
    else:
        _decode(clip)
    print(json.dumps({"cpu_s": _cpu_s() - cpu_s, "wall_s": time.perf_counter() - wall_s}))


def _cpu_s() -> float:
    """User and system seconds of this process, its threads, and its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _decode(clip: Path) -> None:
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "NONE"
        for _ in container.decode(video=0):
            pass


def _analyse(clip: Path) -> None:
    """Every frame of it, with a private Redis."""
    camera = CameraConfig(name="bench", source=str(clip), settings=SourceConfig(analyse_hz=None))
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        launch(Config(cameras=(camera,), run=RunConfig(private_redis=Path(folder))), say=lambda words: None)


if __name__ == "__main__":
    main()
