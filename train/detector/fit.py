"""Fit a detector to what its teacher found; what is chosen on are mosaics of photos that were held out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from engines.decoding import reader_of
from engines.decoding.base import Candidates
from engines.preprocess import to_batch
from train.board import epoch_bar
from train.denormals import denormals_flushed
from train.detector.corpus import Corpus, Origin
from train.detector.find import MOST
from train.detector.loss import Targets, loss
from train.detector.mosaic import Material, Sample, compose, degraded
from train.detector.network import OUTPUTS, Exported, FaceNet
from train.detector.recipe import COLORS, DetectorRecipe, detector_recipe_from
from train.detector.scoring import Tally
from train.detector.spec import draft_spec
from train.errors import DataMissing
from train.run import BEST, LAST, Run, begin_with, check_device, start

HELD_OUT_PICTURES = 160
HELD_OUT_SEED = 20261121
LOWEST = 0.05  # score down to which answers are looked at


@denormals_flushed()
def fit(
    recipe: DetectorRecipe,
    corpus: Corpus,
    folder: Path,
    console: Console,
    workers: int = 0,
    device: str = "cpu",
    start_from: Path | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train, or go on training, in `folder`; the path of the best checkpoint.

    A new run takes its first weights from the checkpoint `start_from`, if there is one. `workers` are processes that
    make mosaics; their number changes nothing but the speed. `stop_after` ends this call after so many epochs, with the
    run unfinished; None trains to the end.
    """
    check_device(device)
    folder.mkdir(parents=True, exist_ok=True)
    run = start_or_resume(recipe, corpus, folder / LAST, device, start_from)
    if run.epoch:
        console.print(f"resuming after epoch {run.epoch}; best average precision so far {run.best:.4f}")
    mosaics = Mosaics(material(recipe, corpus, held_out=False), recipe)
    chosen_on = held_out_samples(recipe, corpus)
    end = recipe.epochs if stop_after is None else min(recipe.epochs, run.epoch + stop_after)
    while run.epoch < end:
        started_s = time.monotonic()
        parts = train_epoch(run, recipe, mosaics, console, workers, device)
        seconds = time.monotonic() - started_s
        found = tally(run.average, chosen_on, recipe, device)
        run.keep(folder, found.average_precision(), "held_out_ap")
        left_min = (time.monotonic() - started_s) * (recipe.epochs - run.epoch) / 60
        told = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
        console.print(
            f"epoch {run.epoch}/{recipe.epochs}  {told}  AP {found.average_precision():.4f}  "
            f"landmarks {found.error(0.5):.4f}  {len(mosaics) / seconds:.0f} pictures/s  {left_min:.1f} min left",
            soft_wrap=True,
        )
    return folder / BEST


class Mosaics(Dataset[tuple[NDArray[np.float32], Sample]]):
    """The pictures of one epoch, each drawn from (seed of the epoch, its number): the same whoever makes it."""

    def __init__(self, pictures: Material, recipe: DetectorRecipe) -> None:
        self.pictures, self.recipe, self.epoch_seed = pictures, recipe, 0
        self.spec = draft_spec(recipe)

    def __len__(self) -> int:
        return self.recipe.pictures // self.recipe.batch_size * self.recipe.batch_size

    def __getitem__(self, number: int) -> tuple[NDArray[np.float32], Sample]:
        random = np.random.default_rng((self.epoch_seed, number))
        sample = degraded(compose(self.pictures, self.recipe.mosaic, random), random)
        return to_batch([sample.image], self.spec)[0], sample


def train_epoch(
    run: Run, recipe: DetectorRecipe, mosaics: Mosaics, console: Console, workers: int, device: str
) -> dict[str, float]:
    """One epoch of new mosaics; the mean of each part of the loss. Raises Diverged when they are no numbers."""
    mosaics.epoch_seed = run.seed()
    batches = DataLoader(mosaics, recipe.batch_size, num_workers=workers, collate_fn=_collate)
    run.model.train()
    total: dict[str, float] = {}
    with epoch_bar(console, f"epoch {run.epoch + 1}/{recipe.epochs}", len(batches), "pictures") as advance:
        for step, (images, targets) in enumerate(batches):
            parts = loss(run.model(_to(images, device)), _targets_to(targets, device))
            run.step(torch.stack(list(parts.values())).sum(), run.epoch + step / len(batches))
            for name, value in parts.items():
                total[name] = total.get(name, 0.0) + float(value.detach()) / len(batches)
            advance(len(images))
    run.check_finite(sum(total.values()))
    return total


