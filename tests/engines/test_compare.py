"""The parity gate: the right answers pass, and wrong ones do not, however few, in whatever batch, whatever they are."""

from __future__ import annotations

import io
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.backends.fake import FakeEngine
from engines.base import Batch, Engine, Outputs
from engines.compare import MOST_BYTES, Arrays, compare, read_parity
from engines.errors import EngineError, EngineMismatch, ModelInvalid
from engines.load import load_engine
from engines.spec import ModelSpec
from tests.conftest import PROJECT
from tests.engines.networks import (
    emotion_model,
    emotion_spec,
    face_answers,
    face_model,
    face_spec,
    strips_model,
    write_parity,
)

SIZES = (1, 2, 4)
ROWS = 200  # crops, each of its own: two bytes of it say which
Change = Callable[[Outputs, int], Outputs]  # (answers, size of the batch) -> answers


class Changed:
    """An Engine whose answers a test changes on their way."""

    def __init__(self, engine: Engine, change: Change) -> None:
        self.spec, self.fingerprint = engine.spec, engine.fingerprint
        self.max_batch, self.best_batch = engine.max_batch, engine.best_batch
        self._engine, self._change = engine, change

    def infer(self, batch: Batch) -> Outputs:
        return self._change(self._engine.infer(batch), len(batch))

    def close(self) -> None:
        self._engine.close()


class Told:
    """An Engine that answers each crop with the logits that a test wrote for it."""

    max_batch = best_batch = 64
    fingerprint = "told"

    def __init__(self, logits: NDArray[np.float64], spec: ModelSpec) -> None:
        self.spec = spec
        self._logits = logits.astype(np.float32)

    def infer(self, batch: Batch) -> Outputs:
        pixels = np.rint((batch[:, 0, 0, :2] + 1) * 127.5).astype(int)
        return {"logits": self._logits[pixels @ [1, 256]]}

    def close(self) -> None:
        """Nothing is held."""


def told(ours: NDArray[np.float64], theirs: NDArray[np.float64], precision: str, **spec: Any) -> dict[str, float]:
    """The figures of an engine that says `ours` where the checkpoint said `theirs`."""
    crops = np.zeros((len(theirs), 16, 16), np.uint8)
    crops[:, 0, 0], crops[:, 0, 1] = np.arange(len(theirs)) % 256, np.arange(len(theirs)) // 256
    engine = Told(ours, emotion_spec(**spec))
    return compare(engine, {"inputs": crops, "logits": theirs.astype(np.float32)}, precision, SIZES).figures


def sure(rows: int = ROWS) -> NDArray[np.float64]:
    """Logits of which the first is far the largest."""
    return np.tile([6.0, 0.0, 0.0], (rows, 1))


def torn(rows: int = ROWS) -> NDArray[np.float64]:
    """Logits of which the first is the largest by a hair."""
    return np.tile([1.0005, 1.0, 0.0], (rows, 1))


@pytest.mark.parametrize("model", [emotion_model, face_model, strips_model])
def test_the_right_engine_passes(tmp_path: Path, model: Callable[[Path], Any]) -> None:
    made = model(tmp_path)
    engine = load_engine(made)
    found = compare(engine, read_parity(made.parity_path, made.spec), "fp32", SIZES)
    assert (found.state, found.batches) == ("passed", SIZES)
    if made.spec.task == "face":
        assert found.figures == {"company": 0.0, "matched": 1.0}
    else:
        assert found.figures["agreement"] == 1.0
        assert found.figures["p99"] <= found.figures["largest"] < 1e-6
    engine.close()


def test_the_fake_backend_computes_what_the_strips_network_does(tmp_path: Path) -> None:
    made = strips_model(tmp_path)
    assert compare(FakeEngine(made.spec), read_parity(made.parity_path, made.spec), "fp32", SIZES).state == "passed"


@pytest.mark.parametrize(
    ("precision", "wrong", "passes"),
    [
        # of 200 crops, each with two probabilities that change by about as much
        ("fp32", 0, True),
        ("fp16", 2, True),
        ("fp16", 3, False),
        ("bf16", 2, True),
        ("bf16", 3, False),
        ("int8", 6, True),
        ("int8", 7, False),
    ],
)
def test_of_the_first_answers_as_many_agree_as_the_precision_asks(precision: str, wrong: int, passes: bool) -> None:
    ours = torn()
    ours[:wrong, 1] = 1.001
    if passes:
        assert told(ours, torn(), precision)["agreement"] == pytest.approx(1 - wrong / ROWS, abs=1e-3)
    else:
        with pytest.raises(EngineMismatch, match=f"agreement .*, at least .* in {precision}"):
            told(ours, torn(), precision)


