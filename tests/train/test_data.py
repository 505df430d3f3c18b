"""The traps of the data sets: leaked and blank images, votes and labels in another order, a person in two folds."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from engines.spec import EMOTIONS
from tests.train.synthetic import COLUMNS, write_archive, write_csv, write_labelled, write_picture
from train.data import (
    Faces,
    folds,
    load,
    load_ckplus,
    load_fer2013,
    load_folder,
    load_jaffe,
    load_pictures,
    read_npz,
    shared_file,
    soft_labels,
)
from train.data.fer2013 import clear_majority
from train.errors import DataMissing, RecipeInvalid

SEVEN = ("angry", "disgust", "fear", "happy", "sad", "surprise", "contempt")


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


def test_reading_data_needs_neither_torch_nor_opencv() -> None:
    code = "import sys, train.data; sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def contest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder with a small fer2013.csv whose test rows are mixed, one leak and one blank image; and its arrays."""
    datasets = pytest.importorskip("torchvision.datasets")
    folder = tmp_path / "downloads"
    folder.mkdir()
    arrays = write_archive(tmp_path / "fer.npz", training=20, test=7)
    arrays["split"][20:] = [1, 2] * 7
    arrays["images"][3], arrays["images"][8] = arrays["images"][21], 77
    write_csv(folder / "fer2013.csv", arrays, ("emotion", "pixels", "Usage"), (0, 1, 2))
    write_csv(folder / "icml_face_data.csv", arrays, ("emotion", " Usage", " pixels"), (0, 1, 2))
    write_csv(folder / "train.csv", arrays, ("emotion", "pixels"), (0,))
    write_csv(folder / "test.csv", arrays, ("pixels",), (1, 2))
    files = {"fer": "fer2013.csv", "icml": "icml_face_data.csv", "train": "train.csv", "test": "test.csv"}
    digests = {key: (name, hashlib.md5((folder / name).read_bytes()).hexdigest()) for key, name in files.items()}
    monkeypatch.setattr(datasets.FER2013, "_RESOURCES", digests)  # those of the real files
    return folder, arrays


@pytest.mark.parametrize("name", ["", "fer2013.csv", "icml_face_data.csv"])
def test_the_csv_of_the_contest_is_the_same_data(contest: tuple[Path, dict[str, np.ndarray]], name: str) -> None:
    folder, arrays = contest

    data = load(f"fer2013:{folder / name}")

    kept = [row for row in range(20) if row not in (3, 8)]
    np.testing.assert_array_equal(data.training.images, arrays["images"][kept])
    for split, number in (("public", 1), ("private", 2)):
        rows = arrays["split"] == number
        np.testing.assert_array_equal(data.split(split).images, arrays["images"][rows])
        np.testing.assert_array_equal(data.split(split).labels, arrays["labels"][rows])
    assert data.training.votes.shape == (18, 7)
    assert not data.training.votes.any()
    assert data.sha256 == hashlib.sha256((folder / (name or "fer2013.csv")).read_bytes()).hexdigest()


def test_train_csv_loses_its_leaks_but_has_nothing_to_choose_on(contest: tuple[Path, dict[str, np.ndarray]]) -> None:
    data = load_fer2013(contest[0] / "train.csv")
    assert (len(data.training), len(data.public), len(data.private)) == (18, 0, 0)
    with pytest.raises(DataMissing, match="no labelled public split; hold images out"):
        data.split("public")


