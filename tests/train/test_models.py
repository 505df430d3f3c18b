"""Every network of the family: shapes, that it can learn, and that its export answers alike, alone and in company."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from torch import nn  # noqa: E402 - after the skip
from torch.nn import functional  # noqa: E402

from engines.preprocess import to_batch  # noqa: E402
from tests.train.synthetic import pictures  # noqa: E402
from train.errors import RecipeInvalid  # noqa: E402
from train.export.emotion import BATCHES, check_batch_invariance  # noqa: E402
from train.export.onnx_file import write_onnx  # noqa: E402
from train.export.parity import parity_inputs  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build, Network  # noqa: E402
from train.models.deep_emotion import IDENTITY, DeepEmotion, SpatialTransformer  # noqa: E402
from train.models.residual import Block  # noqa: E402
from train.models.residual_cbam import Cbam  # noqa: E402
from train.predict import onnx_infer  # noqa: E402
from train.recipe import Recipe, recipe_from  # noqa: E402
from train.spec import INPUT_NAME, OUTPUT_NAME, draft_spec  # noqa: E402

CLASSES = 7
PARAMETERS = {"mobilenet_v1": 3_213_575, "deep_emotion": 66_857, "residual_se": 1_600_359, "residual_cbam": 1_601_151}
EMBEDDING = {"mobilenet_v1": 1024, "deep_emotion": 50, "residual_se": 192, "residual_cbam": 192}

every_network = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def fresh(name: str, **settings: float) -> Network:
    return MODELS[name](Build(CLASSES, **settings), False)


def stirred(name: str, images: torch.Tensor) -> Network:
    """A network in which everything has a part: no batch norm and no transform stands where it begins."""
    model = fresh(name, dropout=0.0).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)  # torch draws kernels so small that without batch norm little is left of a picture
            parameter.add_(torch.randn_like(parameter), alpha=0.2 if parameter.ndim == 1 else 0.02)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = 1.0
        model(images)  # batch norm now knows these images
    return model.eval()


@every_network
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_shapes(name: str, channels: int, batch: int) -> None:
    model = fresh(name, channels=channels).eval()
    with torch.inference_mode():
        images = torch.randn(batch, channels, 48, 48)
        embedding = model.embed(images)
        assert embedding.shape == (batch, EMBEDDING[name], 1, 1)
        assert model.embedding_width == EMBEDDING[name]
        assert model.classify(embedding).shape == (batch, CLASSES)
        assert torch.equal(model(images), model.classify(embedding))


@every_network
@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 1, 47, 48), (2, 1, 48, 64), (1, 48, 48), (2, 1, 48, 48, 1)])
def test_images_of_another_shape_are_one_sentence(name: str, shape: tuple[int, ...]) -> None:
    model = fresh(name)
    for look in (model, model.embed):
        with pytest.raises(ValueError, match=r"expects images \(B, 1, 48, 48\), got \("):
            look(torch.zeros(shape))


def test_smaller_pictures_are_for_training_only() -> None:
    small = torch.zeros(2, 1, 32, 32)
    for name in ("mobilenet_v1", "residual_se", "residual_cbam"):
        model = fresh(name)
        assert model.train()(small).shape == (2, CLASSES)
        with pytest.raises(ValueError, match="expects images"):
            model.eval()(small)
    with pytest.raises(ValueError, match="expects images"):
        fresh("deep_emotion")(small)


@every_network
def test_size(name: str) -> None:
    assert sum(parameter.numel() for parameter in fresh(name).parameters()) == PARAMETERS[name]


@every_network
def test_width_changes_the_size_and_the_embedding(name: str) -> None:
    narrow, wide = fresh(name, width=0.25), fresh(name, width=1.5)
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (narrow, wide)]
    assert sizes[0] < PARAMETERS[name] / 4
    assert sizes[1] > PARAMETERS[name] * 1.5
    assert narrow.embedding_width < EMBEDDING[name] < wide.embedding_width
    with torch.inference_mode():
        assert narrow.eval()(torch.zeros(1, 1, 48, 48)).shape == (1, CLASSES)


@every_network
def test_the_classifier_stands_last_and_its_kernel_is_fully_connected(name: str) -> None:
    model = fresh(name)
    assert list(model.state_dict())[-2:] == ["classifier.weight", "classifier.bias"]
    kernels = model.fully_connected_parameters()
    assert kernels[-1] is model.classifier.weight
    assert all(kernel.requires_grad and kernel.ndim == 4 for kernel in kernels)


@every_network
def test_it_learns_32_pictures_by_heart(name: str) -> None:
    labels = torch.arange(32) % CLASSES
    images = torch.from_numpy(pictures(labels.numpy(), seed=1)).float().div(127.5).sub(1.0).unsqueeze(1)
    model = fresh(name, dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        loss = functional.cross_entropy(model(images), labels)
        if loss.item() < 0.1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert (model(images).argmax(dim=1) == labels).all()
    assert all(parameter.grad is not None for parameter in model.parameters())  # nothing is without a part


@every_network
def test_the_exported_file_answers_alike_alone_and_in_company(name: str, tmp_path: Path) -> None:
    spec = draft_spec(Recipe("tiny", name, seeded=False))
    images = parity_inputs(spec)[-64:]  # portraits, and the pictures without a face
    inputs = to_batch(images, spec)
    model = stirred(name, torch.from_numpy(inputs))
    path, batch = tmp_path / "model.onnx", {0: "batch"}
    example = torch.zeros(1, *spec.input_shape)
    write_onnx(model, example, INPUT_NAME, [OUTPUT_NAME], {INPUT_NAME: batch, OUTPUT_NAME: batch}, path)
    infer = onnx_infer(path)

    with torch.inference_mode():
        wanted = model(torch.from_numpy(inputs)).numpy()
    assert wanted.std(axis=0).min() > 0.02  # the pictures make a difference
    np.testing.assert_allclose(infer(inputs), wanted, atol=1e-4, rtol=0)
    for part in (images[: max(BATCHES)], images[max(BATCHES) :]):
        check_batch_invariance(infer, part, spec)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mobilenet_v1"])
def test_a_network_without_seed_weights_says_so(name: str) -> None:
    with pytest.raises(RecipeInvalid, match=f"no weights for {name} to begin with; set seeded: false"):
        MODELS[name](Build(CLASSES), True)


@pytest.mark.parametrize("width", [0, -1.0, 4.5, float("nan"), float("inf")])
def test_a_width_that_cannot_be_built_is_one_sentence(width: float) -> None:
    with pytest.raises(RecipeInvalid, match="width must be above 0 and at most 4"):
        Build(CLASSES, width=width)
    with pytest.raises(RecipeInvalid, match="recipe tiny: width must be above 0 and at most 4"):
        Recipe("tiny", "mobilenet_v1", width=width)


def test_two_channels_are_refused() -> None:
    with pytest.raises(RecipeInvalid, match="got 2"):
        Build(CLASSES, channels=2)


def test_a_recipe_from_before_there_was_a_width_has_width_1() -> None:
    values = Recipe("tiny", "mobilenet_v1").as_dict()
    del values["width"]
    assert recipe_from(values).width == 1.0


class TestSpatialTransformer:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_it_begins_with_the_picture_as_it_is(self, channels: int) -> None:
        images = torch.randn(3, channels, 48, 48)
        warped = SpatialTransformer(Build(CLASSES, channels=channels))(images)
        torch.testing.assert_close(warped, images, atol=1e-5, rtol=0)

    def test_its_grid_is_torchs(self) -> None:
        transforms = torch.tensor(IDENTITY) + torch.randn(5, 6) * 0.3
        ours = SpatialTransformer(Build(CLASSES)).grid(transforms.reshape(5, 6, 1, 1))
        theirs = functional.affine_grid(transforms.reshape(5, 2, 3), [5, 1, 48, 48], align_corners=False)
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)

    def test_a_shift_of_half_a_picture_moves_it_by_24_pixels(self) -> None:
        transformer = SpatialTransformer(Build(CLASSES))
        with torch.no_grad():
            transformer.localisation[-1].bias.copy_(torch.tensor((1.0, 0.0, 1.0, 0.0, 1.0, 0.0)))
        images = torch.randn(1, 1, 48, 48)
        warped = transformer(images)
        torch.testing.assert_close(warped[..., :24], images[..., 24:], atol=1e-5, rtol=0)
        assert warped[..., 24:].abs().max() < 1e-5  # beyond the picture all is mid-grey

    def test_the_grid_is_in_no_checkpoint_and_both_kernels_are_named(self) -> None:
        model = DeepEmotion(Build(CLASSES))
        assert not [name for name in model.state_dict() if "rows" in name or "columns" in name]
        assert [tuple(kernel.shape) for kernel in model.fully_connected_parameters()] == [
            (50, 10, 9, 9),
            (CLASSES, 50, 1, 1),
        ]


class TestResidual:
    def test_a_block_begins_as_the_way_around_it(self) -> None:
        block = Block(16, 16, 1, nn.Identity()).eval()
        features = torch.rand(2, 16, 6, 6)
        assert torch.equal(block(features), features)

    def test_cbam_sees_the_mean_and_the_most_of_the_channels(self) -> None:
        attention, seen = Cbam(16), []
        attention.place.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        attention.channel.register_forward_hook(lambda _, inputs, output: output + 100.0)  # every channel counts whole
        features = torch.randn(2, 16, 6, 6)
        attention(features)
        wanted = torch.cat([features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1)
        torch.testing.assert_close(seen[0], wanted, atol=1e-6, rtol=0)

    def test_cbam_only_ever_makes_less(self) -> None:
        features = torch.randn(2, 16, 6, 6)
        weighed = Cbam(16)(features)
        assert weighed.shape == features.shape
        assert (weighed.abs() <= features.abs()).all()
        assert (weighed.sign() == features.sign()).all()
