"""`auto`: what is measured, what is left out and why, and how long a choice is remembered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from engines import choice as choices
from engines import load as loading
from engines.backends import fake
from engines.build import fingerprint_of
from engines.builder import choose_apart
from engines.cache import LOCK, Cache
from engines.choice import Choice, candidates, choice_path, remembered, surroundings
from engines.choose import choose
from engines.errors import EngineError, EngineMissing
from engines.machine import cpu
from engines.options import Options
from engines.store import Model
from tests.conftest import PROJECT
from tests.engines.manifests import until
from tests.engines.networks import emotion_model, strips_model

SMALL = Options(max_batch=2)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """One that both backends compute alike."""
    return strips_model(tmp_path / "model")


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are two backends here, and the fake is one of them."""
    monkeypatch.setattr(choices, "NEVER", set())
    for name in loading.BACKENDS.keys() - {"onnxruntime", "fake"}:
        monkeypatch.delitem(loading.BACKENDS, name)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime is all that is installed here."""
    for name in loading.BACKENDS.keys() - {"onnxruntime", "fake"}:
        monkeypatch.setitem(loading.BACKENDS, name, ("engines.backends.no_such_module", name))
        monkeypatch.setitem(loading.DISTRIBUTIONS, name, ("no-such-distribution",))


def chosen(cache: Cache) -> list[str]:
    """The files that remember a choice."""
    return sorted(path.name for path in cache.root.glob("choice-*"))


def test_the_fastest_of_those_that_are_right_is_chosen_and_remembered(two: None, cache: Cache, model: Model) -> None:
    assert remembered(model, SMALL, cache) is None
    done: list[float] = []
    choice = choose(model, SMALL, cache, done.append)
    costs = choice.ms_per_sample
    assert costs.keys() == {"onnxruntime", "fake"}
    assert choice.backend == min(costs, key=lambda name: costs[name])
    assert choice.reason.startswith("ms a sample, the mean over 1, 2, 4, 8, 16 that wait: ")
    assert all(name in choice.reason for name in costs)
    assert choice.left_out == {}
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert {entry.folder.name for entry in cache.entries()} == {
        f"tiny-strips-{name}-fp32-{fingerprint_of(model, name, SMALL).key()[:16]}" for name in costs
    }
    # and from now on nothing is built or measured, also where the engines have gone
    for entry in cache.entries():
        shutil.rmtree(entry.folder)
    assert remembered(model, SMALL, cache) == choose(model, SMALL, cache, done.append) == choice
    assert cache.entries() == []
    # until something is not what it was
    assert remembered(model, Options(threads=2, max_batch=2), cache) is None
    warmer = Model(model.spec.model_copy(update={"temperature": 2.0}), model.onnx_path)
    assert remembered(warmer, SMALL, cache) is None
    (path,) = cache.root.glob("choice-*")
    for broken in (b"", path.read_bytes()[:-9], b'{"backend": 1}'):
        path.write_bytes(broken)
        assert remembered(model, SMALL, cache) is None


def test_a_backend_that_is_wrong_is_left_out_with_the_reason(two: None, tmp_path: Path, cache: Cache) -> None:
    choice = choose(emotion_model(tmp_path / "other"), SMALL, cache)
    assert choice.backend == "onnxruntime"
    assert choice.ms_per_sample.keys() == {"onnxruntime"}
    assert choice.left_out.keys() == {"fake"}
    assert "does not answer as the checkpoint did" in choice.left_out["fake"]


def test_where_none_is_right_none_is_chosen_and_each_reason_is_told(two: None, cache: Cache, model: Model) -> None:
    model.parity_path.unlink()
    with pytest.raises(EngineMissing) as caught:
        choose(model, SMALL, cache)
    told = str(caught.value)
    assert told.startswith("no backend here computes tiny-strips: fake: ")
    assert "; onnxruntime: " in told
    assert "\n" not in told
    assert (cache.entries(), chosen(cache)) == ([], [])


def test_where_there_is_one_only_nothing_is_measured_or_written(alone: None, cache: Cache, model: Model) -> None:
    choice = choose(model, SMALL, cache)
    assert (choice.backend, choice.reason) == ("onnxruntime", "the only one here")
    assert choice.left_out == dict.fromkeys(
        ("onnxruntime-cuda", "openvino", "tensorrt", "tensorrt-rtx"), "not installed"
    )
    assert not cache.root.exists()


def test_who_cannot_do_what_is_asked_is_no_candidate(alone: None, cache: Cache, model: Model) -> None:
    for options, words in ((Options(bf16=True), "no bfloat16"), (Options(targets=("sm89",)), "no --target")):
        asked, left_out = candidates(model, options)
        assert asked == {}
        assert words in left_out["onnxruntime"]
        with pytest.raises(EngineMissing, match=f"onnxruntime: .*{words}"):
            choose(model, options, cache)


def test_the_candidates_are_told_with_the_engines_that_they_would_make(two: None, model: Model) -> None:
    asked, left_out = candidates(model, SMALL)
    assert (list(asked), left_out) == (["fake", "onnxruntime"], {})
    assert {candidate.fingerprint.device for candidate in asked.values()} == {cpu()}


def test_a_choice_is_kept_for_each_model_and_each_set_of_candidates(
    two: None, tmp_path: Path, cache: Cache, model: Model
) -> None:
    here = surroundings()
    other = emotion_model(tmp_path / "other")
    paths = {
        choice_path(model, SMALL, cache, here),
        choice_path(model, SMALL, cache, {**here, "fake": "2"}),
        choice_path(model, SMALL, cache, {"fake": here["fake"]}),
        choice_path(model, Options(max_batch=3), cache, here),
        choice_path(other, SMALL, cache, here),
    }
    assert len(paths) == 5
    assert {path.parent for path in paths} == {cache.root}


def test_a_choice_is_made_apart_too(cache: Cache, model: Model) -> None:
    """In a process, which knows no more than the backends that are installed here; all of them may be left out."""
    model.parity_path.unlink()
    job = choose_apart(model, Options(max_batch=2, targets=("sm00",)), cache)
    with pytest.raises(EngineError) as caught:
        job.wait()
    assert type(caught.value) is EngineMissing
    assert "no backend here computes tiny-strips" in str(caught.value)


def test_those_that_choose_together_measure_once_and_agree(two: None, cache: Cache, model: Model) -> None:
    path = choice_path(model, SMALL, cache, surroundings())
    made = Choice(backend="fake", reason="said the other one", ms_per_sample={}, left_out={})
    heard: list[Choice] = []
    thread = threading.Thread(target=lambda: heard.append(choose(model, SMALL, cache)), name="second")
    with cache.alone(path.stem):
        thread.start()
        lock = str(cache.root / f"{LOCK}{path.stem}")
        until(lambda: [file.path for file in psutil.Process().open_files()].count(lock) == 2)
        cache.keep(path, made.model_dump_json())
    thread.join(60)
    assert heard == [made]
    assert cache.entries() == []


@pytest.fixture
def bfloat16(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake is one that computes in bfloat16, too; any number of bits would do."""
    monkeypatch.setattr(fake, "can_run", lambda options: None)


