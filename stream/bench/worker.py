"""One run of the whole worker with a look inside, in a process of its own: `python -m stream.bench.worker KIND ...`.

`live CLIP CAMERAS WARM_S HOLD_S`: so many cameras over RTSP, from a server in another process; measured for HOLD_S once
all have come and WARM_S have passed. `files CLIP CAMERAS`: the same clip under so many names, as files, which never
drop a frame. Each with a private Redis. Settings come on standard input (`subject.py`). Prints one JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from engines.cache import Cache
from engines.choice import DEFAULT, remembered
from engines.load import backend
from stream import proc
from stream.bench import subject
from stream.bench.camera_server import CameraServer
from stream.bench.rules import Sample, growth_ms, latency_ms
from stream.cameras import THREAD
from stream.config import Config, EngineConfig, RunConfig, Section
from stream.detectors.gaze import Area, Boxes
from stream.events import CameraStatus, EmotionSample
from stream.launch import find_models, launch
from stream.pipeline import Parts
from stream.probe import Observer, Probe
from stream.records import Faces, Frame, Scores, Tracks
from stream.runtime import PUBLISH, Worker
from stream.sinks.base import Accepted
from stream.supply import options_of

# What is otherwise imported late, so that no run pays for an import.
LATE = ("scipy.optimize", "stream.private_redis", "stream.sources.video")

COME_S = 30.0  # all cameras have come after this, or some never will
POLL_S = 0.05
ROLES = {THREAD: "decode", "analysis": "analysis", PUBLISH: "publish"}  # how threads' names begin -> what they do


class Stages:
    """The detector and the classifier of a run, timed. Used by the analysis thread; anybody may read the numbers."""

    def __init__(self) -> None:
        self.detect_s = 0.0  # CPU of the thread
        self.classify_s = 0.0
        self.frames = 0
        self.faces = 0
        self.seen: set[str] = set()  # cameras

    @contextmanager
    def detecting(self) -> Iterator[None]:
        began_s = time.thread_time()
        yield
        self.detect_s += time.thread_time() - began_s

    def around(self, parts: Parts) -> Parts:
        """The same stages, timed."""
        return _Timed(self, parts).around()


class _Timed(Observer):
    def __init__(self, stages: Stages, parts: Parts) -> None:
        super().__init__(parts)
        self._stages = stages

    def search(self, frames: Sequence[Frame], areas: Sequence[Sequence[Area]]) -> list[Faces]:
        with self._stages.detecting():
            return super().search(frames, areas)

    def follow(self, frames: Sequence[Frame], expected: Sequence[Boxes]) -> list[Faces]:
        self._stages.frames += len(frames)  # called once for every step, before the search
        self._stages.seen.update(frame.camera_id for frame in frames)
        with self._stages.detecting():
            return super().follow(frames, expected)

    def classify(
        self, frames: Sequence[Frame], tracks: Sequence[Tracks], due: Sequence[Sequence[bool]]
    ) -> list[Scores]:
        self._stages.faces += sum(map(len, tracks))
        began_s = time.thread_time()
        scores = super().classify(frames, tracks, due)
        self._stages.classify_s += time.thread_time() - began_s
        return scores


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything that counts up, at one moment."""

    at_s: float  # wall clock
    cpu_s: dict[str, float]  # by part; `machine` is everything that runs on it
    frames: int  # analysed
    faces: int
    skipped: Counter[str]  # cause -> frames


