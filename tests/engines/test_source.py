"""What a user may call a model: a folder, a name, another precision of it, or the checkpoint that it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.errors import EngineError, ModelInvalid, ModelMissing
from engines.source import model_of
from engines.spec import SPEC_FILE, Source, sha256_of
from tests.engines.networks import write_emotion


def say(text: str) -> None:
    raise AssertionError(f"nothing was to be exported, yet it says {text!r}")


def family(folder: Path) -> None:
    """The same network in three precisions, as `train export` lays them down."""
    write_emotion(folder / "tiny")
    for precision in ("fp16", "int8"):
        write_emotion(folder / f"tiny_{precision}", name=f"tiny-emotion_{precision}", precision=precision)


def exported(folder: Path, model: str = "model") -> Path:
    """A checkpoint and the model that was made of it."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "best.safetensors"
    checkpoint.write_bytes(b"weights")
    write_emotion(folder / model, source=Source(checkpoint_sha256=sha256_of(checkpoint)))
    return checkpoint


@pytest.mark.parametrize("given", ["tiny", "tiny_fp16", "tiny_int8"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_from_each_precision_to_each_other(tmp_path: Path, given: str, precision: str) -> None:
    family(tmp_path)
    assert model_of(str(tmp_path / given), precision, say).spec.precision == precision


def test_without_a_precision_it_is_the_model_s_own(tmp_path: Path) -> None:
    family(tmp_path)
    assert model_of(str(tmp_path / "tiny_int8"), None, say).spec.name == "tiny-emotion_int8"


def test_a_model_that_ships_has_its_name() -> None:
    assert model_of("emotion", None, say).spec.name == "emotion"


def test_a_checkpoint_that_was_exported_is_not_exported_again(tmp_path: Path) -> None:
    checkpoint = exported(tmp_path)
    assert model_of(str(checkpoint), None, say).onnx_path.parent == tmp_path / "model"


def test_a_checkpoint_may_lie_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(tmp_path)
    monkeypatch.chdir(tmp_path)
    for given in ("best.safetensors", "./best.safetensors"):
        assert model_of(given, "fp32", say).onnx_path.resolve().parent == tmp_path / "model"


def test_a_name_is_a_name_whatever_lies_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "emotion").write_bytes(b"a file")
    monkeypatch.chdir(tmp_path)
    assert model_of("emotion", None, say).spec.name == "emotion"


@pytest.mark.parametrize(
    ("given", "precision", "error", "words"),
    [
        ("nobody", None, ModelMissing, "no model is named 'nobody'"),
        ("./nowhere", None, ModelMissing, "no such model folder"),
        ("./gone.safetensors", None, ModelMissing, "there is no such checkpoint"),
        ("./tiny/model.onnx", None, ModelInvalid, "expected a model folder"),
        ("./tiny", "int8", ModelMissing, "there is no tiny_int8 beside it; precision lives in the model"),
        ("./lying", "int8", ModelInvalid, "expected a model in int8, its spec says fp32"),
        ("./broken", "fp32", ModelInvalid, SPEC_FILE),
    ],
)
def test_what_is_no_model_is_told_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    precision: str | None,
    error: type[EngineError],
    words: str,
) -> None:
    write_emotion(tmp_path / "tiny")
    write_emotion(tmp_path / "lying", name="lying")
    write_emotion(tmp_path / "lying_int8", name="lying_int8")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / SPEC_FILE).write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words) as caught:
        model_of(given, precision, say)
    assert "\n" not in str(caught.value)
