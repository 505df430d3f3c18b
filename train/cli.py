"""`emostream train ...`, also `python -m train ...`: arguments -> calls, and the only print of this package.

torch and what needs it are imported inside the commands, so that `--help` is quick and works without them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from train.detector.cli import app as detector_app
from train.options import CORES, Json, Threads, find_detector, one_sentence_errors, recipe_path, wait_asleep

RECIPES = Path(__file__).parent / "recipes"

app = typer.Typer(help="Train emotion networks, measure them, and export them as model folders.", no_args_is_help=True)

app.add_typer(detector_app, name="detector")


@app.command()
def fit(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, or the name of one in train/recipes.")],
    data: Annotated[
        str, typer.Option(help="fer2013, or fer2013:PATH for its official csv file or the folder of that.")
    ] = "fer2013",
    out: Annotated[Path | None, typer.Option(help="Folder of the run; one that was stopped goes on.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint for the first weights of a new run, not the recipe's first_stage.")
    ] = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Checkpoint to learn from, not the recipe's teachers; may be repeated.")
    ] = None,
    stop_after: Annotated[int | None, typer.Option(min=1, help="End this call after so many epochs.")] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where torch computes.")] = "cpu",
    threads: Threads = CORES,
) -> None:
    """Train a network as RECIPE says, and before it those that it builds on. Started again, it goes on."""
    wait_asleep()
    with one_sentence_errors("epoch"):
        import torch
        from rich.console import Console

        from train.data import load
        from train.recipe import read_recipe
        from train.stages import run_all, stages

        torch.set_num_threads(threads)
        console = Console(stderr=True)
        chosen = recipe_path(recipe, RECIPES)
        read_recipe(chosen)  # before the data: a wrong name is soon said
        faces = load(data)
        asked = stages(chosen, RECIPES, faces.sha256, out, start, teacher or ())
        run_all(asked, faces, console, device, stop_after)


@app.command()
def cross_validate(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, or the name of one in train/recipes.")],
    data: Annotated[str, typer.Option(help="ckplus, jaffe or folder:PATH.")],
    by: Annotated[Literal["subject", "image"], typer.Option(help="What a fold holds out whole.")] = "subject",
    folds: Annotated[int, typer.Option(min=2, help="How many.")] = 10,
    start: Annotated[Path | None, typer.Option(help="Checkpoint that gives every fold its first weights.")] = None,
    cut_out: Annotated[bool, typer.Option("--cut-out", help="Cut faces out as cameras do; whole without one.")] = False,
    detector: Annotated[str, typer.Option(help="Name or folder of what finds the faces for --cut-out.")] = "face",
    out: Annotated[Path | None, typer.Option(help="Folder for results.json; finished folds there are kept.")] = None,
    stop_after: Annotated[int | None, typer.Option(min=1, help="End this call after so many folds.")] = None,
    as_json: Json = False,
    threads: Threads = CORES,
) -> None:
    """Train RECIPE once for each fold, without its faces, and measure all held-out faces after the last epoch."""
    wait_asleep()
    with one_sentence_errors("fold"):
        import torch
        from rich.console import Console

        from engines.load import load_engine
        from train.crops import load_cut_out
        from train.cross_validation import Plan
        from train.cross_validation import cross_validate as run
        from train.data import load
        from train.recipe import read_recipe
        from train.spec import draft_spec

        torch.set_num_threads(threads)
        chosen = read_recipe(recipe_path(recipe, RECIPES))
        name = f"{chosen.name}-{data.partition(':')[0]}-{by}" + ("-cut-out" if cut_out else "")
        folder = out or Path("runs") / (name + (f"-from-{start.parent.name}" if start else ""))
        engine = load_engine(find_detector(detector)) if cut_out else None
        faces = load_cut_out(data, engine, draft_spec(chosen)) if engine else load(data)
        called = f"{data}, cut out with {engine.spec.name}" if engine else data
        found = run(chosen, faces, folder, Console(stderr=True), Plan(by, folds, start, stop_after), called)
        print(json.dumps(found.as_dict()) if as_json else found.as_text())


@app.command()
def evaluate(
    targets: Annotated[
        list[Path],
        typer.Argument(
            help="A checkpoint (file), an exported model or a built engine (folders); several: an ensemble."
        ),
    ],
    split: Annotated[Literal["public", "private"], typer.Option(help="Choose on public, report private.")] = "public",
    data: Annotated[
        str,
        typer.Option(help="fer2013, fer2013:PATH; or all of ckplus, jaffe, folder:PATH, cut out as cameras do."),
    ] = "fer2013",
    detector: Annotated[str, typer.Option(help="Name or folder of what finds the faces in other data.")] = "face",
    flip: Annotated[bool, typer.Option("--flip", help="Average each picture with its mirror image.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json, README.md and two diagrams.")] = None,
    as_json: Json = False,
    threads: Threads = CORES,
) -> None:
    """Accuracy, macro F1, precision, recall and confusion of a network, and how honest its probabilities are."""
    wait_asleep()
    with one_sentence_errors():
        import torch

        from engines.load import load_engine
        from train.data import load, load_fer2013
        from train.evaluate import measure, measure_elsewhere, write_page
        from train.plots import open_folder

        torch.set_num_threads(threads)
        if out:
            open_folder(out)
        if data.partition(":")[0] == "fer2013":
            found = measure(targets, load(data), split, flip)
        else:
            found = measure_elsewhere(targets, data, load_engine(find_detector(detector)), load_fer2013().public, flip)
        if out:
            write_page(found, out)
        print(json.dumps(found.as_dict()) if as_json else found.as_text())


@app.command()
def saliency(
    target: Annotated[Path, typer.Argument(help="A checkpoint (file) or an exported model (folder).")],
    out: Annotated[Path, typer.Option(help="Folder for faces.png, classes.png and saliency.json.")],
    faces: Annotated[int, typer.Option(min=1, help="Single faces to show.")] = 8,
    per_class: Annotated[int, typer.Option(min=1, help="Faces in the mean map of a class.")] = 40,
    patch: Annotated[int, typer.Option(min=1, help="Side of the grey square, pixels.")] = 10,
    stride: Annotated[int, typer.Option(min=1, help="How far it moves, pixels.")] = 3,
    split: Annotated[Literal["public", "private"], typer.Option(help="Where the faces come from.")] = "public",
    as_json: Json = False,
    threads: Threads = CORES,
) -> None:
    """Cover each part of a face in turn and draw where the answer breaks: what the network looks at."""
    wait_asleep()
    with one_sentence_errors():
        import torch

        from train.data import load_fer2013
        from train.plots import open_folder
        from train.predict import open_network
        from train.saliency import explain, write_maps

        torch.set_num_threads(threads)
        open_folder(out)
        found = explain(open_network(target), load_fer2013().split(split), per_class, patch, stride)
        facts = {"split": split, **write_maps(found, faces, out)}
        print(json.dumps(facts) if as_json else "\n".join(f"{name}: {value}" for name, value in facts.items()))


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="The best.safetensors of a run.")],
    out: Annotated[
        Path,
        typer.Argument(help="The fp32 model's folder, such as engines/models/emotion; fp16 and int8 go beside it."),
    ],
    data: Annotated[str, typer.Option(help="What CHECKPOINT was trained on: fer2013, fer2013:PATH.")] = "fer2013",
    elsewhere: Annotated[
        list[str] | None, typer.Option(help="Other data for the card: ckplus, jaffe, folder:PATH; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write CHECKPOINT as a model in fp32, fp16 and int8, after proving that each file answers as CHECKPOINT does."""
    with one_sentence_errors():
        from train.data import load
        from train.export.emotion import export as write

        made = write(checkpoint, out, load(data), tuple(elsewhere or ()))
        facts = {model.spec.precision: model.facts() for model in made}
        lines = [f"{precision} {name}: {value}" for precision, told in facts.items() for name, value in told.items()]
        print(json.dumps(facts) if as_json else "\n".join(lines))


