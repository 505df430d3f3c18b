"""TensorRT: plans for the very GPU that is here, found by measuring on it."""

from __future__ import annotations

import tensorrt

from engines.backends.tensorrt import TensorRt

STATUS = "written only: by the interface of TensorRT 10.16 and 11.4, which build nothing without a GPU; nothing was run"

_backend = TensorRt(tensorrt, "tensorrt")
identity, can_run, build, load = _backend.identity, _backend.can_run, _backend.build, _backend.load
