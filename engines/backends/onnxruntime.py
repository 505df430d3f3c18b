"""Networks on ONNX Runtime's CPU provider. It compiles while it loads: there is nothing to keep.

`onnxruntime_cuda` is the same on its CUDA provider.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from engines import machine
from engines.backends.base import Built, Files, Identity, Layer, Progress
from engines.base import Batch, Outputs, Port, check_batch, check_ports, example
from engines.errors import EngineError, EngineMismatch, ModelInvalid
from engines.options import Options
from engines.spec import ModelSpec

# Milliseconds a sample, AVX2: YuNet at 640x384 10.4 alone, 10.9 in a batch of 16, so nobody has to wait for others'
# frames (its activations then stay in the cache); the emotion network 1.41 alone, 0.83 among 8, 0.81 among 16.
BEST_BATCH = {"face": 1, "emotion": 16}
STATUS = "run on x86 with AVX2 and AVX-512, ONNX Runtime 1.32.0, 2026-11-27"
FLOAT32 = "tensor(float)"
PROVIDERS = ("CPUExecutionProvider",)
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


def identity(options: Options) -> Identity:
    """See engines.backends.base."""
    return Identity(f"onnxruntime {onnxruntime.__version__}", machine.cpu())


def can_run(options: Options) -> str | None:
    """See engines.backends.base."""
    if options.bf16:
        return "ONNX Runtime computes no bfloat16 on CPUs"
    return "ONNX Runtime takes no --target: it computes on this machine's CPU" if options.targets else None


def build(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
    """No files. The layers are those that ran in one inference: fused, with what was put between them."""
    if why := can_run(options):
        raise EngineMismatch(f"{spec.name}: {why}")
    try:
        return Built({}, _layers(spec, weights, options, progress))
    except (OSError, json.JSONDecodeError) as error:
        raise EngineError(
            f"{spec.name}: ONNX Runtime cannot note its layers in a temporary file ({_brief(error)}); is the disk full?"
        ) from None


def _layers(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> tuple[Layer, ...]:
    with tempfile.TemporaryDirectory(prefix="emostream-layers-") as folder:
        settings = session_settings(options.threads)
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "profile")
        engine = OnnxRuntimeEngine(spec, session_of(spec, weights, settings), options)
        progress(0.5)
        engine.infer(example(spec, 1))
        return engine.layers()


def load(spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> OnnxRuntimeEngine:
    """An engine of these weights. Raises ModelInvalid when they are no network, or not the one of the spec."""
    if why := can_run(options):
        raise EngineMismatch(f"{spec.name}: {why}")
    return OnnxRuntimeEngine(spec, session_of(spec, weights, session_settings(options.threads)), options)


class OnnxRuntimeEngine:
    """See engines.base.Engine. The arrays that it returns are new ones at every call."""

    label = "onnxruntime"

    def __init__(self, spec: ModelSpec, session: onnxruntime.InferenceSession, options: Options) -> None:
        inputs = [_port(value) for value in session.get_inputs()]
        check_ports(spec, inputs, [_port(value) for value in session.get_outputs()])
        self.spec = spec
        model = f"{spec.name}-{spec.sha256[:16]}-{spec.digest()}"
        self.fingerprint = f"{self.label}-{onnxruntime.__version__}/{model}/threads-{options.threads}"
        fixed_batch = inputs[0].shape[0]
        if fixed_batch not in (None, 1):
            raise ModelInvalid(
                f"{spec.name}: the network wants batches of exactly {fixed_batch}; export it with a free one"
            )
        self.max_batch = fixed_batch or options.max_batch
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

    def layers(self) -> tuple[Layer, ...]:
        """What has been computed so far, of a session that profiles, which it ends."""
        assert self._session is not None
        events = json.loads(Path(self._session.end_profiling()).read_bytes())
        return tuple(
            Layer(event["name"].removesuffix("_kernel_time"), event["args"]["op_name"], _precision(event["args"]))
            for event in events
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        )


def session_of(
    spec: ModelSpec,
    weights: bytes,
    settings: onnxruntime.SessionOptions,
    providers: Sequence[str | tuple[str, dict[str, Any]]] = PROVIDERS,
) -> onnxruntime.InferenceSession:
    """Raises ModelInvalid when the weights are no network that ONNX Runtime can load."""
    try:
        return onnxruntime.InferenceSession(weights, settings, providers=list(providers))
    except FOREIGN as error:
        raise ModelInvalid(
            f"{spec.name}: ONNX Runtime {onnxruntime.__version__} cannot load the network ({_brief(error)}); "
            "export the model again"
        ) from None


def _precision(arguments: dict[str, Any]) -> str:
    """Of a layer's first input, such as `float` or `uint8`."""
    inputs: list[dict[str, list[int]]] = arguments.get("input_type_shape") or [{}]
    return next(iter(inputs[0]), "")


def session_settings(threads: int) -> onnxruntime.SessionOptions:
    """Of every session of ours."""
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
