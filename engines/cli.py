"""`emostream engines ...`: arguments -> calls, and the only print of this package.

Errors are EngineErrors, which `stream.cli` turns into one sentence and an exit code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from engines.builder import Job
    from engines.cache import Broken, Entry
    from engines.store import Model

Answer = TypeVar("Answer")

app = typer.Typer(help="Build engines from models, and see what is built.", no_args_is_help=True)

Given = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name or folder, or a checkpoint")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there")]
Precision = Annotated[Literal["fp32", "fp16", "bf16", "int8"] | None, typer.Option(help="Default: that of the model")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads inside one call")]
MaxBatch = Annotated[int, typer.Option(min=1, max=1024, help="The largest batch that it will take: engine.max_batch")]
BackendName = Annotated[
    Literal["auto", "onnxruntime", "onnxruntime-cuda", "openvino", "tensorrt", "tensorrt-rtx"],
    typer.Option("--backend", help="auto: the fastest of those that are installed, found by measuring"),
]


@app.command()
def build(
    model: Given,
    backend: BackendName = "auto",
    precision: Precision = None,
    max_batch: MaxBatch = 64,
    threads: Threads = 1,
    input_px: Annotated[
        int, typer.Option(min=64, max=4096, help="Of a detector, the longest side of its pictures: detector.input_px")
    ] = 640,
    target: Annotated[
        str, typer.Option(metavar="sm89,...", help="TensorRT-RTX: build for these GPUs, without one here")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compile MODEL, compare it with its checkpoint, measure it, and keep it for `run`."""
    from engines.builder import build_apart, choose_apart
    from engines.cache import Cache
    from engines.options import Options

    found, bf16 = _model(model, precision)
    targets = tuple(sorted({part.strip().lower() for part in target.split(",") if part.strip()}))
    either = precision is None and backend == "auto"
    if precision is None and not targets:
        found = _as_run(found, backend)
    options = Options(threads, max_batch, side_px=input_px, bf16=None if either else bf16, targets=targets)
    cache = Cache()
    told: dict[str, Any] = {}
    name: str = backend
    if backend == "auto":
        choice = _awaited(f"choosing for {found.spec.name}", choose_apart(found, options, cache))
        name, options = choice.backend, choice.options(options)
        told = {"choice": choice.model_dump(mode="json")}
        _say(f"chosen: {choice} ({choice.reason})")
    entry = _awaited(f"{found.spec.name} with {name}", build_apart(found, name, options, cache))
    if as_json:
        print(json.dumps({**told, **_facts(entry)}))
    else:
        print("\n".join(f"{key}: {value}" for key, value in _facts(entry).items() if key != "layers"))


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every engine in the cache; what is stale, and why."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from engines.cache import Cache, Entry
    from engines.stale import why_stale

    entries = [(entry, why_stale(entry)) for entry in Cache().entries()]
    if as_json:
        print(json.dumps({"engines": [{**_facts(entry), "stale": why} for entry, why in entries]}))
        return
    drawn = Table("engine", "precision", "ms a sample (batch)", "parity", "status", "stale", expand=True)
    for entry, why in entries:
        if isinstance(entry, Entry):
            trial = entry.manifest.trial
            best = trial.best_batch
            cost = f"{trial.ms_per_sample[best]:.3f} ({best})" if best else ""
            precision = entry.manifest.fingerprint.precision
            cells = [entry.folder.name, precision, cost, trial.parity.state, trial.status, why or ""]
        else:
            cells = [entry.folder.name, "", "", "", "no engine", why or ""]
        drawn.add_row(*(Text(cell, overflow="fold") for cell in cells))  # a path may well look like markup
    if entries:
        Console().print(drawn)
    else:
        print(f"no engine is built yet in {Cache().root}; emostream engines build MODEL")


@app.command()
def inspect(
    engine: Annotated[str, typer.Argument(help="A name out of `list`, its beginning, or its folder")],
    as_json: AsJson = False,
) -> None:
    """The manifest of one engine and its layers, as its backend calls them."""
    entry = _entry(engine)
    if as_json:
        print(json.dumps(json.loads(entry.manifest.as_json())))
        return
    for key, value in _facts(entry).items():
        print(f"{key}: {value}")
    for layer in entry.manifest.layers:
        print(f"  {layer.kind:24} {layer.precision:10} {layer.name}")


