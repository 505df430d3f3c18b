"""Networks on OpenVINO's CPU plugin, compiled ahead into blobs of one OpenVINO version and one instruction set.

    dynamic.blob          every batch and every picture that the network takes
    1x1x48x48.blob, ...   one shape each, named by it: the few that are asked most, which are cheaper for knowing it

Which blob answers is a matter of speed only: one that differs from the dynamic blob in a single bit is not kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from engines import machine
from engines.backends.base import Built, Files, Identity, Layer, Progress
from engines.base import Batch, Outputs, Port, check_batch, check_ports, example
from engines.errors import EngineMismatch, ModelInvalid
from engines.options import Options
from engines.spec import ModelSpec

# `import openvino` reports itself to Google Analytics from a thread of its own, and leaves a client id and a count in
# ~/intel (openvino 2026.4.1, seen on 2026-11-22). No variable turns that off; without this package it uses a stub.
sys.modules.setdefault("openvino_telemetry", cast(Any, None))

import openvino  # noqa: E402 - not before its telemetry is out of reach

VERSION = "-".join(openvino.__version__.split("-")[:2])  # release and build, without the commit and the branch
STATUS = "run on x86 with AVX2 (2026-11-22) and AVX-512, there in bfloat16 too (2026-11-27), OpenVINO 2026.4.1"
DEVICE = "CPU"
DYNAMIC = "dynamic.blob"

# Milliseconds a sample, AVX2, one thread, the sizes taking turns (2026-11-22): the shipped detector at 640x384 7.7
# alone, 8.2 in a batch of 2; the emotion network 2.12 alone, 0.81 among 8, 0.71 among 16.
BEST_BATCH = {"face": 1, "emotion": 16}


def identity(options: Options) -> Identity:
    """See engines.backends.base."""
    return Identity(f"openvino {VERSION}", machine.cpu())


def can_run(options: Options) -> str | None:
    """See engines.backends.base."""
    if options.targets:
        return "OpenVINO takes no --target: it compiles for this machine's CPU"
    if options.bf16 and "BF16" not in openvino.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return "this CPU has no bfloat16, and OpenVINO would compute in float32 without a word"
    return None


def build(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
    """The blobs, and the layers of the dynamic one."""
    if why := can_run(options):
        raise EngineMismatch(f"{spec.name}: {why}")
    compiled = _compiled(spec, weights, options, progress)
    files = {name: network.export_model().getvalue() for name, network in compiled.items()}
    progress(1.0)
    return Built(files, _layers(compiled[DYNAMIC]))


def load(spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> OpenVinoEngine:
    """An engine of the blobs, or of what `build` would put into them: slower to start, then the same."""
    if why := can_run(options):
        raise EngineMismatch(f"{spec.name}: {why}")
    compiled = _compiled(spec, weights, options) if files is None else _imported(spec, files, options)
    return OpenVinoEngine(spec, compiled, options)


class OpenVinoEngine:
    """See engines.base.Engine. The arrays that it returns are new ones at every call."""

    def __init__(self, spec: ModelSpec, compiled: Mapping[str, openvino.CompiledModel], options: Options) -> None:
        dynamic = compiled[DYNAMIC]
        fixed_batch = _fixed_batch(spec, dynamic)
        self.spec = spec
        model = f"{spec.name}-{spec.sha256[:16]}-{spec.digest()}"
        bf16 = "/bf16" if options.bf16 else ""
        self.fingerprint = f"openvino-{VERSION}/{model}/threads-{options.threads}{bf16}"
        self.max_batch = fixed_batch or options.max_batch
        self.best_batch = min(self.max_batch, BEST_BATCH[spec.task])
        names = [_name(port, spec) for port in dynamic.outputs]
        self._places = {name: names.index(name) for name in spec.outputs}
        self._dynamic: openvino.InferRequest | None = dynamic.create_infer_request()
        self._static = {
            tuple(network.input(0).shape): network.create_infer_request()
            for name, network in compiled.items()
            if name != DYNAMIC
        }

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        if self._dynamic is None:
            raise EngineMismatch(f"{self.spec.name}: the engine is closed; load it again")
        check_batch(self, batch)
        try:
            answers = _answers(self._static.get(batch.shape, self._dynamic), np.ascontiguousarray(batch))
        except RuntimeError as error:
            raise EngineMismatch(
                f"{self.spec.name}: OpenVINO cannot compute a batch of {batch.shape} ({_brief(error)}); "
                "does the spec's stride fit the network?"
            ) from None
        return {name: answers[place] for name, place in self._places.items()}

    def close(self) -> None:
        """Free the network and its memory. May be called twice."""
        self._dynamic = None
        self._static = {}


def _answers(request: openvino.InferRequest, batch: Batch) -> tuple[np.ndarray[Any, Any], ...]:
    """Copies of the outputs, in the order of the network.

    Not by `request.infer`: about 0.1 ms cheaper, but where a dynamic network cannot compute what it is given, it says
    nothing and returns the answer to the batch before, or crashes (2026.4.1, seen on 2026-11-22); `wait` raises.
    Without `share_inputs` a wrong shape gets past a static network in the same way.
    """
    request.start_async({0: batch}, share_inputs=True)
    request.wait()
    answers: tuple[np.ndarray[Any, Any], ...] = request.results.to_tuple()
    return answers


def _compiled(
    spec: ModelSpec, weights: bytes, options: Options, progress: Progress = lambda done: None
) -> dict[str, openvino.CompiledModel]:
    """By the names of their blobs: the network as it is, and for the shapes where that pays."""
    core, settings = openvino.Core(), _settings(options)
    try:
        network = core.read_model(weights)
        fixed_batch = _fixed_batch(spec, network)
        dynamic = core.compile_model(network, DEVICE, settings)
    except RuntimeError as error:
        raise ModelInvalid(
            f"{spec.name}: OpenVINO {VERSION} cannot load the network ({_brief(error)}); export the model again"
        ) from None
    _check_precision(spec, dynamic, options)
    compiled = {DYNAMIC: dynamic}
    shapes = _shapes(spec, options, fixed_batch or options.max_batch) if network.is_dynamic() else []
    for number, shape in enumerate(shapes, start=1):
        progress(number / (len(shapes) + 1))
        static = _static(core, network, shape, settings)
        if static and _agree(dynamic, static, example(spec, shape[0], shape[2:])):
            compiled["x".join(map(str, shape)) + ".blob"] = static
    return compiled


def _imported(spec: ModelSpec, files: Files, options: Options) -> dict[str, openvino.CompiledModel]:
    """What `_compiled` gave, out of its blobs. OpenVINO notices no damage in them: they are believed to be whole."""
    if DYNAMIC not in files:
        raise EngineMismatch(f"{spec.name}: the built engine has no {DYNAMIC}, only {', '.join(files)}; build it again")
    core, settings = openvino.Core(), _settings(options)
    compiled = {}
    for name, blob in files.items():
        try:
            compiled[name] = core.import_model(blob, DEVICE, settings)
        except RuntimeError as error:
            raise EngineMismatch(
                f"{spec.name}: OpenVINO {VERSION} does not take {name} ({_brief(error)}); build the engine again"
            ) from None
        _check_precision(spec, compiled[name], options)
    return compiled


def _settings(options: Options) -> dict[str, Any]:
    return {
        # said even of float32: on a CPU that has bfloat16 OpenVINO may choose that by itself
        "INFERENCE_PRECISION_HINT": "bf16" if options.bf16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": options.threads,
        # with it the computing threads are bound to cores from core 0 on, in every process alike
        "ENABLE_CPU_PINNING": False,
    }


def _check_precision(spec: ModelSpec, compiled: openvino.CompiledModel, options: Options) -> None:
    """OpenVINO takes the hint for what it is. Raises EngineMismatch when it did not follow it."""
    came = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if came != (wanted := _settings(options)["INFERENCE_PRECISION_HINT"]):
        raise EngineMismatch(f"{spec.name}: {wanted} was asked of OpenVINO, which computes in {came}; leave bf16 out")


def _shapes(spec: ModelSpec, options: Options, max_batch: int) -> list[tuple[int, int, int, int]]:
    """One sample alone, and as many together as are best; where the sides are free, a wide picture.

    A dynamic network prepares itself anew whenever the shape changes. Where sizes take turns, as they do at run time,
    a shape of its own came to 0.75 of that CPU time for one face of a MobileNetV1, 0.91 for 16, and 0.83 for a picture
    of 640x384 (AVX2, 2026-11-22). Each costs another copy of the weights, in the blobs and in memory.
    """
    batches = sorted({1, min(BEST_BATCH[spec.task], max_batch)})
    return [(batch, spec.input_shape[0], *options.sides(spec)) for batch in batches]


def _static(
    core: openvino.Core, network: openvino.Model, shape: tuple[int, ...], settings: dict[str, Any]
) -> openvino.CompiledModel | None:
    """The network for one shape; None when it takes no such shape, which is for whoever asks it to be told."""
    variant = network.clone()
    try:
        variant.reshape(shape)
        return core.compile_model(variant, DEVICE, settings)
    except RuntimeError:
        return None


def _agree(dynamic: openvino.CompiledModel, static: openvino.CompiledModel, batch: Batch) -> bool:
    """Whether `static` answers, bit for bit, as `dynamic` does to each sample alone.

    So it was on AVX2 with the shipped detector and a MobileNetV1, not with the shipped emotion network (2026-11-22).
    """
    try:
        together = _answers(static.create_infer_request(), batch)
        request = dynamic.create_infer_request()
        alone = [_answers(request, batch[row : row + 1]) for row in range(len(batch))]
    except RuntimeError:
        return False
    return all(
        np.concatenate(parts).tobytes() == whole.tobytes()
        for parts, whole in zip(zip(*alone, strict=True), together, strict=True)
    )


def _fixed_batch(spec: ModelSpec, network: openvino.Model | openvino.CompiledModel) -> int | None:
    """The only batch that the network takes, None when it takes any. Raises ModelInvalid when it is not the spec's."""
    inputs = [_port(port, spec) for port in network.inputs]
    check_ports(spec, inputs, [_port(port, spec) for port in network.outputs])
    fixed_batch = inputs[0].shape[0]
    if fixed_batch not in (None, 1):
        raise ModelInvalid(
            f"{spec.name}: the network wants batches of exactly {fixed_batch}; export it with a free one"
        )
    return fixed_batch


