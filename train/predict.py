"""Images -> logits, through a torch network or an exported model folder. Both take the batch that `to_batch` makes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.preprocess import to_batch
from engines.spec import ModelSpec

BATCH = 128


def predict_torch(model: nn.Module, images: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """(N, H, W) uint8 -> (N, labels) logits. The network is left in evaluation mode."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(to_batch(images[start : start + BATCH], spec))
            parts.append(model(batch.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(parts)