@app.command()
def check(
    engine: Annotated[str, typer.Argument(help="A name out of `list`, its beginning, or its folder")],
    as_json: AsJson = False,
) -> None:
    """Read an engine's files, load it and compare it with its checkpoint again."""
    from contextlib import closing

    from engines.bench import sizes_up_to
    from engines.compare import compare, read_parity
    from engines.stale import opened

    entry = _entry(engine)
    loaded, model = opened(entry)
    with closing(loaded):
        parity = read_parity(model.parity_path, model.spec)
        found = compare(loaded, parity, entry.manifest.fingerprint.precision, sizes_up_to(loaded.max_batch))
    if as_json:
        print(json.dumps({"engine": entry.folder.name, "parity": found.model_dump(mode="json")}))
    else:
        figures = ", ".join(f"{name} {value:g}" for name, value in found.figures.items())
        print(f"{entry.folder.name}: {found.state} ({figures}; batches {', '.join(map(str, found.batches))})")


@app.command()
def bench(
    model: Given,
    max_batch: Annotated[int, typer.Option(min=1, max=1024, help="The largest batch to measure")] = 16,
    threads: Threads = 1,
    torch: Annotated[bool, typer.Option("--torch", help="Also in torch, eager and compiled (extra: train)")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json, table.md and speed.png")] = None,
    as_json: AsJson = False,
) -> None:
    """MODEL in every precision on every backend of this machine, by turns: ms a call, memory, build and load time."""
    from engines.figures import measured, table, write

    figures = measured(model, max_batch, threads, torch, _say)
    if out is not None:
        write(figures, out, _say)
    print(json.dumps(figures) if as_json else table(figures))


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Remove fresh ones too, and what auto chose")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove stale engines, and what killed builds left."""
    from engines.cache import Cache
    from engines.stale import why_prune

    cache, removed = Cache(), []
    for entry in cache.entries():
        why = "asked for" if everything else why_prune(entry)
        if why and cache.remove(entry):
            removed.append({"engine": entry.folder.name, "why": why})
    if everything:
        cache.forget()
    left = [path.name for path in cache.sweep()]
    if as_json:
        print(json.dumps({"removed": removed, "left_by_killed_builds": left}))
        return
    for gone in removed:
        print(f"removed {gone['engine']}: {gone['why']}")
    print(f"{len(removed)} engines removed, {len(left)} unfinished builds swept away")


def _model(given: str, precision: str | None) -> tuple[Model, bool]:
    """The model, and whether it is to be computed in bfloat16, which is a way to run an fp32 graph."""
    from engines.source import model_of

    bf16 = precision == "bf16"
    return model_of(given, "fp32" if bf16 else precision, _say), bf16


def _as_run(model: Model, backend: str) -> Model:
    """What a run computes for this model unless it is told otherwise."""
    from engines.precision import preferred

    found = preferred(model, backend)
    if found is not model:
        _say(f"{found.spec.name} is what a run takes for {model.spec.name} here; --precision fp32 builds the other")
    return found


def _awaited(what: str, job: Job[Answer]) -> Answer:
    """What another process comes to, with a bar; ended with us."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=1.0)
        try:
            return job.wait(lambda done: bar.update(task, completed=done))
        finally:
            job.stop()


def _entry(name: str) -> Entry:
    from engines.cache import Cache, Entry
    from engines.errors import EngineMissing

    cache = Cache()
    if os.sep in name or name.startswith((".", "~")):  # as for models: what a name means depends on no folder
        return cache.at(Path(name).expanduser())
    found = [entry for entry in cache.entries() if entry.folder.name.startswith(name)]
    exact = [entry for entry in found if entry.folder.name == name] or found
    if len(exact) != 1:
        known = ", ".join(entry.folder.name for entry in exact or cache.entries()) or "none"
        raise EngineMissing(f"{name!r} names {len(exact)} engines; there are: {known}")
    return exact[0] if isinstance(exact[0], Entry) else cache.at(exact[0].folder)


def _facts(entry: Entry | Broken) -> dict[str, Any]:
    """What a user wants to know, in plain values."""
    from engines.cache import Entry

    if not isinstance(entry, Entry):
        return {"engine": entry.folder.name, "folder": str(entry.folder)}
    manifest = entry.manifest
    return {
        "engine": entry.folder.name,
        "folder": str(entry.folder),
        "bytes": entry.size(),
        **{key: value for key, value in manifest.fingerprint.model_dump(mode="json").items() if value not in ("", [])},
        "parity": {"state": manifest.trial.parity.state, **manifest.trial.parity.figures},
        "status": manifest.trial.status,
        "best_batch": manifest.trial.best_batch,
        "ms_per_sample": manifest.trial.ms_per_sample,
        "build_s": manifest.build_s,
        "built_at": manifest.built_at.isoformat(),
        "layers": len(manifest.layers),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