def _port(port: openvino.ConstOutput, spec: ModelSpec) -> Port:
    """A dimension may have bounds, such as 16 or more: free, too."""
    sides = port.partial_shape
    fixed = [side.get_min_length() if side.is_static else None for side in sides] if sides.rank.is_static else []
    return Port(_name(port, spec), tuple(fixed), port.element_type == openvino.Type.f32)


def _name(port: openvino.ConstOutput, spec: ModelSpec) -> str:
    """Of the port's names the one that the spec uses; a port can have several, or none."""
    names = sorted(port.get_names())
    return next((name for name in names if name in spec.outputs), names[0] if names else "")


def _layers(compiled: openvino.CompiledModel) -> tuple[Layer, ...]:
    """What the compiled network does, in its order, without what only feeds it."""
    nodes = [(node.get_friendly_name(), node.rt_info) for node in compiled.get_runtime_model().get_ordered_ops()]
    layers = (Layer(name, info["layerType"].value, info["runtimePrecision"].value) for name, info in nodes)
    return tuple(layer for layer in layers if layer.kind not in ("Const", "Input", "Output"))


def _brief(error: Exception) -> str:
    """What a foreign message says besides the places in OpenVINO's source, not endless."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(line for line in lines if line and ".cpp:" not in line and ".hpp:" not in line)
    return (said or type(error).__name__)[:200]
