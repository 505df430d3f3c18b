"""Export: each file answers as the checkpoint does, carries all that is needed, and is refused when it would not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from engines.errors import ModelInvalid  # noqa: E402 - after the skip
from engines.portrait import portrait  # noqa: E402
from engines.spec import EMOTIONS, ModelSpec  # noqa: E402
from tests.train.synthetic import write_archive  # noqa: E402
from train.checkpoint import Checkpoint, read_checkpoint, save_checkpoint  # noqa: E402
from train.data import Fer2013, load_fer2013  # noqa: E402
from train.errors import ExportRefused  # noqa: E402
from train.evaluate import evaluate  # noqa: E402
from train.export.emotion import PRECISIONS, check_batch_invariance, check_worth, export, sibling  # noqa: E402
from train.export.parity import COUNT  # noqa: E402
from train.export.worth import Worth  # noqa: E402
from train.metrics import Agreement, report  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.predict import open_model  # noqa: E402
from train.recipe import Recipe  # noqa: E402
from train.spec import draft_spec  # noqa: E402

RECIPE = Recipe("tiny", "mobilenet_v1", seeded=False)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)
every_precision = pytest.mark.parametrize("precision", PRECISIONS)


def album(folder: Path) -> Path:
    """One photo of a face, and one of a wall."""
    for name, picture in {"happy": portrait(), "sad": np.full((200, 300, 3), 128, np.uint8)}.items():
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "photo.png"), picture)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Fer2013]:
    """An untrained network's checkpoint, its exported fp32 folder, and the data it was measured on."""
    room = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    write_archive(room / "fer.npz")
    data = load_fer2013(room / "fer.npz")
    weights = {f"model.{k}": v for k, v in MODELS["mobilenet_v1"](Build(7, 0.2), False).state_dict().items()}
    record = {"recipe": RECIPE.as_dict(), "epoch": 1, "commit": None, "data_sha256": data.sha256, "torch": "2"}
    save_checkpoint(room / "best.safetensors", Checkpoint(weights, record))
    export(room / "best.safetensors", room / "model", data, [f"folder:{album(room / 'album')}"])
    return room / "best.safetensors", room / "model", data


@every_precision
def test_each_folder_holds_all_that_is_needed(made: tuple[Path, Path, Fer2013], precision: str) -> None:
    folder = sibling(made[1], precision)
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "model.onnx", "parity.npz", "spec.json"]
    spec, _ = open_model(folder)
    assert spec.precision == precision
    assert spec.labels == EMOTIONS
    assert spec.source.recipe == "tiny"
    with np.load(folder / "parity.npz") as parity:
        assert parity["inputs"].shape == (COUNT, 48, 48)
        assert parity["inputs"].dtype == np.uint8
        assert parity["logits"].shape == (COUNT, len(EMOTIONS))


def test_each_precision_is_a_model_of_its_own(made: tuple[Path, Path, Fer2013]) -> None:
    specs = [ModelSpec.read(sibling(made[1], precision)) for precision in PRECISIONS]
    assert [spec.name for spec in specs] == ["emotion", "emotion_fp16", "emotion_int8"]
    assert len({spec.sha256 for spec in specs}) == len({spec.digest() for spec in specs}) == len(PRECISIONS)
    sizes = [(sibling(made[1], precision) / "model.onnx").stat().st_size for precision in PRECISIONS]
    assert sizes[0] > 1.9 * sizes[1] > 1.8 * 1.9 * sizes[2]


def test_each_card_tells_its_precision_and_compares_it_with_fp32(made: tuple[Path, Path, Fer2013]) -> None:
    cards = {precision: (sibling(made[1], precision) / "card.md").read_text() for precision in PRECISIONS}
    assert all(text.splitlines()[0].endswith(f", {precision}") for precision, text in cards.items())
    assert [" in fp32 |" in text for text in cards.values()] == [False, True, True]
    for text in cards.values():  # two pictures elsewhere, and a face in one
        assert re.search(r"\| folder \| 2, of which 1 have .* \| (0|50)\.00% \| happy (0|100)%, sad 0% \|", text)
        assert "FER+ majority" not in text  # nobody voted on these


def test_checkpoint_and_folder_are_measured_alike(made: tuple[Path, Path, Fer2013]) -> None:
    checkpoint, folder, data = made
    ours, exported = evaluate(checkpoint, data, "private"), evaluate(folder, data, "private")
    assert ours.confusion.tolist() == exported.confusion.tolist()
    assert ours.temperature == pytest.approx(exported.temperature, abs=1e-3)


