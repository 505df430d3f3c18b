"""OpenVINO beyond the engine contract: its blobs, the faults that it passes over in silence, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.errors import EngineMismatch, ModelInvalid
from engines.options import Options
from engines.spec import MODEL_FILE, ModelSpec
from engines.store import SHIPPED
from tests.contracts.engine import same
from tests.engines.networks import emotion_spec, write_emotion, write_face, write_model

# by this door and not as `openvino`, whose import calls home unless ours has been there first
backend = pytest.importorskip("engines.backends.openvino", reason="openvino is not installed")

DEFAULT = Options()
ONE_COLUMN = (1, 0, 3)  # input_shape of a network as wide as its labels are many, so that its outputs pass for logits


def built(folder: Path, options: Options = DEFAULT) -> Any:
    """What a model folder compiles to."""
    return backend.build(ModelSpec.read(folder), (folder / MODEL_FILE).read_bytes(), options, lambda done: None)


def loaded(folder: Path, files: Any = None, options: Options = DEFAULT) -> Any:
    """An engine of these files, or of the weights."""
    return backend.load(ModelSpec.read(folder), (folder / MODEL_FILE).read_bytes(), options, files)


def write_with_fixed_rows(folder: Path) -> None:
    """A network whose free side must be 16, which only shows while it computes."""
    spec = emotion_spec(input_shape=ONE_COLUMN, stride=8)
    nodes = [helper.make_node("Reshape", ["input", "shape"], ["logits"])]
    weights = {"shape": np.array([0, 1, 16, 3], np.int64)}
    write_model(folder, spec, nodes, weights, ["batch", 1, "height", 3], {"logits": ["batch", 1, 16, 3]})


class TestBlobs:
    def test_each_shape_has_its_own_and_the_dynamic_one_takes_the_rest(self, tmp_path: Path) -> None:
        write_emotion(tmp_path / "emotion")
        write_face(tmp_path / "face")
        assert set(built(tmp_path / "emotion").files) == {"dynamic.blob", "1x1x16x16.blob", "16x1x16x16.blob"}
        assert set(built(tmp_path / "face").files) == {"dynamic.blob", "1x3x384x640.blob"}
        assert set(built(tmp_path / "face", Options(side_px=400)).files) == {"dynamic.blob", "1x3x256x416.blob"}

    def test_a_network_that_is_fixed_needs_no_other(self, tmp_path: Path) -> None:
        write_emotion(tmp_path, batch=1)
        assert set(built(tmp_path).files) == {"dynamic.blob"}

    def test_a_batch_that_may_not_come_has_none(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        assert set(built(tmp_path, Options(max_batch=4)).files) == {"dynamic.blob", "1x1x16x16.blob", "4x1x16x16.blob"}

    @pytest.mark.parametrize(("model", "shape"), [("emotion", (16, 1, 48, 48)), ("face", (1, 1, 384, 640))])
    def test_of_a_shipped_model_they_answer_alike_bit_for_bit(self, model: str, shape: tuple[int, ...]) -> None:
        """Whichever were kept: on AVX2 the emotion network's shapes differ in their last bits, and none is."""
        files = built(SHIPPED / model).files
        with_shapes, without = (
            loaded(SHIPPED / model, files),
            loaded(SHIPPED / model, {"dynamic.blob": files["dynamic.blob"]}),
        )
        batch = np.random.default_rng(2).normal(size=shape).astype(np.float32)
        wanted = without.infer(batch)
        assert same(with_shapes.infer(batch), wanted)
        assert same(with_shapes.infer(batch[:1]), {name: values[:1] for name, values in wanted.items()})
        assert same(loaded(SHIPPED / model).infer(batch), wanted)

    def test_a_shape_that_answers_otherwise_is_not_kept(self, tmp_path: Path) -> None:
        nodes = [
            helper.make_node("Shape", ["input"], ["shape"], start=0, end=1),
            helper.make_node("Cast", ["shape"], ["company"], to=1),
            helper.make_node(
                "Add", ["input", "company"], ["logits"]
            ),  # an answer that depends on the size of the batch
        ]
        spec = emotion_spec(input_shape=(1, 16, 3))
        write_model(tmp_path, spec, nodes, {}, ["batch", 1, 16, 3], {"logits": ["batch", 1, 16, 3]})
        assert set(built(tmp_path).files) == {"dynamic.blob", "1x1x16x3.blob"}

    def test_a_shape_that_the_network_does_not_take_is_left_out(self, tmp_path: Path) -> None:
        write_with_fixed_rows(tmp_path)
        assert set(built(tmp_path).files) == {"dynamic.blob"}

    def test_an_engine_that_was_built_or_loaded_at_once_has_one_fingerprint(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        at_once = loaded(tmp_path)
        assert at_once.fingerprint == loaded(tmp_path, built(tmp_path).files).fingerprint
        assert at_once.fingerprint != loaded(tmp_path, options=Options(threads=2)).fingerprint

    def test_layers_are_what_computes(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        layers = built(tmp_path).layers
        assert "Convolution" in {layer.kind for layer in layers}
        assert not {layer.kind for layer in layers} & {"Const", "Input", "Output"}
        assert {layer.precision for layer in layers} == {"f32"}


class TestProgress:
    def test_it_rises_to_one(self, tmp_path: Path) -> None:
        spec, told = write_emotion(tmp_path), []
        backend.build(spec, (tmp_path / MODEL_FILE).read_bytes(), Options(), told.append)
        assert told == sorted(told)
        assert told[0] < told[-1] == 1.0

    def test_what_it_raises_ends_the_build(self, tmp_path: Path) -> None:
        def stop(done: float) -> None:
            raise RuntimeError("enough")

        spec = write_emotion(tmp_path)
        with pytest.raises(RuntimeError, match="enough"):
            backend.build(spec, (tmp_path / MODEL_FILE).read_bytes(), Options(), stop)


class TestSilence:
    def test_what_the_network_cannot_compute_is_told_and_not_answered_with_the_last_answer(
        self, tmp_path: Path
    ) -> None:
        write_with_fixed_rows(tmp_path)
        engine = loaded(tmp_path)
        engine.infer(np.zeros((1, 1, 16, 3), np.float32))
        with pytest.raises(EngineMismatch, match=r"cannot compute a batch of \(1, 1, 8, 3\).* conflicts with"):
            engine.infer(np.zeros((1, 1, 8, 3), np.float32))
        assert engine.infer(np.ones((2, 1, 16, 3), np.float32))["logits"].shape == (2, 1, 16, 3)

    def test_an_output_that_is_the_input_is_still_the_caller_s_own(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Identity", ["input"], ["logits"])]
        spec = emotion_spec(input_shape=(1, 16, 3))
        write_model(tmp_path, spec, nodes, {}, ["batch", 1, 16, 3], {"logits": ["batch", 1, 16, 3]})
        batch = np.ones((1, 1, 16, 3), np.float32)
        loaded(tmp_path).infer(batch)["logits"][...] = 7.0
        assert (batch == 1.0).all()

    def test_bfloat16_is_computed_or_refused(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        options = Options(bf16=True)
        if why := backend.can_run(options):
            assert "no bfloat16" in why
            for refused in (built, lambda folder, options: loaded(folder, options=options)):
                with pytest.raises(EngineMismatch, match="tiny-emotion: this CPU has no bfloat16"):
                    refused(tmp_path, options)
        else:
            made = built(tmp_path, options)
            assert "bf16" in {layer.precision for layer in made.layers}
            assert loaded(tmp_path, made.files, options).fingerprint.endswith("/bf16")


class TestErrors:
    def test_it_compiles_for_no_other_device(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        with pytest.raises(EngineMismatch, match="takes no --target"):
            built(tmp_path, Options(targets=("sm89",)))

    @pytest.mark.parametrize("weights", [b"", b"not a network", bytes(100)])
    def test_bytes_that_are_no_network(self, weights: bytes) -> None:
        with pytest.raises(ModelInvalid, match=r"tiny-emotion: OpenVINO .* cannot load the network \(Unable to read"):
            backend.load(emotion_spec(), weights, Options())

    def test_an_operation_that_openvino_lacks_is_named(self) -> None:
        node = helper.make_node("FancyOp", ["input"], ["logits"], domain="fancy")
        shape = ["batch", 1, 16, 3]
        ports = [helper.make_tensor_value_info(name, 1, shape) for name in ("input", "logits")]
        graph = helper.make_graph([node], "fancy", ports[:1], ports[1:])
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("fancy", 1)]
        weights = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        with pytest.raises(ModelInvalid, match=r"cannot load the network \(.*fancy\.FancyOp"):
            backend.build(emotion_spec(input_shape=(1, 16, 3)), weights, Options(), lambda done: None)

    def test_a_fixed_batch_other_than_one(self, tmp_path: Path) -> None:
        write_emotion(tmp_path, batch=4)
        with pytest.raises(ModelInvalid, match="batches of exactly 4"):
            built(tmp_path)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"outputs": ("scores",)}, "names the outputs scores, the network has logits"),
            ({"labels": ("one", "two")}, "2 labels, the output 'logits' ends in"),
            ({"input_shape": (1, 24, 24)}, "the input 'input' is"),
            ({"input_shape": (1, 0, 0), "stride": 16}, "the input 'input' is"),
        ],
    )
    def test_a_network_that_is_not_what_the_spec_says(self, tmp_path: Path, changes: Any, words: str) -> None:
        spec, files = write_emotion(tmp_path), built(tmp_path).files
        weights, wrong = (tmp_path / MODEL_FILE).read_bytes(), spec.model_copy(update=changes)
        for given in (None, files):
            with pytest.raises(ModelInvalid, match=words):
                backend.load(wrong, weights, Options(), given)

    def test_a_blob_of_another_version_says_so(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        release = backend.VERSION.partition("-")[0].encode()
        files = {name: blob.replace(release, b"2" * len(release)) for name, blob in built(tmp_path).files.items()}
        with pytest.raises(EngineMismatch, match=r"does not take dynamic\.blob .*version.*; build the engine again"):
            loaded(tmp_path, files)

    def test_a_blob_that_is_none(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        for blob in (b"", b"no blob", built(tmp_path).files["dynamic.blob"][:200]):
            with pytest.raises(EngineMismatch, match=r"tiny-emotion: OpenVINO .* does not take dynamic\.blob"):
                loaded(tmp_path, {"dynamic.blob": blob})

    def test_a_build_without_its_dynamic_blob(self, tmp_path: Path) -> None:
        write_emotion(tmp_path)
        files = {name: blob for name, blob in built(tmp_path).files.items() if name != "dynamic.blob"}
        with pytest.raises(EngineMismatch, match=r"has no dynamic\.blob, only 1x1x16x16\.blob"):
            loaded(tmp_path, files)
