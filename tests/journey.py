"""A video through the real stages in one thread, with frames left out on request: for tests of the whole path."""

from __future__ import annotations

import math
import random
from pathlib import Path

from engines.load import load_engine
from stream.assembly import assemble
from stream.config import CameraConfig, Config, SourceConfig
from stream.events import EmotionChanged, Event, TrackEnded
from stream.launch import find_models
from stream.pipeline import Pipeline, Trouble
from stream.records import CameraEnded
from stream.sources import SmallSize, Timeline, make_source


def journey(
    clip: Path,
    analyse_hz: float | None,
    *,
    left_out: float = 0.0,
    seed: int = 0,
    until_s: float = math.inf,
    config: Config | None = None,
) -> list[Event]:
    """Every event of a recording of which a share of `left_out` of the frames is lost at random, with default settings.

    What is lost is lost before the choice of frames, as on a bad network. The recording ends at `until_s`.
    """
    config = config or Config()
    models = find_models(config)
    face, emotion = load_engine(models.face), load_engine(models.emotion)
    troubles: list[Trouble] = []
    pipeline = Pipeline(assemble(config, face, emotion), troubles.append)
    camera = CameraConfig(name="clip", source=str(clip), settings=SourceConfig(analyse_hz=None))
    gap_s = camera.settings.gap_s
    source = make_source(camera, "s", Timeline(None, gap_s), SmallSize.of(config.detector, face.spec))
    choice, dice, events = Timeline(analyse_hz, gap_s), random.Random(seed), list[Event]()
    source.open()
    for frame in source.frames():
        if frame.media_time_s >= until_s:
            break
        last = frame
        if dice.random() >= left_out and choice.stamp(frame.media_time_s, frame.media_time_s).chosen:
            events += pipeline.step([frame])
    source.close()
    moment = (last.camera_id, last.session, last.media_time_s, last.captured_at, last.clock_source)
    events += pipeline.step([CameraEnded(*moment, state="ended")])
    for engine in (face, emotion):
        engine.close()
    assert not troubles, troubles
    return events


def changes(events: list[Event]) -> list[tuple[int, str, float]]:
    """(track, emotion, media time) of every change, by track."""
    told = [(e.track_id, e.emotion, e.media_time_s) for e in events if isinstance(e, EmotionChanged)]
    return sorted(told, key=lambda change: (change[0], change[2]))


def shares(events: list[Event]) -> dict[int, dict[str, float]]:
    """Track -> share of its time per emotion."""
    return {event.track_id: event.shares for event in events if isinstance(event, TrackEnded)}
