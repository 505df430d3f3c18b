"""Parity: does an engine answer as the checkpoint did? The gate that every new engine passes before it is used.

A model's `parity.npz` holds inputs that may be shipped and what the checkpoint made of them, so nobody needs training
data. Emotion networks are compared by probabilities, detectors by the faces that come out. Each input is asked alone
and in batches up to the largest: the answer to one face must be right in any company.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Batch, Engine, Outputs
from engines.decoding import reader_of
from engines.decoding.base import Candidates
from engines.errors import EngineMismatch, ModelInvalid
from engines.manifest import Parity
from engines.preprocess import to_batch
from engines.probabilities import softmax
from engines.spec import ModelSpec

MATCH_IOU = 0.9  # of a face that two detectors found
PERCENTILE = 99.0
MOST_BYTES = 1 << 29  # of all arrays: twice those of 256 pictures of 640x640 for a detector
MOST_FACES = 1000  # in one picture: all
# precision -> figure -> limit. `largest` and `p99` are differences of single probabilities; `agreement` and `matched`
# are shares. `company` has none: how far an output in a batch is from that alone. On CPUs it is 0 with the shipped
# models; TensorRT promises nothing there, so that its answers are held against the checkpoint's in every batch.
AT_MOST: Mapping[str, Mapping[str, float]] = {
    "fp32": {"largest": 1e-4},
    "fp16": {"p99": 2e-2},
    "bf16": {"p99": 2e-2},
    "int8": {"p99": 5e-2},
}
AT_LEAST: Mapping[str, Mapping[str, float]] = {
    "fp32": {"matched": 0.99},
    "fp16": {"agreement": 0.99, "matched": 0.99},
    "bf16": {"agreement": 0.99, "matched": 0.99},
    "int8": {"agreement": 0.97, "matched": 0.97},
}

Arrays = dict[str, NDArray[Any]]


def read_parity(path: Path, spec: ModelSpec) -> Arrays:
    """`inputs` and the checkpoint's answers, out of a model's parity.npz. Raises ModelInvalid when there are none."""
    try:
        with path.open("rb") as file:
            _check_size(file)
            with np.load(file, allow_pickle=False) as archive:
                arrays: Arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a broken archive raises whatever the layers below it do: zipfile, zlib, struct, numpy
        why = error.strerror if isinstance(error, OSError) else error
        raise ModelInvalid(
            f"{path}: the parity inputs cannot be read ({why}), and without them nobody can tell whether an engine "
            "is right; export the model again"
        ) from None
    if problem := _inputs_problem(arrays, spec) or _answers_problem(arrays, spec):
        raise ModelInvalid(f"{path}: {problem}; export the model again")
    return arrays


def _check_size(file: IO[bytes]) -> None:
    """Raises ValueError for an archive that would not fit: a few kilobytes of it may unpack to gigabytes of zeros."""
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    file.seek(0)
    if unpacked > MOST_BYTES:
        raise ValueError(f"{unpacked} bytes unpacked, {MOST_BYTES} at most")


def _inputs_problem(arrays: Arrays, spec: ModelSpec) -> str | None:
    inputs = arrays.get("inputs", np.zeros(0))
    channels, *sides = spec.input_shape
    shape = inputs.shape[1:] if channels == 1 else inputs.shape[1:-1]
    fits = len(shape) == 2 and all(n == w if w else n % spec.stride == 0 for w, n in zip(sides, shape, strict=True))
    if inputs.dtype == np.uint8 and inputs.size and fits and (channels == 1 or inputs.shape[-1] == channels):
        return None
    return f"expected uint8 pictures for {spec.input_shape} as inputs, got {inputs.shape} {inputs.dtype}"


def _answers_problem(arrays: Arrays, spec: ModelSpec) -> str | None:
    for name in spec.outputs:
        answers = arrays.get(name, np.zeros(0))
        columns = (len(spec.labels),) if spec.task == "emotion" else answers.shape[1:]
        wanted = (len(arrays["inputs"]), *columns)
        if answers.shape != wanted or answers.dtype.kind != "f" or not np.isfinite(answers).all():
            return f"expected {wanted} finite numbers as {name}, got {answers.shape} {answers.dtype}"
    return None


def compare(engine: Engine, parity: Arrays, precision: str, sizes: Sequence[int]) -> Parity:
    """What the engine's answers come to against the checkpoint's, asked in batches of each of `sizes`: the worst.

    Raises EngineMismatch when that is too far off.
    """
    batch = to_batch(list(parity["inputs"]), engine.spec)
    figures: dict[str, float] = {"company": 0.0}
    alone = _answers(engine, batch, 1)
    for size in sizes:
        rows = np.arange(-(-len(batch) // size) * size) % len(batch)  # every batch full: after the last, the first
        answers = _answers(engine, batch[rows], size)
        if not all(np.isfinite(values).all() for values in answers.values()):
            raise _refused(engine, f"what is no number, in batches of {size}", precision)
        apart = max(float(np.abs(answers[name] - alone[name][rows]).max()) for name in alone)
        figures["company"] = max(figures["company"], apart)
        wanted = {name: parity[name][rows] for name in ("inputs", *engine.spec.outputs)}
        for name, value in _figures(engine.spec, answers, wanted).items():
            worse = min if any(name in limits for limits in AT_LEAST.values()) else max
            figures[name] = worse(figures.get(name, value), value)
    _gate(engine, figures, precision)
    rounded = {name: float(f"{value:.3g}") for name, value in figures.items()}
    return Parity(state="passed", figures=rounded, batches=tuple(sizes))


def _answers(engine: Engine, batch: Batch, size: int) -> Outputs:
    parts = [engine.infer(batch[start : start + size]) for start in range(0, len(batch), size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in engine.spec.outputs}


def _gate(engine: Engine, figures: Mapping[str, float], precision: str) -> None:
    outside = [
        f"{name} {figures[name]:.3g}, at most {limit:g}"
        for name, limit in AT_MOST[precision].items()
        if name in figures and figures[name] > limit
    ] + [
        f"{name} {figures[name]:.3g}, at least {limit:g}"
        for name, limit in AT_LEAST[precision].items()
        if name in figures and figures[name] < limit
    ]
    if outside:
        raise _refused(engine, "; ".join(outside), precision)


def _refused(engine: Engine, why: str, precision: str) -> EngineMismatch:
    return EngineMismatch(
        f"{engine.spec.name}: {engine.fingerprint} does not answer as the checkpoint did ({why} in {precision}); "
        "it is not used"
    )


def _figures(spec: ModelSpec, answers: Outputs, parity: Arrays) -> dict[str, float]:
    if spec.task == "emotion":
        return _of_probabilities(answers[spec.outputs[0]], parity[spec.outputs[0]], spec.temperature)
    return _of_faces(spec, answers, parity)


def _of_probabilities(logits: NDArray[Any], wanted: NDArray[Any], temperature: float) -> dict[str, float]:
    """`largest` and `p99` of |difference| over all single probabilities, `agreement` of the first answers."""
    ours, theirs = softmax(logits / temperature), softmax(wanted / temperature)
    differences = np.abs(ours - theirs)
    return {
        "largest": float(differences.max()),
        "p99": float(np.percentile(differences, PERCENTILE)),
        "agreement": float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
    }


def _of_faces(spec: ModelSpec, answers: Outputs, parity: Arrays) -> dict[str, float]:
    """`matched`: of the faces that either found, the share that the other found too, at MATCH_IOU."""
    found = list(_faces(spec, answers, parity["inputs"].shape[1:3]))
    wanted = list(_faces(spec, parity, parity["inputs"].shape[1:3]))
    if not sum(map(len, wanted)):
        raise ModelInvalid(f"{spec.name}: there is no face in its parity inputs; export the model again")
    pairs = sum(_matches(ours.boxes, theirs.boxes) for ours, theirs in zip(found, wanted, strict=True))
    return {"matched": pairs / max(sum(map(len, found)), sum(map(len, wanted)))}


def _faces(spec: ModelSpec, outputs: Mapping[str, NDArray[Any]], side: tuple[int, ...]) -> Iterator[Candidates]:
    reader = reader_of(spec, MOST_FACES)
    height, width = side[:2]
    for row in range(len(outputs[spec.outputs[0]])):
        answer = {name: np.asarray(outputs[name][row], np.float32) for name in spec.outputs}
        yield reader.faces(answer, (height, width), (height, width))


def _matches(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> int:
    """How many boxes of one set have their own in the other."""
    if not len(ours) or not len(theirs):
        return 0
    upper, lower = np.maximum(ours[:, None, :2], theirs[:, :2]), np.minimum(ours[:, None, 2:], theirs[:, 2:])
    both = np.clip(lower - upper, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (ours, theirs)]
    iou = both / (areas[0][:, None] + areas[1] - both)
    return int(min((iou >= MATCH_IOU).any(axis=0).sum(), (iou >= MATCH_IOU).any(axis=1).sum()))