def test_bfloat16_is_a_candidate_of_its_own_where_it_may_be(bfloat16: None, tmp_path: Path, model: Model) -> None:
    either = Options(max_batch=2, bf16=None)
    asked, left_out = candidates(model, either)
    assert (list(asked), left_out) == (["fake", "fake-bf16", "onnxruntime"], {})  # not left out: it computes otherwise
    assert asked["fake-bf16"].options == Options(max_batch=2, bf16=True)
    assert asked["fake-bf16"].fingerprint.precision == "bf16"
    assert list(candidates(model, SMALL)[0]) == ["fake", "onnxruntime"]
    only, left_out = candidates(model, Options(max_batch=2, bf16=True))
    assert (list(only), list(left_out)) == (["fake-bf16"], ["onnxruntime"])
    eight = Model(model.spec.model_copy(update={"precision": "int8"}), model.onnx_path)
    assert list(candidates(eight, either)[0]) == ["fake", "onnxruntime"]
    assert "is in int8" in candidates(eight, Options(bf16=True))[1]["fake"]


def test_what_was_chosen_says_in_what_it_computes(bfloat16: None, cache: Cache, model: Model) -> None:
    either = Options(max_batch=2, bf16=None)
    choice = Choice(backend="fake", bf16=True, reason="it was faster", ms_per_sample={}, left_out={})
    cache.keep(choice_path(model, either, cache, surroundings()), choice.model_dump_json())
    found = remembered(model, either, cache)
    assert found == choice
    assert (str(found), found.options(either)) == ("fake-bf16", Options(max_batch=2, bf16=True))
    assert remembered(model, SMALL, cache) is None  # who wants no bfloat16 asks another question


def test_what_was_chosen_is_found_without_importing_what_was_not(cache: Cache, model: Model) -> None:
    choice = Choice(backend="onnxruntime", reason="it was faster", ms_per_sample={}, left_out={})
    cache.keep(choice_path(model, SMALL, cache, surroundings()), choice.model_dump_json())
    code = f"""
import sys
from pathlib import Path
from engines.cache import Cache
from engines.choice import remembered
from engines.load import model_in
from engines.options import Options

print(remembered(model_in(Path({str(model.onnx_path.parent)!r})), {SMALL!r}, Cache(Path({str(cache.root)!r}))))
print({{"openvino", "tensorrt", "tensorrt_rtx", "cuda", "onnxruntime"}} & sys.modules.keys())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT).stdout
    assert said.split() == ["onnxruntime", "set()"]
