"""Pytest plugin (`-p tests.alone`): a test that measures has the machine to itself, however many processes test.

With pytest-xdist (`-n 2`) several files are tested at once, which halves the time: most tests wait for a camera, a
server or a process. A test marked `alone` holds a figure against a bound, or has to keep up with packets that nobody
sends twice, and a neighbour would be in the way. So each test holds a lock of the run that many may share, and those
hold it for themselves.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

RUN = "PYTEST_XDIST_TESTRUNUID"  # in the environment of each of its processes


class Turns:
    """Shared by the processes of a run, through two files. Who wants to be alone waits for one test of each other."""

    def __init__(self, folder: Path, run: str) -> None:
        self._gate, self._floor = ((folder / f"emostream-tests-{run}-{name}").open("wb") for name in ("gate", "floor"))

    @contextmanager
    def take(self, alone: bool) -> Generator[None]:
        """The gate is held while waiting, so that nobody new comes in before somebody who wants to be alone."""
        kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        with ExitStack() as held:
            with _locked(self._gate, kind):
                held.enter_context(_locked(self._floor, kind))
            yield

    def close(self) -> None:
        """Twice or in several processes does no harm."""
        for file in (self._gate, self._floor):
            Path(file.name).unlink(missing_ok=True)
            file.close()


@contextmanager
def _locked(file: BinaryIO, kind: int) -> Generator[None]:
    fcntl.flock(file, kind)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    """In a run of one process there is nobody to wait for."""
    if run := os.environ.get(RUN):
        config.stash[TURNS] = Turns(Path(tempfile.gettempdir()), run)


def pytest_unconfigure(config: pytest.Config) -> None:
    if TURNS in config.stash:
        config.stash[TURNS].close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around all of a test, fixtures and timeout included."""
    if TURNS not in item.config.stash:
        return (yield)
    with item.config.stash[TURNS].take(alone=item.get_closest_marker("alone") is not None):
        return (yield)
