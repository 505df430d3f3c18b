"""Whether speed costs answers: the events of a clip as it is run, and as the slow reference path tells them.

The reference searches all of every analysed frame, classifies every face in it, and computes in float32 on ONNX
Runtime. Both are told at the same rates of analysis, 5 a second and every frame, through the real stages, in one
thread; that the rate itself changes nothing is held by `tests/test_same_answer.py`. Compared are

- the tracks: each that lived for a second or longer is one track of the other, too (a face at the edge of what the
  detector takes for one flickers in and out; such flickers, tracks of some frames, come and go);
- the share of time of each emotion over all tracks;
- the boxes: each sample's IoU with the reference's samples of the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from engines.base import Engine
from engines.cache import Cache
from engines.choice import DEFAULT
from engines.errors import EngineError
from engines.load import load_engine
from stream.assembly import assemble
from stream.bench import subject
from stream.bench.process import existing
from stream.config import (
    Config,
    DetectorConfig,
    EmotionConfig,
    EngineConfig,
)
from stream.events import EmotionSample, Event, TrackEnded
from stream.launch import find_models
from stream.pipeline import Pipeline, Trouble
from stream.records import CameraEnded
from stream.sources import make_source
from stream.sources.base import SmallSize
from stream.sources.timeline import Timeline
from stream.supply import Supply

RATES: tuple[tuple[str, float | None], ...] = (("5hz", 5.0), ("every", None))
SAMPLE_S = 0.2  # boxes are compared this often
SAME_TIME_S = 0.11  # samples this close together show the same moment
LIVED_S = 1.0
SAME_FACE = 0.5  # IoU of two tracks' samples
MOST_SHARE, LEAST_IOU = 0.03, 0.8
REFERENCE = {
    "detector": DetectorConfig(scan_hz=None),
    "emotion": EmotionConfig(read_hz=None),
    "engine": EngineConfig(precision="model"),
}
Box = tuple[float, float, float, float]
Sample = tuple[float, int, Box]  # media time, track, place


@dataclass(frozen=True, slots=True)
class Told:
    """What a run over a clip came to."""

    tracks: frozenset[int]  # that lived for LIVED_S
    short: int  # others
    shares: dict[str, float]  # emotion -> part of the time of all tracks; empty without any
    samples: tuple[Sample, ...]

    @classmethod
    def by(cls, events: Sequence[Event]) -> Told:
        """Out of a recording's events."""
        ended = [event for event in events if isinstance(event, TrackEnded)]
        seconds: Counter[str] = Counter()
        for end in ended:
            seconds.update({emotion: share * end.duration_s for emotion, share in end.shares.items()})
        whole_s = seconds.total()
        lived = frozenset(end.track_id for end in ended if end.duration_s >= LIVED_S)
        samples = [
            (event.media_time_s, event.track_id, event.box) for event in events if isinstance(event, EmotionSample)
        ]
        shares = {emotion: of_it_s / whole_s for emotion, of_it_s in seconds.items()} if whole_s else {}
        return cls(lived, len(ended) - len(lived), shares, tuple(samples))


def measure(clip: Path, say: Callable[[str], None], *, config: Config | None = None) -> dict[str, Any]:
    """Per rate what both told, and whether all of it `passed`. Raises SourceError.

    The reference has the models and thresholds of `config`, too.
    """
    config = config or Config()
    plain = config.model_copy(update=REFERENCE)
    rates = {}
    for name, analyse_hz in RATES:
        say(f"fidelity: {name}")
        rates[name] = compare(
            Told.by(journey(existing(clip), analyse_hz, config, chosen=True)),
            Told.by(journey(clip, analyse_hz, plain, chosen=False)),
        )
    return {"clip": clip.name, "passed": all(rate["passed"] for rate in rates.values()), "rates": rates}


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    drawn = Table(
        "against the reference", "5 a second", "every frame", "wanted", title=f"fidelity on {figures['clip']}"
    )
    rates = list(figures["rates"].values())
    drawn.add_row("tracks of 1 s or longer", *(f"{r['tracks']} of {r['reference_tracks']}" for r in rates), "")
    drawn.add_row("of both, not the same", *(str(r["unlike"]) for r in rates), "0")
    drawn.add_row("shorter ones", *(f"{r['short']} of {r['reference_short']}" for r in rates), "")
    drawn.add_row(
        "time shares, largest difference",
        *(f"{100 * r['share_difference']:.1f} points" for r in rates),
        f"{100 * MOST_SHARE:.0f} points",
    )
    drawn.add_row(
        "boxes, mean IoU", *("-" if r["iou"] is None else f"{r['iou']:.3f}" for r in rates), f"{LEAST_IOU:g} or more"
    )
    drawn.caption = "passed" if figures["passed"] else "failed"
    return drawn


