"""The bench measures what it says, on a clock that the test holds."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from engines import bench
from engines.backends.fake import FakeEngine
from engines.bench import milliseconds_per_sample
from tests.engines.networks import emotion_spec, write_emotion


def test_the_best_round_counts_and_is_shared_by_the_samples() -> None:
    ticks = itertools.accumulate([0.0, 0.5, 0.0, 1.0, 0.0, 0.25, 0.0, 1.5])  # each call of two batches, two rounds
    engine = FakeEngine(emotion_spec())
    told = milliseconds_per_sample(engine, (16, 16), sizes=(1, 4), rounds=2, clock=lambda: next(ticks))
    assert told == {1: 250.0, 4: 250.0}
    assert engine.batches == [1, 4, 1, 4]


def test_it_prints_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write_emotion(tmp_path)
    bench.main([str(tmp_path)])
    told = json.loads(capsys.readouterr().out)
    assert spec.sha256[:16] in told["engine"]
    assert told["side"] == [16, 16]
    assert all(cost > 0 for cost in told["ms"].values())
