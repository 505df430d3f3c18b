"""Occlusion maps, on networks made by hand that are known to look at one place only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[train]'")

from engines.spec import EMOTIONS  # noqa: E402 - after the skip
from tests.train.synthetic import write_archive  # noqa: E402
from tests.train.test_evaluate import SPEC, WIDTH_PX, RowMeans, fonts, png_size, write_model  # noqa: E402, F401 - a fixture
from train.cli import app  # noqa: E402
from train.data import Faces  # noqa: E402
from train.errors import DataMissing, TrainError  # noqa: E402
from train.predict import Network, predict_torch  # noqa: E402
from train.saliency import explain, face_tiles, first_right, grey_of, occlusion_maps, starts, write_maps  # noqa: E402

CORNER_PX = 12
pytestmark = pytest.mark.usefixtures("fonts")


class Corner(torch.nn.Module):
    """Says label 1 when the mean of the upper left corner is above mid-grey, else label 0."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        mean = batch[:, 0, :CORNER_PX, :CORNER_PX].mean(dim=(1, 2)) - 0.5
        return torch.stack([-mean, mean], dim=1)


def corner(images: np.ndarray) -> np.ndarray:
    return predict_torch(Corner(), images, SPEC)


def white(count: int) -> np.ndarray:
    return np.full((count, 48, 48), 255, np.uint8)


def test_a_network_that_looks_at_one_corner_is_marked_there_and_nowhere_else() -> None:
    maps = occlusion_maps(corner, white(2), np.array([1, 1]), CORNER_PX, CORNER_PX, 128)
    wanted = np.zeros((48, 48))
    wanted[:CORNER_PX, :CORNER_PX] = 1
    assert maps.shape == (2, 48, 48)
    assert maps.tolist() == [wanted.tolist()] * 2


def test_overlapping_squares_give_shares() -> None:
    maps = occlusion_maps(corner, white(1), np.array([1]), CORNER_PX, 3, 128)[0]
    # a square breaks the answer when it hides more than half of the corner: moved by 0 or 3 pixels each way, at most
    assert maps[4, 4] == 1  # only those four cover it
    assert maps[4, 7] == pytest.approx(4 / 6)  # 0 or 3 down, 0, 3 or 6 across
    assert maps[7, 7] == pytest.approx(4 / 9)
    assert maps[40, 40] == 0
    assert maps.max() == 1


def test_an_answer_that_nothing_breaks_has_an_empty_map() -> None:
    black = np.zeros((1, 48, 48), np.uint8)
    assert not occlusion_maps(corner, black, np.array([0]), CORNER_PX, 3, 128).any()


def test_squares_reach_the_far_edge_and_images_are_only_read() -> None:
    assert starts(48, 10, 3) == [*range(0, 37, 3), 38]
    assert starts(48, 12, 12) == [0, 12, 24, 36]
    assert starts(48, 48, 5) == [0]
    image = white(1)
    image.flags.writeable = False
    occlusion_maps(corner, image, np.array([1]), 10, 30, 128)


def test_grey_is_what_the_network_sees_as_zero() -> None:
    assert grey_of(SPEC) == 128
    assert grey_of(SPEC.model_copy(update={"mean": (0.0,)})) == 0


def test_a_square_larger_than_the_face_is_a_sentence() -> None:
    with pytest.raises(TrainError, match="patch of 49 pixels does not fit into faces of 48x48"):
        occlusion_maps(corner, white(1), np.array([1]), 49, 3, 128)


def test_only_the_first_right_answers_are_taken() -> None:
    truth, answers = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([1, 0, 0, 0, 1, 1, 0])
    assert first_right(answers, truth, 2).tolist() == [1, 2, 4, 5]


def test_a_network_that_is_never_right_is_a_sentence() -> None:
    faces = Faces(white(3), np.zeros(3, np.int64), np.zeros((3, 7), np.uint8))
    with pytest.raises(DataMissing, match="names no face of this split right"):
        explain(Network(SPEC, corner, None), faces, 5, 10, 10)


def test_single_faces_come_from_each_class_in_turn(tmp_path: Path) -> None:
    images = np.concatenate([white(3), np.zeros((2, 48, 48), np.uint8)])
    faces = Faces(images, np.array([1, 1, 1, 0, 0]), np.zeros((5, 7), np.uint8))
    found = explain(Network(SPEC, corner, None), faces, 5, CORNER_PX, CORNER_PX)
    assert [tile.title for tile in face_tiles(found, 4)] == ["angry", "disgust", "angry", "disgust"]
    facts = write_maps(found, 5, tmp_path)
    assert facts["faces"] == {label: {"angry": 2, "disgust": 3}.get(label, 0) for label in EMOTIONS}
    assert facts["unbreakable"]["angry"] == 2
    assert facts["unbreakable"]["disgust"] == 0


def test_the_command_writes_pictures_and_facts(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_archive(tmp_path / "data" / "fer2013.npz")
    model, out = write_model(tmp_path / "bar", RowMeans(6.0)), tmp_path / "maps"
    command = [
        "saliency",
        str(model),
        "--out",
        str(out),
        "--per-class",
        "1",
        "--stride",
        "9",
        "--threads",
        "1",
        "--json",
    ]
    answer = CliRunner().invoke(app, command, env={"EMOSTREAM_SHARED": str(tmp_path)})
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["faces"] == dict.fromkeys(EMOTIONS, 1)
    assert png_size(out / "faces.png")[0] == png_size(out / "classes.png")[0] == WIDTH_PX
    assert json.loads((out / "saliency.json").read_text())["patch"] == 10

    answer = CliRunner().invoke(app, [*command, "--patch", "60"], env={"EMOSTREAM_SHARED": str(tmp_path)})
    assert answer.exit_code == 2
    assert answer.stderr == "a patch of 60 pixels does not fit into faces of 48x48; choose a smaller one\n"
