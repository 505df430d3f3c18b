"""How long `emostream run CLIP --out FILE` takes from its start to its first events.

Each start is a new process with a private Redis of its own in an empty folder; the clip and the program's files may lie
in the page cache, and its byte code is written by the first start, if not before. Told are the first line in the file,
whatever event it is, and the first that names an emotion.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table

from stream.bench import subject
from stream.config import Config
from stream.errors import SourceError
from stream.urls import mask

LIMIT_S = 60.0  # a start that takes longer is no start
POLL_S = 0.005
EMOTION = b'"type":"emotion.'


def measure(
    clip: Path, say: Callable[[str], None], *, repeats: int = 5, config: Config | None = None
) -> dict[str, Any]:
    """Medians in seconds; `first_emotion_s` is null for a clip without a face. Raises SourceError."""
    if not clip.is_file():
        raise SourceError(f"{mask(str(clip))}: no such file; name a video to measure on")
    starts = []
    for number in range(1, repeats + 1):
        say(f"start {number} of {repeats}")
        starts.append(_start(clip, config or Config()))
    emotions = [emotion_s for _, emotion_s in starts if emotion_s is not None]
    return {
        "clip": clip.name,
        "repeats": repeats,
        "first_event_s": round(statistics.median(event_s for event_s, _ in starts), 3),
        "first_emotion_s": round(statistics.median(emotions), 3) if emotions else None,
    }


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    drawn = Table("from the start to", "s", title=f"start on {figures['clip']}")
    drawn.add_row("the first event in the file", f"{figures['first_event_s']:.2f}")
    emotion_s = figures["first_emotion_s"]
    drawn.add_row("the first emotion", "no face" if emotion_s is None else f"{emotion_s:.2f}")
    drawn.caption = f"medians of {figures['repeats']} starts; cold processes, warm page cache"
    return drawn


def _start(clip: Path, config: Config) -> tuple[float, float | None]:
    """Seconds from starting a process to the first event, and to the first emotion if there came one."""
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        out, settings = Path(folder) / "events.jsonl", Path(folder) / "settings.yaml"
        settings.write_text(subject.told(config))  # JSON is YAML
        options = ("--config", str(settings), "--out", str(out), "--hold", "0")
        command = [sys.executable, "-m", "stream", "run", str(clip), *options]
        environment = {**os.environ, "XDG_STATE_HOME": folder, "XDG_RUNTIME_DIR": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or every start would compile the whole program anew
        with (Path(folder) / "log").open("w+") as log:
            began_s = time.perf_counter()
            worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)
            try:
                event_s = _seconds_until(b"\n", out, worker, began_s)
                emotion_s = None if event_s is None else _seconds_until(EMOTION, out, worker, began_s)
            finally:
                worker.terminate()
                worker.wait()
            if event_s is None:
                log.seek(0)
                said = log.read().strip().splitlines() or ["it said nothing"]
                raise SourceError(f"starting on {mask(str(clip))} gave no event: {said[-1]}")
        return event_s, emotion_s


def _seconds_until(words: bytes, out: Path, worker: subprocess.Popen[bytes], began_s: float) -> float | None:
    """Seconds from the start until `words` stand in the file; None when the worker ended before, or after LIMIT_S."""
    while (passed_s := time.perf_counter() - began_s) < LIMIT_S:
        ended = worker.poll() is not None
        if out.is_file() and words in out.read_bytes():
            return passed_s
        if ended:
            return None
        time.sleep(POLL_S)
    return None
