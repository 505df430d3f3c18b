"""The model card: what a person should know before they use the network. Mitchell et al., arXiv 1810.03993."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from pathlib import Path

from engines.spec import ModelSpec
from train.checkpoint import Checkpoint
from train.evaluate import Evaluation, ferplus_line
from train.metrics import Report
from train.ranges import IMAGES
from train.worth import Worth

CARD_FILE = "card.md"

_CARD = """\
# {name}: {model}, 48x48 luma, 7 emotions, {precision}

One face in, cropped as `spec.json` says; logits out for {labels}.
Divide them by the temperature ({temperature}) before the softmax.

## Precision
{made}
Over the pictures of `parity.npz` its probabilities differ from the checkpoint's by {difference:.2g} at most and by
{mean_difference:.2g} on average.

## Data
FER-2013 (Goodfellow et al. 2013, arXiv 1307.0414): 28,709 training images found by web search. Its authors measured
that people agree with its labels in about two of three cases. Every training image that is pixel-identical to one of
the two test splits was left out, and blank ones too.
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
Runtime makes of it on a processor: it computes in float32, from the rounded weights.""",
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
    folder: Path, spec: ModelSpec, checkpoint: Checkpoint, worth: Worth, fp32: Worth, elsewhere: Sequence[Evaluation]
) -> None:
    """Write `card.md` into a model folder. Every number in it comes from the arguments."""
    recipe, record, private = checkpoint.recipe, checkpoint.record, worth.private
    taught = f"Of each target {recipe.teacher_weight:.0%} is what other networks, trained on the same images, say"
    teachers = f"{taught} (arXiv 1503.02531)."
    votes = f"The targets mix in FER+ votes (arXiv 1608.01041), weight {recipe.votes_weight}."
    seeded = "Training started from ImageNet weights (Keras, Apache-2.0)."
    shares = (recipe.votes_weight, recipe.teacher_weight, recipe.seeded)
    text = _CARD.format(
        name=spec.name,
        precision=spec.precision,
        made=_MADE[spec.precision].format(images=IMAGES),
        difference=worth.difference,
        mean_difference=worth.mean_difference,
        model=recipe.model,
        labels=", ".join(spec.labels),
        temperature=spec.temperature,
        targets="\n".join(compress((votes, teachers, seeded), shares)),
        rows="\n".join(_rows(worth, "") + ([] if spec.precision == "fp32" else _rows(fp32, " in fp32"))),
        confusion=private.confusion_text(),
        ferplus=ferplus_line(worth.ferplus, private) + " of PrivateTest.\n" if worth.ferplus.images else "",
        elsewhere=_ELSEWHERE.format(rows="\n".join(map(_elsewhere_row, elsewhere))) if elsewhere else "",
        recipe=recipe.name,
        epoch=record["epoch"],
        commit=record["commit"],
        torch=record["torch"],
        seed=recipe.seed,
        weakest="\n".join(_weakness(private, int(row)) for row in private.recall.argsort()[:3]),
    )
    (folder / CARD_FILE).write_text(text)


def _rows(worth: Worth, suffix: str) -> list[str]:
    return [_row(f"PublicTest{suffix}", worth.public), _row(f"PrivateTest{suffix}", worth.private)]


def _row(name: str, report: Report) -> str:
    return (
        f"| {name} | {report.accuracy:.2%} | {report.macro_f1:.4f} | {report.ece_before:.4f} / {report.ece_after:.4f} |"
    )


def _elsewhere_row(found: Evaluation) -> str:
    counts = found.report.confusion.sum(axis=1)
    recalls = zip(found.report.labels, found.report.recall, counts, strict=True)
    by_label = ", ".join(f"{label} {recall:.0%}" for label, recall, count in recalls if count)
    return f"| {found.data.partition(',')[0]} | {counts.sum() + found.missed} | {found.accuracy:.2%} | {by_label} |"


def _weakness(report: Report, row: int) -> str:
    """One line on a class that is seldom found: how often, and what it is taken for instead."""
    mistakes = report.confusion[row].copy()
    mistakes[row] = 0
    label, taken_for = report.labels[row], report.labels[int(mistakes.argmax())]
    share = f"{report.recall[row]:.0%}"
    return f"- {label.capitalize()} is found in {share} of its pictures, else mostly taken for {taken_for}."
