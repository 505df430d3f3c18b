"""Which cell has to tell which face, and how wrong its answer is.

Assignment is SimOTA (Ge, Liu, Wang, Li, Sun 2021, "YOLOX", arXiv 2107.08430, section 2.1): of the cells in or near the
middle of a face, those whose present answer costs least are responsible for it, as many as the answers overlap it.
Boxes are taught with EIoU (Zhang et al. 2021, "Focal and Efficient IOU Loss", arXiv 2101.08158), landmarks with smooth
L1 relative to the size of the face, both scores with cross entropy; `cls` learns the IoU that its box reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engines.decoding.yunet import MAX_LOG_SIZE, STRIDES
from engines.spec import LANDMARKS
from train.detector.network import ANSWERS

FEW = 8  # responsible cells that a picture is taken to have at least, so that empty ones do not count without bound
NEAR = 2.5  # strides around the middle of a face within which a cell may answer for it
CANDIDATES = 10  # best overlaps whose sum says how many cells are responsible
IOU_COST = 3.0
FORBIDDEN = 1e6  # a cost no real cell has
WEIGHTS = {"cls": 1.0, "obj": 1.0, "bbox": 5.0, "kps": 8.0}
LARGE_PX = 48.0  # from this mean side on the landmarks of a face count in full


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The faces of a batch, padded to the same number. All in pixels of the network's input."""

    boxes: Tensor  # (B, G, 4) x1 y1 x2 y2
    landmarks: Tensor  # (B, G, 5, 2)
    real: Tensor  # (B, G) bool: a face, not padding
    ignored: Tensor  # (B, M, 4) where either answer is fine; padding is all 0


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What every cell of every level says, in one row each; C cells."""

    scores: Tensor  # (B, C, 2) logits of cls and obj
    boxes: Tensor  # (B, C, 4) pixels
    landmarks: Tensor  # (B, C, 5, 2) pixels
    corners: Tensor  # (C, 2) pixels, the cell's upper left
    strides: Tensor  # (C,)


def read(levels: list[Tensor]) -> Answers:
    """The network's maps as pixels: the same arithmetic as `engines.decoding.yunet`."""
    rows = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
    corners, strides = _cells(levels)
    scores, bbox, kps = rows.split([ANSWERS["cls"] + ANSWERS["obj"], ANSWERS["bbox"], ANSWERS["kps"]], dim=2)
    middles = corners + bbox[..., :2] * strides[:, None]
    halves = 0.5 * torch.exp(bbox[..., 2:].clamp(max=MAX_LOG_SIZE)) * strides[:, None]
    points = corners[:, None] + kps.unflatten(2, (LANDMARKS, 2)) * strides[:, None, None]
    return Answers(scores, torch.cat([middles - halves, middles + halves], dim=2), points, corners, strides)


def loss(levels: list[Tensor], targets: Targets) -> dict[str, Tensor]:
    """The weighted parts by the names of ANSWERS, each a scalar: per responsible cell of a picture, then per picture.

    So a picture with one large face counts as much as one with many small ones.
    """
    answers = read(levels)
    with torch.no_grad():
        face, overlap = assign(answers, targets)  # (B, C) index of the face or -1, and IoU with it
        responsible = face >= 0
        counted = ~_inside_any(answers, targets.ignored) | responsible
        share = 1.0 / (responsible.sum(dim=1).clamp(min=FEW) * len(face))  # (B,) of one cell in the loss
    image, cell = responsible.nonzero(as_tuple=True)
    of = face[image, cell]
    wanted, points = targets.boxes[image, of], targets.landmarks[image, of]
    size = (wanted[:, 2:] - wanted[:, :2]).mean(dim=1).clamp(min=1)
    objectness = _cross_entropy(answers.scores[..., 1], responsible.to(share.dtype))
    parts = {
        "obj": (objectness * counted).sum(dim=1) * share,
        "cls": _cross_entropy(answers.scores[image, cell, 0], overlap[image, cell]) * share[image],
        "bbox": eiou_loss(answers.boxes[image, cell], wanted) * share[image],
        "kps": landmark_loss(answers.landmarks[image, cell], points, size) * share[image],
    }
    return {name: WEIGHTS[name] * part.sum() for name, part in parts.items()}


