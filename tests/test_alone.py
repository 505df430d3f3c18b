"""Tests that measure run alone, others at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.alone import Turns

LONG_S = 10.0


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Turns]]:
    """As each process of a run has them: files opened twice lock as those of two processes do."""
    with ExitStack() as stack:
        each = [Turns(tmp_path, "a-run") for _ in range(3)]
        for turns in each:
            stack.callback(turns.close)
        yield each


def in_the_background(turns: Turns, alone: bool) -> tuple[threading.Event, threading.Thread]:
    """Takes its turn and leaves at once; set once it was there."""
    there = threading.Event()

    def visit() -> None:
        with turns.take(alone):
            there.set()

    thread = threading.Thread(target=visit)
    thread.start()
    return there, thread


def test_others_go_on_together(processes: list[Turns]) -> None:
    with processes[0].take(alone=False), processes[1].take(alone=False):
        there, thread = in_the_background(processes[2], alone=False)
        assert there.wait(LONG_S)
    thread.join()


def test_one_that_measures_waits_for_the_others_and_they_for_it(processes: list[Turns]) -> None:
    with processes[0].take(alone=False):
        alone, first = in_the_background(processes[1], alone=True)
        assert not alone.wait(0.05)
        late, second = in_the_background(processes[2], alone=False)
        assert not late.wait(0.05)  # it came later and has to stand behind
    assert alone.wait(LONG_S)
    assert late.wait(LONG_S)
    first.join()
    second.join()


def test_nothing_is_left_of_a_run(processes: list[Turns], tmp_path: Path) -> None:
    for turns in processes:
        turns.close()
        turns.close()
    assert not list(tmp_path.iterdir())
