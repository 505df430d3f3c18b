"""Training a detector: a run that was stopped ends as one that never was, and only with its own recipe and data."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from rich.console import Console  # noqa: E402 - after the skip

from engines.spec import sha256_of  # noqa: E402
from tests.train.detector.synthetic import corpus  # noqa: E402
from tests.train.detector.tiny import TINY  # noqa: E402
from train.checkpoint import read_checkpoint  # noqa: E402
from train.detector.corpus import read_corpus  # noqa: E402
from train.detector.fit import (  # noqa: E402
    HELD_OUT_PICTURES,
    Mosaics,
    fit,
    held_out_samples,
    material,
    start_or_resume,
    tally,
)
from train.detector.network import FaceNet  # noqa: E402
from train.errors import CheckpointInvalid, DataMissing  # noqa: E402
from train.run import LAST  # noqa: E402


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.detector.fit.HELD_OUT_PICTURES", 24)
    data = corpus()
    fit(TINY, data, tmp_path / "whole", console)
    fit(TINY, data, tmp_path / "parts", console, stop_after=1)
    assert read_checkpoint(tmp_path / "parts" / LAST).record["epoch"] == 1
    fit(TINY, data, tmp_path / "parts", console)

    whole, parts = (read_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert whole.record == parts.record
    assert whole.record["epoch"] == TINY.epochs
    assert whole.tensors.keys() == parts.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, parts.tensors[name]), name
        assert bool(tensor.isfinite().all()), name

    # somebody else's run in this folder
    with pytest.raises(CheckpointInvalid, match="another recipe"):
        fit(replace(TINY, learning_rate=0.5), data, tmp_path / "whole", console)
    with pytest.raises(CheckpointInvalid, match="other data"):
        fit(TINY, corpus(faces=12), tmp_path / "whole", console)


def test_a_run_may_start_from_another_ones_weights(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.detector.fit.HELD_OUT_PICTURES", 8)
    first = fit(TINY, corpus(), tmp_path / "first", console, stop_after=1)
    run = start_or_resume(replace(TINY, seed=9), corpus(), tmp_path / "none", start_from=first)
    weights = read_checkpoint(first).tensors
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, weights[f"model.{name}"]), name
    assert run.epoch == 0
    assert run.first_weights == sha256_of(first)


def test_what_a_run_began_with_is_kept(tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.detector.fit.HELD_OUT_PICTURES", 8)
    first = fit(TINY, corpus(), tmp_path / "first", console, stop_after=1)
    fit(TINY, corpus(), tmp_path / "second", console, stop_after=1, start_from=first)
    best = fit(TINY, corpus(), tmp_path / "second", console, stop_after=1)
    assert read_checkpoint(first).record["first_weights"] is None
    assert read_checkpoint(best).record["first_weights"] == sha256_of(first)
    with pytest.raises(CheckpointInvalid, match="began with other weights"):
        fit(TINY, corpus(), tmp_path / "first", console, start_from=best)


def test_pictures_that_are_held_out_are_not_trained_on() -> None:
    data = corpus()
    trained, measured = (material(TINY, data, held_out=held_out) for held_out in (False, True))
    assert trained.faces.tolist() == [0, 1, 2, 4, 5, 6]
    assert trained.empty.tolist() == [8, 9, 10]
    assert measured.faces.tolist() == [3, 7]
    assert measured.empty.tolist() == [11]


def test_a_picture_with_nothing_but_a_doubt_is_neither_a_face_nor_empty() -> None:
    data = corpus()
    scores = data.labels.scores.copy()
    scores[1] = 0.4
    labels = replace(data.labels, scores=scores)
    trained = material(TINY, replace(data, labels=labels), held_out=False)
    assert trained.faces.tolist() == [0, 2, 4, 5, 6]
    assert trained.empty.tolist() == [8, 9, 10]


@pytest.mark.parametrize(("color", "channels"), [("luma", 1), ("bgr", 3)])
def test_a_mosaic_is_drawn_from_the_epoch_and_its_number(color: str, channels: int) -> None:
    recipe = replace(TINY, color=color)
    mosaics = Mosaics(material(recipe, corpus(), held_out=False), recipe)
    assert len(mosaics) == 8
    first, _ = mosaics[2]
    assert first.shape == (channels, 64, 64)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(mosaics[2][0], first)
    assert not np.array_equal(mosaics[3][0], first)
    mosaics.epoch_seed = 1
    assert not np.array_equal(mosaics[2][0], first)


def test_what_is_chosen_on_stays_the_same_and_nothing_is_found_by_a_network_that_learned_nothing() -> None:
    recipe = replace(TINY, pictures=16, batch_size=16)
    samples, again = (held_out_samples(recipe, corpus()) for _ in range(2))
    assert len(samples) == HELD_OUT_PICTURES
    for one, other in zip(samples, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.boxes, other.boxes)
    torch.manual_seed(0)
    seen = tally(FaceNet(1).eval(), samples, recipe)
    assert seen.count() == sum(len(sample.boxes) for sample in samples) > 50
    assert seen.found_scores == []
    assert seen.average_precision() == 0.0


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    data = corpus()
    data.write(tmp_path / "deep" / "corpus.npz")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["corpus.npz"]
    found = read_corpus(tmp_path / "deep" / "corpus.npz")
    assert found.sha256() == data.sha256()
    assert (found.teacher, found.origin.tolist()) == (data.teacher, data.origin.tolist())
    for name in ("jpeg", "offset", "held_out"):
        np.testing.assert_array_equal(getattr(found.pictures, name), getattr(data.pictures, name))
    for name in ("first", "boxes", "landmarks", "scores"):
        np.testing.assert_array_equal(getattr(found.labels, name), getattr(data.labels, name))


def test_another_file_is_no_corpus(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", jpeg=np.zeros(3, np.uint8))
    with pytest.raises(DataMissing, match="is no corpus"):
        read_corpus(tmp_path / "other.npz")
    with pytest.raises(DataMissing, match="is not there; make it with"):
        read_corpus(tmp_path / "none.npz")
