"""ONNX Runtime and OpenVINO report to their makers by default; with us they do not, and leave nothing in the home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.engines.networks import write_emotion

LOAD = """
import sys, threading
from pathlib import Path
from engines.load import load_engine
import psutil

load_engine(Path(sys.argv[1]), sys.argv[2]).close()
process = psutil.Process()
print([file.path for file in process.open_files()] + process.net_connections() + threading.enumerate()[1:])
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_nothing_is_gathered_or_sent(tmp_path: Path, backend: str) -> None:
    pytest.importorskip(f"engines.backends.{backend}", reason=f"{backend} is not installed")
    home, model = tmp_path / "home", tmp_path / "model"
    home.mkdir()
    write_emotion(model)
    # some of these turn the telemetry off by themselves
    kept = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")}
    environment = {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(model), backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert list(home.rglob("*")) == []
