"""What this machine has, what is missing or broken, and the command that mends it: findings, for `cli.py` to print."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from engines import machine
from engines.errors import EngineError
from stream.config import Config, PrivacyConfig, WebConfig
from stream.errors import StreamError
from stream.urls import mask

PACKAGES = ("av", "fastapi", "numpy", "onnxruntime", "opencv-python", "prometheus-client", "pydantic", "redis")
OPTIONAL = {  # package -> how it is installed
    "torch": "pip install 'emostream[train]'",
}
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    state: Literal["ok", "missing", "broken", "optional"]
    detail: str
    mend: str | None = None  # the command or act that mends it

    def as_json(self) -> dict[str, str | None]:
        return asdict(self)


def examine(config: Config) -> Iterator[Finding]:
    """Every check in turn, so that a slow one does not hold back what is known already."""
    yield _python()
    yield _cpu()
    yield _gpu()
    yield from _packages()
    yield from _backends()
    yield _opencv()
    yield _decoders()
    yield from _hardware_decoders()
    for task, name in (("face", config.detector.model), ("emotion", config.emotion.model)):
        mend = f"emostream engines inspect {shlex.quote(name)}"
        found = _guard(f"{task} model", mend, lambda task=task, name=name: _model(task, name, config))  # type: ignore[misc]
        yield found
        if found.state == "ok":
            yield _guard(f"{task} engine", mend, lambda name=name: _choice(name, config))  # type: ignore[misc]
    yield _guard("Redis", f"redis-cli -u {shlex.quote(mask(config.redis.url or ''))} ping", lambda: _redis(config))
    yield _web(config.web)
    yield _privacy(config.privacy)
    if config.cameras:
        from stream.trial import try_cameras

        for camera, outcome in try_cameras(config):
            yield Finding(f"camera {camera.name}", "broken" if outcome.mend else "ok", outcome.detail, outcome.mend)


def healthy(findings: list[Finding]) -> bool:
    """True when nothing that a run of this configuration needs is missing or broken."""
    return all(finding.state in ("ok", "optional") for finding in findings)


def _guard(what: str, mend: str, check: Callable[[], Finding]) -> Finding:
    """A check's own foreseen error is its finding; the command in `mend` shows more of what is wrong."""
    try:
        return check()
    except (StreamError, EngineError) as error:
        return Finding(what, "missing", str(error), mend)
    except ImportError as error:
        return Finding(
            what, "missing", f"cannot be tried without {error.name or error}", "install what is missing above"
        )


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "missing", version, "install Python 3.11 or newer")
    return Finding("Python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def _cpu() -> Finding:
    """How many cores this process may use, and by what the libraries choose their kernels."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("CPU", "ok", f"{cores} cores of {machine.cpu()}")


def _gpu() -> Finding:
    """The GPUs that NVIDIA's driver tells of, and its version."""
    told = [" ".join(line.split()) for line in machine.gpus().splitlines()]
    wanted = [line for line in told if line.startswith(("NVRM version", "Model"))]
    if not wanted:
        return Finding("GPU", "optional", "no NVIDIA driver is loaded; engines run on the CPU")
    return Finding("GPU", "ok", "; ".join(wanted))


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
    from engines.load import BACKENDS, backend, installed
    from engines.options import Options

    for name in sorted(BACKENDS.keys() - NEVER):
        try:
            module = backend(name)
            why_not = module.can_run(Options())
        except EngineError:
            yield Finding(f"backend {name}", "optional", "not installed", BACKENDS[name][1])
            continue
        detail = f"{installed(name) or 'installed'}: {why_not or 'runs here'}; {module.STATUS}"
        yield Finding(f"backend {name}", "optional" if why_not else "ok", detail)


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


def _hardware_decoders() -> Iterator[Finding]:
    """What this build of FFmpeg could ask a device for; a run decodes on the CPU."""
    try:
        import av
        from av.codec.hwaccel import hwdevices_available
    except ImportError:
        return  # told above
    # the names end with the device's interface: h264_cuvid, hevc_qsv
    names = sorted(name for name in av.codecs_available if name.startswith(("h264_", "hevc_", "av1_")))
    decoders = ", ".join(name for name in names if _decodes(name)) or "none"
    devices = ", ".join(sorted(hwdevices_available())) or "none"
    yield Finding(
        "hardware decoders", "optional", f"built for {devices} ({decoders}); not used, a run decodes on the CPU"
    )


def _decodes(codec: str) -> bool:
    import av

    try:
        return bool(av.codec.Codec(codec, "r").is_decoder)
    except ValueError:
        return False


def _model(task: str, name: str, config: Config) -> Finding:
    """Found, its weights what the spec says, fit for its task, and one inference done."""
    import numpy as np

    from engines.cache import Cache
    from stream.classify import Classifier
    from stream.detectors import make_detector
    from stream.supply import Supply, model_as_run

    model = model_as_run(name, config.engine, download=False)
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
    from stream.supply import model_as_run, options_of

    model = model_as_run(name, config.engine, download=False)
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


def _web(config: WebConfig) -> Finding:
    if config.address is None:
        return Finding("live page", "optional", "off", "emostream run --http 127.0.0.1:8080, or web.address")
    shown = f"at {config.address}, {'with' if config.token else 'without'} a token, preview {config.preview}"
    return Finding("live page", "ok", shown)


def _privacy(config: PrivacyConfig) -> Finding:
    """What leaves the process, and what for."""
    detail = f"mode {config.mode}, purpose: {config.purpose or 'not stated'}"
    mend = None if config.purpose else "say in privacy.purpose what the answers are for"
    return Finding("privacy", "ok" if config.purpose else "optional", detail, mend)