def test_another_or_a_cut_csv_is_refused(contest: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    (contest[0] / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(DataMissing, match="not FER-2013 as Kaggle has it"):
        load_fer2013(contest[0])
    with pytest.raises(DataMissing, match="not one of FER-2013's csv files"):
        load_fer2013(tmp_path)


@pytest.mark.parametrize(("contempt", "classes"), [(False, SEVEN[:-1]), (True, SEVEN)])
def test_ckplus_is_in_our_order_whatever_the_order_of_the_file(
    tmp_path: Path, contempt: bool, classes: Sequence[str]
) -> None:
    own = ("surprise", "contempt", "sadness", "happy", "fear", "disgust", "anger")
    images = write_labelled(tmp_path / "ck.npz", own, 48, "sequence")

    data = load(f"ckplus:{tmp_path / 'ck.npz'}", contempt=contempt)

    assert data.classes == classes
    shown = {"angry": 6, "disgust": 5, "fear": 4, "happy": 3, "sad": 2, "surprise": 0, "contempt": 1}  # places in `own`
    assert [shown[classes[label]] for label in data.training.labels] == list(data.training.images[:, 0, 0])
    assert len(data.training) == len(images) - 5 * (not contempt)
    assert data.training.votes.shape == (len(data.training), len(classes))
    assert (len(data.public), len(data.private)) == (0, 0)


def test_a_clear_majority_is_most_of_all_votes_but_single_ones() -> None:
    #         neutral, happy, contempt, unknown: only the first two are classes here
    votes = [[6, 4, 0, 0], [5, 5, 0, 0], [4, 0, 3, 3], [5, 1, 1, 3], [1, 0, 0, 0], [0, 0, 9, 1], [0, 0, 0, 0]]
    assert clear_majority(np.array(votes, np.uint8), [0, 1]).tolist() == [True, False, False, True] + [False] * 3


def test_jaffe_is_reduced_by_area_and_can_be_had_whole(tmp_path: Path) -> None:
    path = tmp_path / "jaffe.npz"
    images = write_labelled(path, EMOTIONS, 256, "names")

    data = load_jaffe(path)

    assert data.training.images.shape == (35, 48, 48)
    means = images.mean(axis=(1, 2))  # averaging keeps the mean; picking pixels would not
    np.testing.assert_allclose(data.training.images.mean(axis=(1, 2)), means, atol=0.2)
    assert data.training.images.std() < 20  # of noise with 74
    pictures = load_pictures(f"jaffe:{path}")
    np.testing.assert_array_equal(np.stack(pictures.images), images)
    assert pictures.classes == data.classes
    assert pictures.labels.tolist() == data.training.labels.tolist()


def test_one_archive_is_not_taken_for_another(tmp_path: Path) -> None:
    write_archive(tmp_path / "fer.npz")
    write_labelled(tmp_path / "ck.npz", SEVEN, 48, "sequence")
    write_labelled(tmp_path / "small.npz", EMOTIONS, 48, "names")
    write_labelled(tmp_path / "odd.npz", ("angry", "bored"), 48, "sequence")
    for name, why in {
        "jaffe:ck.npz": "not the JAFFE archive .*names",
        "jaffe:small.npz": r"JAFFE .*\(35, 48, 48\)",
        "ckplus:fer.npz": "not the CK.* archive .*fetch it again",
        "ckplus:odd.npz": r"CK\+ .*class 1 is no emotion",
        "fer2013:ck.npz": "not the FER-2013 archive",
    }.items():
        source, file = name.split(":")
        with pytest.raises(DataMissing, match=why):
            load(f"{source}:{tmp_path / file}")


def test_what_cannot_be_loaded_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    for name, way_out in {
        "affectnet": "known: fer2013, ckplus, jaffe, folder:<path>",
        "ckplus": r"ckplus48\.npz is not in .*EMOSTREAM_SHARED",
        "jaffe": r"jaffe\.npz is not in",
        "folder": "write folder:<path>",
        f"ckplus:{tmp_path}/gone.npz": "does not exist; give the path",
        f"folder:{tmp_path}": "no picture under .*class/name.png",
    }.items():
        with pytest.raises(DataMissing, match=way_out):
            load(name)


def test_a_folder_of_ferg_knows_its_subjects(tmp_path: Path) -> None:
    write_picture(tmp_path / "mery" / "mery_joy" / "mery_joy_1.png", 90, 256, 256)
    write_picture(tmp_path / "aia" / "aia_sadness" / "aia_sadness_7.png", 50, 20, 20)
    write_picture(tmp_path / "aia" / "aia_anger" / "aia_anger_3.png", 70, 60, 100)
    write_picture(tmp_path / "__MACOSX" / "aia" / "._aia_anger_3.png", 70)

    data = load(f"folder:{tmp_path}")

    assert data.classes == ("angry", "happy", "sad")
    assert data.training.subjects is not None
    assert data.training.subjects.tolist() == ["aia", "aia", "mery"]
    assert data.training.labels.tolist() == [0, 2, 1]
    assert data.training.images[:, 40, 40].tolist() == [70, 50, 90]
    assert (
        data.training.images[0, 5, 9] == 70
    )  # the middle of the wide picture: squeezed, this would be its black corner


def test_a_folder_with_splits_is_split_and_its_leaks_are_dropped(tmp_path: Path) -> None:
    for name, value in {"train/Anger/a": 60, "train/Anger/b": 61, "train/neutral/c": 62, "test/anger/d": 60}.items():
        write_picture(tmp_path / f"{name}.png", value)
    data = load_folder(tmp_path)
    assert data.classes == ("angry", "neutral")
    assert data.training.images[:, -1, -1].tolist() == [61, 62]
    assert data.private.images[:, -1, -1].tolist() == [60]
    assert data.training.subjects is None


def test_a_folder_digest_follows_names_and_pictures(tmp_path: Path) -> None:
    digests = []
    for name, value in (("a/happy/1", 60), ("b/happy/1", 60), ("c/happy/1", 61), ("d/sad/1", 60)):
        write_picture(tmp_path / f"{name}.png", value)
        digests.append(load_folder(tmp_path / name[0]).sha256)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_folder_that_is_no_class_and_a_file_that_is_no_picture_are_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "bored" / "1.png", 60)
    with pytest.raises(DataMissing, match="bored holds pictures but names no known emotion; rename"):
        load_folder(tmp_path)
    (tmp_path / "bored").rename(tmp_path / "happy")
    for content in (b"", b"\x89PNG cut off"):
        (tmp_path / "happy" / "broken.png").write_bytes(content)
        with pytest.raises(DataMissing, match=r"broken\.png is not a readable picture"):
            load_folder(tmp_path)


def people(sizes: Sequence[int]) -> Faces:
    """Faces of as many subjects as there are sizes, classes by turns."""
    rows = sum(sizes)
    subjects = np.repeat([f"S{number}" for number in range(len(sizes))], sizes)
    labels = np.arange(rows) % 3
    return Faces(np.zeros((rows, 48, 48), np.uint8), labels, np.zeros((rows, 3), np.uint8), subjects)


@pytest.mark.parametrize("by", ["subject", "image"])
def test_every_row_is_held_out_once(by: Literal["subject", "image"]) -> None:
    faces = people([9, 1, 4, 4, 6, 2, 3, 7, 5, 5])
    made = folds(faces, 4, by)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in made])), np.arange(46))
    for training, held in made:
        np.testing.assert_array_equal(np.sort(np.concatenate([training, held])), np.arange(46))
        assert 11 <= len(held) <= 12


