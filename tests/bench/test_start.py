"""From the start of a worker to its first events."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.bench import start
from stream.config import Config, DetectorConfig, load
from stream.errors import SourceError
from tests.cli.conftest import World, world
from tests.clips import make_clip

__all__ = ["world"]
pytestmark = pytest.mark.redis


def silent(words: str) -> None:
    """Nobody listens."""


def test_the_first_event_comes_before_the_first_emotion(world: World) -> None:
    figures = start.measure(world.short, silent, repeats=1, config=load(world.config, {}))
    assert 0 < figures["first_event_s"] <= figures["first_emotion_s"] < start.LIMIT_S
    assert start.report(figures).row_count == 2


def test_a_clip_without_a_face_has_no_first_emotion(tmp_path: Path) -> None:
    empty = make_clip(tmp_path / "empty.mp4", seconds=0.4, faces=[])
    figures = start.measure(empty, silent, repeats=1)
    assert figures["first_emotion_s"] is None
    assert start.report(figures).row_count == 2


def test_a_worker_that_does_not_start_says_why(face_clip: Path) -> None:
    nowhere = Config(detector=DetectorConfig(model="nowhere"))
    with pytest.raises(SourceError, match=r"gave no event: .*nowhere"):
        start.measure(face_clip, silent, repeats=1, config=nowhere)
