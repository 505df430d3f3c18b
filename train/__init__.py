"""TRAINING: networks from data, and model folders from checkpoints. The only package that imports torch."""

import engines  # noqa: F401 - first, because it turns off ONNX Runtime's telemetry