@app.command(hidden=True)
def contestant(
    model: Annotated[str, typer.Argument(help="A model's name or folder.")],
    largest: Annotated[int, typer.Option(min=1, help="Samples in the largest batch.")] = 64,
    compiled: Annotated[bool, typer.Option("--compiled", help="By torch.compile.")] = False,
    threads: Threads = 1,
) -> None:
    """Time a network in torch for `emostream engines bench`, which starts this and speaks to it."""
    with one_sentence_errors():
        from train.detector.cli import RECIPES as DETECTOR_RECIPES
        from train.eager import take_part

        take_part(model, RECIPES, DETECTOR_RECIPES, largest, threads, compiled)


@app.command(hidden=True)
def draw_speed(
    results: Annotated[Path, typer.Argument(help="The results.json of `emostream engines bench --out`.")],
) -> None:
    """Draw what `emostream engines bench` measured, as speed.png beside it."""
    with one_sentence_errors():
        from train.plots import speed_png

        speed_png(json.loads(results.read_text(encoding="utf-8")), results.with_name("speed.png"))


@app.command()
def template(
    images: Annotated[int, typer.Option(min=1, help="How many training images to look at.")] = 28_709,
    detector: Annotated[str, typer.Option(help="Name or folder of the detector that will find the faces.")] = "face",
    as_json: Json = False,
) -> None:
    """Measure where the five landmarks lie in FER-2013's framing: the template of the crops."""
    with one_sentence_errors():
        from engines.load import load_engine
        from train.data import load_fer2013
        from train.template import measure

        found = measure(load_fer2013().training.images[:images], load_engine(find_detector(detector)))
        facts = {
            "images": found.images,
            "found": found.found,
            "landmarks": found.landmarks.round(2).tolist(),
            "spread": found.spread.round(2).tolist(),
        }
        print(json.dumps(facts) if as_json else "\n".join(f"{name}: {value}" for name, value in facts.items()))


def main() -> None:
    """The entry point of `python -m train`."""
    app(prog_name="python -m train")
