"""Networks on ONNX Runtime's CUDA provider, where its GPU wheel is installed in the place of the plain one.

A backend of its own beside `onnxruntime`, because it is another device: it has to pass parity and be measured for
itself, while the CPU stays what a run can always begin on.
"""

from __future__ import annotations

import numpy as np
import onnxruntime

from engines.backends import cuda
from engines.backends.base import Built, Files, Identity, Progress
from engines.backends.onnxruntime import OnnxRuntimeEngine, session_of, session_settings
from engines.base import Batch, Outputs
from engines.bench import sizes_up_to
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import ModelSpec

STATUS = "written only: the GPU wheel of ONNX Runtime 1.31.1 was installed without a GPU on 2026-11-27; nothing was run"
PROVIDER = "CUDAExecutionProvider"
PROVIDER_OPTIONS = {
    "use_tf32": "0",  # products with 10 bits of fraction would not be the checkpoint's answers
    "cudnn_conv_algo_search": "HEURISTIC",  # the default times kernels at each new shape: others in every process
}


def identity(options: Options) -> Identity:
    """See engines.backends.base."""
    gpu = cuda.gpu()
    return Identity(f"onnxruntime-cuda {onnxruntime.__version__}", gpu.name, gpu.compute_capability, gpu.driver)


def can_run(options: Options) -> str | None:
    """See engines.backends.base. Whether CUDA's own libraries are there, only loading a network tells."""
    if options.bf16:
        return "ONNX Runtime computes fp32 networks in no bfloat16"
    if options.targets:
        return "ONNX Runtime takes no --target: it computes on this machine's GPU"
    if PROVIDER not in onnxruntime.get_available_providers():
        return "what is installed is ONNX Runtime for CPUs, not its GPU wheel (onnxruntime-gpu)"
    try:
        cuda.gpu()
    except EngineMismatch as error:
        return str(error)
    return None


def build(spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
    """No files: it compiles while it loads. Loading is tried."""
    load(spec, weights, options).close()
    progress(1.0)
    return Built({})


def load(spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> OnnxRuntimeCudaEngine:
    """An engine of these weights. Raises ModelInvalid when they are no network, or not the one of the spec."""
    if why := can_run(options):
        raise EngineMismatch(f"{spec.name}: {why}")
    onnxruntime.preload_dlls()  # those of NVIDIA's wheels, which no loader finds by itself
    session = session_of(
        spec, weights, session_settings(options.threads), [(PROVIDER, PROVIDER_OPTIONS), "CPUExecutionProvider"]
    )
    if session.get_providers()[0] != PROVIDER:  # it falls back to the CPU, and says so in its log only
        raise EngineMismatch(
            f"{spec.name}: CUDA's or cuDNN's libraries are missing or do not fit "
            f"ONNX Runtime {onnxruntime.__version__}; "
            "pip install 'onnxruntime-gpu[cuda,cudnn]' brings those that do"
        )
    return OnnxRuntimeCudaEngine(spec, session, options)


class OnnxRuntimeCudaEngine(OnnxRuntimeEngine):
    """See engines.base.Engine.

    Another size of batch may take other kernels, so that a batch is filled up to the next of those sizes that
    `engines.build` compares with the checkpoint: no other one ever runs.
    """

    label = "onnxruntime-cuda"

    def __init__(self, spec: ModelSpec, session: onnxruntime.InferenceSession, options: Options) -> None:
        super().__init__(spec, session, options)
        self.best_batch = self.max_batch  # until it is measured: a GPU's cost of a batch is mostly its start
        self._sizes = sizes_up_to(self.max_batch)

    def infer(self, batch: Batch) -> Outputs:
        """(B, C, H, W) float32 -> named outputs, B first. Raises EngineMismatch when the batch does not fit."""
        count = len(batch)
        size = next((size for size in self._sizes if size >= count), count)
        filled = batch if size == count else np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), "f4")])
        return {name: values[:count] for name, values in super().infer(filled).items()}
