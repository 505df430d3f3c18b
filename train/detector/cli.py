"""`emostream train detector ...`: arguments -> calls. torch is imported inside the commands, as in `train.cli`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from train.options import Json, Threads, find_detector, one_sentence_errors, recipe_path, wait_asleep

if TYPE_CHECKING:
    from rich.progress import TaskID

    from engines.base import Engine

app = typer.Typer(help="Train a face detector that another one teaches, and compare both.", no_args_is_help=True)

CorpusFile = Annotated[Path, typer.Option(help="What `train detector corpus` wrote.")]
Teacher = Annotated[str, typer.Option(help="Name or folder of the detector that teaches.")]
InputPx = Annotated[list[int] | None, typer.Option(min=32, help="Longer side of the pictures; may be repeated.")]
Every = Annotated[int, typer.Option(min=1, help="Look at each so-many-th frame of a clip.")]
RECIPES = Path(__file__).parent / "recipes"
DEFAULT_TEACHER = "yunet"
DEFAULT_CORPUS = Path("runs/corpus.npz")
SIZES_PX = [640, 320]


@app.command()
def corpus(
    out: Annotated[Path, typer.Argument(help="The file to write, such as runs/corpus.npz.")],
    backgrounds: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of further pictures, most of them without a face; may be repeated."),
    ] = None,
    teacher: Teacher = DEFAULT_TEACHER,
) -> None:
    """Let the teacher label every photo, the same faces turned to the side, and the backgrounds."""
    with one_sentence_errors():
        from rich.console import Console
        from rich.progress import Progress

        from engines.load import load_engine
        from train.detector.corpus import make_corpus
        from train.detector.photos import backgrounds as read_backgrounds
        from train.detector.photos import load_photos

        out.parent.mkdir(parents=True, exist_ok=True)
        probe = out.with_name(out.name + ".part")  # what cannot be written is better known before than after
        probe.touch()
        probe.unlink()
        photos, empty = load_photos(), read_backgrounds(backgrounds or [])
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            tasks: dict[str, TaskID] = {}

            def progress(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done)

            made = make_corpus(photos, empty, load_engine(find_detector(teacher)), progress)
        made.write(out)
        console.print(f"{out}: {len(made.pictures)} pictures, {made.labels.sure().sum()} faces beyond doubt")


@app.command()
def fit(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, or the name of one in train/detector/recipes.")],
    corpus: CorpusFile = DEFAULT_CORPUS,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; one that was stopped goes on.")] = None,
    start: Annotated[Path | None, typer.Option(help="Checkpoint that gives a new run its first weights.")] = None,
    stop_after: Annotated[int | None, typer.Option(min=1, help="End this call after so many epochs.")] = None,
    threads: Threads = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make training pictures.")] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where torch computes.")] = "cpu",
) -> None:
    """Train a detector as RECIPE says. Started again, it goes on where it was stopped."""
    wait_asleep()
    with one_sentence_errors("epoch"):
        import torch
        from rich.console import Console

        from train.detector.corpus import read_corpus
        from train.detector.fit import fit as run
        from train.detector.recipe import read_detector_recipe

        torch.set_num_threads(threads)
        console = Console(stderr=True)
        chosen = read_detector_recipe(recipe_path(recipe, RECIPES))
        folder = out or Path("runs") / chosen.name
        best = run(chosen, read_corpus(corpus), folder, console, workers, device, start, stop_after)
        console.print(f"best checkpoint: {best}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name or folder of a face detector.")],
    teacher: Teacher = DEFAULT_TEACHER,
    input_px: InputPx = None,
    every: Every = 1,
    pictures: Annotated[Path | None, typer.Option(help="Folder for sheets with both detectors' boxes.")] = None,
    as_json: Json = False,
) -> None:
    """Recall, precision, landmark error and time of a detector against its teacher, on clips and held-out photos."""
    with one_sentence_errors():
        from engines.load import load_engine
        from train.detector.evaluate import evaluate as measure
        from train.detector.photos import load_photos
        from train.detector.pictures import write_pictures

        ours, theirs = load_engine(find_detector(model)), load_engine(find_detector(teacher))
        sizes = input_px or SIZES_PX
        report = measure(ours, theirs, _clips(), load_photos(), sizes, every)
        print(json.dumps(report.as_dict()) if as_json else report.as_text())
        if pictures:
            write_pictures(ours, theirs, _clips(), sizes[0], pictures, every)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="The best.safetensors of a run.")],
    out: Annotated[Path, typer.Argument(help="The model folder to write, such as engines/models/face.")],
    corpus: CorpusFile = DEFAULT_CORPUS,
    teacher: Teacher = DEFAULT_TEACHER,
    every: Every = 1,
    as_json: Json = False,
) -> None:
    """Write model.onnx, spec.json, card.md and parity.npz, after proving that the file answers as CHECKPOINT does."""
    with one_sentence_errors():
        from engines.load import load_engine
        from train.detector.corpus import read_corpus
        from train.detector.evaluate import Report
        from train.detector.evaluate import evaluate as measure
        from train.detector.export import export as write
        from train.detector.photos import load_photos

        theirs, photos = load_engine(find_detector(teacher)), load_photos()

        def against_teacher(ours: Engine) -> Report:
            return measure(ours, theirs, _clips(), photos, SIZES_PX, every)

        made = write(checkpoint, out, read_corpus(corpus), against_teacher)
        facts = {
            "folder": str(out),
            "sha256": made.spec.sha256,
            "parameters": made.parameters,
            "score_threshold": made.spec.score_threshold,
            "parity_difference": made.difference,
            **made.report.metrics(),
        }
        print(json.dumps(facts) if as_json else made.report.as_text())


def _clips() -> list[Path]:
    from train.data import shared_file
    from train.detector.clips import CLIPS

    return [shared_file(f"videos/{name}") for name in CLIPS]
