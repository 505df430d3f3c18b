"""The ModelSpec of a network that is not exported yet: what training, evaluation and export agree on."""

from __future__ import annotations

from engines.spec import EMOTIONS, SCHEMA, ModelSpec
from train.data.pictures import SIDE_PX
from train.recipe import Recipe

INPUT_NAME, OUTPUT_NAME = "input", "logits"
# Where the shipped detector sees the five landmarks in FER-2013's own framing, pixels of the 48x48 crop: measured by
# `train template`. YuNet sees them up to 1.7 pixels elsewhere, and turned by 2.5 degrees.
TEMPLATE = ((14.66, 17.68), (32.20, 17.71), (23.30, 27.74), (16.17, 35.55), (30.66, 35.56))


def draft_spec(recipe: Recipe) -> ModelSpec:
    """Everything but the digest, the temperature and the metrics, which only the exported file has."""
    return ModelSpec(
        schema_=SCHEMA,
        name="emotion",
        task="emotion",
        precision="fp32",
        input_shape=(1, SIDE_PX, SIDE_PX),
        stride=1,
        color="luma",
        mean=(0.5,),  # -1..1, as the ImageNet weights were trained
        std=(0.5,),
        outputs=(OUTPUT_NAME,),
        labels=EMOTIONS,
        template=TEMPLATE,
        sha256="0" * 64,
    )
