"""What runs a network: model specs, preprocessing, engines. Shared by run time and training; imports neither."""

import os

# From 1.29 on, ONNX Runtime's wheels report to their maker what they run, unless this is set before their first import
# (microsoft/onnxruntime#27379; `disable_telemetry_events` comes too late to stop it). Nothing here calls home unasked.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
