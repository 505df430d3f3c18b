"""One measurement of `emostream bench`, in a process of its own: `python -m stream.bench.child KIND CLIP`.

KIND is `decode` (the video alone), `5hz` or `every` (the whole worker, private Redis included), or `stages` (one thread
that runs the journey by hand, with a stopwatch around every stage). Settings come on standard input (`subject.py`).
Prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av

from engines.cache import Cache
from engines.choice import DEFAULT
from engines.load import backend
from stream.aggregate import Aggregator
from stream.bench import subject
from stream.classify import Classifier, Reads
from stream.config import Config, RunConfig
from stream.detectors import make_detector
from stream.detectors.attention import find
from stream.detectors.gaze import Gaze
from stream.launch import find_models, launch
from stream.records import Frame
from stream.sources import make_source
from stream.sources.base import SmallSize
from stream.sources.timeline import Timeline
from stream.supply import Supply
from stream.tracking import Tracker

# What is otherwise imported late, so that no kind pays for an import that another does not.
LATE = ("scipy.optimize", "stream.private_redis", "stream.sources.video")

HZ = {"5hz": 5.0, "every": None}
MB = 1024.0  # of the kilobytes in which Linux counts ru_maxrss


def main() -> None:
    kind, clip = sys.argv[1], Path(sys.argv[2])
    config = subject.heard()
    clip.read_bytes()  # into the page cache
    for module in LATE:
        importlib.import_module(module)
    backend(DEFAULT)
    figures = _stages(config, clip) if kind == "stages" else _cost(config, kind, clip)
    print(json.dumps(figures))


def _cost(config: Config, kind: str, clip: Path) -> dict[str, float]:
    """User and system seconds of all threads and of the private Redis, and those of the wall clock.

    Loading the models is counted, imports are not.
    """
    frames = 0
    cpu_s, wall_s = _cpu_s(), time.perf_counter()
    if kind == "decode":
        frames = _decode(clip)
    else:
        with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:  # a Redis without anybody's events
            launch(_run(config, clip, HZ[kind], Path(folder)), say=lambda words: None)
    return {
        "cpu_s": _cpu_s() - cpu_s,
        "wall_s": time.perf_counter() - wall_s,
        "frames": frames,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB,
    }


def _cpu_s() -> float:
    """User and system seconds of this process, its threads, and its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _decode(clip: Path) -> int:
    """Decoding alone, the unit of every ratio."""
    frames = 0
    with av.open(str(clip)) as container:
        container.streams.video[0].thread_type = "NONE"
        for _ in container.decode(video=0):
            frames += 1
    return frames


def _run(config: Config, clip: Path, analyse_hz: float | None, folder: Path | None = None) -> Config:
    camera = subject.camera(config, "bench", str(clip), analyse_hz=analyse_hz)
    return config.model_copy(update={"cameras": (camera,), "run": RunConfig(private_redis=folder)})


class Stopwatch:
    """Adds up the CPU time of this thread per stage."""

    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        began_s = time.thread_time()
        yield
        self.spent_s[stage] += time.thread_time() - began_s


def _stages(config: Config, clip: Path) -> dict[str, float]:
    """Milliseconds per analysed frame and stage; `read` is decoding of that frame alone plus its conversion."""
    config = _run(config, clip, None)
    models = find_models(config)
    engines = Supply(config, models.by_task(), Cache(), live=False, say=lambda words: None).first()
    face, emotion = engines["face"], engines["emotion"]
    detector, classifier = make_detector(config.detector, face), Classifier(config.emotion, emotion)
    gaze, tracker, reads = Gaze(config.detector, face.spec.stride), Tracker(config.tracking), Reads(config.emotion)
    aggregator = Aggregator(config.aggregate, classifier.labels)
    small = SmallSize.of(config.detector, face.spec)
    source = make_source(config.cameras[0], "bench", Timeline(None, config.source.gap_s), small)
    watch, frames = Stopwatch(), 0
    source.open()
    for frame in _watched(source.frames(), watch):
        frames += 1
        with watch.measure("detect"):
            (faces,) = find(detector, [frame], [gaze], [tracker.expected()])
        with watch.measure("track"):
            tracks = tracker.update(frame.media_time_s, faces)
        with watch.measure("classify"):
            (scores,) = classifier.classify([frame], [tracks], [reads.due(frame.media_time_s, tracks)])
        with watch.measure("aggregate"):
            aggregator.update(frame, tracks, scores, (frame.letterbox.width_px, frame.letterbox.height_px))
    source.close()
    face.close()
    emotion.close()
    return {stage: round(1000.0 * spent_s / max(frames, 1), 3) for stage, spent_s in watch.spent_s.items()}


def _watched(frames: Iterator[Frame], watch: Stopwatch) -> Iterator[Any]:
    while True:
        with watch.measure("read"):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


if __name__ == "__main__":
    main()