class Meter:
    """Looks into a run of live cameras: waits, measures, and asks for the end."""

    def __init__(self, cameras: int, analyse_hz: float, server_pid: int, warm_s: float, hold_s: float) -> None:
        self.samples: list[Sample] = []  # written by the publish thread
        self.engines: dict[str, str] = {}
        self.marks: list[Mark] = []
        self.rss_mb = 0.0
        self.stages = Stages()
        self._cameras, self._analyse_hz = cameras, analyse_hz
        self._server_pid, self._warm_s, self._hold_s = server_pid, warm_s, hold_s
        self._thread: threading.Thread | None = None

    def probe(self) -> Probe:
        return Probe(self._started, self.stages.around, self._stored)

    def close(self) -> None:
        """After the run."""
        if self._thread is not None:
            self._thread.join()

    def _started(self, worker: Worker) -> None:
        self._thread = threading.Thread(target=self._measure, name="meter", args=(worker,))
        self._thread.start()

    def _stored(self, _: str, batch: Sequence[Accepted]) -> None:
        now_s = time.time()
        for event in (accepted.event for accepted in batch):
            if isinstance(event, EmotionSample) and event.captured_at is not None:
                self.samples.append(Sample(event.camera_id, event.media_time_s, event.captured_at.timestamp(), now_s))
            elif isinstance(event, CameraStatus) and event.engines is not None:
                self.engines = event.engines

    def _measure(self, worker: Worker) -> None:
        """A thread of its own. Whatever happens to it, the run comes to its end."""
        try:
            self._watch(worker)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _watch(self, worker: Worker) -> None:
        pause = threading.Event()  # never set: only its timeout is used
        redis = [pid for pid in proc.descendants(os.getpid()) if pid != self._server_pid]
        until_s = time.monotonic() + COME_S
        while len(self.stages.seen) < self._cameras and time.monotonic() < until_s:
            pause.wait(POLL_S)
        pause.wait(self._warm_s)
        self.marks.append(self._mark(worker, redis))
        pause.wait(self._hold_s)
        self.marks.append(self._mark(worker, redis))
        self.rss_mb = proc.rss_mb()

    def _mark(self, worker: Worker, redis: Sequence[int]) -> Mark:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        cpu_s = defaultdict[str, float](float)
        for number, spent_s in proc.thread_cpu_s().items():
            name = names.get(number, "")
            cpu_s[next((role for prefix, role in ROLES.items() if name.startswith(prefix)), "other")] += spent_s
        cpu_s["detect"], cpu_s["classify"] = self.stages.detect_s, self.stages.classify_s
        cpu_s["analysis"] -= cpu_s["detect"] + cpu_s["classify"]
        cpu_s["redis"] = sum(map(proc.process_cpu_s, redis))
        cpu_s["cameras"] = proc.process_cpu_s(self._server_pid)
        cpu_s["machine"] = proc.machine_cpu_s()
        skipped: Counter[str] = Counter()
        for causes in worker.skipped().values():
            skipped.update(causes)
        return Mark(time.time(), cpu_s, self.stages.frames, self.stages.faces, skipped)

    def figures(self) -> dict[str, Any]:
        """What the time between the two marks came to; `cores` are CPU seconds a second."""
        first, last = self.marks
        seconds = last.at_s - first.at_s
        samples = [sample for sample in self.samples if first.at_s <= sample.stored_s < last.at_s]
        return {
            "cameras": self._cameras,
            "came": len(self.stages.seen),
            "seconds": round(seconds, 2),
            "cores": {part: round((last.cpu_s[part] - first.cpu_s[part]) / seconds, 4) for part in last.cpu_s},
            "frames": {
                "wanted": round(self._cameras * self._analyse_hz * seconds),
                "analysed": last.frames - first.frames,
                "skipped": dict(last.skipped - first.skipped),
            },
            "faces": round((last.faces - first.faces) / max(1, last.frames - first.frames), 2),
            "samples": len(samples),
            "latency_ms": latency_ms(samples),
            "growth_ms": growth_ms(samples, first.at_s, last.at_s),
            "rss_mb": round(self.rss_mb, 2),
            "engines": self.engines,
        }


def live(config: Config, clip: Path, cameras: int, warm_s: float, hold_s: float) -> dict[str, Any]:
    """The figures of so many cameras in real time."""
    with CameraServer(clip) as server, tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        meter = Meter(cameras, _analysed_hz(config, clip), server.pid, warm_s, hold_s)
        sources = [server.url(number) for number in range(cameras)]
        launch(_run(config, sources, folder, engine=_engine(config)), say=lambda words: None, probe=meter.probe())
        meter.close()
    return meter.figures()


def _engine(config: Config) -> EngineConfig:
    """What was chosen on this machine, or else what every run begins with: as in the other parts of the bench.

    An engine that a live run builds beside its cameras would be measured with them.
    """
    cache = Cache()
    models = find_models(config).by_task().values()
    chosen = all(remembered(model, options_of(config), cache) for model in models)
    return config.engine.model_copy(update={"wait": True} if chosen else {"backend": DEFAULT})


def files(config: Config, clip: Path, cameras: int) -> dict[str, Any]:
    """CPU seconds of a run over the clip under so many names; `fixed_s` were spent before the first camera began."""
    stages, begun = Stages(), list[float]()
    cpu_s = _cpu_s()
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        probe = Probe(started=lambda _: begun.append(_cpu_s()), parts=stages.around)
        ended = launch(_run(config, [str(clip)] * cameras, folder), say=lambda words: None, probe=probe)
    return {
        "cameras": cameras,
        "fixed_s": begun[0] - cpu_s,
        "cpu_s": _cpu_s() - begun[0],
        "source_frames": cameras * _frames(clip),
        "frames": stages.frames,
        "faces": round(stages.faces / max(1, stages.frames), 2),
        "detect_s": stages.detect_s,
        "classify_s": stages.classify_s,
        "failed": ended.outcome.failed,
    }


def main() -> None:
    kind, clip, cameras, *times = sys.argv[1:]
    config = subject.heard()
    Path(clip).read_bytes()  # into the page cache
    for module in LATE:
        importlib.import_module(module)
    backend(DEFAULT)
    run = live if kind == "live" else files
    print(json.dumps(run(config, Path(clip), int(cameras), *map(float, times))))


def _run(config: Config, sources: Sequence[str], folder: str, **sections: Section) -> Config:
    """Of these sources, with a private Redis in the folder."""
    cameras = tuple(subject.camera(config, f"cam{number}", source) for number, source in enumerate(sources))
    return config.model_copy(update={"cameras": cameras, "run": RunConfig(private_redis=Path(folder)), **sections})


def _analysed_hz(config: Config, clip: Path) -> float:
    """Of one camera: as is configured, but no more than it has."""
    with av.open(str(clip)) as container:
        rate_hz = float(container.streams.video[0].average_rate or 0.0)
    return min(config.source.analyse_hz or rate_hz, rate_hz)


def _cpu_s() -> float:
    """User and system seconds of this process, its threads, and its children that have ended."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _frames(clip: Path) -> int:
    """Coded frames in a clip."""
    with av.open(str(clip)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


if __name__ == "__main__":
    main()
