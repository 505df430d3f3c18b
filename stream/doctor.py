"""What this machine has, what is missing, and the command that mends it: findings, for the command line to print."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from engines.errors import EngineError
from stream.config import Config
from stream.errors import StreamError

PACKAGES = ("av", "numpy", "onnxruntime", "opencv-python", "pydantic", "redis")
OPTIONAL = {  # package -> how it is installed
    "torch": "pip install 'emostream[train]'",
}
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    state: Literal["ok", "missing", "optional"]
    detail: str
    mend: str | None = None  # the command or act that mends it

    def as_json(self) -> dict[str, str | None]:
        return asdict(self)


def examine(config: Config) -> Iterator[Finding]:
    """Every check in turn, so that a slow one does not hold back what is known already."""
    yield _python()
    yield _cores()
    yield from _packages()
    yield from _backends()
    yield _opencv()
    yield _decoders()
    for task, name in (("face", config.detector.model), ("emotion", config.emotion.model)):
        found = _guard(f"{task} model", lambda task=task, name=name: _model(task, name, config))  # type: ignore[misc]
        yield found
        if found.state == "ok":
            yield _guard(f"{task} engine", lambda name=name: _choice(name, config))  # type: ignore[misc]
    yield _guard("Redis", lambda: _redis(config))


def healthy(findings: list[Finding]) -> bool:
    """True when nothing that a run needs is missing."""
    return all(finding.state != "missing" for finding in findings)


def _guard(what: str, check: Callable[[], Finding]) -> Finding:
    """A check's own foreseen error is its finding."""
    try:
        return check()
    except (StreamError, EngineError) as error:
        return Finding(what, "missing", str(error), "see the sentence")
    except ImportError as error:
        return Finding(
            what, "missing", f"cannot be tried without {error.name or error}", "install what is missing above"
        )


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "missing", version, "install Python 3.11 or newer")
    return Finding("Python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("CPU cores", "ok", str(cores))


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        version = _version(name)
        if version is None:
            yield Finding(name, "missing", "not installed", "pip install emostream")
        else:
            yield Finding(name, "ok", version)
    for name, install in OPTIONAL.items():
        version = _version(name)
        yield Finding(name, "ok" if version else "optional", version or "not installed", None if version else install)


def _backends() -> Iterator[Finding]:
    """What could compute the networks, and how far each was tried."""
    from engines.choice import NEVER
    from engines.load import BACKENDS, backend
    from engines.options import Options

    for name in sorted(BACKENDS.keys() - NEVER):
        try:
            module = backend(name)
            why_not = module.can_run(Options())
        except EngineError:
            yield Finding(f"backend {name}", "optional", "not installed", BACKENDS[name][1])
            continue
        yield Finding(f"backend {name}", "optional" if why_not else "ok", f"{why_not or 'runs here'}; {module.STATUS}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _opencv() -> Finding:
    try:
        import cv2
    except ImportError as error:  # installed, but slim images lack the libraries that it links to
        return Finding("OpenCV", "missing", str(error), "apt-get install libgl1 libglib2.0-0")
    return Finding("OpenCV", "ok", f"{cv2.__version__} can be imported")


def _decoders() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding("video decoders", "missing", str(error), "pip install --force-reinstall av")
    wanted = ("h264", "hevc", "mjpeg", "av1")
    have = [name for name in wanted if name in av.codecs_available]
    missing = [name for name in wanted if name not in have]
    detail = f"{', '.join(have)} (FFmpeg libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))})"
    if "h264" in missing:
        return Finding("video decoders", "missing", detail, "pip install --force-reinstall av")
    return Finding("video decoders", "ok", detail)


def _model(task: str, name: str, config: Config) -> Finding:
    """Found, its weights what the spec says, fit for its task, and one inference done."""
    import numpy as np

    from engines.cache import Cache
    from engines.store import find_model
    from stream.classify import Classifier
    from stream.detectors import make_detector
    from stream.supply import Supply

    model = find_model(name, download=False)
    said: list[str] = []
    settings = config.engine.model_copy(update={"wait": False})  # a look at what is there builds nothing
    config = config.model_copy(update={"engine": settings})
    engine = Supply(config, {task: model}, Cache(), live=True, say=said.append).first()[task]
    shape = [size or 2 * model.spec.stride for size in model.spec.input_shape]  # a free side may have any multiple
    try:
        if task == "face":
            make_detector(config.detector, engine)
        else:
            Classifier(config.emotion, engine)
        engine.infer(np.zeros((1, *shape), np.float32))
        detail = "; ".join((f"{model.spec.name} from {model.onnx_path.parent}: {engine.fingerprint}", *said))
        return Finding(f"{task} model", "ok", detail)
    finally:
        engine.close()


def _choice(name: str, config: Config) -> Finding:
    """Which backend computes this model, and why that one."""
    from engines.cache import Cache
    from engines.choice import DEFAULT, candidates, remembered
    from engines.store import find_model
    from stream.supply import options_of

    model = find_model(name, download=False)
    what = f"{model.spec.task} engine"
    if config.engine.backend != "auto":
        return Finding(what, "ok", f"{config.engine.backend}, as configured")
    options = options_of(config)
    left_out = "; ".join(f"{backend}: {why}" for backend, why in candidates(model, options)[1].items())
    choice = remembered(model, options, Cache())
    if choice is None:
        detail = f"{DEFAULT} until the fastest is chosen (left out: {left_out})"
        return Finding(what, "optional", detail, f"emostream engines build {name}")
    return Finding(what, "ok", f"{choice}: {choice.reason} (left out: {left_out})")


def _redis(config: Config) -> Finding:
    from stream import private_redis
    from stream.sinks.redis import ping

    if config.redis.url:
        return Finding("Redis", "ok", ping(config.redis))
    binary = private_redis.find_server()
    if binary is None:
        return Finding("Redis", "missing", "no redis-server for a private Redis", "apt-get install redis-server")
    return Finding("Redis", "ok", f"none configured; a private one would run {binary}")
