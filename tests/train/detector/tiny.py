"""A recipe that is over in seconds; apart from `synthetic`, because reading recipes needs torch."""

from __future__ import annotations

from train.detector.mosaic import MosaicSettings
from train.detector.recipe import DetectorRecipe

TINY = DetectorRecipe(
    "tiny",
    epochs=2,
    pictures=8,
    batch_size=4,
    ema_decay=0.5,
    seed=3,
    mosaic=MosaicSettings(size_px=64, largest_px=50.0),
)