def test_a_file_that_is_not_what_the_spec_says_is_refused(made: tuple[Path, Path, Fer2013], tmp_path: Path) -> None:
    _, folder, data = made
    spec = ModelSpec.read(folder)
    spec.write(tmp_path)
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelInvalid, match=r"not the file that spec\.json was written for"):
        evaluate(tmp_path, data, "public")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"data_sha256": "0" * 64}, "trained on other data"), ({"commit": ...}, "does not say its commit")],
)
def test_a_checkpoint_that_may_have_seen_the_test_images_is_refused(
    made: tuple[Path, Path, Fer2013], tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    checkpoint = read_checkpoint(made[0])
    record = {name: value for name, value in {**checkpoint.record, **change}.items() if value is not ...}
    save_checkpoint(tmp_path / "other.safetensors", Checkpoint(checkpoint.tensors, record))
    with pytest.raises(ExportRefused, match=sentence):
        export(tmp_path / "other.safetensors", tmp_path / "model", made[2])
    assert not (tmp_path / "model").exists()


def test_the_card_of_a_network_that_was_taught_names_its_teachers(
    made: tuple[Path, Path, Fer2013], tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(made[0])
    recipe = {**RECIPE.as_dict(), "teacher_weight": 0.5, "votes_weight": 0.3}
    teachers = [{"sha256": "5" * 64, "recipe": "big", "commit": None, "seeded": True}]
    taught = {**checkpoint.record, "recipe": recipe, "teachers": teachers}
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(checkpoint.tensors, taught))
    export(tmp_path / "best.safetensors", tmp_path / "model", made[2])
    card = (tmp_path / "model" / "card.md").read_text()
    assert "50% of each target is what its teachers say of the image: `big` (555555555555)" in card
    assert "15% of each target is FER+ votes" in card
    assert "A teacher's training started from ImageNet weights" in card
    assert "Trained on 48 images" in card


def worth(right: int, difference: float = 0.0) -> Worth:
    """Of a file that is right on the first so many of 200 images."""
    truth = np.arange(200) % 7
    answers = np.where(np.arange(200) < right, truth, (truth + 1) % 7)
    measured = report(np.eye(7, dtype=np.float32)[answers], truth, EMOTIONS, 1.0)
    return Worth(measured, measured, Agreement(images=0, right=0), difference, difference)


@pytest.mark.parametrize(("precision", "difference"), [("fp32", 2e-4), ("fp16", 2e-2), ("int8", float("nan"))])
def test_probabilities_that_differ_are_refused(precision: str, difference: float) -> None:
    with pytest.raises(ExportRefused, match=f"the {precision} model's probabilities differ from the checkpoint's by"):
        check_worth(precision, worth(100, difference), worth(100))


@pytest.mark.parametrize(("precision", "difference"), [("fp32", 9e-5), ("fp16", 9e-3), ("int8", 0.4)])
def test_probabilities_that_differ_a_little_are_not(precision: str, difference: float) -> None:
    check_worth(precision, worth(100, difference), worth(100))


def test_accuracy_that_is_lost_is_refused() -> None:
    check_worth("int8", worth(99), worth(100))
    with pytest.raises(
        ExportRefused, match=r"in int8 the network is right on 48\.50% of PublicTest, in fp32 on 50\.00%"
    ):
        check_worth("int8", worth(97), worth(100))


def test_answers_that_depend_on_the_batch_are_refused() -> None:
    def company(batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 7), np.float32(1.0) + np.float32(1e-7) * (len(batch) > 4))

    with pytest.raises(ExportRefused, match="in a batch of 5"):
        check_batch_invariance(company, IMAGES, draft_spec(RECIPE))


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("train.export.onnx_file.MAX_BYTES", 1000, "more than 1000"),
        ("train.export.emotion.MAX_LOSS", -2.0, "in fp32 the network"),
    ],
)
def test_a_refused_export_leaves_nothing_behind(
    made: tuple[Path, Path, Fer2013],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: float,
    reason: str,
) -> None:
    checkpoint, _, data = made
    monkeypatch.setattr(limit, value)
    with pytest.raises(ExportRefused, match=reason):
        export(checkpoint, tmp_path / "model", data)
    assert list(tmp_path.iterdir()) == []


def test_a_sibling_that_holds_something_else_is_refused_before_any_work(
    made: tuple[Path, Path, Fer2013], tmp_path: Path
) -> None:
    checkpoint, _, data = made
    (tmp_path / "model_int8").mkdir()
    (tmp_path / "model_int8" / "thesis.odt").touch()
    with pytest.raises(ExportRefused, match=r"model_int8 holds thesis\.odt"):
        export(checkpoint, tmp_path / "model", data)
    assert [path.name for path in tmp_path.rglob("*")] == ["model_int8", "thesis.odt"]


@every_precision
def test_the_spec_is_json_that_diffs_well(made: tuple[Path, Path, Fer2013], precision: str) -> None:
    text = (sibling(made[1], precision) / "spec.json").read_text()
    assert text.endswith("}\n")
    metrics = json.loads(text)["metrics"]
    assert metrics["private"]["images"] == 14
    assert 0 <= metrics["parity"]["mean"] <= metrics["parity"]["largest"] < 0.5