def compare(told: Told, reference: Told) -> dict[str, Any]:
    """The differences as figures, and whether they are small enough."""
    emotions = {*told.shares, *reference.shares}
    difference = max((abs(told.shares.get(e, 0.0) - reference.shares.get(e, 0.0)) for e in emotions), default=0.0)
    pairs, iou = _pairs(told, reference)
    partners = Counter(mine for mine, _ in pairs), Counter(its for _, its in pairs)
    unlike = sum(partners[0][track] != 1 for track in told.tracks)
    unlike += sum(partners[1][track] != 1 for track in reference.tracks)
    return {
        "passed": not unlike and difference <= MOST_SHARE and (iou is None or iou >= LEAST_IOU),
        "tracks": len(told.tracks),
        "reference_tracks": len(reference.tracks),
        "unlike": unlike,
        "short": told.short,
        "reference_short": reference.short,
        "share_difference": round(difference, 4),
        "iou": None if iou is None else round(iou, 4),
    }


def journey(clip: Path, analyse_hz: float | None, config: Config, *, chosen: bool) -> list[Event]:
    """Every event of a clip, on the engines that a run would take (`chosen`) or on ONNX Runtime in float32."""
    often = config.aggregate.model_copy(update={"sample_s": SAMPLE_S})
    config = config.model_copy(update={"aggregate": often})
    models = find_models(config)
    troubles: list[Trouble] = []
    engines: dict[str, Engine] = (
        Supply(config, models.by_task(), Cache(), live=False, say=lambda words: None).first()
        if chosen
        else {task: load_engine(model, DEFAULT) for task, model in models.by_task().items()}
    )
    with closing(engines["face"]) as face, closing(engines["emotion"]) as emotion:
        pipeline = Pipeline(assemble(config, face, emotion), troubles.append)
        camera = subject.camera(config, "clip", str(clip), analyse_hz=analyse_hz)
        timeline = Timeline(analyse_hz, camera.settings.gap_s)
        events: list[Event] = []
        with closing(make_source(camera, "s", timeline, SmallSize.of(config.detector, face.spec))) as source:
            source.open()
            for frame in source.frames():
                last = frame
                events += pipeline.step([frame])
        moment = (last.camera_id, last.session, last.media_time_s, last.captured_at, last.clock_source)
        events += pipeline.step([CameraEnded(*moment, state="ended")])
    for trouble in troubles:
        raise EngineError(f"{clip.name}: the analysis failed at frame {trouble.frame_index}") from trouble.error
    return events


def _pairs(told: Told, reference: Told) -> tuple[set[tuple[int, int]], float | None]:
    """Which track is which of the reference, and the mean IoU of all samples, each with the best at its time."""
    pairs: set[tuple[int, int]] = set()
    best: list[float] = []
    for at_s, track, box in told.samples:
        others = [
            (_iou(box, other), its) for its_s, its, other in reference.samples if abs(its_s - at_s) <= SAME_TIME_S
        ]
        if others:
            iou, its = max(others)
            best.append(iou)
            if iou >= SAME_FACE:
                pairs.add((track, its))
    return pairs, float(np.mean(best)) if best else None


def _iou(box: Box, other: Box) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    both = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / both if both > 0 else 0.0
