"""`emostream engines`: build, list, inspect, check and prune, and what each says to input that is none."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import onnx
import psutil
import pytest

from engines.build import build, fingerprint_of
from engines.cache import LOCK, TEMPORARY, VARIABLE, Cache, Entry
from engines.choice import candidates
from engines.manifest import KEY_DIGITS, MANIFEST_FILE
from engines.options import Options
from engines.spec import MODEL_FILE, sha256_of
from engines.store import Model
from tests.cli.conftest import Ended, Run
from tests.engines.manifests import added, until
from tests.engines.networks import emotion_model, face_model, strips_model

SMALL = Options(max_batch=2)
# The command line. Tests that a shell runs in the background ignore Ctrl-C, and what they start would, too.
HEARS = """
import signal
from stream.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@pytest.fixture
def cache() -> Cache:
    """That of the test: where the command line looks too."""
    return Cache()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return emotion_model(tmp_path / "tiny")


@pytest.fixture
def entry(model: Model, cache: Cache) -> Entry:
    """An engine that is fresh."""
    return build(model, "onnxruntime", SMALL, cache)


def refused(ended: Ended, code: int, words: str) -> None:
    """One sentence, the right exit code, and nothing for a program to read."""
    assert ended.code == code, ended.err
    assert words in ended.sentence
    assert "Traceback" not in ended.err
    assert len(ended.sentence) < 500
    assert ended.out == ""


def told(ended: Ended) -> Any:
    """The one JSON object on stdout."""
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    return json.loads(line)


def test_build_tells_what_it_made_and_list_shows_it(emostream: Run, model: Model, cache: Cache) -> None:
    arguments = ("engines", "build", model.onnx_path.parent, "--backend", "onnxruntime", "--max-batch", 2)
    made = told(emostream(*arguments, "--json"))
    (entry,) = cache.entries()
    assert isinstance(entry, Entry)
    assert made["engine"] == entry.folder.name == cache.find("tiny-emotion", entry.manifest.fingerprint).folder.name
    assert made["parity"]["state"] == "passed"
    assert made["parity"]["largest"] < 1e-4
    assert (made["backend"], made["precision"], made["max_batch"]) == ("onnxruntime", "fp32", 2)
    assert made["best_batch"] in (1, 2)
    assert made["ms_per_sample"].keys() == {"1", "2"}
    assert made["layers"] > 0
    (shown,) = told(emostream("engines", "list", "--json"))["engines"]
    assert shown == {**made, "stale": None}
    again = emostream(*arguments)  # it is there: told at once, to people
    assert again.code == 0
    assert f"engine: {entry.folder.name}\n" in again.out
    assert f"built_at: {made['built_at']}\n" in again.out


def test_auto_shows_the_choice_and_the_reason(emostream: Run, tmp_path: Path) -> None:
    model = face_model(tmp_path / "face")
    made = told(emostream("engines", "build", model.onnx_path.parent, "--max-batch", 1, "--json"))
    choice = made["choice"]
    assert choice["backend"] == made["backend"]
    assert choice["reason"]
    others = {"onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"} - {choice["backend"]}
    assert others <= choice["left_out"].keys() | choice["ms_per_sample"].keys()
    assert made["parity"] == {"state": "passed", "company": 0.0, "matched": 1.0}
    assert made["side_px"] == Options().side_px


def test_where_nothing_is_built_list_says_how(emostream: Run) -> None:
    ended = emostream("engines", "list")
    assert ended.code == 0
    assert "no engine is built yet" in ended.out
    assert told(emostream("engines", "list", "--json")) == {"engines": []}
    assert told(emostream("engines", "prune", "--json")) == {"removed": [], "left_by_killed_builds": []}


