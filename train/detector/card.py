"""The detector's model card: what a person should know before they use it. Mitchell et al., arXiv 1810.03993."""

from __future__ import annotations

from pathlib import Path

from engines.spec import ModelSpec
from train.card import CARD_FILE
from train.checkpoint import Checkpoint
from train.detector.evaluate import Report

_CARD = """\
# {name}: a face detector on {color}, {parameters:,} parameters

Any picture whose sides {stride} divides; out come, at strides 8, 16 and 32, for each cell whether a face is there, its
box and five landmarks. Read by the decoding that `spec.json` names. Faces from about 10 pixels on, as the network sees
them.

## Data
8,845 photos of people found on the web (`web_faces_unlabelled`, an Apache-2.0 repository; nearly all are grey head
shots), and pictures of backgrounds from packages of Debian. Nobody labelled them: {teacher} (Apache-2.0) looked at each
at nine scales, and a face counts where it was sure at most of them. What is told here is therefore *agreement with
{teacher}*, whose mistakes this network has learned too. Every tenth photo was held out. Training pictures are mosaics
of such photos on such backgrounds, lit, blurred, compressed and made noisy by chance.

## Measured
Against {teacher} at the same input size, IoU 0.5, scores from {threshold} (chosen on held-out mosaics). None of these
frames was trained on. Strict precision counts every answer that {teacher} does not give at its own threshold; lenient
leaves out those that it half believes (from 0.3). The landmark error is relative to the distance of the eyes.

{clips}
### Photos that were held out, at four sizes

{photos}

Made by recipe `{recipe}`, epoch {epoch}, commit {commit}, torch {torch}.

## Known weaknesses
- Faces smaller than 12 pixels, seen from behind half a head or upside down are not measured.
- The photos were chosen by others; there is no record of age, sex or skin tone, so differences between groups of people
  are **not measured**.
- It finds faces. It does not recognise people, and nothing in it could.

## Licence
The weights were trained by this project and are Apache-2.0 like its code. The photos are not part of this project.
`parity.npz` holds none of them: its pictures show a portrait of Grace Hopper in the public domain, or nothing.
"""


def write_detector_card(folder: Path, spec: ModelSpec, checkpoint: Checkpoint, report: Report) -> None:
    """Write `card.md` into a model folder. Every number in it comes from the report."""
    record = checkpoint.record
    text = _CARD.format(
        name=spec.name,
        color="luma" if spec.color == "luma" else "colour",
        parameters=spec.metrics["parameters"],
        stride=spec.stride,
        teacher=report.teacher,
        threshold=report.threshold,
        clips="\n".join(_clips(report, px) for px in report.clips),
        photos=report.table([report.photos]),
        recipe=spec.source.recipe,
        epoch=record["epoch"],
        commit=record["commit"],
        torch=record["torch"],
    )
    (folder / CARD_FILE).write_text(text)


def _clips(report: Report, longer_px: int) -> str:
    total = report.together(longer_px).as_dict()
    return (
        f"### Clips, longer side {longer_px} px\n\n{report.table(report.clips[longer_px])}\n\n"
        f"{total['ms']} ms a picture from pixels to faces on one CPU thread, {report.teacher} {total['teacher_ms']} ms "
        "in the same run.\n"
    )
