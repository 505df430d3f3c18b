"""Evaluate checkpoints and exported models: one look at each image, unless mirror images are asked for.

On a split of FER-2013, or on another collection, cut out as cameras cut faces out, with `measure_elsewhere`. Several
targets are an ensemble: the mean of the members' probabilities, each at its own temperature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Engine
from engines.errors import ModelInvalid
from engines.probabilities import softmax
from engines.spec import ModelSpec
from train.crops import cut_out
from train.data import Faces, Fer2013, load_pictures, without_votes
from train.errors import DataMissing
from train.metrics import (
    BINS,
    Agreement,
    Reliability,
    Report,
    agreement,
    ensemble,
    fit_temperature,
    reliability,
    report,
)
from train.plots import confusion_png, reliability_png
from train.predict import Logits, Network, flip_averaged, open_network

RESULTS_FILE, PAGE_FILE, CONFUSION_FILE, RELIABILITY_FILE = (
    "results.json",
    "README.md",
    "confusion.png",
    "reliability.png",
)
SPLIT_NAMES = {"training": "Training", "public": "PublicTest", "private": "PrivateTest"}


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one network, or an ensemble, is worth on one set of faces."""

    targets: tuple[Path, ...]
    data: str  # such as "FER-2013's PublicTest"
    flip: bool  # each picture averaged with its mirror image
    fitted: bool  # the temperature was fitted on PublicTest; else it is the exported model's own
    report: Report
    ferplus: Agreement
    before: Reliability  # of softmax(logits)
    after: Reliability  # of softmax(logits / temperature)
    seen_before: bool  # the temperature was fitted on these very images

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the report's, and what was measured how."""
        agreed = {"images": self.ferplus.images, "accuracy": round(self.ferplus.accuracy, 4)}
        return {
            "data": self.data,
            "targets": [str(target) for target in self.targets],
            "flip": self.flip,
            **self.report.as_dict(),
            "temperature_fitted": self.fitted,
            "ferplus_majority": agreed,
        }

    def as_text(self) -> str:
        """The report for people, and a last line on FER+ where people were asked."""
        text = f"{self.data}: {self.report.as_text()}"
        return f"{text}\n{ferplus_line(self.ferplus, self.report)}" if self.ferplus.images else text


@dataclass(frozen=True, slots=True, eq=False)
class Collection:
    """Other people's pictures, as faces that cameras would have cut out."""

    name: str  # and what found the faces
    faces: Faces  # with the labels of the networks that are asked
    missed: NDArray[np.int64]  # (labels,) pictures of each in which no face was found


def evaluate(target: Path, data: Fer2013, split: str) -> Report:
    """The report on one split, one look at each image. `target` is a checkpoint (file) or an exported model (folder).

    A checkpoint's temperature is fitted on PublicTest, whatever the split; an exported model carries its own.
    """
    return measure([target], data, split).report


def measure(targets: Sequence[Path], data: Fer2013, split: str, flip: bool = False) -> Evaluation:
    """One target, or an ensemble of several, on one split.

    An ensemble's own temperature is fitted on PublicTest, after its members' were applied: the mean of honest
    probabilities is too shy. Raises ModelInvalid when the members do not answer with the same labels.
    """
    faces = data.split(split)
    nothing = np.zeros(len(data.classes), np.int64)
    return measure_on(targets, Collection(f"FER-2013's {SPLIT_NAMES[split]}", faces, nothing), data.public, flip)


def collect(name: str, detector: Engine, spec: ModelSpec) -> Collection:
    """A data set that `train.data.load_pictures` knows, all of it, each face cut out as a camera's is.

    Raises DataMissing for a class that a network of `spec` does not know, and when there is no face in any picture.
    """
    pictures = load_pictures(name)
    if unknown := sorted(set(pictures.classes) - set(spec.labels)):
        raise DataMissing(f"{name} has the class {unknown[0]}, which {spec.name} does not know; leave it out")
    crops = cut_out(pictures.images, detector, spec)
    if not crops.found.any():
        raise DataMissing(f"{detector.spec.name} finds no face in {name}; is this a collection of faces?")
    truth = np.array([spec.labels.index(label) for label in pictures.classes])[pictures.labels]
    missed = np.bincount(truth[~crops.found], minlength=len(spec.labels))
    source = name.partition(":")[0]  # whose folder it is, is nobody's business
    faces = without_votes(crops.images, truth[crops.found], len(spec.labels))
    return Collection(f"{source}, cut out with {detector.spec.name}", faces, missed)


def measure_elsewhere(
    targets: Sequence[Path], name: str, detector: Engine, public: Faces, flip: bool = False
) -> Evaluation:
    """As `measure`, on other people's pictures. `public` is FER-2013's PublicTest."""
    return measure_on(targets, collect(name, detector, open_same_labels(targets)[0].spec), public, flip)


