"""TensorRT and TensorRT-RTX: one backend for two packages with the same interface.

`tensorrt_full` and `tensorrt_rtx` each make a `TensorRt` of their package. How a plan is built stands in
`tensorrt_build`, how it runs in `tensorrt_run`, what the library says in `tensorrt_library`, the GPU in `cuda`.
"""

from __future__ import annotations

import threading
from typing import Any

from engines.backends import cuda
from engines.backends.base import Built, Files, Identity, Progress
from engines.backends.tensorrt_build import PLAN_FILE, compile_network
from engines.backends.tensorrt_library import Library
from engines.backends.tensorrt_run import TensorRtEngine
from engines.errors import EngineMismatch
from engines.options import Options
from engines.spec import ModelSpec

# Networks are strongly typed: each tensor has the precision that the graph gives it.
NO_BF16 = "TensorRT takes precisions from the graph, and there are no model folders in bfloat16; leave bf16 out"


class TensorRt:
    """A `backends.base.Backend`: its bound methods are the functions of a backend's module."""

    def __init__(self, package: Any, label: str) -> None:
        self._library = Library(package, label)
        # builders of TensorRT 10.16 that worked at once crashed or hung (lightvector/KataGo, pull request 1225)
        self._building = threading.Lock()

    def identity(self, options: Options) -> Identity:
        """See engines.backends.base. A plan for targets depends on no driver."""
        if options.targets:
            targets = ",".join(self._targets(options))
            return Identity(self._library.name, f"targets {targets}", targets)
        gpu = self._gpu()
        return Identity(self._library.name, gpu.name, gpu.compute_capability, gpu.driver)

    def can_run(self, options: Options) -> str | None:
        """See engines.backends.base."""
        if options.bf16:
            return NO_BF16
        try:
            targets = self._targets(options) or self._library.targets()
            gpu = cuda.gpu()
        except EngineMismatch as error:
            return str(error)
        if targets and gpu.compute_capability not in targets:
            return f"it is for {', '.join(targets)}, and the GPU that is here is {gpu.compute_capability}"
        return None

    def build(self, spec: ModelSpec, weights: bytes, options: Options, progress: Progress) -> Built:
        """See engines.backends.base. What `progress` raises ends the build."""
        if options.bf16:
            raise EngineMismatch(f"{spec.name}: {NO_BF16}")
        targets = self._targets(options)
        if not targets:
            self._gpu()
        with self._building:
            return compile_network(self._library, spec, weights, options, targets, progress)

    def load(self, spec: ModelSpec, weights: bytes, options: Options, files: Files | None = None) -> TensorRtEngine:
        """See engines.backends.base."""
        if files is None or PLAN_FILE not in files:
            raise EngineMismatch(
                f"{spec.name}: {self._library.label} runs only what was built; build it first: "
                f"emostream engines build {spec.name} --backend {self._library.label}"
            )
        if why := self.can_run(options):
            raise EngineMismatch(f"{spec.name}: {why}")
        return TensorRtEngine(self._library, spec, files[PLAN_FILE])

    def _targets(self, options: Options) -> tuple[str, ...]:
        """Each once, in order. Raises EngineMismatch for one that this library does not build for."""
        known = self._library.targets()
        if options.targets and not known:
            raise EngineMismatch(
                f"{self._library.name} builds only for the GPU that is here: leave --target out, or use tensorrt-rtx"
            )
        if unknown := [name for name in options.targets if name not in known]:
            raise EngineMismatch(f"{self._library.name} builds for {', '.join(known)}, not for {', '.join(unknown)}")
        return tuple(name for name in known if name in options.targets)

    def _gpu(self) -> cuda.Gpu:
        """What is built for where no targets are named."""
        known = self._library.targets()
        instead = "name what to build for by --target sm89" if known else "plans are built where they are to run"
        try:
            gpu = cuda.gpu()
        except EngineMismatch as error:
            raise EngineMismatch(f"{self._library.name}: {error}; {instead}") from None
        if known and gpu.compute_capability not in known:
            raise EngineMismatch(
                f"{self._library.name} builds for {', '.join(known)}, and the GPU that is here is "
                f"{gpu.compute_capability}; {instead}"
            )
        return gpu
