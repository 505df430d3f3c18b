"""FER-2013's traps: images of the test splits among the training ones, blank images, votes in another order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from engines.spec import EMOTIONS
from tests.train.synthetic import COLUMNS, write_archive
from train.data import Faces, load_fer2013, shared_file, soft_labels
from train.errors import DataMissing


def test_training_has_no_image_of_a_test_split_and_no_blank_one(tmp_path: Path) -> None:
    path = tmp_path / "fer.npz"
    arrays = write_archive(path, training=20, test=7)
    images = arrays["images"]
    images[3], images[5] = images[20], images[27]  # one leak of PublicTest, one of PrivateTest
    images[8] = 77
    np.savez(path, **arrays)

    data = load_fer2013(path)

    kept = [row for row in range(20) if row not in (3, 5, 8)]
    np.testing.assert_array_equal(data.training.images, images[kept])
    np.testing.assert_array_equal(data.training.labels, arrays["labels"][kept])
    assert (len(data.public), len(data.private)) == (7, 7)  # left whole, to compare with the papers


def test_votes_come_in_the_order_of_the_emotions(tmp_path: Path) -> None:
    path = tmp_path / "fer.npz"
    arrays = write_archive(path)
    arrays["ferplus"][:] = np.arange(10)  # each column's number, to recognise it
    np.savez(path, **arrays)

    votes = load_fer2013(path).training.votes[0]

    names = [COLUMNS[column] for column in votes]
    assert names == ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    assert len(votes) == len(EMOTIONS)


def test_soft_labels_mix_votes_and_keep_the_label_where_nobody_voted() -> None:
    votes = np.array([[0, 0, 0, 6, 2, 0, 0], [0] * 7], np.uint8)
    faces = Faces(np.zeros((2, 48, 48), np.uint8), np.array([4, 1]), votes)

    targets = soft_labels(faces, votes_weight=0.5, smoothing=0.07)

    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)
    assert targets[0, 3] == pytest.approx(0.93 * 0.5 * 0.75 + 0.01)
    assert targets[0, 4] == pytest.approx(0.93 * (0.5 + 0.5 * 0.25) + 0.01)
    assert targets[1, 1] == pytest.approx(0.93 + 0.01)


def test_missing_data_is_one_sentence_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    with pytest.raises(DataMissing, match=r"fer2013\.npz is not in .*EMOSTREAM_SHARED"):
        shared_file("data/fer2013.npz")


def one_array() -> bytes:
    """A .npy file: readable, but not an archive."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 cut off", one_array()])
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fer.npz"
    path.write_bytes(content)
    with pytest.raises(DataMissing, match="not a readable archive"):
        load_fer2013(path)


def test_an_archive_without_votes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fer.npz"
    arrays = write_archive(path)
    del arrays["ferplus"]
    np.savez(path, **arrays)
    with pytest.raises(DataMissing, match="ferplus"):
        load_fer2013(path)
