"""What others cost on the same frames: the program anyone would write, a published recipe, and the `fer` package.

Their programs lie in `programs/` and run in an environment of their own, `.venv-rivals`, which `make bench-rivals`
makes in a checkout; a row whose program cannot run says why. Each turn is a process of its own, and all take turns,
decoding alone and emostream among them; every frame of the clip's beginning is analysed. The programs keep the threads
that their libraries choose. Loading the models is counted, imports are not, for everyone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from engines.errors import EngineError
from engines.store import find_model
from stream.bench import subject
from stream.config import Config
from stream.errors import SourceError
from stream.urls import mask

PROJECT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"
ENVIRONMENT = PROJECT / ".venv-rivals"
FRAMES = 250  # of the clip's beginning: what is loaded once hardly counts, and the slowest needs 90 s for them
TURN_TIMEOUT_S = 600.0
SMALL_PX = 640  # as wide as emostream makes its frames
NAMES = {
    "decode": "decoding alone",
    "emostream": "emostream, every frame",
    "naive": f"YuNet at {SMALL_PX} px, PyTorch",
    "naive_whole": "YuNet, whole frames, PyTorch",
    "recipe": f"Haar at {SMALL_PX} px, PyTorch",
    "recipe_whole": "Haar, whole frames, PyTorch",
    "fer": "fer",
}
OWN = ("decode", "emostream")
Turn = dict[str, Any]  # cpu_s, wall_s and, of a rival, frames, faces, versions


class NotRun(Exception):
    """A rival has no turn here, and why."""


@dataclass(slots=True)
class Entrant:
    """Who takes turns: a command, or the reason why there is none, and what came of it."""

    name: str
    command: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)  # of the process's environment
    told: str = ""  # on its standard input
    not_run: str | None = None
    turns: list[Turn] = field(default_factory=list)  # one of each round


def measure(
    clip: Path,
    say: Callable[[str], None],
    *,
    repeats: int = 5,
    frames: int = FRAMES,
    environment: Path = ENVIRONMENT,
    config: Config | None = None,
) -> dict[str, Any]:
    """The figures of the first `frames` frames; times are milliseconds per frame. Raises SourceError."""
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        beginning = Path(folder) / clip.name
        count = cut(clip, beginning, frames)
        taking_part = entrants(beginning, environment, config or Config())
        compete(taking_part, repeats, say)
    return {"clip": clip.name, "frames": count, "repeats": repeats, "rows": rows(taking_part, count)}


def report(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    title = f"rivals: the first {figures['frames']} frames of {figures['clip']}, each analysed"
    drawn = Table("per frame", "CPU ms", "wall ms", "/ decoding", "/ emostream", "faces", title=title)
    for row in figures["rows"].values():
        if row["not_run"] is not None:
            drawn.add_row(row["what"], "not run")
            continue
        faces = "" if row["faces"] is None else f"{row['faces']:.1f}"
        ratios = (f"{row['against_decoding']:.2f}", f"{row['against_emostream']:.2f}")
        drawn.add_row(row["what"], f"{row['cpu_ms']:.2f}", f"{row['wall_ms']:.2f}", *ratios, faces)
    drawn.caption = "\n".join(_remarks(figures))
    drawn.caption_justify = "left"
    return drawn


def _remarks(figures: dict[str, Any]) -> Iterator[str]:
    """How it was measured, with which versions, and why something was not."""
    yield f"medians of {figures['repeats']} rounds; ratios are of CPU"
    yield "PyTorch: one call a face of a MobileNetV1 with random weights"
    for row in figures["rows"].values():
        if row["not_run"] is not None:
            yield f"{row['what']}: not run, {row['not_run']}"
        elif row["versions"]:
            yield f"{row['what']}: {', '.join(f'{name} {number}' for name, number in row['versions'].items())}"


def cut(clip: Path, beginning: Path, frames: int) -> int:
    """Write the packets of the first `frames` frames to `beginning`, unchanged; how many. Raises SourceError."""
    import av

    if not clip.is_file():
        raise SourceError(f"{mask(str(clip))}: no such file; name a video to measure on")
    count = 0
    try:
        with av.open(str(clip)) as whole, av.open(str(beginning), "w") as part:
            stream = whole.streams.video[0]
            copy = part.add_stream_from_template(stream)
            for packet in whole.demux(stream):
                if packet.dts is None or count == frames:  # the one that flushes a decoder
                    break
                packet.stream = copy
                part.mux(packet)
                count += 1
    except (OSError, ValueError, IndexError) as error:  # FFmpeg's own errors are of these, too
        raise SourceError(f"{mask(str(clip))}: its beginning cannot be cut off ({error}); try an MP4") from None
    if count == 0:
        raise SourceError(f"{mask(str(clip))}: no frame in it; name a video to measure on")
    return count


def entrants(clip: Path, environment: Path, config: Config) -> list[Entrant]:
    """Everyone of NAMES, in order."""
    own, told = (sys.executable, "-m", "stream.bench.child"), subject.told(config)
    python = environment / "bin" / "python"
    missing = None if python.is_file() else f"{environment.name} is not here; in a checkout, make bench-rivals makes it"

    def rival(name: str, program: str, *arguments: str) -> Entrant:
        return Entrant(name, (str(python), str(PROGRAMS / program), str(clip), *arguments), not_run=missing)

    return [
        Entrant("decode", (*own, "decode", str(clip)), told=told),
        Entrant("emostream", (*own, "every", str(clip)), told=told),
        _with_yunet(rival("naive", "naive.py"), environment, str(SMALL_PX)),
        _with_yunet(rival("naive_whole", "naive.py"), environment),
        rival("recipe", "haar.py", str(SMALL_PX)),
        rival("recipe_whole", "haar.py"),
        rival("fer", "fer_package.py"),
    ]


def _with_yunet(entrant: Entrant, environment: Path, *arguments: str) -> Entrant:
    """With the detector's file and these as arguments, and the newer OpenCV: YuNet costs less in it."""
    if entrant.not_run is not None:
        return entrant
    try:
        yunet = find_model("yunet", progress=False).onnx_path
    except EngineError as error:
        return replace(entrant, not_run=str(error))
    variables = {"PYTHONPATH": str(environment / "opencv5")}
    return replace(entrant, command=(*entrant.command, str(yunet), *arguments), variables=variables)


