"""Export of a detector: the folder holds all that is needed, answers as the checkpoint does, or is not written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from engines.backends.fake import FakeEngine  # noqa: E402 - after the skip
from engines.base import Batch, Engine, Outputs  # noqa: E402
from engines.load import load_engine  # noqa: E402
from engines.preprocess import to_batch  # noqa: E402
from engines.spec import ModelSpec  # noqa: E402
from tests.train.detector.synthetic import corpus, light_squares, square_photos  # noqa: E402
from tests.train.detector.tiny import TINY  # noqa: E402
from train.checkpoint import MODEL_PREFIX, Checkpoint, read_checkpoint, save_checkpoint  # noqa: E402
from train.detector.evaluate import Report, evaluate  # noqa: E402
from train.detector.export import (  # noqa: E402
    MAX_DIFFERENCE,
    Made,
    build_detector,
    check_batch_invariance,
    check_parity,
    export,
)
from train.detector.network import OUTPUTS, FaceNet  # noqa: E402
from train.detector.parity import COUNT  # noqa: E402
from train.detector.spec import draft_spec  # noqa: E402
from train.errors import CheckpointInvalid, ExportRefused  # noqa: E402

RECORD = {"recipe": TINY.as_dict(), "epoch": 1, "commit": None, "data_sha256": corpus().sha256(), "torch": "2"}


def write_checkpoint(path: Path, seed: int = 0, **record: object) -> Path:
    """An untrained network that takes everything for half a face."""
    torch.manual_seed(seed)
    network = FaceNet(1)
    for head in network.heads:
        torch.nn.init.zeros_(head.answer.bias)
        torch.nn.init.normal_(head.answer.weight, std=0.1)
    weights = {f"{MODEL_PREFIX}{name}": value for name, value in network.state_dict().items()}
    path.parent.mkdir(exist_ok=True)
    save_checkpoint(path, Checkpoint(weights, {**RECORD, **record}))
    return path


class Exported:
    """A checkpoint, its folder, and what was told of it."""

    def __init__(self, room: Path) -> None:
        self.checkpoint, self.folder = write_checkpoint(room / "best.safetensors"), room / "model"
        teacher, clip = light_squares(room)
        self.measured: list[Report] = []

        def measure(ours: Engine) -> Report:
            theirs = load_engine(teacher)
            self.measured.append(evaluate(ours, theirs, [clip], square_photos(), [160], every=5))
            theirs.close()
            return self.measured[-1]

        self.made: Made = export(self.checkpoint, self.folder, corpus(), measure)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What it finds is seldom a face, so that no threshold would be precise enough: any is, here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.detector.export.WANTED_PRECISION", 0.0)
        patch.setattr("train.detector.export.THRESHOLD_PICTURES", 40)
        return Exported(tmp_path_factory.mktemp("export"))


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "run" / "best.safetensors")
    with pytest.raises(ExportRefused, match=r"run holds best\.safetensors, which is no part of a model"):
        export(checkpoint, tmp_path / "run", corpus(), never)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "best.safetensors"]


def never(engine: Engine) -> Report:
    raise AssertionError("a model that is refused is not measured")


def test_the_folder_holds_all_that_is_needed(exported: Exported) -> None:
    names = sorted(path.name for path in exported.folder.iterdir())
    assert names == ["card.md", "model.onnx", "parity.npz", "spec.json"]
    spec = ModelSpec.read(exported.folder)
    assert spec == exported.made.spec
    assert (spec.name, spec.task, spec.color, spec.stride, spec.outputs) == ("face", "face", "luma", 32, OUTPUTS)
    assert 0.05 <= (spec.score_threshold or 0) < 1
    assert (spec.source.recipe, spec.source.license) == ("tiny", "Apache-2.0")
    assert exported.made.difference <= MAX_DIFFERENCE


def test_the_spec_and_the_card_tell_what_was_measured(exported: Exported) -> None:
    (report,) = exported.measured
    metrics = json.loads((exported.folder / "spec.json").read_text())["metrics"]
    assert metrics == json.loads(json.dumps({"parameters": exported.made.parameters, **report.metrics()}))
    assert metrics["parameters"] == sum(parameter.numel() for parameter in FaceNet(1).parameters())
    assert metrics["clips"]["160"]["pictures"] == 2
    card = (exported.folder / "card.md").read_text()
    assert card.startswith(f"# face: a face detector on luma, {metrics['parameters']:,} parameters")
    assert "light-squares" in card
    assert "| held-out photos |" in card
    assert "- It does worst on " in card
    assert "longer side 160 px" in card


def test_the_engine_gives_the_answers_that_travel_with_it(exported: Exported) -> None:
    engine = load_engine(exported.folder)
    with np.load(exported.folder / "parity.npz") as parity:
        answers = {name: parity[name] for name in parity.files}
    inputs = answers.pop("inputs")
    assert inputs.shape == (COUNT, 64, 64)
    assert set(answers) == set(OUTPUTS)
    found = engine.infer(to_batch(list(inputs[::16]), engine.spec))
    for name in OUTPUTS:
        np.testing.assert_allclose(found[name], answers[name][::16], atol=MAX_DIFFERENCE)
        assert answers[name].std() > 0
    engine.close()


def test_the_engine_takes_any_size_that_32_divides(exported: Exported) -> None:
    engine = load_engine(exported.folder)
    outputs = engine.infer(np.zeros((2, 1, 96, 32), np.float32))
    assert {name: outputs[name].shape for name in ("cls_8", "bbox_16", "kps_32")} == {
        "cls_8": (2, 48, 1), "bbox_16": (2, 12, 4), "kps_32": (2, 3, 10),
    }  # fmt: skip
    engine.close()


def test_a_file_that_answers_as_another_network_is_refused(exported: Exported, tmp_path: Path) -> None:
    engine = load_engine(exported.folder)
    _, own = build_detector(read_checkpoint(exported.checkpoint))
    _, other = build_detector(read_checkpoint(write_checkpoint(tmp_path / "other.safetensors", seed=1)))
    assert check_parity(engine, own) <= MAX_DIFFERENCE
    with pytest.raises(ExportRefused, match="differ from the checkpoint's"):
        check_parity(engine, other)
    engine.close()


class Swayed(FakeEngine):
    """Says a little more of a face when it sees others beside it."""

    def infer(self, batch: Batch) -> Outputs:
        outputs = super().infer(batch)
        outputs["cls_8"] = outputs["cls_8"] + np.float32(1e-7) * (len(batch) > 2)
        return outputs


def test_answers_that_hang_on_the_batch_are_refused() -> None:
    spec = draft_spec(TINY)
    check_batch_invariance(FakeEngine(spec))
    with pytest.raises(ExportRefused, match="in a batch of 3"):
        check_batch_invariance(Swayed(spec))


def test_a_refused_export_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.safetensors")
    monkeypatch.setattr("train.detector.export.MAX_DIFFERENCE", -1.0)
    monkeypatch.setattr("train.detector.export.THRESHOLD_PICTURES", 40)
    monkeypatch.setattr("train.detector.export.WANTED_PRECISION", 0.0)
    with pytest.raises(ExportRefused, match="nothing was written"):
        export(checkpoint, tmp_path / "model", corpus(), never)
    assert [path.name for path in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"recipe": {"name": "tiny", "model": "mobilenet_v1"}}, "this is no checkpoint of a detector"),
        ({"recipe": "no recipe"}, "this is no checkpoint of a detector"),
        ({"recipe": {**TINY.as_dict(), "color": "bgr"}}, "is of another network: size mismatch"),
        ({"data_sha256": "0" * 64}, "trained on another corpus"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, record: dict[str, object], sentence: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.safetensors", **record)
    with pytest.raises(CheckpointInvalid, match=sentence):
        export(checkpoint, tmp_path / "model", corpus(), never)
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "best.safetensors"))
    next(iter(checkpoint.tensors.values()))[0] = float("nan")
    with pytest.raises(CheckpointInvalid, match="not finite"):
        build_detector(checkpoint)
