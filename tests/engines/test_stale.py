"""Why an engine would not be used any more: the field that differs, or what has gone, in half a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import load as loading
from engines.build import build
from engines.cache import Cache, Entry
from engines.machine import cpu
from engines.manifest import MANIFEST_FILE
from engines.options import Options
from engines.spec import MODEL_FILE, SPEC_FILE, ModelSpec
from engines.stale import options_of, why_prune, why_stale
from engines.store import VARIABLE, find_model
from tests.engines.manifests import added
from tests.engines.networks import emotion_model, strips_model, write_strips

SMALL = Options(max_batch=2)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def built(tmp_path: Path, cache: Cache) -> Entry:
    return build(strips_model(tmp_path / "model"), "fake", SMALL, cache)


def test_what_was_just_built_is_fresh(built: Entry) -> None:
    assert why_stale(built) is None


@pytest.mark.parametrize(
    "options", [SMALL, Options(max_batch=1, threads=2), Options(max_batch=1, targets=("sm80", "sm89"))]
)
def test_with_whatever_options_it_was_built(tmp_path: Path, cache: Cache, options: Options) -> None:
    entry = build(strips_model(tmp_path / "model"), "fake", options, cache)
    assert why_stale(entry) is None
    assert options_of(entry.manifest.fingerprint) == options


@pytest.mark.parametrize(
    ("field", "before", "words"),
    [
        ("library", "fake 0", "library was fake 0, is fake 1"),
        ("device", "another CPU", f"device was another CPU, is {cpu()}"),
        ("driver", "550.1", r"driver was 550.1, is none"),
        ("compute_capability", "8.9", "compute_capability was 8.9, is none"),
        ("model_sha256", "f" * 64, "model_sha256 was ffffffffffff..., is "),
        ("spec", "00000000", "spec was 00000000, is "),
    ],
)
def test_the_field_that_differs_is_named(cache: Cache, built: Entry, field: str, before: str, words: str) -> None:
    fingerprint = built.manifest.fingerprint.model_copy(update={field: before})
    folder = built.manifest.model_folder
    older = added(cache, built.read(), fingerprint, name=built.manifest.name, model_folder=folder)
    why = why_stale(older)
    assert why is not None
    assert why.startswith(words)
    assert why_stale(built) is None


def retrained(folder: Path) -> None:
    write_strips(folder, temperature=2.0)


def without_spec(folder: Path) -> None:
    (folder / SPEC_FILE).unlink()


def without_weights(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


def with_other_weights(folder: Path) -> None:
    with (folder / MODEL_FILE).open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (retrained, "spec was "),
        (emotion_model, "model_sha256 was "),
        (without_spec, "its model has gone from "),
        (without_weights, "the weights of tiny-strips are on no path"),
        (with_other_weights, "SHA-256"),
        (shutil.rmtree, "its model has gone from "),
    ],
)
def test_a_model_that_has_changed_or_gone_is_told(
    tmp_path: Path, built: Entry, change: Callable[[Path], Any], words: str
) -> None:
    change(tmp_path / "model")
    why = why_stale(built)
    assert why is not None
    assert words in why
    assert "\n" not in why


def test_weights_apart_from_their_spec_are_found_as_a_run_finds_them(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a model that ships without: they were fetched into the user's cache, where no spec is."""
    made = strips_model(tmp_path / "known" / "tiny-strips")
    weights = tmp_path / "weights" / "tiny-strips" / MODEL_FILE
    weights.parent.mkdir(parents=True)
    made.onnx_path.rename(weights)
    made.parity_path.rename(weights.with_name("parity.npz"))
    monkeypatch.setattr("engines.store.SHIPPED", tmp_path / "known")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "weights"))
    model = find_model("tiny-strips", download=False)
    assert model.onnx_path == weights
    entry = build(model, "fake", SMALL, cache)
    assert why_stale(entry) is None
    ModelSpec.read(tmp_path / "known" / "tiny-strips").model_copy(update={"temperature": 3.0}).write(
        tmp_path / "known" / "tiny-strips"
    )
    assert str(why_stale(entry)).startswith("spec was ")


def test_a_backend_that_is_not_installed_any_more(built: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.BACKENDS, "fake", ("engines.backends.no_such_module", "fake"))
    assert why_stale(built) == "fake is not installed any more"
    assert why_prune(built) is None  # it may be in another environment


def test_what_is_no_engine_says_why(cache: Cache, built: Entry) -> None:
    (built.folder / MANIFEST_FILE).unlink()
    (broken,) = cache.entries()
    assert why_stale(broken) == f"no readable {MANIFEST_FILE} (No such file or directory)"