def compete(taking_part: Sequence[Entrant], repeats: int, say: Callable[[str], None]) -> None:
    """Let all take their turns; who fails leaves. Raises SourceError when it is emostream itself."""
    for number in range(1, repeats + 1):
        for entrant in taking_part:
            if entrant.not_run is not None:
                continue
            say(f"round {number} of {repeats}: {NAMES[entrant.name]}")
            try:
                entrant.turns.append(_turn(entrant))
            except NotRun as problem:
                if entrant.name in OWN:
                    raise SourceError(f"measuring {NAMES[entrant.name]} failed: {problem}") from None
                entrant.not_run = str(problem)


def _turn(entrant: Entrant) -> Turn:
    """One process, and the JSON line that it ends with. Raises NotRun with what it said last."""
    # on the processor, like everyone here, and without TensorFlow's words about it
    variables = {**os.environ, **entrant.variables, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            entrant.command,
            input=entrant.told,
            capture_output=True,
            text=True,
            timeout=TURN_TIMEOUT_S,
            check=False,
            env=variables,
        )
    except subprocess.TimeoutExpired:
        raise NotRun(f"it took longer than {TURN_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and said nothing"]
        raise NotRun(said[-1])
    turn: Turn = json.loads(done.stdout.splitlines()[-1])
    return turn


def rows(taken_part: Sequence[Entrant], frames: int) -> dict[str, Any]:
    """Name -> medians per frame. A ratio is the median of the rounds' own: neighbours share the machine's mood."""
    decode, emostream = (next(entrant for entrant in taken_part if entrant.name == name) for name in OWN)
    return {entrant.name: _row(entrant, decode, emostream, frames) for entrant in taken_part}


def _row(entrant: Entrant, decode: Entrant, emostream: Entrant, frames: int) -> dict[str, Any]:
    row: dict[str, Any] = {"what": NAMES[entrant.name], "not_run": entrant.not_run, "versions": {}}
    if entrant.not_run is not None:
        return row
    turns = entrant.turns
    return {
        **row,
        "versions": turns[0].get("versions", {}),
        "cpu_ms": round(1000.0 * statistics.median(turn["cpu_s"] for turn in turns) / frames, 3),
        "wall_ms": round(1000.0 * statistics.median(turn["wall_s"] for turn in turns) / frames, 3),
        "against_decoding": _ratio(turns, decode.turns),
        "against_emostream": _ratio(turns, emostream.turns),
        "faces": round(turns[0]["faces"] / frames, 2) if "faces" in turns[0] else None,
    }


def _ratio(turns: Sequence[Turn], units: Sequence[Turn]) -> float:
    ratios: list[float] = [turn["cpu_s"] / unit["cpu_s"] for turn, unit in zip(turns, units, strict=True)]
    return round(statistics.median(ratios), 3)
