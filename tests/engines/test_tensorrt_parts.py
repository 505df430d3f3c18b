"""What the TensorRT backends compute without TensorRT: shapes, progress, and sentences out of its log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.backends.base import Layer
from engines.backends.tensorrt_build import Range, range_of
from engines.backends.tensorrt_library import brief, layers_in
from engines.backends.tensorrt_progress import Phases
from engines.options import Options
from engines.spec import ModelSpec
from tests.engines.networks import emotion_spec, face_spec


@pytest.mark.parametrize(
    ("spec", "batch", "options", "wanted"),
    [
        (emotion_spec(), None, Options(), Range((1, 1, 16, 16), (16, 1, 16, 16), (64, 1, 16, 16))),
        (emotion_spec(), None, Options(max_batch=4), Range((1, 1, 16, 16), (4, 1, 16, 16), (4, 1, 16, 16))),
        (emotion_spec(), 1, Options(), Range((1, 1, 16, 16), (1, 1, 16, 16), (1, 1, 16, 16))),
        (face_spec(), None, Options(), Range((1, 3, 32, 32), (4, 3, 384, 640), (64, 3, 640, 640))),
        (face_spec(), None, Options(side_px=500), Range((1, 3, 32, 32), (4, 3, 288, 512), (64, 3, 512, 512))),
        (face_spec(), None, Options(side_px=1), Range((1, 3, 32, 32), (4, 3, 32, 32), (64, 3, 32, 32))),
        (
            face_spec(input_shape=(3, 0, 96)),
            None,
            Options(max_batch=1),
            Range((1, 3, 32, 96), (1, 3, 384, 96), (1, 3, 640, 96)),
        ),
    ],
)
def test_a_plan_is_for_the_batches_and_pictures_that_were_asked_for(
    spec: ModelSpec, batch: int | None, options: Options, wanted: Range
) -> None:
    assert range_of(spec, batch, options) == wanted


def test_a_phase_fills_a_step_of_its_parent() -> None:
    phases = Phases()
    phases.start("whole", None, 4)
    assert phases.step("whole", 0) == pytest.approx(0.95 / 4)
    phases.start("part", "whole", 2)
    assert phases.step("part", 0) == pytest.approx(0.95 * 3 / 8)
    assert phases.finish("part") == pytest.approx(0.95 / 2)  # without its second step
    assert phases.step("whole", 1) is None  # that is known already
    assert phases.finish("whole") == pytest.approx(0.95)
    phases.start("another", None, 1)
    assert phases.step("another", 0) == pytest.approx(0.95 + 0.05 * 0.95)


NAMES = st.sampled_from("abc")
CALLS = st.one_of(
    st.tuples(st.just("start"), NAMES, st.one_of(st.none(), NAMES), st.integers(0, 5)),
    st.tuples(st.just("step"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("finish"), NAMES),
)


@given(st.lists(CALLS, max_size=40))
def test_progress_only_grows_whatever_is_told(calls: list[tuple[str, ...]]) -> None:
    phases = Phases()
    told = [done for method, *arguments in calls if (done := getattr(phases, method)(*arguments)) is not None]
    assert all(before < after for before, after in zip([0.0, *told], told, strict=False))
    assert all(done <= 1.0 for done in told)


# lines of TensorRT-RTX 1.7.1
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch for tensor input and "
            "profile 0. At dimension axis 3, profile has min=48, opt=48, max=64 but tensor has 48. In validate at "
            "/_src/optimizer/api/network.cpp:4054)",
            "API Usage Error: Dimension mismatch for tensor input and profile 0. At dimension axis 3, profile has "
            "min=48, opt=48, max=64 but tensor has 48",
        ),
        (
            "[localCheckMacros.cpp::getErrorStr::132] Error Code 2: OutOfMemory (Requested size was 13859100 bytes.)",
            "OutOfMemory: Requested size was 13859100 bytes",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([tactic.cpp:1676: enumerate_tactics] Tactic "
            "Selection: no tactics to implement the operation within workspace limit. In run at /_src/x.cpp:2)",
            "Myelin: Tactic Selection: no tactics to implement the operation within workspace limit",
        ),
        ("a line\nof another form.", "a line of another form"),
        ("x" * 999, "x" * 200),
        ("", ""),
    ],
)
def test_a_log_line_becomes_half_a_sentence(line: str, wanted: str) -> None:
    assert brief(line) == wanted


def test_layers_are_read_where_they_are_told() -> None:
    told = (
        "Layers:\n"
        "Name: __mye1_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , Metadata: \n"
        "Name: /stem/Conv, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [-1,1], Datatype: Float }], "
        "Constants: [], Outputs: [ { Name: b, Dimensions: [-1,8], Datatype: Half, Format: (NHWC) }], Metadata: [x]\n"
        "Bindings:\ninput\n"
    )
    assert layers_in(told) == (Layer("__mye1_0", "shape_call", ""), Layer("/stem/Conv", "correlation", "Half"))
    assert layers_in('{"Layers": [{"Name": "/stem/Conv"}]}') == ()
    assert layers_in("") == ()
