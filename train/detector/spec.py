"""The ModelSpec of a detector that is not exported yet: what training, evaluation and export agree on."""

from __future__ import annotations

from engines.decoding.yunet import STRIDES
from engines.spec import SCHEMA, ModelSpec
from train.detector.network import OUTPUTS
from train.detector.recipe import COLORS, DetectorRecipe

NMS_THRESHOLD = 0.3  # IoU; faces seldom hide each other by more
INPUT_NAME = "input"


def draft_spec(recipe: DetectorRecipe) -> ModelSpec:
    """Everything but the threshold, the digest and the metrics, which only the exported file has."""
    channels = COLORS[recipe.color]
    return ModelSpec(
        schema_=SCHEMA,
        name="face",
        task="face",
        precision="fp32",
        input_shape=(channels, 0, 0),
        stride=max(STRIDES),
        color="luma" if recipe.color == "luma" else "bgr",
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        outputs=OUTPUTS,
        decoding="yunet",
        score_threshold=0.5,
        nms_threshold=NMS_THRESHOLD,
        sha256="0" * 64,
    )
