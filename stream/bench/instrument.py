"""`emostream bench`: its parts in one run, what was wanted of each, and on which machine.

A part is a module here with `measure(clip, say)`, its figures as JSON has them, and `report(figures)`, a table for
people. A run counts only if fidelity, which compares the answers with those of the plain way, was measured in it and
passed: whoever computes less is easily fast.
"""

from __future__ import annotations

import importlib
import operator
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from engines import machine
from stream.config import Config
from stream.errors import ConfigError
from stream.urls import mask

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("cost", "start", "fidelity", "capacity", "scaling", "memory", "rivals")  # in the order of a run
QUICK = ("cost", "start", "fidelity")  # without being asked
ALL = "all"
REPEATED = ("cost", "start", "rivals")  # take a number of rounds
Say = Callable[[str], None]
Figures = dict[str, Any]
Where = tuple[str | int, ...]  # of a figure: its part, and the keys and places that lead to it

# those that are judged, or stand in the table
RATIO_5HZ: Where = ("cost", "ratio_5hz")
RATIO_EVERY_FRAME: Where = ("cost", "ratio_every_frame")
START_S: Where = ("start", "first_event_s")
CAMERAS: Where = ("capacity", "cameras")
P95_MS: Where = ("capacity", "held", "latency_ms", "p95")
CAMERA_RATIO: Where = ("scaling", "cameras", -1, "ratio")  # of the most cameras, 16, against one
CAMERA_MB: Where = ("memory", "per_camera_mb")
NAIVE: Where = ("rivals", "rows", "naive", "against_emostream")
RECIPE: Where = ("rivals", "rows", "recipe", "against_emostream")


@dataclass(frozen=True, slots=True)
class Reach:
    """What is wanted of one figure."""

    what: str
    where: Where
    sign: str
    wanted: float

    def judged(self, parts: Figures) -> Figures:
        """What was wanted, what came, and whether that is met, missed or not run."""
        value = figure(parts, self.where)
        verdict = "not run" if value is None else "met" if SIGNS[self.sign](value, self.wanted) else "missed"
        return {"what": self.what, "wanted": f"{self.sign} {self.wanted:g}", "value": value, "verdict": verdict}


SIGNS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}
REACHES = (
    Reach("CPU at 5 analyses a second, against decoding", RATIO_5HZ, "<=", 1.35),
    Reach("CPU at every frame, against decoding", RATIO_EVERY_FRAME, "<=", 3.0),
    Reach("start to the first event, s", START_S, "<", 2.0),
    Reach("cameras in real time at 5 analyses a second, on two cores", CAMERAS, ">=", 14),
    Reach("their p95 latency, ms", P95_MS, "<", 250),
    Reach("cost per camera, 16 cameras against 1", CAMERA_RATIO, "<=", 1.15),
    Reach("memory per added camera, MB", CAMERA_MB, "<=", 40),
    Reach("the naive program's CPU, against every frame", NAIVE, ">=", 10),
    Reach("the recipe's CPU, against every frame", RECIPE, ">=", 15),
)


