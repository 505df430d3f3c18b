"""The bench measures what it says, on a clock that the test holds."""

from __future__ import annotations

import itertools

import pytest

from engines.backends.fake import FakeEngine
from engines.bench import best_batch_of, milliseconds_per_sample, sizes_up_to
from engines.options import Options
from tests.engines.networks import emotion_spec, face_spec


def test_the_best_round_counts_and_is_shared_by_the_samples() -> None:
    ticks = itertools.accumulate([0.0, 0.5, 0.0, 1.0, 0.0, 0.25, 0.0, 1.5])  # each call of two batches, two rounds
    engine = FakeEngine(emotion_spec())
    told = milliseconds_per_sample(engine, (16, 16), sizes=(1, 4), rounds=2, clock=lambda: next(ticks))
    assert told == {1: 250.0, 4: 250.0}
    assert engine.batches == [1, 4, 1, 4]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (48, (1, 2, 4, 8, 16, 32, 48)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_batches_double_up_to_the_largest(most: int, sizes: tuple[int, ...]) -> None:
    assert sizes_up_to(most) == sizes


@pytest.mark.parametrize(
    ("costs", "best"),
    [
        ({1: 1.0}, 1),
        ({1: 1.0, 2: 0.5, 4: 0.4}, 4),
        ({1: 1.0, 2: 0.5, 4: 0.49}, 2),  # hardly better: nobody waits for two more
        ({4: 0.2, 1: 0.2, 2: 0.1}, 2),
        ({1: 0.0, 2: 0.0}, 1),  # faster than the clock can tell
    ],
)
def test_the_best_batch_is_the_smallest_that_costs_hardly_more(costs: dict[int, float], best: int) -> None:
    assert best_batch_of(costs) == best


@pytest.mark.parametrize(
    ("side_px", "side"), [(640, (384, 640)), (1000, (576, 1024)), (64, (64, 64)), (32, (32, 32)), (5, (32, 32))]
)
def test_where_sides_are_free_a_wide_picture_is_measured(side_px: int, side: tuple[int, int]) -> None:
    assert Options(side_px=side_px).sides(face_spec()) == side
    assert Options(side_px=side_px).sides(emotion_spec()) == (16, 16)
