"""A fingerprint tells engines apart by every field, and a manifest is read back as it was written, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engines.backends.base import Identity
from engines.manifest import SCHEMA, Fingerprint, Manifest
from engines.options import Options
from tests.engines.manifests import fingerprint, manifest
from tests.engines.networks import emotion_spec, face_spec

HERE = Identity("library 1.2", "a CPU with avx2", "8.9", "driver 7")
WORDS = st.text(max_size=12)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model_sha256": st.text("0123456789abcdef", min_size=64, max_size=64),
    "spec": WORDS,
    "precision": st.sampled_from(["fp32", "fp16", "bf16", "int8"]),
    "backend": WORDS,
    "library": WORDS,
    "threads": st.integers(1, 64),
    "max_batch": st.integers(1, 1024),
    "side_px": st.none() | st.integers(32, 4096),
    "targets": st.lists(WORDS, max_size=3).map(tuple),
    "device": WORDS,
    "compute_capability": WORDS,
    "driver": WORDS,
}
FINGERPRINTS = st.builds(Fingerprint, **FIELDS)


def test_every_field_is_tried() -> None:
    assert FIELDS.keys() == Fingerprint.model_fields.keys()


@given(FINGERPRINTS, st.data())
def test_any_field_that_changes_changes_the_key_and_is_named(before: Fingerprint, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FIELDS)))
    other = data.draw(FIELDS[name].filter(lambda value: value != getattr(before, name)))
    after = before.model_copy(update={name: other})
    assert after.key() != before.key()
    differs = before.difference(after)
    assert differs is not None
    assert differs.startswith(f"{name} was ")
    assert before.difference(before) is None


@given(FINGERPRINTS, FINGERPRINTS)
def test_equal_keys_are_equal_fingerprints(first: Fingerprint, second: Fingerprint) -> None:
    assert (first.key() == second.key()) is (first == second) is (first.difference(second) is None)


@given(FINGERPRINTS)
def test_the_key_survives_the_file(made: Fingerprint) -> None:
    read = Manifest.model_validate_json(manifest(of=made).as_json()).fingerprint
    assert (read, read.key()) == (made, made.key())


def test_a_difference_is_half_a_sentence_that_can_be_read() -> None:
    before = fingerprint(driver="", targets=("sm80", "sm89"))
    assert before.difference(fingerprint(driver="580.1", targets=("sm80", "sm89"))) == "driver was none, is 580.1"
    assert before.difference(fingerprint()) == "targets was sm80,sm89, is none"
    told = before.difference(fingerprint(model_sha256="b" * 64))
    assert told == f"model_sha256 was {'a' * 12}..., is {'b' * 12}..."


def of(options: Options, **changes: Any) -> Fingerprint:
    return Fingerprint.of(emotion_spec(**changes), "fake", HERE, options)


@pytest.mark.parametrize(
    ("changes", "options", "field"),
    [
        ({"sha256": "1" * 64}, Options(), "model_sha256"),
        ({"temperature": 1.5}, Options(), "spec"),
        ({"precision": "int8"}, Options(), "spec"),
        ({}, Options(bf16=True), "precision"),
        ({}, Options(threads=2), "threads"),
        ({}, Options(max_batch=8), "max_batch"),
        ({}, Options(targets=("sm89",)), "targets"),
    ],
)
def test_another_model_or_another_option_is_another_engine(
    changes: dict[str, Any], options: Options, field: str
) -> None:
    differs = of(Options()).difference(of(options, **changes))
    assert differs is not None
    assert differs.startswith(field)


def test_what_decides_nothing_changes_nothing() -> None:
    wanted = of(Options())
    assert of(Options(), metrics={"accuracy": 0.7}, source={"license": "MIT"}) == wanted
    assert of(Options(side_px=1280)) == wanted  # the sides of this model are fixed
    assert of(Options(targets=("sm89", "sm80"))) == of(Options(targets=("sm80", "sm89")))


def test_where_sides_are_free_the_largest_counts() -> None:
    small, large = (Fingerprint.of(face_spec(), "fake", HERE, Options(side_px=side)) for side in (640, 1280))
    assert small.difference(large) == "side_px was 640, is 1280"


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    made = manifest()
    text = made.as_json()
    assert json.loads(text)["schema"] == SCHEMA
    assert Manifest.model_validate_json(text) == made
    assert made.folder_name() == f"tiny-fake-fp32-{made.fingerprint.key()[:16]}"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": "emostream.engine/2"}, "schema"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"fingerprint": {}}, "fingerprint"),
        ({"files": {"engine.plan": {"sha256": "0" * 63, "size": 1}}}, "sha256"),
        ({"files": {"engine.plan": {"sha256": "0" * 64, "size": -1}}}, "size"),
        ({"files": {"../engine.plan": {"sha256": "0" * 64, "size": 1}}}, "files"),
        ({"files": {"/dev/zero": {"sha256": "0" * 64, "size": 1}}}, "files"),
        ({"files": {"..": {"sha256": "0" * 64, "size": 1}}}, "files"),
        ({"trial": {"parity": {"state": "passed"}, "status": "", "best_batch": 0}}, "best_batch"),
        ({"trial": {"parity": {"state": "passed"}, "status": "", "best_batch": 2}}, "best_batch"),
        ({"build_s": -1}, "build_s"),
    ],
)
def test_a_manifest_that_cannot_be_true_is_none(changes: dict[str, Any], field: str) -> None:
    values = {**json.loads(manifest().as_json()), **changes}
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate_json(json.dumps(values))
    assert field in str(caught.value)
