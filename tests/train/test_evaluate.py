"""Evaluation: what ensembles and mirror images change and what they must not, and the page that comes out."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[train]'")

from engines.base import Engine  # noqa: E402 - after the skip
from engines.build import build  # noqa: E402
from engines.cache import Cache  # noqa: E402
from engines.errors import EngineMismatch, ModelInvalid  # noqa: E402
from engines.load import load_engine, model_in  # noqa: E402
from engines.options import Options  # noqa: E402
from engines.portrait import portrait  # noqa: E402
from engines.preprocess import align  # noqa: E402
from engines.spec import EMOTIONS, MODEL_FILE, ModelSpec, sha256_of  # noqa: E402
from tests.train.synthetic import write_archive  # noqa: E402
from train.cli import app  # noqa: E402
from train.crops import cut_out, load_cut_out  # noqa: E402
from train.data import Fer2013, load, load_fer2013  # noqa: E402
from train.errors import DataMissing  # noqa: E402
from train.evaluate import evaluate, measure, measure_elsewhere, write_page  # noqa: E402
from train.export.onnx_file import write_onnx  # noqa: E402
from train.export.parity import PORTRAIT_LANDMARKS  # noqa: E402
from train.plots import new_figure  # noqa: E402
from train.predict import flip_averaged, open_network, predict_torch  # noqa: E402
from train.recipe import Recipe  # noqa: E402
from train.spec import INPUT_NAME, OUTPUT_NAME, draft_spec  # noqa: E402

SPEC = draft_spec(Recipe("tiny", "mobilenet_v1", seeded=False))
MODELS = Path(__file__).parents[2] / "engines" / "models"
WIDTH_PX = 1200
pytestmark = pytest.mark.usefixtures("fonts")


class RowMeans(torch.nn.Module):
    """Logit k is the mean of rows 6k to 6k + 5, where the synthetic pictures have their bar; blind to left and right.

    `lean` adds what the left side is brighter than the right, so that it is not.
    """

    def __init__(self, scale: float, lean: float = 0.0) -> None:
        super().__init__()
        self.weights = torch.zeros(len(EMOTIONS), 1, 48, 48)
        for label in range(len(EMOTIONS)):
            self.weights[label, 0, 6 * label : 6 * label + 6] = scale / (6 * 48)
        self.weights[0, 0, :, :24] += lean
        self.weights[0, 0, :, 24:] -= lean

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(batch, self.weights)[:, :, 0, 0]


def detector() -> Engine:
    """The one that ships."""
    return load_engine(MODELS / "face")


def write_model(folder: Path, model: torch.nn.Module, **changes: object) -> Path:
    """An exported model of a network that needs no training."""
    folder.mkdir()
    batch = {0: "batch"}
    axes = {INPUT_NAME: batch, OUTPUT_NAME: batch}
    write_onnx(model, torch.zeros(1, 1, 48, 48), INPUT_NAME, [OUTPUT_NAME], axes, folder / MODEL_FILE)
    SPEC.model_copy(update={"sha256": sha256_of(folder / MODEL_FILE), **changes}).write(folder)
    return folder


@pytest.fixture(scope="module")
def fonts() -> None:
    """matplotlib opens its fonts at the first text and keeps them: before a test counts its open files."""
    figure = new_figure(1.0)
    figure.text(0.5, 0.5, "text")
    figure.canvas.draw()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development data folder, and two exported models: one sees the bar, one leans to the left."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "data").mkdir()
    arrays = write_archive(folder / "data" / "fer2013.npz")
    arrays["ferplus"][:, 1] = 10  # all say happiness, but of every second image nobody says anything
    arrays["ferplus"][::2] = 0
    np.savez(folder / "data" / "fer2013.npz", **arrays)
    write_model(folder / "bar", RowMeans(6.0), temperature=0.5)
    write_model(folder / "leaning", RowMeans(3.0, lean=0.01))
    return folder


@pytest.fixture(scope="module")
def data(room: Path) -> Fer2013:
    return load_fer2013(room / "data" / "fer2013.npz")


def test_a_model_that_sees_the_bar_is_always_right_at_its_own_temperature(room: Path, data: Fer2013) -> None:
    found = measure([room / "bar"], data, "private")
    assert found.report.accuracy == 1.0
    assert found.report.temperature == 0.5
    assert not found.fitted
    assert evaluate(room / "bar", data, "private").as_dict() == found.report.as_dict()


def test_a_built_engine_is_measured_as_it_runs(room: Path, data: Fer2013, tmp_path: Path) -> None:
    model = model_in(write_model(tmp_path / "bar", RowMeans(6.0), temperature=0.5))
    inputs = data.public.images
    logits = predict_torch(RowMeans(6.0), inputs, model.spec)
    np.savez(model.parity_path, inputs=inputs, **{OUTPUT_NAME: logits})
    entry = build(model, "onnxruntime", Options(max_batch=3), Cache(tmp_path / "engines"))
    assert measure([entry.folder], data, "private").report.accuracy == 1.0
    model.spec.model_copy(update={"temperature": 1.0}).write(model.onnx_path.parent)
    with pytest.raises(EngineMismatch, match="is stale: spec was"):
        open_network(entry.folder)


def test_ferplus_is_counted_apart(room: Path, data: Fer2013) -> None:
    found = measure([room / "bar"], data, "private")
    happy = EMOTIONS.index("happy")
    voted = data.private.votes.any(axis=1)
    assert found.ferplus.images == voted.sum() == 7
    assert found.ferplus.right == (data.private.labels[voted] == happy).sum()
    assert "on 7 images with a clear one (50.0%)" in found.as_text()


def test_an_ensemble_of_twins_answers_as_one(room: Path, data: Fer2013) -> None:
    one, twins = measure([room / "leaning"], data, "private"), measure([room / "leaning"] * 2, data, "private")
    assert twins.report.confusion.tolist() == one.report.confusion.tolist()
    assert twins.report.ece_before == pytest.approx(one.report.ece_after, abs=1e-6)  # the members are scaled already
    assert twins.fitted


def test_mirror_images_change_nothing_for_a_network_that_is_symmetric(room: Path, data: Fer2013) -> None:
    plain, flipped = (measure([room / "bar"], data, "public", flip) for flip in (False, True))
    assert flipped.report.as_dict() == plain.report.as_dict()
    assert flipped.flip


def test_mirror_images_take_away_what_leans() -> None:
    model, symmetric = RowMeans(3.0, lean=0.01), RowMeans(3.0)
    images = np.random.default_rng(1).integers(0, 256, (9, 48, 48), dtype=np.uint8)
    mirrored = flip_averaged(lambda seen: predict_torch(model, seen, SPEC))(images)
    assert not np.allclose(predict_torch(model, images, SPEC), mirrored, atol=1e-2)
    np.testing.assert_allclose(mirrored, predict_torch(symmetric, images, SPEC), atol=1e-4)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two sizes of one face, called happy, and a wall that somebody called sad."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "happy").mkdir()
    (folder / "sad").mkdir()
    cv2.imwrite(str(folder / "happy" / "whole.png"), portrait())
    cv2.imwrite(str(folder / "happy" / "half.png"), cv2.resize(portrait(), None, fx=0.5, fy=0.5))
    cv2.imwrite(str(folder / "sad" / "wall.png"), np.full((200, 300), 128, np.uint8))
    return folder


def happy_only(folder: Path) -> Path:
    """A network that answers "happy" whatever it sees."""
    layer = torch.nn.Conv2d(1, len(EMOTIONS), kernel_size=48)
    torch.nn.init.zeros_(layer.weight)
    layer.bias = torch.nn.Parameter(torch.eye(len(EMOTIONS))[EMOTIONS.index("happy")])
    return write_model(folder, torch.nn.Sequential(layer, torch.nn.Flatten()))


def test_faces_elsewhere_are_cut_out_and_one_that_is_not_found_is_wrong(
    data: Fer2013, album: Path, tmp_path: Path
) -> None:
    found = measure_elsewhere([happy_only(tmp_path / "model")], f"folder:{album}", detector(), data.public)
    happy = EMOTIONS.index("happy")
    assert found.report.confusion[happy, happy] == found.report.confusion.sum() == 2
    assert found.report.missed[EMOTIONS.index("sad")] == found.report.missed.sum() == 1
    assert found.as_dict()["accuracy"] == 0.6667
    assert "3 images, 1 without a face that was found" in found.as_text()
    assert str(album) not in found.data  # a page may be shown to others
    write_page(found, tmp_path)
    assert "3, of which 1 have no face that was found" in (tmp_path / "README.md").read_text()


def test_a_face_is_framed_as_a_camera_would_frame_it() -> None:
    luma = cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY)
    wall = np.full((60, 80), 90, np.uint8)
    crops = cut_out([luma, wall, cv2.resize(luma, None, fx=0.5, fy=0.5)], detector(), SPEC)
    assert crops.found.tolist() == [True, False, True]
    assert crops.images.shape == (2, 48, 48)
    by_hand = align(luma, np.array(PORTRAIT_LANDMARKS, np.float32), SPEC).astype(float)
    whole, half = (crop.astype(float) for crop in crops.images)
    assert np.corrcoef(whole.ravel(), half.ravel())[0, 1] > 0.85
    assert np.corrcoef(whole.ravel(), by_hand.ravel())[0, 1] > 0.7  # another detector's landmarks


def test_data_to_train_on_is_framed_so_too_and_stays_whole_where_there_is_no_face(tmp_path: Path) -> None:
    luma, slope = cv2.cvtColor(portrait(), cv2.COLOR_BGR2GRAY), np.tile(np.arange(96, dtype=np.uint8), (96, 1))
    for name, picture in (("happy/KA.HA1.29.png", luma), ("sad/KA.SA1.33.png", slope)):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), picture)
    framed = load_cut_out(f"folder:{tmp_path}", detector(), SPEC)
    assert framed.classes == ("happy", "sad")
    assert framed.training.subjects is not None
    assert framed.training.subjects.tolist() == ["KA", "KA"]
    np.testing.assert_array_equal(framed.training.images[0], cut_out([luma], detector(), SPEC).images[0])
    np.testing.assert_array_equal(framed.training.images[1], load(f"folder:{tmp_path}").training.images[1])
    (tmp_path / "happy").rename(tmp_path / "test")  # it now says which split its pictures are in
    (tmp_path / "test" / "happy").mkdir()
    (tmp_path / "test" / "KA.HA1.29.png").rename(tmp_path / "test" / "happy" / "KA.HA1.29.png")
    assert len(load_cut_out(f"folder:{tmp_path}", detector(), SPEC).private) == 1


def test_what_cannot_be_measured_elsewhere_is_one_sentence(room: Path, data: Fer2013, tmp_path: Path) -> None:
    (tmp_path / "contempt").mkdir()
    cv2.imwrite(str(tmp_path / "contempt" / "a.png"), np.zeros((64, 64), np.uint8))
    with pytest.raises(DataMissing, match=r"has the class contempt, which .* does not know"):
        measure_elsewhere([room / "bar"], f"folder:{tmp_path}", detector(), data.public)
    (tmp_path / "contempt").rename(tmp_path / "sad")
    with pytest.raises(DataMissing, match="face finds no face in folder:"):
        measure_elsewhere([room / "bar"], f"folder:{tmp_path}", detector(), data.public)
    with pytest.raises(DataMissing, match="FER-2013 is what networks are trained on here"):
        measure_elsewhere([room / "bar"], "fer2013", detector(), data.public)


def test_members_with_other_labels_are_refused(room: Path, data: Fer2013, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", RowMeans(1.0), labels=EMOTIONS[::-1])
    with pytest.raises(ModelInvalid, match="other labels than"):
        measure([room / "bar", other], data, "public")


def test_a_face_detector_is_refused() -> None:
    shipped = MODELS / "face"
    assert ModelSpec.read(shipped).task == "face"
    with pytest.raises(ModelInvalid, match="is a face model"):
        open_network(shipped)


def test_the_page_shows_all_of_it(room: Path, data: Fer2013, tmp_path: Path) -> None:
    found = measure([room / "bar", room / "leaning"], data, "public", flip=True)
    write_page(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "confusion.png",
        "reliability.png",
        "results.json",
    ]
    page = (tmp_path / "README.md").read_text()
    for part in (
        "2 networks",
        "mirror image",
        "on these very images",
        "7 images",
        "(confusion.png)",
        "| disgust | 2 |",
    ):
        assert part in page
    assert json.loads((tmp_path / "results.json").read_text()) == found.as_dict()
    assert png_size(tmp_path / "confusion.png") == (WIDTH_PX, 1080)
    assert png_size(tmp_path / "reliability.png") == (WIDTH_PX, 840)


def test_the_same_numbers_give_the_same_bytes(room: Path, data: Fer2013, tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        write_page(measure([room / "bar"], data, "public"), folder)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert first == second


def test_the_command_prints_one_object_and_writes_the_folder(room: Path, tmp_path: Path) -> None:
    command = ["evaluate", str(room / "bar"), str(room / "bar"), "--flip", "--json", "--threads", "1"]
    answer = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "page")], env={"EMOSTREAM_SHARED": str(room)})
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["ferplus_majority"]["images"] == 7
    assert (tmp_path / "page" / "README.md").is_file()


def test_without_matplotlib_only_the_diagrams_are_missing(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    command, shared = ["evaluate", str(room / "bar"), "--threads", "1"], {"EMOSTREAM_SHARED": str(room)}
    assert CliRunner().invoke(app, command, env=shared).exit_code == 0
    answer = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "page")], env=shared)
    assert answer.exit_code == 2
    assert answer.stderr.startswith("training needs matplotlib")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "page").exists()


def png_size(path: Path) -> tuple[int, int]:
    """Width and height in the header of a PNG file, which it has to be."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    return width, height
