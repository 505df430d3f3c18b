"""An ONNX file -> a TensorRT plan. With targets it needs no GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engines.backends.base import Built, Progress
from engines.backends.tensorrt_library import Library, brief, layers_in
from engines.backends.tensorrt_progress import Phases
from engines.base import Port, check_ports
from engines.errors import EngineMismatch, ModelInvalid
from engines.options import Options
from engines.spec import ModelSpec

PLAN_FILE = "engine.plan"
# Bytes that a network may use besides its inputs and outputs; without a bound it is all of the GPU, which others use
# too. The shipped detector takes between 0.5 and 1 GiB for 64 pictures of 640x640, 2 to 4 GiB for those of 1280x1280.
WORKSPACE = 4 << 30
TYPICAL_BATCH = {"face": 4, "emotion": 16}  # what kernels are chosen for; any up to max_batch run
OUT_OF_MEMORY = ("OutOfMemory", "workspace limit")  # in the reason of a failed build

Shape = tuple[int, ...]


def compile_network(
    library: Library, spec: ModelSpec, weights: bytes, options: Options, targets: Sequence[str], progress: Progress
) -> Built:
    """Raises ModelInvalid, EngineMismatch, and what `progress` raises. Without targets: for the GPU that is here.

    Ctrl-C does not end it: TensorRT would print and forget what is raised in its callbacks, so `engines.builder` builds
    in a process that is simply ended.
    """
    library.log.clear()
    monitor = _monitor_class(library.trt)(progress)
    plan = _plan(library, spec, weights, options, targets, monitor)
    if monitor.ended_by is not None:
        raise monitor.ended_by
    if plan is None:
        raise EngineMismatch(f"{spec.name}: {_build_problem(library)}")
    progress(1.0)
    return Built({PLAN_FILE: bytes(plan)}, layers_in(library.log.layers))


def _plan(
    library: Library, spec: ModelSpec, weights: bytes, options: Options, targets: Sequence[str], monitor: Any
) -> Any:
    """The serialised network, None when the build failed or was ended. `monitor` outlives all that is made here."""
    trt = library.trt
    builder = trt.Builder(library.log)
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, library.log)  # owns the weights, so it stays until the plan is built
    _parse(library, spec, parser, network, weights)
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    outputs = [network.get_output(number) for number in range(network.num_outputs)]
    check_ports(spec, [_port(trt, tensor) for tensor in inputs], [_port(trt, tensor) for tensor in outputs])
    config = _config(library, spec, builder, targets, monitor)
    _add_profile(library, spec, builder, config, inputs[0], options)
    return builder.build_serialized_network(network, config)


@dataclass(frozen=True, slots=True)
class Range:
    """The shapes that a plan takes, B first."""

    smallest: Shape
    typical: Shape
    largest: Shape


def range_of(spec: ModelSpec, batch: int | None, options: Options) -> Range:
    """`batch` is that of the network, None when it is free.

    Free sides end at a square of `side_px`, because pictures may be upright.
    """
    most = options.max_batch if batch is None else batch
    channels, *sides = spec.input_shape
    height, width = options.sides(spec)
    return Range(
        (1, channels, *(side or spec.stride for side in sides)),
        (min(most, TYPICAL_BATCH[spec.task]), channels, height, width),
        (most, channels, *(side or options.longest(spec) for side in sides)),
    )


def _strongly_typed(trt: Any) -> int:
    """By name, as the number differs: TensorRT 10 has to be asked for it, 11 and RTX know nothing else."""
    flag = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    return 0 if flag is None else 1 << int(flag)


def _parse(library: Library, spec: ModelSpec, parser: Any, network: Any, weights: bytes) -> None:
    """Raises ModelInvalid."""
    understood = parser.parse(weights)
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise ModelInvalid(f"{spec.name}: {library.name} {_parse_problem(errors[0])}{more}; export the model again")
    if not understood:
        raise ModelInvalid(f"{spec.name}: {library.name} cannot read the network ({library.why()})")
    if not network.num_inputs or not network.num_outputs:  # so it reads empty files, and texts
        raise ModelInvalid(f"{spec.name}: there is no network in the file; export the model again")


def _parse_problem(error: Any) -> str:
    """`cannot ...`, of a parser's error."""
    text = brief(error.desc().removeprefix("Assertion failed: "))
    reason = f" ({text})" if text and text != "false" else ""
    operator, code = error.node_operator(), error.code().name
    if not operator:
        return f"cannot read the network, {code}{reason}"
    node = f"{operator} (node {error.node_name() or error.node()})"
    if code.startswith("UNSUPPORTED") or code == "INVALID_NODE":
        return f"cannot compute the operator {node}{reason}"
    return f"cannot read the network at the operator {node}{reason}"


