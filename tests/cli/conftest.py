"""The command line in this process and in processes of its own, on a world of squares (see tests/squares.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from stream import cli
from stream.events import AnyEvent, parse
from tests.redis_server import own_server, server, shared_server
from tests.squares import HAPPY, SAD, make_clip, make_models

__all__ = ["own_server", "server", "shared_server"]


@dataclass(frozen=True)
class World:
    """Models, clips and a configuration that a run can be made of."""

    folder: Path
    config: Path  # names both models
    moody: Path  # 10 s: nobody, sad, happy, nobody
    short: Path  # 3 s: happy
    models: tuple[Path, Path]


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The last line for people."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    models = make_models(folder)
    config = folder / "emostream.yaml"
    # not auto: a run must not begin to build and measure what happens to be installed
    named = {"engine": {"backend": "onnxruntime"}, "detector": {"model": str(models[0])}}
    config.write_text(yaml.safe_dump({**named, "emotion": {"model": str(models[1])}}))
    moody = make_clip(folder / "moody.mp4", [(1, None), (4, SAD), (4, HAPPY), (1, None)])
    short = make_clip(folder / "short.mp4", [(3, HAPPY)], start_px=20)
    return World(folder, config, moody, short, models)


Run = Callable[..., Ended]


@pytest.fixture
def emostream(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`emostream ARGUMENTS` in this process; state and runtime files go to a folder of the test."""
    for variable in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["emostream", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out, said.err)

    return run


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`emostream ARGUMENTS` in a process of its own, which is killed if the test leaves it running."""
    command = [sys.executable, "-m", "stream", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def read_until(child: subprocess.Popen[str], *words: str) -> None:
    """Read what the worker prints until each of `words` has come, in this order."""
    assert child.stdout is not None
    wanted = list(words)
    for line in child.stdout:
        if all(part in line for part in wanted[0].split()):
            wanted.pop(0)
            if not wanted:
                return
    raise AssertionError(f"the worker ended before it said {wanted[0]!r}")


def configured(world: World, path: Path, **sections: object) -> Path:
    """The world's configuration with these sections laid over it, as a file."""
    values = {**yaml.safe_load(world.config.read_text()), **sections}
    path.write_text(yaml.safe_dump(values))
    return path


def events_of(path: Path) -> list[AnyEvent]:
    """The events of a JSON Lines file; every line must be one."""
    events = [parse(line) for line in path.read_text().splitlines()]
    known = [event for event in events if event is not None]
    assert len(known) == len(events)
    return known


def moods(events: list[AnyEvent], camera_id: str) -> list[str]:
    """The emotions that were told of a camera's faces, in order."""
    return [event.emotion for event in events if event.type == "emotion.changed" and event.camera_id == camera_id]
