"""What the TensorRT backends need of CUDA: which GPU is here, memory on both sides, one stream, recorded graphs.

Every call of `cuda.bindings` answers with a tuple, its error first; nothing but `checked` looks at these.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from engines.errors import EngineMismatch

FLOAT_BYTES = 4
DRIVER_VERSION = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Gpu:
    """The one that CUDA uses in this process."""

    name: str
    compute_capability: str  # as targets are named: sm89
    driver: str


class CudaError(EngineMismatch):
    """What CUDA refused; the message holds its name for the error."""


def checked(answer: tuple[Any, ...]) -> Any:
    """The result of a call of `cuda.bindings.runtime`, None where it has none. Raises CudaError."""
    error, *results = answer
    if error:
        _, text = cudart.cudaGetErrorString(error)
        raise CudaError(f"the GPU refused: {error.name} ({text.decode()}); nvidia-smi shows its state and who uses it")
    return results[0] if results else None


def gpu() -> Gpu:
    """Raises CudaError when there is none."""
    error, count = cudart.cudaGetDeviceCount()
    if error or not count:
        name = error.name if error else "cudaErrorNoDevice"
        raise CudaError(f"no NVIDIA GPU is here, or its driver is too old ({name})")
    properties = checked(cudart.cudaGetDeviceProperties(checked(cudart.cudaGetDevice())))
    level = checked(cudart.cudaDriverGetVersion())  # of CUDA, as 1000 * major + 10 * minor
    driver = driver_version(DRIVER_VERSION.read_text()) if DRIVER_VERSION.exists() else ""
    return Gpu(
        name=properties.name.decode(errors="replace"),
        compute_capability=f"sm{properties.major}{properties.minor}",
        driver=f"{driver} CUDA {level // 1000}.{level % 1000 // 10}".strip(),
    )


def driver_version(text: str) -> str:
    """`580.65.06` out of the text of /proc/driver/nvidia/version, whose other words vary; empty when there is none."""
    found = re.search(r"\b\d{3,4}\.\d{2,3}(\.\d{2})?\b", text)
    return found[0] if found else ""


class Stream:
    """A queue of work of our own: on the default one CUDA would wait for everybody else's, and record no graph."""

    def __init__(self) -> None:
        self.handle, self._mark = None, None
        try:
            self.handle = checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
            # Who waits for the stream itself spins, and burns a core that decoding needs; who waits for such an event
            # sleeps.
            flags = cudart.cudaEventBlockingSync | cudart.cudaEventDisableTiming
            self._mark = checked(cudart.cudaEventCreateWithFlags(flags))
        except CudaError:
            self.close()
            raise

    def __int__(self) -> int:
        return int(self.handle or 0)

    def synchronise(self) -> None:
        """Wait until all of it is done. Raises CudaError when some of it failed."""
        checked(cudart.cudaEventRecord(self._mark, self.handle))
        checked(cudart.cudaEventSynchronize(self._mark))

    def close(self) -> None:
        """May be called twice. Nothing can be done about what CUDA may answer here, and so in the others below."""
        if self._mark is not None:
            cudart.cudaEventDestroy(self._mark)
        if self.handle is not None:
            cudart.cudaStreamDestroy(self.handle)
        self.handle = self._mark = None


class Buffer:
    """Float32 values for one input or output: page-locked on the host, where copies need no detour, and on the GPU."""

    def __init__(self, count: int, stream: Stream) -> None:
        self._stream = stream
        self._host, self._device = None, None
        try:
            self._host = checked(cudart.cudaHostAlloc(count * FLOAT_BYTES, cudart.cudaHostAllocDefault))
            self._device = checked(cudart.cudaMalloc(count * FLOAT_BYTES))
            # what fills a batch up is never somebody else's old memory
            checked(cudart.cudaMemsetAsync(self._device, 0, count * FLOAT_BYTES, stream.handle))
        except CudaError:
            self.close()
            raise
        self.floats = floats_at(int(self._host), count)  # (count,), of the host; void after `close`

    @property
    def address(self) -> int:
        """On the GPU."""
        return int(self._device or 0)

    def send(self, count: int) -> None:
        """Queue the copy of the first `count` values to the GPU."""
        self._copy(self._device, self._host, count, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def fetch(self, count: int) -> None:
        """Queue the copy of the first `count` values from the GPU."""
        self._copy(self._host, self._device, count, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def close(self) -> None:
        """May be called twice."""
        self.floats = np.empty(0, np.float32)  # nothing may look at memory that is not there
        if self._device is not None:
            cudart.cudaFree(self._device)
        if self._host is not None:
            cudart.cudaFreeHost(self._host)
        self._device = self._host = None

    def _copy(self, target: Any, source: Any, count: int, kind: Any) -> None:
        checked(cudart.cudaMemcpyAsync(target, source, count * FLOAT_BYTES, kind, self._stream.handle))


class Graph:
    """Work that was recorded once and is started by one call: kernels of microseconds cost more to start than to run.

    Shapes and addresses are those of the recording.
    """

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Record what `work` queues, without doing it. Raises CudaError, or what `work` raises; the stream is as good
        as before."""
        self._stream = stream
        self._graph: Any = None
        # thread-local: what other threads do meanwhile, such as allocating for another engine, does not end it
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cudart.cudaStreamBeginCapture(stream.handle, mode))
        try:
            work()
        except BaseException:
            cudart.cudaStreamEndCapture(stream.handle)
            raise
        recorded = checked(cudart.cudaStreamEndCapture(stream.handle))
        try:
            self._graph = checked(cudart.cudaGraphInstantiate(recorded, 0))
        finally:
            cudart.cudaGraphDestroy(recorded)

    def launch(self) -> None:
        """Queue all of it."""
        checked(cudart.cudaGraphLaunch(self._graph, self._stream.handle))

    def close(self) -> None:
        """May be called twice."""
        if self._graph is not None:
            cudart.cudaGraphExecDestroy(self._graph)
            self._graph = None


def floats_at(address: int, count: int) -> NDArray[np.float32]:
    """(count,) float32, a view of memory that is somebody else's to free."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))
