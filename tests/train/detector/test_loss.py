"""What a detector is taught: answers are read as engines read them, and each face has cells that answer for it."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from torch import Tensor  # noqa: E402 - after the skip

from engines.decoding.yunet import decode  # noqa: E402
from train.detector.loss import Answers, Targets, assign, eiou_loss, loss, read  # noqa: E402
from train.detector.network import ANSWERS, OUTPUTS, STRIDES, Exported, FaceNet  # noqa: E402

HEIGHT, WIDTH = 64, 96


def talkative(channels: int = 1) -> FaceNet:
    """A network whose answers differ from cell to cell."""
    torch.manual_seed(0)
    network = FaceNet(channels).eval()
    for head in network.heads:
        torch.nn.init.normal_(head.answer.weight, std=0.5)
    return network


def maps(batch: int = 1) -> list[Tensor]:
    """Raw answers of all levels that anything may be learned from."""
    random = torch.Generator().manual_seed(1)
    sizes = [(HEIGHT // stride, WIDTH // stride) for stride in STRIDES]
    return [
        (torch.randn(batch, sum(ANSWERS.values()), *size, generator=random) * 0.3).requires_grad_() for size in sizes
    ]


def targets(
    *pictures: list[tuple[float, float, float, float]], ignored: list[tuple[float, ...]] | None = None
) -> Targets:
    """Faces of each picture, padded; their landmarks are the middle of the box. `ignored` is of every picture."""
    most = max(1, *[len(faces) for faces in pictures])
    boxes, real = torch.zeros(len(pictures), most, 4), torch.zeros(len(pictures), most, dtype=torch.bool)
    for number, faces in enumerate(pictures):
        if faces:
            boxes[number, : len(faces)], real[number, : len(faces)] = torch.tensor(faces), True
    middles = (boxes[..., None, :2] + boxes[..., None, 2:]) / 2
    places = torch.tensor(ignored or [(0.0,) * 4]).expand(len(pictures), -1, 4)
    return Targets(boxes, middles.expand(-1, -1, 5, 2), real, places)


def test_answers_are_read_as_engines_read_the_exported_network() -> None:
    network = talkative()
    images = torch.randn(2, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        answers, exported = read(network(images)), Exported(network)(images)
    for row in range(2):
        outputs = {name: output[row : row + 1].numpy() for name, output in zip(OUTPUTS, exported, strict=True)}
        wanted, _ = decode(outputs, (HEIGHT, WIDTH), 0.0)
        assert len(wanted) == len(answers.strides)
        np.testing.assert_allclose(answers.boxes[row].numpy(), wanted.boxes, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(answers.landmarks[row].numpy(), wanted.landmarks, rtol=1e-5, atol=1e-3)
        scores = answers.scores[row].sigmoid().prod(dim=1).sqrt().numpy()
        np.testing.assert_allclose(scores, wanted.scores, rtol=1e-4)
    assert wanted.boxes.std(axis=0).min() > 1  # otherwise nothing was compared


def test_a_size_beyond_reason_is_cut_where_engines_cut_it() -> None:
    levels = [level.detach() for level in maps()]
    levels[0][0, 4, 2, 3] = 50.0  # log of the width
    answers = read(levels)
    rows = {name: level.flatten(2).transpose(1, 2)[0] for name, level in zip(("8", "16", "32"), levels, strict=True)}
    outputs = {}
    for stride, level in rows.items():
        cls, obj, bbox, kps = level.split(list(ANSWERS.values()), dim=1)
        parts = {"cls": cls.sigmoid(), "obj": obj.sigmoid(), "bbox": bbox, "kps": kps}
        outputs |= {f"{kind}_{stride}": part.numpy()[None] for kind, part in parts.items()}
    wanted, _ = decode(outputs, (HEIGHT, WIDTH), 0.0)
    np.testing.assert_allclose(answers.boxes[0].numpy(), wanted.boxes, rtol=1e-5, atol=1e-3)
    assert bool(answers.boxes.isfinite().all())


def test_each_face_gets_a_cell_and_padding_gets_none() -> None:
    faces = [(4.0, 4.0, 20.0, 24.0), (40.0, 10.0, 90.0, 60.0), (2.0, 50.0, 12.0, 61.0)]
    wanted = targets(faces, faces[:1], [])
    face, overlap = assign(read(maps(3)), wanted)
    assert set(face[0].tolist()) == {-1, 0, 1, 2}
    assert set(face[1].tolist()) == {-1, 0}
    assert set(face[2].tolist()) == {-1}
    assert 0 <= overlap.min() <= overlap.max() <= 1


def test_cells_answer_only_for_faces_that_they_are_in_or_near() -> None:
    faces = [(4.0, 4.0, 20.0, 24.0), (40.0, 10.0, 90.0, 60.0)]
    answers = read(maps())
    face, _ = assign(answers, targets(faces))
    middles = answers.corners + answers.strides[:, None] / 2
    for cell in (face[0] >= 0).nonzero()[:, 0].tolist():
        left, top, right, bottom = faces[int(face[0, cell])]
        x, y = middles[cell].tolist()
        reach = 2.5 * float(answers.strides[cell])
        near = abs(x - (left + right) / 2) < reach and abs(y - (top + bottom) / 2) < reach
        assert near or (left < x < right and top < y < bottom)


def test_a_cell_that_two_faces_want_answers_for_the_one_that_it_fits() -> None:
    first, second = (16.0, 16.0, 48.0, 48.0), (24.0, 16.0, 56.0, 48.0)
    answers = exact(maps(), first)
    alone, _ = assign(answers, targets([second]))
    both, overlap = assign(answers, targets([second, first]))
    wanted_twice = (alone[0] == 0) & (both[0] == 1)
    assert wanted_twice.any()
    assert overlap[0, wanted_twice].tolist() == pytest.approx([1.0] * int(wanted_twice.sum()))


def exact(levels: list[Tensor], box: tuple[float, float, float, float]) -> Answers:
    """The same answer of every cell: this box."""
    answers = read([level.detach() for level in levels])
    boxes = torch.tensor(box).expand_as(answers.boxes)
    return Answers(answers.scores, boxes, answers.landmarks, answers.corners, answers.strides)


def test_a_face_gets_as_many_cells_as_overlap_it() -> None:
    box = (16.0, 8.0, 64.0, 56.0)
    face, _ = assign(exact(maps(), box), targets([box]))
    assert int((face[0] == 0).sum()) == 10  # the ten best overlaps are all 1
    face, _ = assign(exact(maps(), (0.0, 0.0, 1.0, 1.0)), targets([box]))
    assert int((face[0] == 0).sum()) == 1  # none overlaps, yet somebody has to learn


def test_equal_boxes_cost_nothing() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 20.0], [5.0, 5.0, 6.0, 6.0]])
    assert eiou_loss(boxes, boxes).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_cost_of_a_box_is_what_the_paper_says() -> None:
    found, wanted = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, 4.0, 2.0]])
    # IoU 4/8; middles 1 apart, on a hull of 4 x 2; widths differ by 2 of its 4
    assert eiou_loss(found, wanted).item() == pytest.approx((1 - 0.5) + 1 / (16 + 4) + (2 / 4) ** 2)


def test_places_where_either_answer_is_fine_teach_nothing() -> None:
    levels, place = maps(), (32.0, 0.0, 96.0, 64.0)
    loss(levels, targets([], ignored=[place]))["obj"].backward()
    for stride, level in zip(STRIDES, levels, strict=True):
        assert level.grad is not None
        learned = level.grad[0, 1] != 0
        x = (torch.arange(learned.shape[1]) + 0.5) * stride
        inside = x > place[0] - stride / 2  # the place reaches from top to bottom, to the right end
        assert not learned[:, inside].any()
        assert learned[:, ~inside].all()


def test_a_face_in_such_a_place_is_taught_all_the_same() -> None:
    levels = maps()
    wanted = targets([(36.0, 20.0, 60.0, 44.0)], ignored=[(0.0, 0.0, 96.0, 64.0)])
    face, _ = assign(read(levels), wanted)
    loss(levels, wanted)["obj"].backward()
    grads = torch.cat([level.grad[0, 1].flatten() for level in levels if level.grad is not None])
    assert torch.equal(grads != 0, face[0] >= 0)


def test_a_batch_without_any_face_has_finite_gradients() -> None:
    network = talkative().train()
    parts = loss(network(torch.randn(2, 1, HEIGHT, WIDTH)), targets([], []))
    assert {name: parts[name].item() for name in ("cls", "bbox", "kps")} == {"cls": 0.0, "bbox": 0.0, "kps": 0.0}
    torch.stack(list(parts.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_steps_down_the_gradient_teach_a_face() -> None:
    levels, wanted = maps(), targets([(20.0, 12.0, 52.0, 52.0)])
    steps = torch.optim.Adam(levels, lr=0.05)
    first = last = float("nan")
    for number in range(40):
        steps.zero_grad()
        total = torch.stack(list(loss(levels, wanted).values())).sum()
        total.backward()
        steps.step()
        first, last = (total.item(), last) if number == 0 else (first, total.item())
    assert last < first / 3
    answers = read(levels)
    best = int(answers.scores[0].sigmoid().prod(dim=1).argmax())
    assert answers.boxes[0, best].tolist() == pytest.approx([20.0, 12.0, 52.0, 52.0], abs=3)
    assert answers.landmarks[0, best].flatten().tolist() == pytest.approx([36.0, 32.0] * 5, abs=3)