def measure_on(targets: Sequence[Path], collection: Collection, public: Faces, flip: bool = False) -> Evaluation:
    """One target, or an ensemble, on faces with its labels. A temperature that is missing is fitted on `public`.

    Every answer but the label is wrong, also those that a collection does not have (CK+ has no neutral faces).
    """
    networks, faces = open_same_labels(targets), collection.faces
    fitted = len(networks) > 1 or networks[0].temperature is None
    to_fit = public if fitted else None
    members = [answer(network, faces, to_fit, flip) for network in networks]
    whole = members[0] if len(members) == 1 else join(members, public)
    labels = networks[0].spec.labels
    return Evaluation(
        targets=tuple(targets),
        data=collection.name,
        flip=flip,
        fitted=fitted,
        report=report(whole.logits, faces.labels, labels, whole.temperature, collection.missed),
        ferplus=agreement(whole.logits, faces.votes, faces.clear),
        before=reliability(softmax(whole.logits), faces.labels),
        after=reliability(softmax(whole.logits / whole.temperature), faces.labels),
        seen_before=faces is public,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one network said."""

    logits: Logits  # on the faces that are measured
    public: Logits | None  # on FER-2013's PublicTest, where a temperature is fitted
    temperature: float


def open_same_labels(targets: Sequence[Path]) -> list[Network]:
    """The networks, which all answer with the same labels in the same order."""
    networks = [open_network(target) for target in targets]
    for target, network in zip(targets, networks, strict=True):
        if network.spec.labels != networks[0].spec.labels:
            raise ModelInvalid(f"{target} answers with other labels than {targets[0]}; evaluate them one at a time")
    return networks


def answer(network: Network, faces: Faces, public: Faces | None, flip: bool) -> Answers:
    """One network on some faces, at its own temperature, or else the one that fits `public`."""
    predict = flip_averaged(network.predict) if flip else network.predict
    logits = predict(faces.images)
    if public is None:
        assert network.temperature is not None
        return Answers(logits, None, network.temperature)
    fitted_on = logits if public is faces else predict(public.images)
    return Answers(logits, fitted_on, network.temperature or fit_temperature(fitted_on, public.labels))


def join(members: Sequence[Answers], public: Faces) -> Answers:
    """The members as one; its temperature is fitted on `public`."""
    temperatures = [member.temperature for member in members]
    logits = ensemble([member.logits for member in members], temperatures)
    fitted_on = ensemble([member.public for member in members if member.public is not None], temperatures)
    return Answers(logits, fitted_on, fit_temperature(fitted_on, public.labels))


def ferplus_line(ferplus: Agreement, of: Report) -> str:
    """One sentence on the agreement with FER+."""
    share = ferplus.images / int(of.images.sum())
    return f"FER+ majority accuracy {ferplus.accuracy:.2%} on {ferplus.images} images with a clear one ({share:.1%})"


_PAGE = """\
# {data}: {accuracy:.2%}

{how}

| | |
|---|---|
| images | {images} |
| accuracy | {accuracy:.2%} |
| macro F1 | {macro_f1:.4f} |
| FER+ majority accuracy | {ferplus} |
| temperature | {temperature:.3f}, {origin} |
| calibration error (ECE, {bins} bins) before / after the temperature | {ece_before:.4f} / {ece_after:.4f} |
| negative log-likelihood, after | {nll:.4f} |

A clear FER+ majority (Barsoum et al. 2016, arXiv 1608.01041) is more than half of an image's votes, single votes left
out, for one of the seven emotions; the images without one are not counted there.

## By emotion

| emotion | images | precision | recall | F1 |
|---|---|---|---|---|
{rows}

Rows are the truth, shares are of the row:

![Confusion matrix]({confusion})

## How honest the probabilities are

Bars on the dashed line would be honest: of all answers given with 70 % confidence, 70 % right.

![Reliability diagram]({reliability})

The numbers are in [{results}]({results}), the confusion matrix among them.
"""


def write_page(found: Evaluation, folder: Path) -> None:
    """Write `results.json`, two PNG diagrams and `README.md`, a page that shows all of it, into an existing folder."""
    of, name = found.report, found.data
    (folder / RESULTS_FILE).write_text(json.dumps(found.as_dict(), indent=2) + "\n")
    confusion_png(of, folder / CONFUSION_FILE, f"{name}: accuracy {of.accuracy:.2%}, macro F1 {of.macro_f1:.3f}")
    reliability_png(found.before, found.after, of.temperature, folder / RELIABILITY_FILE, f"{name}: calibration")
    page = _PAGE.format(
        data=name,
        how=how(found),
        images=images_cell(of),
        accuracy=of.accuracy,
        macro_f1=of.macro_f1,
        ferplus=_ferplus_cell(found.ferplus),
        temperature=of.temperature,
        origin=origin(found),
        bins=BINS,
        ece_before=of.ece_before,
        ece_after=of.ece_after,
        nll=of.nll,
        rows="\n".join(rows(of)),
        confusion=CONFUSION_FILE,
        reliability=RELIABILITY_FILE,
        results=RESULTS_FILE,
    )
    (folder / PAGE_FILE).write_text(page)


def images_cell(of: Report) -> str:
    """How many, and how many of them could not be asked about."""
    missed = f", of which {of.missed.sum():,} have no face that was found and count as wrong" if of.missed.any() else ""
    return f"{of.images.sum():,}{missed}"


def how(found: Evaluation) -> str:
    """What was measured and how, as a paragraph of Markdown."""
    names = ", ".join(f"`{target}`" for target in found.targets)
    alone = len(found.targets) == 1
    what = names if alone else f"The mean of the probabilities of {len(found.targets)} networks ({names})"
    looks = "the mean of the logits of each picture and its mirror image" if found.flip else "one look at each image"
    return f"{what}, on {found.data}, {looks}."


def origin(found: Evaluation) -> str:
    """Where the temperature comes from, and whether it has seen the images it is judged on."""
    own = "" if found.fitted else "the exported model's own, "
    return f"{own}fitted on PublicTest" + ", so on these very images" * found.seen_before


def rows(of: Report) -> list[str]:
    """One row of the page's table for each emotion."""
    columns = zip(of.labels, of.images, of.precision, of.recall, of.f1, strict=True)
    return [
        f"| {label} | {images} | {precision:.1%} | {recall:.1%} | {f1:.3f} |"
        for label, images, precision, recall, f1 in columns
    ]


def _ferplus_cell(ferplus: Agreement) -> str:
    return f"{ferplus.accuracy:.2%} of {ferplus.images:,} images with a clear one" if ferplus.images else "no votes"