@pytest.mark.parametrize(
    ("precision", "difference", "passes"),
    [
        ("fp32", 0.9e-4, True),
        ("fp32", 1.1e-4, False),
        ("fp16", 1.9e-2, True),
        ("fp16", 2.1e-2, False),
        ("bf16", 1.9e-2, True),
        ("bf16", 2.1e-2, False),
        ("int8", 4.9e-2, True),
        ("int8", 5.1e-2, False),
    ],
)
def test_probabilities_are_as_near_as_the_precision_asks(precision: str, difference: float, passes: bool) -> None:
    """Two labels: their probabilities are 0.9 and 0.1, and both change by the difference."""
    labels: dict[str, Any] = {"labels": ("no", "yes")}
    theirs = np.tile([0.0, math.log(0.9 / 0.1)], (ROWS, 1))
    ours = np.tile([0.0, math.log((0.9 - difference) / (0.1 + difference))], (ROWS, 1))
    if passes:
        assert told(ours, theirs, precision, **labels)["largest"] == pytest.approx(difference, rel=1e-2)
    else:
        with pytest.raises(EngineMismatch, match=f"at most .* in {precision}"):
            told(ours, theirs, precision, **labels)


def test_in_fp32_a_single_probability_counts() -> None:
    ours = sure()
    ours[17, 1] += 0.2  # a probability that changes by 5e-4
    with pytest.raises(EngineMismatch, match=r"largest 0\.000"):
        told(ours, sure(), "fp32")
    assert told(ours, sure(), "fp16")["p99"] == 0.0


def test_probabilities_are_compared_as_they_are_used() -> None:
    """Divided by the temperature, which makes the same difference of logits smaller; a constant adds nothing."""
    ours = sure() + np.array([0.1, 0.0, 0.0])
    hot, cold = (told(ours, sure(), "int8", temperature=t)["largest"] for t in (50.0, 2.0))
    assert hot < cold
    assert told(sure() + 3.0, sure(), "fp32")["largest"] < 1e-7


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", SIZES)
def test_what_is_no_number_is_wrong_in_every_batch(tmp_path: Path, precision: str, value: float, size: int) -> None:
    """Alone, or only in company: the first batches that were right excuse nothing."""

    def change(answers: Outputs, count: int) -> Outputs:
        return {"logits": np.full_like(answers["logits"], value)} if count == size else answers

    made = emotion_model(tmp_path)
    engine = Changed(load_engine(made), change)
    with pytest.raises(EngineMismatch, match=f"does not answer as the checkpoint did .* in {precision}"):
        compare(engine, read_parity(made.parity_path, made.spec), precision, SIZES)
    engine.close()


@pytest.mark.parametrize("wrong", [2, 16, 64])
def test_an_answer_is_right_in_any_company(tmp_path: Path, wrong: int) -> None:
    """Also in batches that hold more than there are parity inputs, and at their end."""

    def change(answers: Outputs, count: int) -> Outputs:
        answers["logits"][-1] += (np.array([3.0, 0.0, 0.0]) * (count == wrong)).astype(np.float32)
        return answers

    made = emotion_model(tmp_path)
    engine = Changed(load_engine(made), change)
    parity = read_parity(made.parity_path, made.spec)
    with pytest.raises(EngineMismatch, match="largest"):
        compare(engine, parity, "fp32", (1, 2, 16, 64))
    assert compare(engine, parity, "fp32", (1,)).batches == (1,)
    engine.close()


def boxes_moved(cells: float) -> Change:
    def change(answers: Outputs, count: int) -> Outputs:
        return {
            name: values + np.float32(cells) if name.startswith("bbox") else values for name, values in answers.items()
        }

    return change


def scores_at(stride: int, score: float) -> Change:
    """The first cell of every picture says so at this stride."""

    def change(answers: Outputs, count: int) -> Outputs:
        for kind in ("cls", "obj"):
            answers[f"{kind}_{stride}"][:, 0] = score
        return answers

    return change


@pytest.mark.parametrize(
    ("change", "matched"),
    [
        (boxes_moved(0.01), True),
        (boxes_moved(0.2), False),
        (scores_at(32, 0.9), False),  # a face that nobody else sees
        (lambda answers, count: {name: values * 0 for name, values in answers.items()}, False),
        (lambda answers, count: {name: values * np.nan for name, values in answers.items()}, False),
        (lambda answers, count: answers if count < 4 else scores_at(8, 1.0)(answers, count), False),
    ],
)
def test_detectors_are_compared_by_their_faces(tmp_path: Path, change: Change, matched: bool) -> None:
    made = face_model(tmp_path)
    engine = Changed(load_engine(made), change)
    parity = read_parity(made.parity_path, made.spec)
    if matched:
        assert compare(engine, parity, "fp32", SIZES).figures["matched"] == 1.0
    else:
        with pytest.raises(EngineMismatch, match=r"(matched .*, at least 0\.99|what is no number, .*) in fp32"):
            compare(engine, parity, "fp32", SIZES)
    engine.close()


def test_without_a_face_nothing_can_be_compared(tmp_path: Path) -> None:
    made = face_model(tmp_path)
    dark = np.zeros((2, 64, 96, 3), np.uint8)
    write_parity(tmp_path, inputs=dark, **face_answers(dark))
    engine = load_engine(made)
    with pytest.raises(ModelInvalid, match="no face in its parity inputs"):
        compare(engine, read_parity(made.parity_path, made.spec), "fp32", SIZES)
    engine.close()


