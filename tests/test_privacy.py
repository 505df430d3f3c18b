"""Nothing leaves the process that its user did not ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.squares import make_models

RUN = """
import sys
from pathlib import Path
import numpy as np
from engines.load import load_engine
engine = load_engine(Path(sys.argv[1]))
engine.infer(np.zeros((1, 1, 48, 48), np.float32))
engine.close()
"""


def test_an_engine_keeps_no_records_of_its_use(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would leave a database and a device id in the user's cache, and send them."""
    home = tmp_path / "home"
    home.mkdir()
    _, emotion = make_models(tmp_path / "models")
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # not CI, which turns the telemetry off by itself
    environment = {"HOME": str(home), **{name: os.environ[name] for name in kept if name in os.environ}}
    subprocess.run([sys.executable, "-c", RUN, str(emotion)], env=environment, check=True, timeout=60)
    assert list(home.rglob("*")) == []
