"""What every test gets: nothing may be left behind, and small clips made once per run."""

from __future__ import annotations

import gc
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from engines.cache import VARIABLE
from tests import clips

GRACE_S = 10.0  # a thread that is ending anyway may take this long
PROJECT = Path(__file__).resolve().parent.parent

# the same cases on every run, however busy the machine, and nothing kept between runs
hypothesis.settings.register_profile("emostream", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("emostream")


def _threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def _handles() -> dict[str, str]:
    """Open files and sockets of this process: descriptor -> what it is. Pipes, devices and libraries do not count."""
    handles = {}
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = os.readlink(entry.path)
        except OSError:  # the descriptor of the listing itself
            continue
        if target.startswith("socket:") or (target.startswith("/") and Path(target).is_file()):
            handles[entry.name] = target
    return handles


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails the test that leaves a thread, an open file or a socket."""
    threads, handles = _threads(), _handles()
    yield
    left = _threads() - threads
    for thread in left:
        thread.join(GRACE_S)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"threads left behind: {alive}"
    opened = _new(handles)
    if opened:  # an object may only be waiting for the collector
        gc.collect()
        opened = _new(handles)
    assert not opened, f"files or sockets left open: {opened}"


@pytest.fixture(autouse=True)
def engines_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees or touches the engines in the user's cache, or those of another test."""
    monkeypatch.setenv(VARIABLE, str(tmp_path_factory.getbasetemp() / "engines" / uuid.uuid4().hex))


def _new(before: dict[str, str]) -> dict[str, str]:
    return {number: target for number, target in _handles().items() if before.get(number) != target}


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("EMOSTREAM_SHARED") or PROJECT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("development data (../shared) is not here")
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the clips of this run."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def face_clip(clip_folder: Path) -> Path:
    """320x240, 25 fps, 2 s, H.264 in MP4: one face stays in the middle."""
    return clips.make_clip(clip_folder / "face.mp4")


@pytest.fixture(scope="session")
def two_faces_clip(clip_folder: Path) -> Path:
    """480x240, 25 fps, 2 s: one face left, one right."""
    faces = [clips.still(130, 120, 90), clips.still(350, 120, 90)]
    return clips.make_clip(clip_folder / "two_faces.mp4", size=(480, 240), faces=faces)


@pytest.fixture(scope="session")
def arriving_clip(clip_folder: Path) -> Path:
    """320x240, 25 fps, 4 s: a face is there only from 1.0 s until before 2.5 s."""
    face = clips.during(clips.still(160, 120, 90), 1.0, 2.5)
    return clips.make_clip(clip_folder / "arriving.mp4", seconds=4.0, faces=[face])


@pytest.fixture(scope="session")
def panning_clip(clip_folder: Path) -> Path:
    """640x240, 25 fps, 3 s: a face of about 75 px width crosses at 150 px/s, two of its widths a second."""
    face = clips.pan(clips.Face(80, 120, 90), 150)
    return clips.make_clip(clip_folder / "panning.mp4", seconds=3.0, size=(640, 240), faces=[face])