@pytest.mark.parametrize("by", ["subject", "image"])
def test_the_seed_decides_the_folds(by: Literal["subject", "image"]) -> None:
    held = [[rows.tolist() for _, rows in folds(people([5] * 12), 3, by, seed)] for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_by_subject_nobody_is_in_both() -> None:
    faces = people([3] * 12)
    assert faces.subjects is not None
    for training, held in folds(faces, 5):
        assert not set(faces.subjects[training]) & set(faces.subjects[held])


def test_by_image_the_classes_are_spread_evenly() -> None:
    faces = people([31])
    for _, held in folds(faces, 5, by="image"):
        counts = np.bincount(faces.labels[held], minlength=3)
        assert counts.max() - counts.min() <= 1


def test_folds_that_cannot_be_made_say_why() -> None:
    with pytest.raises(DataMissing, match="at least 10 subjects, there are 3"):
        folds(people([4, 4, 4]))
    nobody = Faces(*(getattr(people([4]), name) for name in ("images", "labels", "votes")))
    with pytest.raises(DataMissing, match="nothing tells whose faces"):
        folds(nobody, 2)
    with pytest.raises(RecipeInvalid, match="at least 2"):
        folds(people([4]), 1)


@pytest.mark.shared
def test_of_the_real_fer2013_no_leaked_image_is_left(shared: Path) -> None:
    arrays = read_npz(shared_file("data/fer2013.npz"))
    raw = [{image.tobytes() for image in arrays["images"][arrays["split"] == number]} for number in range(3)]

    data = load("fer2013")

    leaked = [sum(image.tobytes() in raw[0] for image in data.split(name).images) for name in ("public", "private")]
    assert leaked == [280, 288]  # as ../shared/README.md counts them
    clean = {image.tobytes() for image in data.training.images}
    blank = {content for content in raw[0] if len(set(content)) == 1}
    assert clean == raw[0] - raw[1] - raw[2] - blank  # these are gone, and nothing else is
    assert (len(data.public), len(data.private)) == (3589, 3589)
    assert data.training.labels[:10].tolist() == [0, 0, 2, 4, 6, 2, 4, 3, 3, 2]  # first rows of the contest's csv
    assert data.training.images[0, 0, :5].tolist() == [70, 80, 82, 72, 58]


@pytest.mark.shared
def test_the_real_ckplus_is_as_counted(shared: Path) -> None:
    faces = load_ckplus(contempt=True).training
    assert np.bincount(faces.labels).tolist() == [135, 177, 75, 207, 84, 249, 54]
    assert np.bincount(load_ckplus().training.labels).tolist() == [135, 177, 75, 207, 84, 249]
    sequence = read_npz(shared_file("data/ckplus48.npz"))["sequence"]
    # from the data set's own Emotion files: 1 anger, 3 disgust, 5 happy, 7 surprise
    known = {"S010_004": "angry", "S005_001": "disgust", "S010_006": "happy", "S010_002": "surprise"}
    for name, emotion in known.items():
        assert [SEVEN[label] for label in faces.labels[sequence == name]] == [emotion] * 3
    assert faces.subjects is not None
    for training, held in folds(faces):
        assert not set(faces.subjects[training]) & set(faces.subjects[held])
        assert 96 <= len(held) <= 99


@pytest.mark.shared
def test_the_real_jaffe_says_in_its_names_what_is_shown(shared: Path) -> None:
    names = read_npz(shared_file("data/jaffe.npz"))["names"]
    faces = load("jaffe").training
    codes = ("AN", "DI", "FE", "HA", "SA", "SU", "NE")
    assert [name[3:5] for name in names] == [codes[label] for label in faces.labels]
    assert faces.subjects is not None
    assert [name[:2] for name in names] == faces.subjects.tolist()
    assert (len(faces), len(set(faces.subjects)), np.shape(load_pictures("jaffe").images)) == (213, 10, (213, 256, 256))
    assert all(len(set(faces.subjects[held])) == 1 for _, held in folds(faces))  # ten women, ten folds
