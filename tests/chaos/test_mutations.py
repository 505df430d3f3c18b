"""Damaged videos: a short run of `tests.chaos.mutations`, and that its mutations are what they say.

EMOSTREAM_MUTATIONS=2000 makes it a long one.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.chaos.mutations import MOST_GROWTH_MB, MUTATIONS, Report, mutated, run
from tests.sources.reader import Answer, Reader

COUNT = int(os.environ.get("EMOSTREAM_MUTATIONS", "100"))
WHOLE = random.Random(0).randbytes(10_000)


@pytest.mark.timeout(60 + 2 * COUNT)
def test_damaged_videos_end_in_frames_or_one_error() -> None:
    report = run(range(COUNT))
    print(report)
    assert report.faults == []
    assert report.grown_mb < MOST_GROWTH_MB
    assert report.outcomes.total() == COUNT
    assert len(report.outcomes) > 3  # some are read to the end, some in part, some not at all


def test_a_mutation_is_the_same_every_time_and_another_for_another_seed() -> None:
    assert [mutated(WHOLE, seed) for seed in range(50)] == [mutated(WHOLE, seed) for seed in range(50)]
    assert len({mutated(WHOLE, seed) for seed in range(50)}) == 50
    assert all(0 < len(mutated(WHOLE, seed)) < 30 * len(WHOLE) for seed in range(200))


@pytest.mark.parametrize("mutation", dict.fromkeys(MUTATIONS))
def test_every_mutation_changes_something(mutation: object) -> None:
    content = bytearray(WHOLE)
    mutation(content, random.Random(1))  # type: ignore[operator]
    assert content != WHOLE


def test_a_reader_that_dies_or_hangs_is_told_and_replaced(face_clip: Path) -> None:
    with Reader() as reader:
        dies, hangs = (signal.SIGSEGV, 10.0, "crashed: exit code -11"), (signal.SIGSTOP, 0.2, "hung for 0.2 s")
        for number, limit_s, words in (dies, hangs):
            answer = reader.ask(str(face_clip), 30.0)
            assert isinstance(answer, Answer)
            assert answer.frames == 50
            reader.send_signal(number)
            assert reader.ask(str(face_clip), limit_s) == words


def test_what_must_not_happen_is_a_fault() -> None:
    report = Report()
    fine = Answer(frames=3, error=None, seconds=0.1, rss_mb=100.0, peak_mb=120.0)
    report.take("1 file a.mp4", fine)
    report.take("2 file a.mp4", "crashed: exit code -11")
    report.take("3 file a.mp4", "hung for 10 s")
    report.take("4 file a.mp4", Answer(0, None, 0.1, 100.0, 120.0))
    report.take("5 file a.mp4", Answer(0, "SourceError: a\nb", 0.1, 100.0, 120.0))
    assert [fault[0] for fault in report.faults] == ["2", "3", "4", "5"]


def test_growth_is_what_stays() -> None:
    def grown(*rss_mb: float) -> float:
        return Report(rss_mb=list(rss_mb)).grown_mb

    assert grown(*([100, 120, 130, 110] * 4)) < 0
    assert grown(*range(100, 200)) > 20
