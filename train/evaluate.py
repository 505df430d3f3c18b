"""Evaluate checkpoints and exported models on FER-2013: one look at each image, unless mirror images are asked for.

Several targets are an ensemble: the mean of the members' probabilities, each at its own temperature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import ModelInvalid
from train.data import Fer2013
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
    softmax,
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
    """What one network, or an ensemble, is worth on one split."""

    targets: tuple[Path, ...]
    split: str
    flip: bool  # each picture averaged with its mirror image
    fitted: bool  # the temperature was fitted on PublicTest; else it is the exported model's own
    report: Report
    ferplus: Agreement
    before: Reliability  # of softmax(logits)
    after: Reliability  # of softmax(logits / temperature)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the report's, and what was measured how."""
        agreed = {"images": self.ferplus.images, "accuracy": round(self.ferplus.accuracy, 4)}
        return {
            "split": self.split,
            "targets": [str(target) for target in self.targets],
            "flip": self.flip,
            **self.report.as_dict(),
            "temperature_fitted": self.fitted,
            "ferplus_majority": agreed,
        }

    def as_text(self) -> str:
        """The report for people, and a last line on FER+."""
        return f"{self.split}: {self.report.as_text()}\n{ferplus_line(self.ferplus, self.report)}"


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
    networks = open_same_labels(targets)
    fitted = len(networks) > 1 or networks[0].temperature is None
    splits = tuple(dict.fromkeys(("public", split))) if fitted else (split,)
    members = [answer(network, data, splits, flip) for network in networks]
    whole = members[0] if len(members) == 1 else join(members, data)
    faces, logits, temperature = data.split(split), whole.logits[split], whole.temperature
    return Evaluation(
        targets=tuple(targets),
        split=split,
        flip=flip,
        fitted=fitted,
        report=report(logits, faces.labels, networks[0].spec.labels, temperature),
        ferplus=agreement(logits, faces.votes),
        before=reliability(softmax(logits), faces.labels),
        after=reliability(softmax(logits / temperature), faces.labels),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one network said."""

    logits: dict[str, Logits]  # by split
    temperature: float


def open_same_labels(targets: Sequence[Path]) -> list[Network]:
    """The networks, which all answer with the same labels in the same order."""
    networks = [open_network(target) for target in targets]
    for target, network in zip(targets, networks, strict=True):
        if network.spec.labels != networks[0].spec.labels:
            raise ModelInvalid(f"{target} answers with other labels than {targets[0]}; evaluate them one at a time")
    return networks


def answer(network: Network, data: Fer2013, splits: Sequence[str], flip: bool) -> Answers:
    """One network on some splits, at its own temperature, or else the one that fits PublicTest."""
    predict = flip_averaged(network.predict) if flip else network.predict
    logits = {split: predict(data.split(split).images) for split in splits}
    return Answers(logits, network.temperature or fit_temperature(logits["public"], data.public.labels))


def join(members: Sequence[Answers], data: Fer2013) -> Answers:
    """The members as one; its temperature is fitted on PublicTest."""
    temperatures = [member.temperature for member in members]
    splits = members[0].logits
    logits = {split: ensemble([member.logits[split] for member in members], temperatures) for split in splits}
    return Answers(logits, fit_temperature(logits["public"], data.public.labels))


def ferplus_line(ferplus: Agreement, of: Report) -> str:
    """One sentence on the agreement with FER+, for text and page alike."""
    if not ferplus.images:
        return "FER+: no image has a clear majority"
    share = ferplus.images / int(of.confusion.sum())
    return f"FER+ majority accuracy {ferplus.accuracy:.2%} on {ferplus.images} images with a clear one ({share:.1%})"


_PAGE = """\
# {split}: {accuracy:.2%}

{how}

| | |
|---|---|
| images | {images:,} |
| accuracy | {accuracy:.2%} |
| macro F1 | {macro_f1:.4f} |
| FER+ majority accuracy | {ferplus} |
| temperature | {temperature:.3f}, {origin} |
| calibration error (ECE, {bins} bins) before / after the temperature | {ece_before:.4f} / {ece_after:.4f} |
| negative log-likelihood, after | {nll:.4f} |

A clear FER+ majority (Barsoum et al. 2016, arXiv 1608.01041) is more than half of an image's votes over the seven
emotions; the images without one are not counted there.

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
    of, name = found.report, SPLIT_NAMES[found.split]
    (folder / RESULTS_FILE).write_text(json.dumps(found.as_dict(), indent=2) + "\n")
    confusion_png(of, folder / CONFUSION_FILE, f"{name}: accuracy {of.accuracy:.2%}, macro F1 {of.macro_f1:.3f}")
    reliability_png(found.before, found.after, of.temperature, folder / RELIABILITY_FILE, f"{name}: calibration")
    page = _PAGE.format(
        split=name,
        how=how(found),
        images=int(of.confusion.sum()),
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


def how(found: Evaluation) -> str:
    """What was measured and how, as a paragraph of Markdown."""
    names = ", ".join(f"`{target}`" for target in found.targets)
    alone = len(found.targets) == 1
    what = names if alone else f"The mean of the probabilities of {len(found.targets)} networks ({names})"
    looks = "the mean of the logits of each picture and its mirror image" if found.flip else "one look at each image"
    return f"{what}, on FER-2013's {SPLIT_NAMES[found.split]}, {looks}."


def origin(found: Evaluation) -> str:
    """Where the temperature comes from, and whether it has seen the images it is judged on."""
    if not found.fitted:
        return "the exported model's own"
    return "fitted on PublicTest" + ", so on these very images" * (found.split == "public")


def rows(of: Report) -> list[str]:
    """One row of the page's table for each emotion."""
    columns = zip(of.labels, of.confusion.sum(axis=1), of.precision, of.recall, of.f1, strict=True)
    return [
        f"| {label} | {images} | {precision:.1%} | {recall:.1%} | {f1:.3f} |"
        for label, images, precision, recall, f1 in columns
    ]


def _ferplus_cell(ferplus: Agreement) -> str:
    return f"{ferplus.accuracy:.2%} of {ferplus.images:,} images with a clear one" if ferplus.images else "no votes"
