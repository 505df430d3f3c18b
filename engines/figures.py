"""What `emostream engines bench` measures, as plain values, as a table, and as files."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engines import machine
from engines.cache import Cache
from engines.child import PACKAGES, command
from engines.contest import PUBLISHED, Entrant, contest, entrants
from engines.errors import EngineError, ModelMissing
from engines.options import Options
from engines.source import model_of
from engines.store import Model

PRECISIONS = ("fp32", "fp16", "int8")
Say = Callable[[str], None]


def measured(given: str, max_batch: int, threads: int, torch: bool, say: Say) -> dict[str, Any]:
    """Everyone who can compute this model here, timed by turns. Raises EngineError when nobody can."""
    options = Options(threads=threads, max_batch=max_batch, bf16=None)
    models = _in_all_precisions(given, say)
    taking_part = entrants(models, options, Cache(), max_batch, say)
    if torch:
        taking_part += _in_torch(models[0], max_batch, threads)
    if not taking_part:
        raise EngineError(f"nothing here computes {given}; emostream doctor says what is missing")
    rows = contest(taking_part, max_batch, say)
    return {
        "model": models[0].spec.name,
        "machine": machine.cpu(),
        "threads": threads,
        "date": datetime.now(UTC).date().isoformat(),
        "rows": rows,
        "published": PUBLISHED if models[0].spec.task == "emotion" else None,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown."""
    sizes = list(figures["rows"][0]["ms_per_call"])
    lines = [
        f"{figures['model']}, {figures['threads']} thread(s), {figures['machine']}, {figures['date']}",
        "",
        "| engine | precision | " + " | ".join(f"ms a call at {size}" for size in sizes) + " | samples/s | build s "
        "| load s | first answer s | peak MB |",
        "|---" * (len(sizes) + 7) + "|",
    ]
    for row in figures["rows"]:
        calls = " | ".join(f"{row['ms_per_call'][size]:.2f}" for size in sizes)
        build = "" if row["build_s"] is None else f"{row['build_s']:.1f}"
        lines.append(
            f"| {row['engine']} | {row['precision']} | {calls} | {row['samples_per_s']} | {build} | "
            f"{row['load_s']:.2f} | {row['first_s']:.2f} | {row['peak_mb']:.0f} |"
        )
    if published := figures["published"]:
        alone = published["ms_per_call"][1]
        lines.append(f"| {published['what']} | | {alone:.2f} |" + " |" * (len(sizes) + 4))
    return "\n".join(lines)


def write(figures: dict[str, Any], folder: Path, say: Say) -> None:
    """results.json, table.md and, where matplotlib is at hand, speed.png."""
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.json"
    results.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(table(figures) + "\n", encoding="utf-8")
    # in a process of its own: matplotlib comes with training, which this package does not know
    draw = command("train", "draw-speed", str(results.absolute()))
    drawn = subprocess.run(draw, capture_output=True, text=True, check=False, cwd=PACKAGES)
    if drawn.returncode:
        say(f"no speed.png: {(drawn.stderr.strip().splitlines() or ['it said nothing'])[-1]}")


def _in_all_precisions(given: str, say: Say) -> list[Model]:
    models = [model_of(given, None, say)]
    for precision in PRECISIONS:
        if precision != models[0].spec.precision:
            try:
                models.append(model_of(given, precision, say))
            except ModelMissing as error:
                say(str(error))
    return models


def _in_torch(model: Model, largest: int, threads: int) -> list[Entrant]:
    folder = str(model.onnx_path.parent.absolute())
    eager = command("train", "contestant", folder, "--largest", str(largest), "--threads", str(threads))
    return [Entrant("torch eager", "fp32", eager), Entrant("torch.compile", "fp32", [*eager, "--compiled"])]
