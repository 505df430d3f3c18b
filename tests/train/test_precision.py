"""fp16 and int8: what each kind of number does to a network, and that every network here can be written in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[train]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the skip

from engines.preprocess import to_batch  # noqa: E402
from train.errors import ExportRefused  # noqa: E402
from train.export.emotion import check_batch_invariance  # noqa: E402
from train.export.float16 import to_float16  # noqa: E402
from train.export.int8 import MIN_CHANNELS, VALUE_STEPS, WEIGHT_STEPS, to_int8  # noqa: E402
from train.export.onnx_file import write_onnx  # noqa: E402
from train.export.parity import parity_inputs  # noqa: E402
from train.export.ranges import IMAGES, best_steps, calibration_images, channel_means, peaks  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.predict import onnx_infer, predict_onnx  # noqa: E402
from train.recipe import Recipe  # noqa: E402
from train.spec import INPUT_NAME, OUTPUT_NAME, draft_spec  # noqa: E402

SPEC = draft_spec(Recipe("tiny", "mobilenet_v1", seeded=False))
FACES = parity_inputs(SPEC)[::4]
BATCHES = [to_batch(FACES, SPEC)]
NARROWED = {"fp16": (to_float16, 0.02), "int8": (to_int8, 0.3)}  # and how far logits may move, see `moved`


def lively(name: str) -> torch.nn.Module:
    """A network with random weights whose layers all matter, as after training: new blocks may do nothing."""
    torch.manual_seed(0)
    model = MODELS[name](Build(7), False).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 1.0, 0.3)
            module.momentum = 0.5
    torch.nn.init.normal_(model.classifier.weight, 0.0, 0.3)
    with torch.no_grad():
        for _ in range(8):  # batch norm learns what its layers give
            model(torch.from_numpy(BATCHES[0]))
    return model.eval()


@pytest.fixture(scope="module", params=MODELS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path, batch = tmp_path_factory.mktemp("network") / "model.onnx", {0: "batch"}
    example = torch.zeros(1, *SPEC.input_shape)
    axes = {INPUT_NAME: batch, OUTPUT_NAME: batch}
    write_onnx(lively(request.param), example, INPUT_NAME, [OUTPUT_NAME], axes, path)
    return onnx.load(path)


@pytest.fixture(scope="module")
def in_int8(network: onnx.ModelProto) -> onnx.ModelProto:
    return to_int8(network, BATCHES)


def written(network: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(network.SerializeToString())
    return path


def moved(answers: np.ndarray, wanted: np.ndarray) -> float:
    """The mean distance of (N, labels) logits from those wanted, where 1 is the distance of one face from another."""
    return float(np.abs(answers - wanted).mean() / np.abs(wanted - wanted[::-1]).mean())


def convolution(weights: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    """x (B, C, 4, 4) -> one 1x1 convolution -> y."""
    sides = [len(weights), 4, 4]
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "weights", "bias"], ["y"], "only")],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", weights.shape[1], 4, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", *sides])],
            [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@pytest.mark.parametrize("precision", NARROWED)
def test_every_network_answers_nearly_the_same_alone_and_in_company(
    network: onnx.ModelProto, precision: str, tmp_path: Path
) -> None:
    narrow, most = NARROWED[precision]
    wanted = predict_onnx(onnx_infer(written(network, tmp_path / "fp32.onnx")), FACES, SPEC)
    infer = onnx_infer(written(narrow(network, BATCHES), tmp_path / "narrow.onnx"))
    assert 0 < moved(predict_onnx(infer, FACES, SPEC), wanted) <= most
    check_batch_invariance(infer, FACES, SPEC)


@pytest.mark.parametrize("precision", NARROWED)
def test_the_same_network_and_images_give_the_same_bytes(network: onnx.ModelProto, precision: str) -> None:
    narrow, _ = NARROWED[precision]
    before = network.SerializeToString()
    assert narrow(network, BATCHES).SerializeToString() == narrow(network, BATCHES).SerializeToString()
    assert network.SerializeToString() == before


def test_fp16_keeps_float32_at_its_ends_only(network: onnx.ModelProto) -> None:
    graph = to_float16(network, BATCHES).graph
    ends = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert ends == [TensorProto.FLOAT] * 2
    assert TensorProto.FLOAT not in {tensor.data_type for tensor in graph.initializer}
    assert [node.op_type for node in graph.node].count("Cast") == 2


def test_a_network_that_outgrows_fp16_is_refused() -> None:
    large = convolution(np.full((1, 1, 1, 1), 1000, np.float32), np.zeros(1, np.float32))
    to_float16(large, [np.full((1, 1, 4, 4), 60, np.float32)])
    with pytest.raises(ExportRefused, match=r"y reaches 70000, more than float16 holds \(65504\)"):
        to_float16(large, [np.full((1, 1, 4, 4), 70, np.float32)])


def test_int8_is_what_tensorrt_takes(in_int8: onnx.ModelProto) -> None:
    graph = in_int8.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
    weights = [constants[node.input[0]] for node in pairs if node.input[0] in constants]
    assert {array.dtype for array in weights} == {np.dtype(np.int8)}  # no integer biases
    assert max(np.abs(array.astype(int)).max() for array in weights) == WEIGHT_STEPS


def test_onnxruntime_computes_every_int8_convolution_in_integers(in_int8: onnx.ModelProto, tmp_path: Path) -> None:
    import onnxruntime

    wanted = sum(node.op_type == "DequantizeLinear" and len(node.attribute) for node in in_int8.graph.node)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the file it writes is for this processor only
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(in_int8.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimized.onnx").graph.node
    assert [node.op_type for node in nodes].count("QLinearConv") == wanted > 0


def test_a_channel_of_int8_without_weight_keeps_its_bias(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = random.normal(size=(MIN_CHANNELS, MIN_CHANNELS, 1, 1)).astype(np.float32)
    weights[0], weights[1] = 0.0, 1e-12
    network = convolution(weights, np.linspace(-3, 3, MIN_CHANNELS, dtype=np.float32))
    batch = random.uniform(-1, 1, size=(32, MIN_CHANNELS, 4, 4)).astype(np.float32)
    wanted = onnx_infer(written(network, tmp_path / "fp32.onnx"))(batch)
    answers = onnx_infer(written(to_int8(network, [batch]), tmp_path / "int8.onnx"))(batch)
    assert np.abs(answers - wanted).max() < 0.05 * np.abs(wanted).max()


def test_peaks_are_of_all_batches_and_of_either_sign() -> None:
    network = convolution(np.full((1, 1, 1, 1), -2, np.float32), np.ones(1, np.float32))
    batches = [np.full((2, 1, 4, 4), value, np.float32) for value in (1.5, 3.0, -0.5)]
    assert peaks(network, ["x", "y"], batches) == {"x": 3.0, "y": 5.0}


def test_steps_are_cut_off_where_most_values_gain() -> None:
    network = convolution(np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32))
    values = np.random.default_rng(0).uniform(-1, 1, (1024, 1, 4, 4)).astype(np.float32)
    assert best_steps(network, ["x"], [values], 127)["x"] == pytest.approx(np.abs(values).max() / 127)
    values[0, 0, 0, 0] = 100.0  # row 0 is one that decides
    assert best_steps(network, ["x"], [values], 4)["x"] == pytest.approx(100.0 / 4)
    values[0, 0, 0, 0] = 4.0
    assert best_steps(network, ["x"], [values], 4)["x"] == pytest.approx(0.3 * 4.0 / 4, rel=0.4)
    assert best_steps(network, ["x"], [np.zeros_like(values)], 4)["x"] > 0


def test_means_are_by_channel_over_all_batches() -> None:
    network = convolution(np.ones((2, 1, 1, 1), np.float32), np.array([0, 1], np.float32))
    batches = [np.full((count, 1, 4, 4), value, np.float32) for count, value in ((1, 4.0), (3, 0.0))]
    assert channel_means(network, ["y"], batches)["y"].tolist() == [1.0, 2.0]


def test_rounding_leaves_the_means_of_channels_where_they_were(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = random.uniform(0.5, 0.52, (MIN_CHANNELS, MIN_CHANNELS, 1, 1)).astype(np.float32)
    weights[:, 0] = 1.6  # what 0.51 is rounded by has one sign in each channel
    network = convolution(weights, np.zeros(MIN_CHANNELS, np.float32))
    batch = random.uniform(0, 1, (32, MIN_CHANNELS, 4, 4)).astype(np.float32)
    wanted = onnx_infer(written(network, tmp_path / "fp32.onnx"))(batch)
    answers = onnx_infer(written(to_int8(network, [batch]), tmp_path / "int8.onnx"))(batch)
    step = np.abs(wanted).max() / VALUE_STEPS
    assert np.abs((answers - wanted).mean(axis=(0, 2, 3))).max() < 0.1 * step


def test_calibration_images_are_some_and_always_the_same() -> None:
    images = np.arange(IMAGES * 3 * 4, dtype=np.uint8).reshape(-1, 2, 2)
    assert calibration_images(images).shape == (IMAGES, 2, 2)
    assert (calibration_images(images) == calibration_images(images)).all()
    assert (calibration_images(images[:5]) == images[:5]).all()
