"""What the scenarios play on: a world of squares, cameras over RTSP, a real Redis, workers in processes of their own.

Nothing here waits for time to pass. How long an outage lasts is told by the events of whoever goes on meanwhile, and
each event is stamped with the moment at which it came.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
import yaml

from engines.cache import VARIABLE
from stream import subscribe
from stream.events import AnyEvent, parse
from tests.rtsp_server import Behaviour
from tests.squares import HAPPY, SAD, make_clip, make_models

LIMIT_S = 60.0  # whatever should happen has happened by then, or never will
MB = 1024 * 1024
Fits = Callable[[AnyEvent], bool]


class Missing(AssertionError):
    """Something that had to happen did not, in time."""


class Heard(NamedTuple):
    """An event and when it came."""

    number: int  # in the order of coming, from 0
    at_s: float  # monotonic clock
    event: AnyEvent


class Told:
    """Events as they come. One thread adds them, others wait for some."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards everything below
        self._heard: list[Heard] = []
        self._ended = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._heard)

    def add(self, event: AnyEvent) -> None:
        with self._changed:
            self._heard.append(Heard(len(self._heard), time.monotonic(), event))
            self._changed.notify_all()

    def end(self) -> None:
        """No more will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def events(self, since: int = 0) -> list[AnyEvent]:
        with self._changed:
            return [heard.event for heard in self._heard[since:]]

    def wait_for(self, fits: Fits, *, since: int = 0, count: int = 1, limit_s: float = LIMIT_S) -> Heard:
        """The `count`-th event that fits, of those from number `since` on. Raises Missing when it does not come."""
        found = self._find(fits, since, count, limit_s)
        if found is None:
            last = ", ".join(f"{event.camera_id} {event.type}" for event in self.events()[-5:])
            raise Missing(f"{count} events that fit did not come; the last of {len(self)}: {last}")
        return found

    def seconds_until(self, fits: Fits, began_s: float, *, since: int = 0, limit_s: float = LIMIT_S) -> float:
        """From `began_s` to the first event that fits; infinite when it does not come."""
        found = self._find(fits, since, 1, limit_s)
        return math.inf if found is None else found.at_s - began_s

    def _find(self, fits: Fits, since: int, count: int, limit_s: float) -> Heard | None:
        end_s, at, left = time.monotonic() + limit_s, since, count
        with self._changed:
            while True:
                while at < len(self._heard):
                    left -= fits(self._heard[at].event)
                    at += 1
                    if left == 0:
                        return self._heard[at - 1]
                left_s = end_s - time.monotonic()
                if self._ended or left_s <= 0:
                    return None
                self._changed.wait(left_s)


class Reader:
    """A consumer that reads every camera in a thread of its own, through every outage."""

    def __init__(self, url: str, from_: str = "start") -> None:
        self.told = Told()
        self.error: Exception | None = None  # what ended it before its time
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url, from_), name="chaos-reader")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        self._stop.set()
        self._thread.join()
        if error is not None and self.error is not None:
            error.add_note(f"a consumer was ended by {self.error!r}")

    def _read(self, url: str, from_: str) -> None:
        events = subscribe(url, from_=from_, stop=self._stop)
        try:
            for event in events:
                self.told.add(event)
        except Exception as error:
            self.error = error
        finally:
            events.close()
            self.told.end()


class Worker:
    """`emostream run` in a process of its own, killed at the end if it still runs.

    `told` is what it has accepted, as it writes it to its standard output (`--out /dev/stdout`).
    """

    def __init__(self, config: Path, sources: Mapping[str, str], redis_url: str, folder: Path) -> None:
        named = [f"{name}={source}" for name, source in sources.items()]
        options = ["--config", str(config), "--redis", redis_url, "--json", "--out", "/dev/stdout"]
        homes = {name: str(folder / name.lower()) for name in (VARIABLE, "XDG_STATE_HOME", "XDG_RUNTIME_DIR")}
        self.told = Told()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the worker
        self._child = subprocess.Popen(
            [sys.executable, "-m", "stream", "run", *named, *options],
            stdout=subprocess.PIPE, stderr=self._errors, text=True, env={**os.environ, **homes},
        )  # fmt: skip
        self.process = psutil.Process(self._child.pid)
        self._thread = threading.Thread(target=self._read, name="chaos-worker")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"the worker said: {self.said()}")
        self._errors.close()

    def rss_mb(self) -> float:
        return float(self.process.memory_info().rss) / MB

    def drain(self) -> None:
        """Ask for the end with SIGTERM. Raises Missing unless it ends in time and well."""
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Missing("the worker did not end after SIGTERM") from None
        self._thread.join()
        if code != 0:
            raise Missing(f"the worker ended with exit code {code}")

    def kill(self) -> None:
        """With kill -9, unless it has ended."""
        self._child.kill()
        self._child.wait()
        self._thread.join()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def said(self) -> str:
        """Its standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            # neither are events: the summary at the end, and a line that a kill has cut off
            with contextlib.suppress(ValueError):
                if (event := parse(line)) is not None:
                    self.told.add(event)
        self.told.end()


@dataclass(frozen=True)
class Stage:
    """Models and a clip, made once; each scenario has a configuration and, inside `folder`, a place of its own."""

    folder: Path
    models: tuple[Path, Path]
    clip: Path  # 1 s, its first frame a key frame: a face that never leaves

    @classmethod
    def build(cls, folder: Path) -> Self:
        clip = make_clip(folder / "clip.mp4", [(0.5, SAD), (0.5, HAPPY)])
        return cls(folder, make_models(folder), clip)

    @property
    def playing(self) -> Behaviour:
        """A camera that is well."""
        return Behaviour(path=self.clip, speed=1.0, loop=True)

    def config(self, name: str, **sections: dict[str, Any]) -> Path:
        """A configuration of these sections, on the models of this stage."""
        face, emotion = map(str, self.models)
        ours = {"engine": {"backend": "onnxruntime"}, "detector": {"model": face}, "emotion": {"model": emotion}}
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**ours, **sections}))
        return path

    def place(self, name: str) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


def read_all(url: str) -> list[AnyEvent]:
    """Every event that Redis holds, through `subscribe`."""
    return list(subscribe(url, from_="start", idle_s=0.5))