def _port(trt: Any, tensor: Any) -> Port:
    return Port(tensor.name, tuple(None if side < 0 else side for side in tensor.shape), tensor.dtype == trt.float32)


def _config(library: Library, spec: ModelSpec, builder: Any, targets: Sequence[str], monitor: Any) -> Any:
    trt = library.trt
    config = builder.create_builder_config()
    # On by default, it would multiply float32 with 10 bits of its fraction: answers would not be the checkpoint's.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the log tells no layers
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    config.progress_monitor = monitor
    if library.targets():
        # Asked for none, TensorRT-RTX builds for sm80 without a word.
        aims = [name.upper() for name in targets] or ["CURRENT"]
        config.num_compute_capabilities = len(aims)  # first, or the calls below do nothing
        for number, name in enumerate(aims):
            if not config.set_compute_capability(trt.ComputeCapability.__members__[name], number):
                raise EngineMismatch(f"{spec.name}: {library.name} does not build for {name.lower()} ({library.why()})")
    return config


def _add_profile(library: Library, spec: ModelSpec, builder: Any, config: Any, tensor: Any, options: Options) -> None:
    """One profile, with all shapes that `options` ask for."""
    batch = None if tensor.shape[0] < 0 else int(tensor.shape[0])
    if batch not in (None, 1):
        raise ModelInvalid(f"{spec.name}: the network wants batches of exactly {batch}; export it with a free one")
    shapes = range_of(spec, batch, options)
    profile = builder.create_optimization_profile()
    try:
        profile.set_shape(tensor.name, shapes.smallest, shapes.typical, shapes.largest)
        added = config.add_optimization_profile(profile) >= 0
    except (ValueError, TypeError) as error:
        raise EngineMismatch(f"{spec.name}: there can be no batches up to {shapes.largest} ({error})") from None
    if not added:
        raise EngineMismatch(f"{spec.name}: there can be no batches up to {shapes.largest} ({library.why()})")


def _build_problem(library: Library) -> str:
    """Why there is no plan, of a build that nobody ended."""
    why = library.why()
    if any(words in why for words in OUT_OF_MEMORY):
        return (
            f"{library.name} cannot build it within {WORKSPACE >> 20} MiB of the GPU's memory; "
            "build it for smaller batches or pictures (max_batch, side_px)"
        )
    return f"{library.name} cannot build the network ({why})"


def _monitor_class(trt: Any) -> type[Any]:
    """A progress monitor of this package; the base class is known only now."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the package has no types
        """Tells `progress` how far a build is, and ends the build with what that raises.

        TensorRT may call it on threads of its own, and prints and forgets what a method here raises.
        """

        def __init__(self, progress: Progress) -> None:
            trt.IProgressMonitor.__init__(self)  # its own constructor: `super()` leaves the C++ side unmade
            self.ended_by: BaseException | None = None
            self._progress = progress
            self._phases = Phases()
            self._lock = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                self._tell(self._phases.step(phase_name, step))
            return self.ended_by is None

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                self._tell(self._phases.finish(phase_name))

        def _tell(self, done: float | None) -> None:
            if done is None or self.ended_by is not None:
                return
            try:
                self._progress(done)
            except BaseException as error:  # raised again when TensorRT has come back
                self.ended_by = error

    return Monitor
