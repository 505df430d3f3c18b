"""Export: the file answers as the checkpoint does, carries all that is needed, and is refused when it would not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from engines.errors import ModelInvalid  # noqa: E402 - after the skip
from engines.spec import EMOTIONS, ModelSpec  # noqa: E402
from tests.train.synthetic import write_archive  # noqa: E402
from train.checkpoint import Checkpoint, save_checkpoint  # noqa: E402
from train.data import Fer2013, load_fer2013  # noqa: E402
from train.errors import ExportRefused  # noqa: E402
from train.evaluate import evaluate  # noqa: E402
from train.export import check_batch_invariance, check_parity, export  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.parity import COUNT  # noqa: E402
from train.predict import open_model  # noqa: E402
from train.recipe import Recipe  # noqa: E402
from train.spec import draft_spec  # noqa: E402

RECIPE = Recipe("tiny", "mobilenet_v1", seeded=False)
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Fer2013]:
    """An untrained network's checkpoint, its exported folder, and the data it was measured on."""
    room = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    write_archive(room / "fer.npz")
    data = load_fer2013(room / "fer.npz")
    weights = {f"model.{k}": v for k, v in MODELS["mobilenet_v1"](Build(7, 0.2), False).state_dict().items()}
    record = {"recipe": RECIPE.as_dict(), "epoch": 1, "commit": None, "data_sha256": data.sha256, "torch": "2"}
    save_checkpoint(room / "best.safetensors", Checkpoint(weights, record))
    export(room / "best.safetensors", room / "model", data)
    return room / "best.safetensors", room / "model", data


def test_the_folder_holds_all_that_is_needed(made: tuple[Path, Path, Fer2013]) -> None:
    _, folder, _ = made
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "model.onnx", "parity.npz", "spec.json"]
    spec, _ = open_model(folder)
    assert spec.labels == EMOTIONS
    assert spec.source.recipe == "tiny"
    with np.load(folder / "parity.npz") as parity:
        assert parity["inputs"].shape == (COUNT, 48, 48)
        assert parity["inputs"].dtype == np.uint8
        assert parity["logits"].shape == (COUNT, len(EMOTIONS))


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


def test_answers_that_differ_or_depend_on_the_batch_are_refused() -> None:
    spec = draft_spec(RECIPE)
    logits = np.zeros((len(IMAGES), 7), np.float32)

    def biased(batch: np.ndarray) -> np.ndarray:
        return np.tile(np.eye(7, dtype=np.float32)[0] * 1e-3, (len(batch), 1))

    with pytest.raises(ExportRefused, match="differ from the checkpoint"):
        check_parity(biased, IMAGES, logits, spec)

    def company(batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 7), np.float32(1.0) + np.float32(1e-7) * (len(batch) > 4))

    with pytest.raises(ExportRefused, match="in a batch of 5"):
        check_batch_invariance(company, IMAGES, spec)


def test_a_refused_export_leaves_nothing_behind(
    made: tuple[Path, Path, Fer2013], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, _, data = made
    monkeypatch.setattr("train.onnx_file.MAX_BYTES", 1000)
    with pytest.raises(ExportRefused, match="more than 1000"):
        export(checkpoint, tmp_path / "model", data)
    assert list(tmp_path.iterdir()) == []


def test_the_spec_is_json_that_diffs_well(made: tuple[Path, Path, Fer2013]) -> None:
    text = (made[1] / "spec.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["metrics"]["private"]["images"] == 14