def test_inspect_shows_the_manifest_and_the_layers(emostream: Run, entry: Entry) -> None:
    manifest = told(emostream("engines", "inspect", entry.folder.name, "--json"))
    assert manifest == json.loads((entry.folder / MANIFEST_FILE).read_text())
    for name in (entry.folder.name, "tiny-emotion-onnx", entry.folder):
        ended = emostream("engines", "inspect", name)
        assert ended.code == 0
        assert "onnxruntime" in ended.out
        assert "Conv" in ended.out


def test_a_name_is_looked_for_in_the_cache_whatever_lies_around(
    emostream: Run, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny-emotion").mkdir()
    monkeypatch.chdir(tmp_path)
    assert emostream("engines", "inspect", "tiny-emotion").code == 0


def test_check_compares_again(emostream: Run, entry: Entry, model: Model) -> None:
    found = told(emostream("engines", "check", "tiny", "--json"))
    assert found["engine"] == entry.folder.name
    assert found["parity"]["state"] == "passed"
    assert found["parity"]["batches"] == [1, 2]
    ended = emostream("engines", "check", "tiny")
    assert ended.code == 0
    assert "passed (" in ended.out
    with np.load(model.parity_path) as file:
        np.savez(model.parity_path, inputs=file["inputs"], logits=file["logits"] + [0, 1, 0])
    refused(emostream("engines", "check", "tiny"), 4, "does not answer as the checkpoint did")


def older(entry: Entry, cache: Cache) -> Entry:
    """The same, as another version of the library made it."""
    fingerprint = entry.manifest.fingerprint.model_copy(update={"library": "onnxruntime 1.0"})
    manifest = entry.manifest
    return added(cache, {}, fingerprint, name=manifest.name, model_folder=manifest.model_folder)


def test_what_is_stale_is_shown_with_the_reason_and_pruned(emostream: Run, entry: Entry, cache: Cache) -> None:
    stale = older(entry, cache)
    shown = {row["engine"]: row["stale"] for row in told(emostream("engines", "list", "--json"))["engines"]}
    assert shown[entry.folder.name] is None
    assert shown[stale.folder.name].startswith("library was onnxruntime 1.0, is onnxruntime ")
    refused(emostream("engines", "check", stale.folder.name), 4, "is stale: library was onnxruntime 1.0")
    pruned = told(emostream("engines", "prune", "--json"))
    assert pruned["removed"] == [{"engine": stale.folder.name, "why": shown[stale.folder.name]}]
    assert cache.entries() == [entry]
    ended = emostream("engines", "prune")
    assert ended.out == "0 engines removed, 0 unfinished builds swept away\n"


def test_a_model_that_was_trained_again_makes_its_engines_stale(emostream: Run, entry: Entry, tmp_path: Path) -> None:
    emotion_model(tmp_path / "tiny", temperature=1.5)
    (shown,) = told(emostream("engines", "list", "--json"))["engines"]
    assert shown["stale"].startswith("spec was ")
    pruned = emostream("engines", "prune")
    assert f"removed {entry.folder.name}: spec was " in pruned.out
    assert "1 engines removed, 0 unfinished builds swept away" in pruned.out


def test_what_is_no_engine_is_shown_and_pruned(emostream: Run, entry: Entry, cache: Cache) -> None:
    """A manifest that was cut, a folder without one, and what a killed build left, which is not even shown."""
    for name in ("cut", "empty"):
        (cache.root / name).mkdir()
    whole = (entry.folder / MANIFEST_FILE).read_bytes()
    (cache.root / "cut" / MANIFEST_FILE).write_bytes(whole[: len(whole) // 2])
    left = cache.root / f"{TEMPORARY}{entry.manifest.fingerprint.key()[:KEY_DIGITS]}-abc"
    shutil.copytree(entry.folder, left)
    shown = {row["engine"]: row["stale"] for row in told(emostream("engines", "list", "--json"))["engines"]}
    assert shown.keys() == {"cut", "empty", entry.folder.name}
    assert "none that this version can read" in shown["cut"]
    assert shown["empty"] == "no readable manifest.json (No such file or directory)"
    assert "no engine" in emostream("engines", "list").out
    refused(emostream("engines", "inspect", "cut"), 4, "build the engine again")
    refused(emostream("engines", "check", cache.root / "empty"), 4, "no readable manifest")
    pruned = told(emostream("engines", "prune", "--json"))
    assert {gone["engine"] for gone in pruned["removed"]} == {"cut", "empty"}
    assert pruned["left_by_killed_builds"] == [left.name]
    assert cache.entries() == [entry]


def test_prune_all_removes_what_is_fresh(emostream: Run, entry: Entry, cache: Cache) -> None:
    pruned = told(emostream("engines", "prune", "--all", "--json"))
    assert pruned["removed"] == [{"engine": entry.folder.name, "why": "asked for"}]
    assert cache.entries() == []


def test_the_table_shows_what_matters_and_takes_nothing_for_markup(
    emostream: Run, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    model = emotion_model(tmp_path / "[" / "bold]" / "tiny")
    entry = build(model, "onnxruntime", SMALL, cache)
    assert "passed" in emostream("engines", "list").out
    shutil.rmtree(model.onnx_path.parent)
    ended = emostream("engines", "list")
    assert ended.code == 0, ended.err
    assert entry.folder.name in ended.out
    assert f"its model has gone from {model.onnx_path.parent}" in ended.out


def not_installed() -> str:
    """A backend whose package is not here."""
    packages = {"openvino": "openvino", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
    missing = [name for name, package in packages.items() if importlib.util.find_spec(package) is None]
    if not missing:
        pytest.skip("every backend is installed here")
    return missing[0]


def test_a_missing_extra_is_named_with_the_command(emostream: Run, model: Model, cache: Cache) -> None:
    ended = emostream("engines", "build", model.onnx_path.parent, "--backend", not_installed(), "--json")
    refused(ended, 4, "pip install ")
    assert cache.entries() == []


def not_a_number(folder: Path) -> None:
    network = onnx.load_model(folder / MODEL_FILE)
    for weights in network.graph.initializer:
        if weights.name == "bias":
            weights.raw_data = np.full(3, np.nan, np.float32).tobytes()
    sign(folder, network)


def unknown_operator(folder: Path) -> None:
    network = onnx.load_model(folder / MODEL_FILE)
    network.graph.node[0].op_type = "Convolve"
    sign(folder, network)


def sign(folder: Path, network: onnx.ModelProto) -> None:
    """Write other weights, and a spec that names their hash."""
    (folder / MODEL_FILE).write_bytes(network.SerializeToString())
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, "sha256": sha256_of(folder / MODEL_FILE)}))


BAD_MODELS: dict[str, tuple[Callable[[Path], object], tuple[object, ...], str]] = {
    "weights that are not numbers": (not_a_number, (), "what is no number"),
    "an operator that nobody knows": (unknown_operator, (), "Convolve"),
    "no target on this backend": (lambda folder: None, ("--target", "sm89"), "takes no --target"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_what_cannot_be_built_is_told_and_nothing_is_kept(
    emostream: Run, model: Model, cache: Cache, case: str
) -> None:
    change, options, words = BAD_MODELS[case]
    folder = model.onnx_path.parent
    change(folder)
    arguments = ("engines", "build", folder, "--backend", "onnxruntime", "--max-batch", 2, "--json", *options)
    refused(emostream(*arguments), 4, words)
    assert cache.entries() == []
    assert list(cache.root.glob(f"{TEMPORARY}*")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("build",), 2, "MODEL"),
        (("build", "nobody"), 4, "no model is named 'nobody'"),
        (("build", "./nowhere"), 4, "no such model folder"),
        (("build", "./gone.safetensors"), 4, "there is no such checkpoint"),
        (("build", "./tiny/model.onnx"), 4, "expected a model folder"),
        (("build", "./tiny", "--precision", "int8"), 4, "precision lives in the model"),
        (("build", "./tiny", "--precision", "fp64"), 2, "--precision"),
        (("build", "./tiny", "--backend", "onyx"), 2, "--backend"),
        (("build", "./tiny", "--backend", "fake"), 2, "--backend"),
        (("build", "./tiny", "--max-batch", "0"), 2, "--max-batch"),
        (("build", "./tiny", "--max-batch", "1025"), 2, "--max-batch"),
        (("build", "./tiny", "--threads", "0"), 2, "--threads"),
        (("inspect", "nobody"), 4, "'nobody' names 0 engines; there are: none"),
        (("check", "nobody"), 4, "'nobody' names 0 engines"),
        (("check", "./tiny"), 4, "no readable manifest"),
        (("forget",), 2, "forget"),
    ],
)
def test_bad_arguments(
    emostream: Run,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = emostream("engines", *arguments)
    assert ended.code == code, ended.err
    assert words in ended.sentence
    assert ended.out == ""


def test_a_beginning_that_means_two_is_not_guessed(emostream: Run, entry: Entry, cache: Cache) -> None:
    other = older(entry, cache)
    ended = emostream("engines", "inspect", "tiny-emotion")
    refused(ended, 4, "names 2 engines")
    assert entry.folder.name in ended.sentence
    assert other.folder.name in ended.sentence


@pytest.mark.parametrize("command", [("list",), ("prune",), ("inspect", "tiny")])
def test_a_place_where_no_engine_can_be_kept(
    emostream: Run, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.chdir(tmp_path)  # where there is a folder `tiny`, too
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    refused(emostream("engines", *command), 4, str(tmp_path / "file"))


def test_ctrl_c_ends_the_build_and_its_process(tmp_path: Path, cache: Cache) -> None:
    """While it waits for another one, which builds the same."""
    model = strips_model(tmp_path / "strips")
    fingerprint = fingerprint_of(model, "onnxruntime", SMALL)
    lock = str(cache.root / f"{LOCK}{fingerprint.key()[:KEY_DIGITS]}")
    arguments = ["engines", "build", str(model.onnx_path.parent), "--backend", "onnxruntime", "--max-batch", "2"]
    builders: list[psutil.Process] = []
    with (
        cache.locked(fingerprint),
        subprocess.Popen([sys.executable, "-c", HEARS, *arguments], stdout=PIPE, stderr=PIPE, text=True) as child,
    ):

        def waiting() -> bool:
            for other in psutil.Process(child.pid).children():
                if lock in (file.path for file in other.open_files()):
                    builders.append(other)
            return bool(builders)

        try:
            until(waiting)
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        finally:
            child.kill()
        assert child.returncode == 130
        assert "Traceback" not in err
        assert out == ""
        # nobody may be there to collect it
        assert not builders[0].is_running() or builders[0].status() == psutil.STATUS_ZOMBIE
    assert cache.entries() == []


def test_bench_lets_all_take_turns(emostream: Run, tmp_path: Path) -> None:
    model, out = emotion_model(tmp_path / "model"), tmp_path / "figures"
    figures = told(emostream("engines", "bench", model.onnx_path.parent, "--max-batch", 2, "--out", out, "--json"))
    assert json.loads((out / "results.json").read_text()) == figures
    rows = figures["rows"]
    assert "onnxruntime" in {row["engine"].split()[0] for row in rows}
    candidate_names, _ = candidates(model, Options(max_batch=2, bf16=None))
    bf16 = {"bf16"} if "openvino-bf16" in candidate_names else set()
    assert {row["precision"] for row in rows} == {"fp32"} | bf16
    for row in rows:
        assert row["ms_per_call"].keys() == {"1", "2"}
        assert min(row["load_s"], row["first_s"], row["peak_mb"]) > 0
    assert len((out / "table.md").read_text().splitlines()) == 4 + len(figures["rows"]) + 1  # and the published one
    assert "3.57" in (out / "table.md").read_text()
