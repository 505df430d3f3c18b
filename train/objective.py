"""The whole loss of a recipe, and the optimiser that lessens it."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from train.losses import CenterLoss, balanced_weights, cross_entropy
from train.models.base import Network
from train.recipe import Recipe
from train.run import Rate, adamw, cosine_rate


class Objective(nn.Module):
    """What a batch costs. Its buffers (weights of classes, centres) are kept with the run."""

    def __init__(self, recipe: Recipe, model: Network, labels: Tensor, classes: int) -> None:
        super().__init__()
        self._recipe = recipe
        self.weights: Tensor | None
        weighed = recipe.balance == "weights"
        self.register_buffer("weights", balanced_weights(labels.numpy(), classes) if weighed else None)
        self.centers = CenterLoss(classes, model.embedding_width, recipe.center_rate) if recipe.center_weight else None
        self._last_layers = model.fully_connected_parameters() if recipe.l2_last else []

    def forward(self, model: Network, images: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """(B, C, H, W) images, (B, classes) target probabilities and (B,) labels -> one number; centres follow."""
        embedding = model.embed(images)
        loss = cross_entropy(model.classify(embedding), targets, self.weights)
        if self.centers is not None:
            features = embedding.flatten(1)
            loss = loss + self._recipe.center_weight * self.centers(features, labels)
            self.centers.follow(features.detach(), labels)
        for weight in self._last_layers:
            loss = loss + self._recipe.l2_last * weight.square().sum()
        return loss


def optimizer_of(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Fresh. Only AdamW leaves batch norm and biases out of the weight decay; the papers' others decay everything."""
    if recipe.optimizer == "adamw":
        return adamw(model, recipe)
    settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay, "foreach": True}
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), **settings)
    return torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **settings)


def rate_of(recipe: Recipe) -> Rate:
    """Epoch -> learning rate."""
    return partial(cosine_rate if recipe.schedule == "cosine" else step_rate, recipe)


def step_rate(recipe: Recipe, epoch: float) -> float:
    """Linear warm-up, then times `step_factor` every `step_epochs`. `epoch` counts from 0, with fractions."""
    warm = min(1.0, (epoch + 1e-2) / (recipe.warmup_epochs + 1e-2)) if recipe.warmup_epochs else 1.0
    return recipe.learning_rate * warm * recipe.step_factor ** math.floor(epoch / recipe.step_epochs)