def figure(parts: Figures, where: Where) -> float | None:
    """The figure that lies there, or None where it was not measured."""
    found: Any = parts
    for key in where:
        try:
            found = found[key]
        except (KeyError, TypeError):
            return None
    return None if found is None else float(found)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The parts of these names, in the order of a run. Raises ConfigError for a name that is none."""
    for name in names:
        if name not in (*PARTS, ALL):
            raise ConfigError(f"bench has no part {mask(name)!r}; known: {', '.join((*PARTS, ALL))}")
    if ALL in names:
        return PARTS
    return tuple(part for part in PARTS if part in (names or QUICK))


def measure(clip: Path, parts: Sequence[str], repeats: int, say: Say, config: Config | None = None) -> Figures:
    """The figures of these parts, as `--json` prints them. Raises SourceError for a clip that cannot be measured on.

    Of `config` count the settings of the way of a frame (`subject.SECTIONS`). What is wanted, is of the defaults.
    """
    figures = {}
    for part in parts:
        say(f"measuring {part}")
        options = {"repeats": repeats} if part in REPEATED else {}
        figures[part] = _module(part).measure(clip=clip, say=say, config=config, **options)
    return {
        "clip": clip.name,
        "machine": this_machine(config or Config()),
        "parts": figures,
        "reaches": judged(figures) if config is None else [],
        "counts": counts(figures),
    }


def judged(parts: Figures) -> list[Figures]:
    """What came of each reach."""
    verdict = "not run" if "fidelity" not in parts else "met" if parts["fidelity"]["passed"] else "missed"
    fidelity = {"what": "the same answers as the plain way", "wanted": "passed", "value": None, "verdict": verdict}
    return [fidelity, *(reach.judged(parts) for reach in REACHES)]


def counts(parts: Figures) -> str | None:
    """Why these figures do not count, or None if they do."""
    if "fidelity" not in parts:
        return "fidelity was not run"
    return None if parts["fidelity"]["passed"] else "the fidelity check failed"


def report(figures: Figures) -> RenderableType:
    """The tables of all parts that were run, and the verdicts."""
    tables = [_module(part).report(told) for part, told in figures["parts"].items()]
    judged = [verdicts(figures)] if figures["reaches"] else []
    return Group(*tables, *judged, machine_line(figures["machine"]))


def verdicts(figures: Figures) -> Table:
    """Each reach with what came of it."""
    drawn = Table("reach", "wanted", "measured", "", title="reaches")
    for judged in figures["reaches"]:
        value = "" if judged["value"] is None else f"{judged['value']:.4g}"
        drawn.add_row(judged["what"], judged["wanted"], value, judged["verdict"])
    why = figures["counts"]
    drawn.caption = "the run counts: fidelity passed" if why is None else f"the run does not count: {why}"
    return drawn


def machine_line(told: Figures) -> str:
    """The machine in one line."""
    commit = f", commit {told['commit']}" if told["commit"] else ""
    return (
        f"{machine_name(told)}, Linux {told['kernel']}, Python {told['python']}, {told['date']}{commit}; "
        f"engines: {engine_names(told)}"
    )


def machine_name(told: Figures) -> str:
    """Processor and cores."""
    words = [word for word in told["cpu"].split() if word not in machine.VECTOR_FLAGS]
    best = next((flag for flag in ("avx512f", "avx2") if flag in told["cpu"].split()), None)
    return f"{' '.join(words)}{f' ({best})' if best else ''}, {told['cores']} cores"


def engine_names(told: Figures) -> str:
    """Backends and versions, each once; the rest of a fingerprint is for `--json`."""
    return ", ".join(sorted({fingerprint.partition("/")[0] for fingerprint in told["engines"].values()}))


def this_machine(config: Config) -> Figures:
    """What the figures depend on beside the program."""
    return {
        "cpu": machine.cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "engines": engines_in_use(config),
    }


def commit(project: Path = PROJECT) -> str | None:
    """Of the checkout that this runs from, with a + where the program was changed since; None elsewhere."""
    if not (project / ".git").exists():
        return None
    try:
        head = _git(project, "rev-parse", "--short", "HEAD")
        changed = _git(project, "diff", "--name-only", "HEAD", "--", "*.py", "engines/models")
    except (OSError, subprocess.CalledProcessError):  # no git here, or nothing committed yet
        return None
    return f"{head}+" if changed else head


def _git(project: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def engines_in_use(config: Config) -> dict[str, str]:
    """Task -> the engine with which a run over a file begins here. Raises EngineError."""
    from engines.cache import Cache
    from stream.launch import find_models
    from stream.supply import Supply

    engines = Supply(config, find_models(config).by_task(), Cache(), live=False, say=lambda words: None).first()
    for engine in engines.values():
        engine.close()
    return {task: engine.fingerprint for task, engine in engines.items()}


def _module(part: str) -> Any:
    return importlib.import_module(f"stream.bench.{part}")
