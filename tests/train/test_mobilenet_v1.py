"""MobileNetV1: shapes, its names in checkpoints, and where ImageNet's numbers go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from train.data import shared_file  # noqa: E402 - after the skip
from train.errors import DataMissing, RecipeInvalid  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.models.mobilenet_v1 import MobileNetV1, load_imagenet  # noqa: E402


def test_shapes_and_size() -> None:
    model = MobileNetV1(Build(classes=7)).eval()
    with torch.inference_mode():
        images = torch.zeros(2, 1, 48, 48)
        assert model.stem(images).shape == (2, 32, 24, 24)
        assert model.blocks(model.stem(images)).shape == (2, 1024, 2, 2)
        assert model(images).shape == (2, 7)
    assert 3_200_000 < sum(p.numel() for p in model.parameters()) < 3_250_000  # 3.2 M without ImageNet's classifier


def test_checkpoints_name_its_tensors_in_this_order() -> None:
    names = list(MobileNetV1(Build(classes=7)).state_dict())
    assert names[:2] == ["stem.0.weight", "stem.1.weight"]
    assert names[6] == "blocks.0.0.0.weight"
    assert names[-2:] == ["classifier.weight", "classifier.bias"]
    assert len(names) == 27 * 6 + 2  # a kernel and five tensors of batch norm for each of 27 convolutions


def test_width_gives_multiples_of_8() -> None:
    narrow = MobileNetV1(Build(classes=7, width=0.3))
    channels = [layer.out_channels for layer in narrow.blocks.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert narrow.stem[0].out_channels == 8
    assert sorted(set(channels)) == [8, 16, 40, 80, 152, 304]
    assert narrow.embedding_width == 304


@pytest.mark.shared
def test_imagenet_weights_go_to_their_places(shared: Path) -> None:
    path = shared / "pretrain/mobilenet_v1_1.0_imagenet_partial.npz"
    model = MobileNetV1(Build(classes=7))
    fresh = load_imagenet(model, path)

    assert fresh == [
        "blocks.12.1.0.weight",  # the kernel that the file lacks, and its batch norm
        *[f"blocks.12.1.1.{field}" for field in ("weight", "bias", "running_mean", "running_var")],
        "classifier.weight",
        "classifier.bias",
    ]
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    with np.load(path) as keras:
        np.testing.assert_array_equal(
            state["stem.0.weight"][:, 0], keras["conv1__kernel"].sum(axis=2).transpose(2, 0, 1)
        )
        np.testing.assert_array_equal(
            state["blocks.3.0.0.weight"][:, 0], keras["conv_dw_4__depthwise_kernel"][..., 0].transpose(2, 0, 1)
        )
        np.testing.assert_array_equal(state["blocks.3.1.0.weight"][..., 0, 0], keras["conv_pw_4__kernel"][0, 0].T)
        np.testing.assert_array_equal(state["blocks.11.1.1.running_var"], keras["conv_pw_12_bn__moving_variance"])


@pytest.mark.shared
def test_with_three_channels_the_first_kernel_is_taken_as_it_is(shared: Path) -> None:
    path = shared / "pretrain/mobilenet_v1_1.0_imagenet_partial.npz"
    model = MobileNetV1(Build(classes=7, channels=3))
    load_imagenet(model, path)
    with np.load(path) as keras:
        kernel = keras["conv1__kernel"].transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(model.state_dict()["stem.0.weight"].numpy(), kernel)


@pytest.mark.shared
@pytest.mark.usefixtures("shared")
def test_imagenet_weights_fit_width_1_alone() -> None:
    with pytest.raises(RecipeInvalid, match=r"of width 1, got width 0\.5; set width: 1 or seeded: false"):
        MODELS["mobilenet_v1"](Build(classes=7, width=0.5), True)


def test_missing_seed_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    with pytest.raises(DataMissing, match="EMOSTREAM_SHARED"):
        shared_file("pretrain/mobilenet_v1_1.0_imagenet_partial.npz")
    broken = tmp_path / "weights.npz"
    broken.write_bytes(b"no weights")
    with pytest.raises(DataMissing, match="fetch it again"):
        load_imagenet(MobileNetV1(Build(classes=7)), broken)
