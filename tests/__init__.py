import engines  # noqa: F401 - first, because it turns off ONNX Runtime's telemetry
