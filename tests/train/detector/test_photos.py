"""Photos: what is used, what is passed over, what is never trained on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from train.detector.photos import (
    GREY,
    LARGEST_PX,
    Photos,
    album,
    all_of,
    backgrounds,
    encoded,
    is_held_out,
    load_photos,
)
from train.errors import DataMissing


def grey(height: int, width: int, level: int = 100) -> NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def write_archive(path: Path, photos: Photos) -> None:
    np.savez(path, jpeg=photos.jpeg, offset=photos.offset)


def test_an_album_keeps_files_and_order() -> None:
    files = [encoded(grey(16, 24, level)) for level in (10, 120, 240)]
    photos = album(files, [False, True, False])
    assert len(photos) == 3
    assert photos.held_out.tolist() == [False, True, False]
    for number, data in enumerate(files):
        np.testing.assert_array_equal(photos.file(number), data)
    assert [round(float(photos[number].mean())) for number in range(3)] == [10, 120, 240]
    assert photos[1].shape == (16, 24, 3)


def test_albums_are_joined_one_after_the_other() -> None:
    one, two = (album([encoded(grey(8, 8, level))], [held]) for level, held in ((10, True), (200, False)))
    nothing = album([], [])
    both = all_of([one, nothing, two])
    assert len(nothing) == 0
    assert len(both) == 2
    assert both.held_out.tolist() == [True, False]
    assert both.held_out.dtype == bool
    np.testing.assert_array_equal(both.file(1), two.file(0))


@pytest.mark.parametrize("reduced", [1, 2, 4, 8])
def test_pictures_are_decoded_smaller_with_sides_rounded_up(reduced: int) -> None:
    photos = album([encoded(grey(50, 61))], [False])
    size = (-(-50 // reduced), -(-61 // reduced))
    assert photos.luma(0, reduced).shape == size
    assert photos.bgr(0, reduced).shape == (*size, 3)
    assert photos.luma(0, reduced).dtype == photos.bgr(0, reduced).dtype == np.uint8


def test_a_file_that_is_no_picture_is_told_when_it_is_asked_for() -> None:
    photos = album([encoded(grey(8, 8)), np.arange(50, dtype=np.uint8)], [False, False])
    assert photos[0].shape == (8, 8, 3)
    with pytest.raises(DataMissing, match="photo 1 of the archive is not a JPEG picture"):
        photos[1]


def test_about_one_photo_in_ten_is_held_out_by_its_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = [random.integers(0, 256, 40, dtype=np.uint8) for _ in range(400)]
    write_archive(tmp_path / "photos.npz", album(files + files[:20], [False] * 420))
    photos = load_photos(tmp_path / "photos.npz")
    assert photos.held_out.tolist() == [is_held_out(data) for data in files + files[:20]]
    np.testing.assert_array_equal(photos.held_out[:20], photos.held_out[400:])  # a copy stays with its photo
    assert 20 < photos.held_out[:400].sum() < 60


def test_another_archive_is_refused_in_a_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(DataMissing, match="not the archive of photos that was expected"):
        load_photos(tmp_path / "other.npz")
    with pytest.raises(DataMissing, match="not a readable archive"):
        load_photos(tmp_path / "none.npz")


def test_the_photos_are_looked_for_in_the_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    with pytest.raises(DataMissing, match="EMOSTREAM_SHARED"):
        load_photos()
    (tmp_path / "data").mkdir()
    write_archive(tmp_path / "data" / "web_faces_unlabelled.npz", album([encoded(grey(8, 8))], [False]))
    assert len(load_photos()) == 1


def test_backgrounds_are_found_below_the_folders(tmp_path: Path) -> None:
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "two").mkdir()
    cv2.imwrite(str(tmp_path / "one" / "deep" / "a.PNG"), grey(100, 120, 50))
    cv2.imwrite(str(tmp_path / "one" / "b.jpg"), grey(120, 100, 90)[..., 0])
    cv2.imwrite(str(tmp_path / "two" / "c.bmp"), grey(96, 96, 200))
    (tmp_path / "two" / "notes.txt").write_text("no picture")
    (tmp_path / "two" / "broken.png").write_bytes(b"no picture either")
    photos = backgrounds([tmp_path / "one", tmp_path / "two"])
    assert [photos[number].shape for number in range(len(photos))] == [(120, 100, 3), (100, 120, 3), (96, 96, 3)]
    assert photos.held_out.tolist() == [is_held_out(photos.file(number)) for number in range(3)]


@pytest.mark.parametrize(("height", "width"), [(95, 300), (300, 95), (100, 401)])
def test_what_is_too_small_or_too_thin_is_passed_over(tmp_path: Path, height: int, width: int) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(height, width))
    with pytest.raises(DataMissing, match="holds no picture of at least 96 pixels"):
        backgrounds([tmp_path])
    cv2.imwrite(str(tmp_path / "b.png"), grey(100, 400))
    assert len(backgrounds([tmp_path])) == 1


def test_a_folder_without_a_picture_is_told_even_beside_a_full_one(tmp_path: Path) -> None:
    for name in ("full", "bare"):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / "full" / "a.png"), grey(100, 100))
    with pytest.raises(DataMissing, match="bare holds no picture"):
        backgrounds([tmp_path / "full", tmp_path / "bare"])
    assert len(backgrounds([])) == 0


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), grey(LARGEST_PX * 2, LARGEST_PX))
    assert backgrounds([tmp_path])[0].shape == (LARGEST_PX, LARGEST_PX // 2, 3)


def test_what_is_transparent_is_grey(tmp_path: Path) -> None:
    picture = np.zeros((100, 150, 4), np.uint8)
    picture[..., :3] = 250
    picture[:, 75:, 3] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    seen = backgrounds([tmp_path])[0]
    assert float(seen[:, :60].mean()) == pytest.approx(GREY, abs=2)
    assert float(seen[:, 90:].mean()) == pytest.approx(250, abs=2)


def test_deep_pictures_are_passed_over(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((100, 100), 40_000, np.uint16))
    with pytest.raises(DataMissing):
        backgrounds([tmp_path])
