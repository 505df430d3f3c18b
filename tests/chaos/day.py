"""A worker's memory over hours of stream time, in fast motion.

    python -m tests.chaos.day MODELS CLIP REDIS OUTBOX HOURS

Real frames (the clip, over and over), the real pipeline, outbox, publisher and Redis; only the clocks are driven by
hand. Faces come and go with every round of the clip, and once an hour the camera is lost. Prints one JSON object: the
RSS in bytes at the beginning and after every 24th of the time, and how many events were accepted.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from engines.load import load_engine
from engines.store import find_model
from stream.assembly import assemble
from stream.clocks import utc_now
from stream.config import CameraConfig, Config
from stream.handover import EventQueue
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from stream.pipeline import Pipeline, Trouble
from stream.publisher import Publisher
from stream.records import CameraEnded, CameraState, Frame, Input
from stream.sinks.redis import RedisSink
from stream.sources import SmallSize, Timeline, make_source

CAMERA = "day"
SESSION = "the-only-one"
LOST_EVERY_S = 3600.0
WAITING = 1024  # events that may wait for publishing: the day is not to outrun Redis
PARTS = 24


class HandClock:
    """Moved by whoever makes the frames; read by the publish thread, too (a float is replaced whole)."""

    def __init__(self, began: datetime) -> None:
        self.now_s = 0.0
        self._began = began

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> datetime:
        return self._began + timedelta(seconds=self.now_s)

    def moment(self) -> dict[str, Any]:
        """The fields of a record of the camera, now."""
        times = {"media_time_s": self.now_s, "captured_at": self.wall(), "clock_source": "arrival"}
        return {"camera_id": CAMERA, "session": SESSION, **times}


def inputs(frames: list[Frame], clock: HandClock, hours: float) -> Iterator[Input]:
    """What the analysis of one live camera takes; the clock goes on with each frame."""
    interval_s = frames[1].media_time_s - frames[0].media_time_s
    lost_s = 0.0
    for index in itertools.count():
        clock.now_s = index * interval_s
        if clock.now_s >= hours * 3600:
            break
        if clock.now_s >= lost_s:
            lost_s += LOST_EVERY_S
            if index:
                yield CameraEnded(**clock.moment(), state="offline", reason="lost", retry_in_s=0.5)
            yield CameraState(**clock.moment(), state="connecting")
            yield CameraState(**clock.moment(), state="live")
        yield replace(frames[index % len(frames)], index=index, **clock.moment())
    yield CameraEnded(**clock.moment(), state="ended")


def read(clip: Path, config: Config, small: SmallSize) -> list[Frame]:
    """The frames of the clip that a worker would analyse."""
    camera = CameraConfig(name=CAMERA, source=str(clip))
    source = make_source(camera, SESSION, Timeline(config.source.analyse_hz, config.source.gap_s), small)
    source.open()
    frames = list(source.frames())
    source.close()
    return frames


@contextmanager
def publishing(config: Config, clock: HandClock) -> Iterator[EventQueue]:
    """A queue that a publish thread empties into an outbox on disk and from there into Redis; at the end it is dry."""
    sink = RedisSink(config.redis, CAMERA, clock.wall)
    store = claim(config.outbox.path, sink.name, {CAMERA})
    outbox = DurableOutbox(config.outbox, store, sink.name, monotonic=clock.monotonic, wall=clock.wall)
    publisher = Publisher(outbox, [sink], drain_s=60.0, monotonic=clock.monotonic)
    queue = EventQueue(WAITING)

    def publish() -> None:
        try:
            publisher.open()
            publisher.run(queue)
        finally:
            queue.close()  # whatever has happened: the day must not wait for it
            publisher.close()

    thread = threading.Thread(target=publish, name="publish")
    thread.start()
    try:
        yield queue
    finally:
        queue.close()
        thread.join()


def live_through(pipeline: Pipeline, taken: Iterator[Input], queue: EventQueue, clock: HandClock, hours: float) -> Any:
    """The analysis; what is to be told of it."""
    accepted, rss, process = 0, list[int](), psutil.Process()
    for item in taken:
        events = pipeline.step([item])
        accepted += len(events)
        queue.put(events)
        if clock.now_s >= len(rss) * hours * 3600 / PARTS:
            rss.append(process.memory_info().rss)
    return {"rss": rss, "accepted": accepted}


def main(models: str, clip: str, redis_url: str, outbox: str, hours: str) -> None:
    sections = {
        name: {"model": f"{models}/{folder}"} for name, folder in (("detector", "face"), ("emotion", "emotion"))
    }
    redis = {"url": redis_url, "maxlen": 10_000_000}
    config = Config.model_validate({**sections, "redis": redis, "outbox": {"path": outbox}})
    face, emotion = (load_engine(find_model(name)) for name in (config.detector.model, config.emotion.model))
    frames, clock = read(Path(clip), config, SmallSize.of(config.detector, face.spec)), HandClock(utc_now())
    troubles: list[Trouble] = []
    pipeline = Pipeline(assemble(config, face, emotion), troubles.append)
    with publishing(config, clock) as queue:
        told = live_through(pipeline, inputs(frames, clock, float(hours)), queue, clock, float(hours))
    print(json.dumps({**told, "troubles": len(troubles)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
