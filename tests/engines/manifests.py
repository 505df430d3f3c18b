"""Fingerprints and manifests of engines that nobody had to build."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from engines.cache import Cache, Entry, files_of
from engines.manifest import Fingerprint, Manifest, Parity, Trial

MODEL = "tiny"
FILES = {"engine.plan": b"compiled " * 9, "weights.bin": bytes(range(200))}  # 81 and 200 bytes
PASSED = Trial(parity=Parity(state="passed"), status="run on a CPU", best_batch=2, ms_per_sample={1: 0.5, 2: 0.25})


def fingerprint(**other: Any) -> Fingerprint:
    fields: dict[str, Any] = {
        "model_sha256": "a" * 64,
        "spec": "12345678",
        "precision": "fp32",
        "backend": "fake",
        "library": "fake 1",
        "threads": 1,
        "max_batch": 64,
        "side_px": None,
        "targets": (),
        "device": "a CPU",
        "compute_capability": "",
        "driver": "",
    }
    return Fingerprint.model_validate({**fields, **other})


def manifest(files: Mapping[str, bytes] = FILES, of: Fingerprint | None = None, **other: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": MODEL,
        "model_folder": "/models/tiny",
        "fingerprint": of or fingerprint(),
        "files": files_of(files),
        "trial": PASSED,
        "build_s": 1.5,
        "built_at": datetime(2026, 11, 21, 8, 0, tzinfo=UTC),
    }
    return Manifest.model_validate({**fields, **other})


def added(cache: Cache, files: Mapping[str, bytes] = FILES, of: Fingerprint | None = None, **other: Any) -> Entry:
    """An engine in the cache."""
    made = manifest(files, of, **other)
    with cache.locked(made.fingerprint):
        return cache.add(made, files)


def until(true: Callable[[], object]) -> None:
    """Returns once it is; the test's own timeout ends what never becomes true."""
    pause = threading.Event()
    while not true():
        pause.wait(0.02)