def material(recipe: DetectorRecipe, corpus: Corpus, held_out: bool) -> Material:
    """The pictures that are held out, or the others: which show a face beyond doubt, and which none at all."""
    labels, pictures = corpus.labels, corpus.pictures
    sure, chosen = labels.sure(), pictures.held_out == held_out
    # a photo, turned or not, in which the teacher finds nothing has a face all the same
    nothing = (np.diff(labels.first) == 0) & (corpus.origin == Origin.BACKGROUND)
    faces = np.zeros(len(labels), bool)
    faces[np.searchsorted(labels.first, np.flatnonzero(sure), side="right") - 1] = True
    if not (faces & chosen).any():
        which = "held-out" if held_out else "training"
        raise DataMissing(f"in none of the {which} pictures the teacher is sure of a face; it needs other pictures")
    read = pictures.luma if recipe.color == "luma" else pictures.bgr
    return Material(read, labels, sure, np.flatnonzero(faces & chosen), np.flatnonzero(nothing & chosen))


def held_out_samples(recipe: DetectorRecipe, corpus: Corpus, count: int | None = None) -> list[Sample]:
    """The same mosaics for every epoch, HELD_OUT_PICTURES unless told otherwise, of pictures not trained on."""
    pictures = material(recipe, corpus, held_out=True)
    samples = []
    for number in range(HELD_OUT_PICTURES if count is None else count):
        random = np.random.default_rng((HELD_OUT_SEED, number))
        samples.append(degraded(compose(pictures, recipe.mosaic, random), random))
    return samples


def tally(model: nn.Module, samples: list[Sample], recipe: DetectorRecipe, device: str = "cpu") -> Tally:
    """How well the network finds what the teacher found in these pictures."""
    result, network, spec = Tally(), Exported(model).eval(), draft_spec(recipe)
    reader = reader_of(spec, MOST, LOWEST)
    with torch.inference_mode():
        for start_at in range(0, len(samples), recipe.batch_size):
            part = samples[start_at : start_at + recipe.batch_size]
            batch = torch.from_numpy(to_batch([sample.image for sample in part], spec))
            outputs = [output.cpu().numpy() for output in network(_to(batch, device))]
            for row, sample in enumerate(part):
                own = {name: output[row] for name, output in zip(OUTPUTS, outputs, strict=True)}
                size = (sample.image.shape[0], sample.image.shape[1])
                found = reader.faces(own, size, size)
                wanted = Candidates(sample.boxes, sample.landmarks, np.ones(len(sample.boxes), np.float32))
                result.add(found, wanted, sample.ignored)
    return result


def start_or_resume(
    recipe: DetectorRecipe, corpus: Corpus, last: Path, device: str = "cpu", start_from: Path | None = None
) -> Run:
    """A fresh run, or the one that `last` holds.

    Raises CheckpointInvalid when that is another recipe's or data's, or began with other weights than `start_from`.
    """
    torch.manual_seed(recipe.seed)
    channels = COLORS[recipe.color]
    network = FaceNet(channels)
    first = begin_with(network, start_from)
    run = start(network.to(device), FaceNet(channels).to(device), recipe, corpus.sha256())
    run.first_weights = first
    run.resume(last, detector_recipe_from)
    run.check_first_weights(first)
    return run


def _collate(batch: list[tuple[NDArray[np.float32], Sample]]) -> tuple[Tensor, Targets]:
    images = torch.from_numpy(np.stack([image for image, _ in batch]))
    boxes, real = _padded([sample.boxes for _, sample in batch])
    landmarks, _ = _padded([sample.landmarks for _, sample in batch])
    ignored, _ = _padded([sample.ignored for _, sample in batch])
    return images, Targets(boxes, landmarks, real, ignored)


def _padded(rows: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """(B, most, ...) with zeros at the end, and (B, most) bool which are real."""
    most = max(1, *[len(row) for row in rows])
    values, real = np.zeros((len(rows), most, *rows[0].shape[1:]), np.float32), np.zeros((len(rows), most), bool)
    for number, row in enumerate(rows):
        values[number, : len(row)], real[number, : len(row)] = row, True
    return torch.from_numpy(values), torch.from_numpy(real)


def _to(images: Tensor, device: str) -> Tensor:
    return images.to(device).contiguous(memory_format=torch.channels_last)


def _targets_to(targets: Targets, device: str) -> Targets:
    return Targets(*(getattr(targets, name).to(device) for name in Targets.__slots__))
