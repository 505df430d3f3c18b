"""Networks on ONNX Runtime's CPU provider."""

from __future__ import annotations

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from engines.base import Batch, Outputs, Port, check_batch, check_ports
from engines.errors import EngineMismatch, ModelInvalid
from engines.spec import ModelSpec

# CPU milliseconds a sample, AVX2, by `python -m engines.bench`: YuNet at 640x384 10.4 alone, 10.9 in a batch of 16, so
# nobody has to wait for others' frames (its activations then stay in the cache); MobileNetV1 at 48x48 1.20 alone, 0.85
# among 8, 0.80 among 16, 0.80 among 32.
BEST_BATCH = {"face": 1, "emotion": 16}
MAX_BATCH = 64
FLOAT32 = "tensor(float)"
ERRORS_ONLY = 3  # log severity

# ONNX Runtime's exceptions have no base of their own.
FOREIGN = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NotImplemented,
    native.RuntimeException,
)


def load(spec: ModelSpec, weights: bytes, threads: int) -> OnnxRuntimeEngine:
    """An engine of these weights. Raises ModelInvalid when they are no network, or not the one of the spec."""
    try:
        session = onnxruntime.InferenceSession(weights, _options(threads), providers=["CPUExecutionProvider"])
    except FOREIGN as error:
        raise ModelInvalid(
            f"{spec.name}: ONNX Runtime {onnxruntime.__version__} cannot load the network ({_brief(error)}); "
            "export the model again"
        ) from None
    return OnnxRuntimeEngine(spec, session, threads)


class OnnxRuntimeEngine:
    """See engines.base.Engine. The arrays that it returns are new ones at every call."""

    def __init__(self, spec: ModelSpec, session: onnxruntime.InferenceSession, threads: int) -> None:
        inputs = [_port(value) for value in session.get_inputs()]
        check_ports(spec, inputs, [_port(value) for value in session.get_outputs()])
        self.spec = spec
        self.fingerprint = (
            f"onnxruntime-{onnxruntime.__version__}/{spec.name}-{spec.sha256[:16]}-{spec.digest()}/threads-{threads}"
        )
        fixed_batch = inputs[0].shape[0]
        if fixed_batch not in (None, 1):
            raise ModelInvalid(
                f"{spec.name}: the network wants batches of exactly {fixed_batch}; export it with a free one"
            )
        self.max_batch = fixed_batch or MAX_BATCH
        self.best_batch = min(self.max_batch, BEST_BATCH[spec.task])
        self._input_name = inputs[0].name
        self._session: onnxruntime.InferenceSession | None = session

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        if self._session is None:
            raise EngineMismatch(f"{self.spec.name}: the engine is closed; load it again")
        check_batch(self, batch)
        try:
            outputs = self._session.run(self.spec.outputs, {self._input_name: batch})
        except FOREIGN as error:
            raise EngineMismatch(
                f"{self.spec.name}: ONNX Runtime cannot compute a batch of {batch.shape} ({_brief(error)}); "
                "does the spec's stride fit the network?"
            ) from None
        return dict(zip(self.spec.outputs, outputs, strict=True))

    def close(self) -> None:
        """Free the session and its memory. May be called twice."""
        self._session = None


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    # The memory arena stays on: over images and batches of changing size it kept the process at 140 MB where plain
    # allocation came to 175. Spinning goes: waiting threads would burn the cores that decoding needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _port(value: onnxruntime.NodeArg) -> Port:
    shape = tuple(side if isinstance(side, int) else None for side in value.shape)
    return Port(value.name, shape, value.type == FLOAT32)


def _brief(error: Exception) -> str:
    """The first line of a foreign message, not endless."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
