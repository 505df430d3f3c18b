"""The model card: what a person should know before they use the network. Mitchell et al., arXiv 1810.03993."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.spec import ModelSpec
from train.checkpoint import Checkpoint
from train.evaluate import Evaluation, ferplus_line, images_cell
from train.export.model_folder import CARD_FILE
from train.export.ranges import IMAGES
from train.export.worth import Worth
from train.metrics import Report
from train.recipe import Recipe

IMAGENET = "ImageNet weights (Keras, Apache-2.0)"

_CARD = """\
# {name}: {model}, 48x48 luma, 7 emotions, {precision}

One face in, cropped as `spec.json` says; logits out for {labels}.
Divide them by the temperature ({temperature}) before the softmax.

## Precision
{made}
Over the pictures of `parity.npz` its probabilities differ from the checkpoint's by {difference:.2g} at most and by
{mean_difference:.2g} on average.

## Data
FER-2013 (Goodfellow et al. 2013, arXiv 1307.0414): 48x48 pictures found by web search. Its authors measured that people
agree with its labels in about two of three cases. Trained on {images:,} images: those of Training that are neither
blank nor pixel-identical to an image of the two test splits. PrivateTest is left as it is, though 44 of its images are
in PublicTest too.
{targets}

## Measured
This file on ONNX Runtime; one look at each image, no test-time tricks. The epoch and the temperature were chosen on
PublicTest; PrivateTest was only reported.

| split | accuracy | macro F1 | calibration error before / after the temperature |
|---|---|---|---|
{rows}

PrivateTest, rows are the truth:

```
{confusion}
```
{ferplus}
Made by recipe `{recipe}`, epoch {epoch}, commit {commit}, torch {torch}, seed {seed}.
{elsewhere}
## Known weaknesses
- It names the expression that people would read from one still picture, not what somebody feels.
{weakest}
- FER-2013 has no record of age, sex or skin tone, so differences between groups of people are **not measured**.
- Faces smaller than the crop, profiles, masks and blur are not measured either. The calibration holds for pictures like
  FER-2013's, not for a camera: measure it on your own footage.

## Use
Intended: research, art, usability studies and games with people who know and agree; over time, not by frame.

Not for decisions about a person. Inferring emotions of people at work or in education is **prohibited** in the European
Union (AI Act, Regulation (EU) 2024/1689, Article 5(1)(f)), save for medical or safety reasons; elsewhere in the Union
such a system is high-risk (Annex III, 1(c)) and the people seen must be told (Article 50(3)).

## Licence
The weights were trained by this project and are Apache-2.0 like its code. FER-2013 is research data collected from the
web and is not part of this project: ask yourself whether your use of weights trained on it is research. `parity.npz`
holds no image of it: its pictures are synthetic, or warps of a portrait of Grace Hopper in the public domain.
"""


_MADE = {
    "fp32": "Weights and arithmetic in float32; batch norm is folded into the convolutions.",
    "fp16": """\
Weights, and all between input and output, in float16; input and output are float32. What is told here is what ONNX
Runtime makes of it on x86: it computes in float32, from the rounded weights.""",
    "int8": """\
The large convolutions in int8, as QuantizeLinear and DequantizeLinear: symmetric, weights per channel and in 7 bits.
The first layer, what is small inside attentions, and the classifier stay in float32. Ranges are the largest values on
{images} training images. Take this file where it is quicker than fp32.""",
}


_ELSEWHERE = """
## On other people's pictures
Faces found and cut out by the detector `face`, as a camera's are; never trained or chosen on. Every answer but the
label is wrong, also "neutral" where a collection has no such faces.

| data | pictures | accuracy | found of each emotion |
|---|---|---|---|
{rows}
"""


def write_card(
    folder: Path,
    spec: ModelSpec,
    checkpoint: Checkpoint,
    images: int,
    worths: tuple[Worth, Worth],
    elsewhere: Sequence[Evaluation],
) -> None:
    """Write `card.md` into a model folder. `images` were trained on; `worths` are this file's and the fp32 one's."""
    recipe, record, (worth, fp32) = checkpoint.recipe, checkpoint.record, worths
    private = worth.private
    text = _CARD.format(
        name=spec.name,
        precision=spec.precision,
        made=_MADE[spec.precision].format(images=IMAGES),
        difference=worth.difference,
        mean_difference=worth.mean_difference,
        model=recipe.model,
        labels=", ".join(spec.labels),
        temperature=spec.temperature,
        images=images,
        targets="\n".join(_origins(recipe, record)),
        rows="\n".join(_rows(worth, "") + ([] if spec.precision == "fp32" else _rows(fp32, " in fp32"))),
        confusion=private.confusion_text(),
        ferplus=f"PrivateTest: {ferplus_line(worth.ferplus, private)}.\n" if worth.ferplus.images else "",
        elsewhere=_ELSEWHERE.format(rows="\n".join(map(_elsewhere_row, elsewhere))) if elsewhere else "",
        recipe=recipe.name,
        epoch=record["epoch"],
        commit=record["commit"] or "unknown",
        torch=record["torch"],
        seed=recipe.seed,
        weakest="\n".join(_weakness(private, int(row)) for row in private.recall.argsort()[:3]),
    )
    (folder / CARD_FILE).write_text(text)


def _origins(recipe: Recipe, record: dict[str, Any]) -> list[str]:
    """What else than FER-2013's labels the weights come from, a sentence each."""
    origins = []
    taught, teachers = recipe.teacher_weight, record.get("teachers", ())
    if taught:
        names = ", ".join(f"`{teacher['recipe']}` ({teacher['sha256'][:12]})" for teacher in teachers)
        origins.append(
            f"{taught:.0%} of each target is what its teachers say of the image: {names} (arXiv 1503.02531)."
        )
    if votes := recipe.votes_weight * (1.0 - taught):
        origins.append(f"{votes:.0%} of each target is FER+ votes (arXiv 1608.01041), where there are any.")
    if recipe.label_smoothing:
        origins.append(f"Targets are smoothed by {recipe.label_smoothing:g}.")
    if record.get("first_weights"):
        origins.append(f"Training started from another checkpoint ({record['first_weights'][:12]}).")
    elif recipe.seeded:
        origins.append(f"Training started from {IMAGENET}.")
    if any(teacher["seeded"] for teacher in teachers):
        origins.append(f"A teacher's training started from {IMAGENET}.")
    return origins


def _rows(worth: Worth, suffix: str) -> list[str]:
    return [_row(f"PublicTest{suffix}", worth.public), _row(f"PrivateTest{suffix}", worth.private)]


def _row(name: str, report: Report) -> str:
    return (
        f"| {name} | {report.accuracy:.2%} | {report.macro_f1:.4f} | {report.ece_before:.4f} / {report.ece_after:.4f} |"
    )


def _elsewhere_row(found: Evaluation) -> str:
    of = found.report
    by_label = [
        f"{label} {recall:.0%}" for label, recall, count in zip(of.labels, of.recall, of.images, strict=True) if count
    ]
    name = found.data.partition(",")[0]
    return f"| {name} | {images_cell(of)} | {of.accuracy:.2%} | {', '.join(by_label)} |"


def _weakness(report: Report, row: int) -> str:
    """One line on a class that is seldom found: how often, and what it is taken for instead."""
    mistakes = report.confusion[row].copy()
    mistakes[row] = 0
    label, taken_for = report.labels[row], report.labels[int(mistakes.argmax())]
    share = f"{report.recall[row]:.0%}"
    return f"- {label.capitalize()} is found in {share} of its pictures, else mostly taken for {taken_for}."