CROPS = np.zeros((4, 16, 16), np.uint8)
LOGITS = np.zeros((4, 3), np.float32)
BROKEN: dict[str, dict[str, Any]] = {
    "no inputs": {"logits": LOGITS},
    "no answers": {"inputs": CROPS},
    "answers of another network": {"inputs": CROPS, "scores": LOGITS},
    "fewer answers": {"inputs": CROPS, "logits": LOGITS[:3]},
    "nothing": {"inputs": CROPS[:0], "logits": LOGITS[:0]},
    "no rows": {"inputs": np.uint8(3), "logits": np.float32(3)},
    "other labels": {"inputs": CROPS, "logits": LOGITS[:, :2]},
    "flat answers": {"inputs": CROPS, "logits": LOGITS[:, 0]},
    "other sides": {"inputs": CROPS[:, :8], "logits": LOGITS},
    "colour": {"inputs": np.zeros((4, 16, 16, 3), np.uint8), "logits": LOGITS},
    "no pictures": {"inputs": np.zeros((4, 16), np.uint8), "logits": LOGITS},
    "prepared inputs": {"inputs": CROPS.astype(np.float32), "logits": LOGITS},
    "words": {"inputs": CROPS, "logits": np.array([["happy"] * 3] * 4)},
    "not numbers": {"inputs": CROPS, "logits": LOGITS * np.nan},
    "objects": {"inputs": np.array([{}], object), "logits": LOGITS},
}


@pytest.mark.parametrize("case", BROKEN)
def test_parity_inputs_that_do_not_belong_to_the_model_are_refused(tmp_path: Path, case: str) -> None:
    path = write_parity(tmp_path, **BROKEN[case])
    with pytest.raises(ModelInvalid, match=r"parity\.npz: ") as caught:
        read_parity(path, emotion_spec())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ["other pictures", "fewer columns", "flat pictures"])
def test_nor_those_of_another_detector(tmp_path: Path, case: str) -> None:
    pictures = np.zeros((2, 64, 96, 3), np.uint8)
    arrays = {"inputs": pictures, **face_answers(pictures)}
    if case == "other pictures":
        arrays["inputs"] = pictures[:, :32]
    elif case == "fewer columns":
        arrays["bbox_16"] = arrays["bbox_16"][..., :3]
    else:
        arrays["inputs"] = pictures[..., 0]
    path = write_parity(tmp_path, **arrays)
    engine = FakeEngine(face_spec())
    with pytest.raises(EngineError) as caught:
        compare(engine, read_parity(path, face_spec()), "fp32", (1,))
    assert "\n" not in str(caught.value)


def archive() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=CROPS, logits=LOGITS)
    return buffer.getvalue()


WHOLE = archive()


def read(tmp_path: Path, content: bytes) -> Arrays | None:
    """What is read out of these bytes; None when they were refused as they should be."""
    path = tmp_path / "parity.npz"
    path.write_bytes(content)
    try:
        return read_parity(path, emotion_spec())
    except ModelInvalid:
        return None


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match=r"cannot be read .*No such file.*export the model again"):
        read_parity(tmp_path / "parity.npz", emotion_spec())
    array = io.BytesIO()
    np.save(array, CROPS)
    for content in (b"", b"PK", b"hello" * 99, array.getvalue()):
        assert read(tmp_path, content) is None


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_that_is_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    assert read(tmp_path_factory.getbasetemp(), WHOLE[:length]) is None


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_byte_that_is_wrong_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: int, by: int
) -> None:
    content = bytearray(WHOLE)
    content[place] ^= by
    arrays = read(tmp_path_factory.getbasetemp(), bytes(content))
    if arrays is not None:  # a date in the archive, say
        np.testing.assert_array_equal(arrays["inputs"], CROPS)
        np.testing.assert_array_equal(arrays["logits"], LOGITS)


def test_an_archive_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """Zeros take a thousandth of their size."""
    path = tmp_path / "parity.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("inputs.npy", bytes(MOST_BYTES // 2))
        packed.writestr("logits.npy", bytes(MOST_BYTES // 2 + 1))
    assert path.stat().st_size < 4_000_000
    with pytest.raises(ModelInvalid, match=f"{MOST_BYTES + 1} bytes unpacked, {MOST_BYTES} at most"):
        read_parity(path, emotion_spec())


READING = """
import resource, sys
from pathlib import Path
from engines.compare import read_parity
from engines.errors import ModelInvalid
from tests.engines.networks import emotion_spec
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_parity(Path(sys.argv[1]), emotion_spec())
except ModelInvalid as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


@pytest.mark.parametrize("rows", [10**7, 10**14])  # 2.6 GB, which this machine might have, and what no machine has
def test_an_array_that_claims_gigabytes_takes_none(tmp_path: Path, rows: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (rows, 16, 16)})
    path = tmp_path / "parity.npz"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("inputs.npy", header.getvalue() + bytes(1000))
    ended = subprocess.run(
        [sys.executable, "-c", READING, path], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    grown_kb, _, sentence = ended.stdout.strip().partition(" ")
    assert sentence.startswith(f"{path}: the parity inputs cannot be read (")
    assert int(grown_kb) < 50_000
