"""TensorRT-RTX: plans for GeForce and RTX GPUs, which are compiled to the end on the machine that runs them.

They are built on any machine, also for GPUs that are not there (`--target`).
"""

from __future__ import annotations

import tensorrt_rtx

from engines.backends.tensorrt import TensorRt

STATUS = "built only: plans were built and read with TensorRT-RTX 1.7.1 on 2026-11-27; nothing was run on a GPU yet"

_backend = TensorRt(tensorrt_rtx, "tensorrt-rtx")
identity, can_run, build, load = _backend.identity, _backend.can_run, _backend.build, _backend.load
