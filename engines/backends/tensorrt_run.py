"""A TensorRT plan on the GPU that is here. Written after the documentation; see STATUS of the backends."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from math import prod
from typing import Any

from engines.backends import cuda
from engines.backends.tensorrt_build import Shape
from engines.backends.tensorrt_library import Library
from engines.base import Batch, Outputs, Port, check_batch, check_ports
from engines.bench import sizes_up_to
from engines.errors import EngineMismatch
from engines.spec import ModelSpec

log = logging.getLogger(__name__)

# Networks of fixed sides are started as one recorded graph: they are dozens of kernels of microseconds, and starting
# each costs as much as running it. Pictures of free sides come in too many shapes to record, and their kernels are
# large. False, to see whether graphs are what is wrong: answers must be the same.
GRAPHS = True


@dataclass(slots=True)
class _Lane:
    """The network prepared for one shape, in its own execution context.

    A graph is void once the context that it was recorded in takes another shape, so each graph needs its own.
    """

    context: Any
    shape: Shape = ()
    rows: dict[str, Shape] = field(default_factory=dict)  # output -> its shape, without B
    graph: cuda.Graph | None = None
    ran: bool = False  # in this shape


class TensorRtEngine:
    """See engines.base.Engine.

    That an answer does not depend on its batch is more than TensorRT promises: another size may take other kernels, and
    in some versions and networks answers were wrong in batches alone (NVIDIA/TensorRT, issues 4796, 4813 and 4853). So
    a batch is filled up to the next of those sizes that engines.build compares with the checkpoint: no other one ever
    runs, and few graphs are recorded. Bit for bit the same in all sizes it is still not.
    """

    def __init__(self, library: Library, spec: ModelSpec, plan: bytes) -> None:
        """Raises ModelInvalid when the plan is not of this spec, EngineMismatch when it does not run here."""
        self.spec = spec
        model = f"{spec.name}-{spec.sha256[:16]}-{spec.digest()}"
        # another build of the same network may be other bytes, and take other kernels
        digest = hashlib.sha256(plan).hexdigest()[:16]
        self.fingerprint = f"{library.name.replace(' ', '-')}/{model}/plan-{digest}"
        self._library = library
        self._graphs = GRAPHS and 0 not in spec.input_shape
        self._runtime: Any = None
        self._engine: Any = None
        self._settings: Any = None
        self._stream: cuda.Stream | None = None
        self._buffers: dict[str, cuda.Buffer] = {}
        self._lanes: dict[Shape, _Lane] = {}
        try:
            self._open(plan)
        except BaseException:
            self.close()
            raise

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        if self._stream is None:
            raise EngineMismatch(f"{self.spec.name}: the engine is closed; load it again")
        check_batch(self, batch)
        self._check_sides(batch)
        self._library.log.clear()
        count = len(batch)
        lane = self._lane((self._filled(count), *batch.shape[1:]))
        pixels = self._buffers[self._input]
        pixels.floats[: batch.size].reshape(batch.shape)[...] = batch
        pixels.send(batch.size)
        self._compute(lane, self._stream)
        for name in self.spec.outputs:
            self._buffers[name].fetch(count * prod(lane.rows[name]))
        self._stream.synchronise()
        return {name: self._answer(name, (count, *lane.rows[name])) for name in self.spec.outputs}

    def close(self) -> None:
        """Free all of it, what was made last first. May be called twice."""
        for lane in self._lanes.values():
            if lane.graph is not None:
                lane.graph.close()
        self._lanes.clear()
        self._settings = None
        self._engine = None
        self._runtime = None
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, plan: bytes) -> None:
        trt, log_of_it = self._library.trt, self._library.log
        log_of_it.clear()
        self._runtime = trt.Runtime(log_of_it)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineMismatch(f"{self.spec.name}: {self._says('cannot load the plan')}; build the engine again")
        inputs, outputs = self._ports()
        check_ports(self.spec, inputs, outputs)
        self._input = inputs[0].name
        self._largest: Shape = tuple(self._engine.get_tensor_profile_shape(self._input, 0)[2])
        self.max_batch = self._largest[0]
        self.best_batch = self.max_batch  # until it is measured: a GPU's cost of a batch is mostly its start
        self._sizes = sizes_up_to(self.max_batch)
        self._settings = _run_settings(trt, self._engine, self._graphs)
        self._stream = cuda.Stream()
        lane = self._lane(self._largest)
        shapes = {self._input: self._largest} | {
            port.name: tuple(lane.context.get_tensor_shape(port.name)) for port in outputs
        }
        for name, shape in shapes.items():
            self._buffers[name] = cuda.Buffer(prod(shape), self._stream)
        self._stream.synchronise()
        self._bind(lane)

    def _ports(self) -> tuple[list[Port], list[Port]]:
        """Inputs and outputs."""
        trt, engine = self._library.trt, self._engine
        inputs: list[Port] = []
        outputs: list[Port] = []
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            shape = tuple(None if side < 0 else side for side in engine.get_tensor_shape(name))
            port = Port(name, shape, engine.get_tensor_dtype(name) == trt.float32)
            (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(port)
        return inputs, outputs

    def _lane(self, shape: Shape) -> _Lane:
        """One for each shape that has a graph; else one for all."""
        key = shape if self._graphs else ()
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._context())
            self._bind(lane)
        if lane.shape != shape:
            if not lane.context.set_input_shape(self._input, shape):
                raise EngineMismatch(f"{self.spec.name}: {self._says(f'takes no batch of {shape}')}")
            lane.shape, lane.ran = shape, False
            lane.rows = {name: tuple(lane.context.get_tensor_shape(name))[1:] for name in self.spec.outputs}
        return lane

    def _context(self) -> Any:
        engine = self._engine
        settings = {} if self._settings is None else {"runtime_config": self._settings}
        context = engine.create_execution_context(**settings)
        if context is None:
            raise EngineMismatch(
                f"{self.spec.name}: {self._says('cannot prepare the network')}; is the GPU's memory full?"
            )
        # plans are built with all their layers' names, which would be told to profilers at every call
        context.nvtx_verbosity = self._library.trt.ProfilingVerbosity.NONE
        return context

    def _bind(self, lane: _Lane) -> None:
        """Tell where inputs and outputs lie: the same place for ever."""
        for name, buffer in self._buffers.items():
            if not lane.context.set_tensor_address(name, buffer.address):
                raise EngineMismatch(f"{self.spec.name}: {self._says(f'takes no memory for {name}')}")

    def _compute(self, lane: _Lane, stream: cuda.Stream) -> None:
        if lane.graph is not None:
            lane.graph.launch()
            return
        self._queue(lane, stream)
        # TensorRT-RTX records by itself, which is what its settings ask for
        if self._graphs and self._settings is None and not lane.ran:
            # what a context does only once, in its first run of a shape, must not be in the graph
            stream.synchronise()
            lane.graph = self._recorded(lane, stream)
        lane.ran = True

    def _queue(self, lane: _Lane, stream: cuda.Stream) -> None:
        if not lane.context.execute_async_v3(int(stream)):
            raise EngineMismatch(f"{self.spec.name}: {self._says(f'cannot compute a batch of {lane.shape}')}")

    def _recorded(self, lane: _Lane, stream: cuda.Stream) -> cuda.Graph | None:
        """None for a network that cannot be recorded: it runs all the same."""
        try:
            return cuda.Graph(stream, lambda: self._queue(lane, stream))
        except EngineMismatch as error:
            log.warning("%s runs without a CUDA graph: %s", self.fingerprint, error)
            return None

    def _answer(self, name: str, shape: Shape) -> Any:
        """A copy: the buffer is the next call's."""
        return self._buffers[name].floats[: prod(shape)].reshape(shape).copy()

    def _filled(self, count: int) -> int:
        return next(size for size in self._sizes if size >= count)

    def _check_sides(self, batch: Batch) -> None:
        most = self._largest[2:]
        if any(side > limit for side, limit in zip(batch.shape[2:], most, strict=True)):
            raise EngineMismatch(
                f"{self.spec.name}: the engine takes pictures up to {most[1]}x{most[0]}, got "
                f"{batch.shape[3]}x{batch.shape[2]}; build it with a larger side_px"
            )

    def _says(self, what: str) -> str:
        return f"{self._library.name} {what} ({self._library.why()})"


def _run_settings(trt: Any, engine: Any, graphs: bool) -> Any:
    """Of TensorRT-RTX, which compiles kernels while it runs; None for TensorRT, which has none of this."""
    if not hasattr(trt, "CudaGraphStrategy"):
        return None
    settings = engine.create_runtime_config()
    # By default the first calls in a shape take a stand-in, and a thread puts better kernels in its place some time
    # later: answers would change in the middle of a run, and neither parity nor speed would be those of the trial.
    strategies = trt.DynamicShapesKernelSpecializationStrategy
    settings.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
    # Its own recording: graphs by hand would need plans whose memory is all ours (REQUIRE_USER_ALLOCATION).
    strategy = trt.CudaGraphStrategy
    settings.cuda_graph_strategy = strategy.WHOLE_GRAPH_CAPTURE if graphs else strategy.DISABLED
    settings.set_runtime_cache(settings.create_runtime_cache())  # contexts share what they have compiled
    return settings
