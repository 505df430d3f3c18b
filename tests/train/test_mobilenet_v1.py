"""MobileNetV1: shapes, that it can learn, and where ImageNet's numbers go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from tests.train.synthetic import pictures  # noqa: E402 - after the skip
from train.data import shared_file  # noqa: E402
from train.errors import DataMissing  # noqa: E402
from train.models.mobilenet_v1 import MobileNetV1, load_imagenet  # noqa: E402


def test_shapes_and_size() -> None:
    model = MobileNetV1(classes=7).eval()
    with torch.inference_mode():
        images = torch.zeros(2, 1, 48, 48)
        assert model.stem(images).shape == (2, 32, 24, 24)
        assert model.blocks(model.stem(images)).shape == (2, 1024, 2, 2)
        assert model(images).shape == (2, 7)
    assert 3_200_000 < sum(p.numel() for p in model.parameters()) < 3_250_000  # 3.2 M without ImageNet's classifier


def test_it_learns_32_pictures_by_heart() -> None:
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    labels = torch.arange(32) % 7
    images = torch.from_numpy(pictures(labels.numpy(), seed=1)).float().div(127.5).sub(1.0).unsqueeze(1)
    model = MobileNetV1(classes=7, dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(10):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert (model(images).argmax(dim=1) == labels).all()


@pytest.mark.shared
def test_imagenet_weights_go_to_their_places(shared: Path) -> None:
    path = shared / "pretrain/mobilenet_v1_1.0_imagenet_partial.npz"
    model = MobileNetV1(classes=7)
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


def test_missing_seed_weights_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    with pytest.raises(DataMissing, match="EMOSTREAM_SHARED"):
        shared_file("pretrain/mobilenet_v1_1.0_imagenet_partial.npz")
    broken = tmp_path / "weights.npz"
    broken.write_bytes(b"no weights")
    with pytest.raises(DataMissing, match="fetch it again"):
        load_imagenet(MobileNetV1(classes=7), broken)
