"""The detector's model card: what a person should know before they use it. Mitchell et al., arXiv 1810.03993."""

from __future__ import annotations

import math
from pathlib import Path

from engines.spec import ModelSpec
from train.checkpoint import Checkpoint
from train.detector.corpus import Corpus, Origin
from train.detector.evaluate import HALF_BELIEVED, Report
from train.detector.photos import HELD_OUT
from train.detector.scoring import SIZES_PX
from train.detector.teacher import SCALES
from train.export.model_folder import CARD_FILE

_CARD = """\
# {name}: a face detector on {color}, {parameters:,} parameters

Any picture whose sides {stride} divides; out come, at strides 8, 16 and 32, for each cell whether a face is there, its
box and five landmarks. Read by the decoding that `spec.json` names. Faces from about 10 pixels on, as the network sees
them.

## Data
{photos:,} photos of people found on the web (`web_faces_unlabelled`, an Apache-2.0 repository; nearly all are grey head
shots), {turned:,} of the same faces turned to the side by arithmetic, and {backgrounds:,} pictures of other things,
most of them without a face. Nobody labelled them: {taught_by} looked at each at {scales} scales, and a face counts
where it was sure at most of them. What is told here is therefore *agreement with a teacher*, whose mistakes this
network has learned too. One picture in {held_out} was held out; of the other things some were there in several sizes,
so that a held-out one can have a twin in training. Training pictures are mosaics of such photos on such backgrounds,
lit, blurred, compressed and made noisy by chance.

## Measured
Against {teacher} at the same input size, IoU 0.5, scores from {threshold}. None of these frames was trained on. Strict
precision counts every answer of that size that {teacher} does not give at its own threshold; lenient leaves out those
that it half believes (from {half_believed}). The landmark error is the mean distance relative to that of the eyes,
which lie close together in profile, so its median stands beside it. The last column says how far {teacher} agrees with
itself when the same picture is moved by a few pixels: its recall and its landmark error.

{clips}
### Photos that were held out, at several sizes

Not trained on; but epoch and threshold were chosen on mosaics of them.

{photo_table}

Made by recipe `{recipe}`, epoch {epoch}, commit {commit}, torch {torch}; first weights: {first_weights}.

## Known weaknesses
- {worst}
- Faces smaller than 12 pixels, seen from behind half a head or upside down are not measured.
- The photos are frontal; faces in profile were learned from photos turned by arithmetic.
- The photos were chosen by others; there is no record of age, sex or skin tone, so differences between groups of people
  are **not measured**.
- It finds faces. It does not recognise people, and nothing in it could.

## Licence
The weights were trained by this project and are Apache-2.0 like its code. The photos are not part of this project.
`parity.npz` holds none of them: its pictures show a portrait of Grace Hopper in the public domain, or nothing.
"""


def write_detector_card(folder: Path, spec: ModelSpec, checkpoint: Checkpoint, corpus: Corpus, report: Report) -> None:
    """Write `card.md` into a model folder. Every number in it comes from the arguments."""
    record = checkpoint.record
    text = _CARD.format(
        name=spec.name,
        color="luma" if spec.color == "luma" else "colour",
        parameters=spec.metrics["parameters"],
        stride=spec.stride,
        teacher=report.teacher,
        photos=corpus.count(Origin.PHOTO),
        turned=corpus.count(Origin.TURNED),
        backgrounds=corpus.count(Origin.BACKGROUND),
        taught_by=corpus.teacher,
        scales=len(SCALES),
        held_out=HELD_OUT,
        half_believed=HALF_BELIEVED,
        threshold=report.threshold,
        clips="\n".join(_clips(report, px) for px in report.clips),
        photo_table=report.table([report.photos]),
        recipe=spec.source.recipe,
        epoch=record["epoch"],
        commit=record["commit"],
        torch=record["torch"],
        worst=_worst(report),
        first_weights=_first_weights(record.get("first_weights")),
    )
    (folder / CARD_FILE).write_text(text)


def _worst(report: Report) -> str:
    """The clip on which most is missed, at the largest size."""
    largest = max(report.clips)
    recalls = {clip.name: clip.strict.recall(clip.threshold, SIZES_PX[0][0]) for clip in report.clips[largest][:-1]}
    known = {name: recall for name, recall in recalls.items() if not math.isnan(recall)}
    if not known:
        return "No clip that it was measured on showed a face."
    name = min(known, key=known.__getitem__)
    found = f"of the faces that {report.teacher} finds there it finds {known[name]:.0%}"
    return f"It does worst on {name} at {largest} px: {found}."


def _first_weights(checkpoint_sha256: str | None) -> str:
    return "drawn at random" if checkpoint_sha256 is None else f"the checkpoint of SHA-256 {checkpoint_sha256[:16]}"


def _clips(report: Report, longer_px: int) -> str:
    total = report.together(longer_px)
    return (
        f"### Clips, longer side {longer_px} px\n\n{report.table(report.clips[longer_px])}\n\n"
        f"{total.ms} ms a picture from pixels to faces on one CPU thread, {report.teacher} {total.teachers_ms} ms "
        "in the same run.\n"
    )