def landmark_loss(found: Tensor, wanted: Tensor, size: Tensor) -> Tensor:
    """(N, 5, 2), (N, 5, 2) and (N,) mean sides of the faces -> (N,): smooth L1 of distances relative to the face.

    A pixel is much of a small face: unweighted, small ones would hide what large ones can still learn.
    """
    apart = (found - wanted) / size[:, None, None]
    distance = functional.smooth_l1_loss(apart, torch.zeros_like(apart), beta=0.05, reduction="none")
    return distance.sum(dim=(1, 2)) * (size / LARGE_PX).clamp(max=1)


def assign(answers: Answers, targets: Targets) -> tuple[Tensor, Tensor]:
    """SimOTA. (B, C) the face each cell is responsible for, -1 for none; and the IoU of its present box with it."""
    middles = answers.corners + answers.strides[:, None] / 2
    boxes = targets.boxes[:, :, None]  # (B, G, 1, 4)
    inside = ((middles > boxes[..., :2]) & (middles < boxes[..., 2:])).all(dim=-1)  # (B, G, C)
    face_middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    near = ((middles - face_middles).abs() < NEAR * answers.strides[:, None]).all(dim=-1)
    possible = (inside | near) & targets.real[:, :, None]
    overlap = iou(boxes, answers.boxes[:, None]) * possible
    score = (answers.scores.float().sigmoid().prod(dim=-1)).sqrt().clamp(1e-6, 1 - 1e-6)
    cost = -torch.log(score)[:, None] - IOU_COST * torch.log(overlap + 1e-8)
    cost = cost + 1e3 * ~(inside & near) + FORBIDDEN * ~possible
    many = min(CANDIDATES, cost.shape[2])
    wanted = overlap.topk(many, dim=2).values.sum(dim=2).int().clamp(min=1)  # (B, G) cells a face gets
    cheapest = cost.topk(many, dim=2, largest=False).indices
    chosen = torch.arange(many, device=cost.device) < wanted[..., None]
    taken = torch.zeros_like(possible).scatter(2, cheapest, chosen) & possible
    cost = torch.where(taken, cost, torch.full_like(cost, 2 * FORBIDDEN))
    least, face = cost.min(dim=1)  # a cell that two faces want goes to the cheaper
    face = torch.where(least < FORBIDDEN, face, torch.full_like(face, -1))
    return face, overlap.gather(1, face.clamp(min=0)[:, None])[:, 0]


def iou(ours: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of (..., 4) and (..., 4), broadcast."""
    low, high = torch.maximum(ours[..., :2], others[..., :2]), torch.minimum(ours[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    union = (ours[..., 2:] - ours[..., :2]).prod(dim=-1) + (others[..., 2:] - others[..., :2]).prod(dim=-1) - shared
    return shared / union.clamp(min=1e-6)


def eiou_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """(N, 4) and (N, 4) -> (N,): 1 - IoU, and the distances of middles, widths and heights on the hull's own scale."""
    low, high = torch.minimum(found[:, :2], wanted[:, :2]), torch.maximum(found[:, 2:], wanted[:, 2:])
    hull = (high - low).clamp(min=1e-3)
    apart = (found[:, :2] + found[:, 2:] - wanted[:, :2] - wanted[:, 2:]) / 2
    sides = (found[:, 2:] - found[:, :2]) - (wanted[:, 2:] - wanted[:, :2])
    distance = apart.square().sum(dim=1) / hull.square().sum(dim=1)
    return 1 - iou(found, wanted) + distance + (sides / hull).square().sum(dim=1)


def _cross_entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _cells(levels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(C, 2) upper left corners in pixels and (C,) strides of all cells, row by row, level by level."""
    corners, strides = [], []
    for stride, level in zip(STRIDES, levels, strict=True):
        rows, columns = level.shape[2:]
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        corners.append(torch.stack([x, y], dim=-1).reshape(-1, 2) * float(stride))
        strides.append(torch.full((rows * columns,), float(stride)))
    device = levels[0].device
    return torch.cat(corners).to(device), torch.cat(strides).to(device)


def _inside_any(answers: Answers, boxes: Tensor) -> Tensor:
    """(B, C) whether a cell's middle lies in any of (B, M, 4), made half a stride larger."""
    middles = answers.corners + answers.strides[:, None] / 2
    grown = answers.strides[:, None] / 2
    low, high = boxes[:, :, None, :2] - grown, boxes[:, :, None, 2:] + grown
    real = (boxes[:, :, None, 2:] > boxes[:, :, None, :2]).all(dim=-1)
    return (((middles > low) & (middles < high)).all(dim=-1) & real).any(dim=1)
