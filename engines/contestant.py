"""One engine in a process of its own, to be timed against others: `python -m engines.contestant` (see contest.py).

It reads a request, says what loading cost, and then answers each `{"size": n}` line with the milliseconds of one call.
`serve` is for anything that computes batches; training's eager networks are timed with it, too.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.base import Batch
from engines.child import heard
from engines.compare import read_parity
from engines.options import Options
from engines.portrait import portrait
from engines.preprocess import Pixels, to_batch
from engines.spec import ModelSpec
from engines.store import Model

KB = 1024.0  # in one MB


def serve(open_: Callable[[], Callable[[Batch], object]], batch: Batch) -> None:
    """Load by `open_`, then time calls until stdin ends. `batch` is the largest one; smaller ones are its beginning."""
    began_s = time.perf_counter()
    call = open_()
    load_s = time.perf_counter() - began_s
    call(batch[:1])
    first_s = time.perf_counter() - began_s
    loaded = {"load_s": round(load_s, 3), "first_s": round(first_s, 3), "peak_mb": round(_peak_mb(), 1)}
    print(json.dumps(loaded), flush=True)
    for line in sys.stdin:
        part = batch[: json.loads(line)["size"]]
        start_s = time.perf_counter()
        call(part)
        print(json.dumps({"ms": (time.perf_counter() - start_s) * 1000}), flush=True)


def _peak_mb() -> float:
    """Of resident memory; not getrusage's, which begins with what the parent had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / KB for line in lines if line.startswith("VmHWM:")), float("nan"))


def inputs(model: Model, options: Options, count: int) -> Batch:
    """(count, C, H, W) of what the network meets: the faces of its parity inputs, or a portrait as a wide picture."""
    spec = model.spec
    if all(spec.input_shape):
        images = read_parity(model.parity_path, spec)["inputs"]
        return to_batch([images[row % len(images)] for row in range(count)], spec)
    return to_batch([_picture(spec, options.sides(spec))] * count, spec)


def _picture(spec: ModelSpec, side: tuple[int, int]) -> Pixels:
    seen = cv2.resize(portrait(), side[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_BGR2GRAY) if spec.color == "luma" else seen, np.uint8)


def main() -> None:
    """The child: an engine of the cache."""
    from engines.cache import Cache
    from engines.load import load_engine

    request: dict[str, Any] = json.loads(sys.stdin.readline())
    model, options = heard(request)
    entry = Cache(Path(request["folder"]).parent).at(Path(request["folder"]))

    def open_() -> Callable[[Batch], object]:
        return load_engine(model, entry.manifest.fingerprint.backend, options, entry).infer

    serve(open_, inputs(model, options, request["largest"]))


if __name__ == "__main__":
    main()
