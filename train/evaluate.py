"""Evaluate a checkpoint or an exported model folder on FER-2013, without test-time tricks: one look at each image."""

from __future__ import annotations

from pathlib import Path

from train.checkpoint import build_model, read_checkpoint
from train.data import Fer2013
from train.metrics import Report, fit_temperature, report
from train.predict import open_model, predict_onnx, predict_torch
from train.spec import draft_spec


def evaluate(target: Path, data: Fer2013, split: str) -> Report:
    """The report on one split. `target` is a checkpoint (a file) or an exported model (a folder).

    A checkpoint's temperature is fitted on PublicTest, whatever the split; an exported model carries its own.
    """
    faces = data.split(split)
    if target.is_dir():
        spec, infer = open_model(target)
        return report(predict_onnx(infer, faces.images, spec), faces.labels, spec.labels, spec.temperature)
    checkpoint = read_checkpoint(target)
    model, spec = build_model(checkpoint), draft_spec(checkpoint.recipe)
    public = predict_torch(model, data.public.images, spec)
    logits = public if split == "public" else predict_torch(model, faces.images, spec)
    return report(logits, faces.labels, spec.labels, fit_temperature(public, data.public.labels))
