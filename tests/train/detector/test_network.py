"""The detector's network: small, any size that 32 divides, outputs as its spec names them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from engines.decoding import reader_of  # noqa: E402 - after the skip
from tests.train.detector.tiny import TINY  # noqa: E402
from train.detector.network import ANSWERS, OUTPUTS, STRIDES, Exported, FaceNet  # noqa: E402
from train.detector.spec import draft_spec  # noqa: E402

COLUMNS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_small(channels: int) -> None:
    assert 10_000 < sum(parameter.numel() for parameter in FaceNet(channels).parameters()) < 120_000


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 96), (160, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_that_32_divides_is_answered_in_every_cell(channels: int, height: int, width: int) -> None:
    network = FaceNet(channels).eval()
    with torch.inference_mode():
        levels = network(torch.zeros(2, channels, height, width))
        outputs = Exported(network)(torch.zeros(2, channels, height, width))
    assert [tuple(level.shape) for level in levels] == [
        (2, sum(ANSWERS.values()), height // stride, width // stride) for stride in STRIDES
    ]
    found = {name: tuple(output.shape) for name, output in zip(OUTPUTS, outputs, strict=True)}
    assert found == {
        f"{kind}_{stride}": (2, (height // stride) * (width // stride), columns)
        for kind, columns in COLUMNS.items()
        for stride in STRIDES
    }


def test_outputs_are_named_as_the_decoding_reads_them() -> None:
    assert reader_of(draft_spec(TINY), most=1).decoding.outputs == OUTPUTS


def test_at_first_no_cell_believes_in_a_face() -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        outputs = Exported(FaceNet(1).eval())(torch.randn(1, 1, 64, 64))
    for name, output in zip(OUTPUTS, outputs, strict=True):
        if name.startswith(("cls", "obj")):
            assert 0 < output.min() <= output.max() < 0.05


def test_a_picture_is_answered_alike_alone_and_beside_others() -> None:
    torch.manual_seed(0)
    network, images = FaceNet(3).eval(), torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        for together, alone in zip(network(images), network(images[1:2]), strict=True):
            torch.testing.assert_close(together[1:2], alone)
