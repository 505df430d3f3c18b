"""What a network is punished for: wrong answers, weights of two layers, features far from the centre of their class."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean over a batch; (B, classes) logits and target probabilities, (classes,) weights of the classes.

    As in torch, a weighted mean is divided by the weights of its targets, so that rare classes change its direction and
    not its size.
    """
    losses = -(targets * functional.log_softmax(logits, dim=1))
    if weights is None:
        return losses.sum(dim=1).mean()
    return (losses * weights).sum() / (targets * weights).sum()


def balanced_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """(classes,) inversely proportional to how often each label occurs, mean 1 over the classes that do; else 0."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    weights = np.divide(1.0, counts, out=np.zeros(classes), where=counts > 0)
    return torch.from_numpy(weights * np.count_nonzero(counts) / weights.sum()).float()


def oversampled(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.intp]:
    """Rows in which every class occurs as often as the most frequent one: rare ones are drawn again."""
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = max(len(rows) for rows in groups)
    return np.concatenate([np.concatenate([rows, random.choice(rows, most - len(rows))]) for rows in groups])


class CenterLoss(nn.Module):
    """Half the squared distance of each embedding from the centre of its class (Wen et al., ECCV 2016).

    The centres are no parameters: after each batch `follow` moves them towards what it held, at their own rate.
    """

    def __init__(self, classes: int, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.centers: Tensor
        self.register_buffer("centers", torch.zeros(classes, width))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean over a batch of (B, width) embeddings and (B,) labels."""
        return 0.5 * (embeddings - self.centers[labels]).square().sum(dim=1).mean()

    @torch.no_grad()
    def follow(self, embeddings: Tensor, labels: Tensor) -> None:
        """Equation 4 of the paper: centre j moves by rate * sum(x_i - c_j) / (1 + n_j) over its n_j embeddings."""
        counts = torch.bincount(labels, minlength=len(self.centers)).to(embeddings.dtype)
        away = torch.zeros_like(self.centers).index_add_(0, labels, embeddings - self.centers[labels])
        self.centers += self.rate * away / (1.0 + counts)[:, None]
