"""luma and small: which memory they are, and that every format shows the same picture."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.preprocess import expand_range
from stream.records import Frame
from stream.sources.base import SmallSize
from stream.sources.pixels import LUMA_PLANES, Converter, plane_rows
from tests import clips
from tests.contracts.source import connected

Image = NDArray[np.uint8]


def first_frame(path: Path, **settings: object) -> Frame:
    with connected(str(path), **settings) as source:
        source.open()
        return next(source.frames())


def shown(frame: Frame) -> Image:
    """(H, W) 0..255, as a crop of it would be."""
    return frame.luma if frame.full_range else expand_range(np.ascontiguousarray(frame.luma))


def grey(size: tuple[int, int] = (320, 240)) -> Image:
    """The luma (BT.601) of a clip's first picture, before coding."""
    picture = clips.pictures(0.04, 25, size, [clips.still(size[0] / 2, size[1] / 2, size[1] / 3)])[0]
    return np.rint(picture @ np.array([0.114, 0.587, 0.299])).astype(np.uint8)


def difference(one: Image, other: Image) -> float:
    """Mean absolute difference in grey values."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for packet in container.demux(stream):
            yield from packet.decode()


CODED = {  # name: suffix, arguments of make_clip, full range
    "limited": (".mp4", {}, False),
    "full range": (".mp4", {"full_range": True}, True),
    "4:2:2": (".mkv", {"pix_fmt": "yuv422p"}, False),
    "4:4:4": (".mkv", {"pix_fmt": "yuv444p"}, False),
    "semi-planar": (".avi", {"codec": "rawvideo", "pix_fmt": "nv12"}, False),
    "grey": (".mkv", {"codec": "ffv1", "pix_fmt": "gray", "full_range": True}, True),
    "motion JPEG": (".avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True}, True),
    "10 bit": (".mkv", {"pix_fmt": "yuv420p10le"}, True),
    "packed YUV": (".avi", {"codec": "rawvideo", "pix_fmt": "yuyv422"}, True),
    "RGB": (".mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24"}, True),
    "GIF": (".gif", {"codec": "gif", "pix_fmt": "rgb8"}, True),
    "HEVC": (".mp4", {"codec": "libx265"}, False),
}


class TestFormats:
    @pytest.mark.parametrize("name", CODED)
    def test_every_format_shows_the_same_luma(self, name: str, tmp_path: Path) -> None:
        suffix, arguments, full_range = CODED[name]
        if not clips.has_encoder(str(arguments.get("codec", "libx264"))):
            pytest.skip(f"this build of FFmpeg has no encoder {arguments['codec']}")
        frame = first_frame(clips.make_clip(tmp_path / f"clip{suffix}", seconds=0.2, **arguments))
        assert frame.full_range is full_range
        coarse = {"GIF": 24.0}  # its colours are cut down to a few
        assert difference(shown(frame), grey()) < coarse.get(name, 3.0)
        assert not frame.luma.flags.writeable

    def test_limited_and_full_range_give_the_same_crop(self, tmp_path: Path) -> None:
        limited = first_frame(clips.make_clip(tmp_path / "limited.mp4", seconds=0.2))
        full = first_frame(clips.make_clip(tmp_path / "full.mp4", seconds=0.2, full_range=True))
        assert difference(limited.luma, full.luma) > 4.0
        assert difference(shown(limited), shown(full)) < 1.0
        assert difference(limited.small, full.small) < 1.5

    @pytest.mark.parametrize("name", CODED)
    def test_small_luma_is_what_small_colours_show(self, name: str, tmp_path: Path) -> None:
        suffix, arguments, _ = CODED[name]
        if not clips.has_encoder(str(arguments.get("codec", "libx264"))):
            pytest.skip(f"this build of FFmpeg has no encoder {arguments['codec']}")
        frame = next(decoded(clips.make_clip(tmp_path / f"clip{suffix}", seconds=0.2, **arguments)))
        luma, bgr = (Converter(SmallSize(160, 32, luma)).convert(frame) for luma in (True, False))
        assert luma.small.shape == (128, 160)
        assert luma.letterbox == bgr.letterbox
        assert not luma.small[120:].any()
        coarse = {"GIF": 6.0}
        assert difference(luma.small, cv2.cvtColor(bgr.small, cv2.COLOR_BGR2GRAY)) < coarse.get(name, 2.0)

    @pytest.mark.parametrize("size", [(322, 242), (321, 241), (176, 144), (1000, 36)])
    def test_padding_of_lines_is_left_out(self, size: tuple[int, int], tmp_path: Path) -> None:
        clip = clips.make_clip(tmp_path / "odd.mkv", seconds=0.2, size=size, pix_fmt="yuv444p")
        frame = first_frame(clip)
        assert frame.luma.shape == size[::-1]
        assert difference(shown(frame), grey(size)) < 3.0

    def test_a_palette_is_looked_up(self) -> None:
        palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1)  # entry k is the grey k
        frame = av.VideoFrame.from_ndarray((grey(), palette), format="pal8")
        pixels = Converter(SmallSize(160, 32)).convert(frame)
        assert pixels.full_range
        assert difference(pixels.luma, grey()) < 1.0

    def test_bottom_up_pictures_are_turned(self) -> None:
        upright = av.VideoFrame.from_ndarray(grey(), format="gray")
        upright.time_base, upright.pts = Fraction(1, 25), 0
        graph = av.filter.Graph()
        buffer = graph.add_buffer(width=320, height=240, format=upright.format, time_base=upright.time_base)
        graph.link_nodes(buffer, graph.add("vflip"), graph.add("buffersink")).configure()
        graph.push(upright)
        flipped = graph.pull()
        assert flipped.planes[0].line_size < 0
        assert np.array_equal(plane_rows(flipped, 1), grey()[::-1])


class TestMemory:
    def test_luma_is_the_decoders_own_plane(self, face_clip: Path) -> None:
        frame = next(decoded(face_clip))
        luma = Converter(SmallSize(160, 32)).convert(frame).luma
        address = luma.__array_interface__["data"][0]
        assert address == frame.planes[0].buffer_ptr
        assert luma.strides == (frame.planes[0].line_size, 1)

    def test_luma_keeps_the_buffer_from_being_used_again(self, face_clip: Path) -> None:
        """FFmpeg decodes into a pool of a few buffers; one that is still shown must not be among them."""
        converter = Converter(SmallSize(160, 32))
        frames = decoded(face_clip)
        first = next(frames)
        luma = converter.convert(first).luma
        copy, address = luma.copy(), first.planes[0].buffer_ptr
        del first
        gc.collect()
        others = {frame.planes[0].buffer_ptr for frame in frames}
        assert address not in others
        assert np.array_equal(luma, copy)

    def test_a_buffer_that_nobody_shows_is_used_again(self, face_clip: Path) -> None:
        """The counterpart: without it the test above would prove nothing."""
        addresses = [frame.planes[0].buffer_ptr for frame in decoded(face_clip)]
        assert len(set(addresses)) < len(addresses) / 2

    def test_decoding_is_not_disturbed_by_what_the_views_do(self, face_clip: Path) -> None:
        plain = [plane_rows(frame, 1).tobytes() for frame in decoded(face_clip)]
        with connected(str(face_clip)) as source:
            source.open()
            through = [frame.luma.tobytes() for frame in source.frames()]
        assert through == plain

    def test_the_list_of_formats_is_what_ffmpeg_says(self) -> None:
        """One 8-bit component in the first plane, and it is luma."""
        for name in LUMA_PLANES:
            components = [part for part in av.VideoFormat(name, 64, 64).components if part.plane == 0]
            assert [part.bits for part in components] == [8], name
            assert components[0].is_luma, name


class TestRotation:
    @pytest.mark.parametrize("rotation", [90, 180, 270, -90])
    def test_pictures_come_upright(self, rotation: int, face_clip: Path, tmp_path: Path) -> None:
        turned = clips.make_clip(tmp_path / "turned.mp4", seconds=0.2, rotation=rotation)
        plain, frame = first_frame(face_clip), first_frame(turned)
        turns = rotation // 90 % 4
        assert np.array_equal(frame.luma, np.rot90(plain.luma, turns))
        assert (frame.letterbox.width_px, frame.letterbox.height_px) == frame.luma.shape[::-1]
        content = np.rot90(plain.small[:120, :160], turns)
        assert np.array_equal(frame.small[: content.shape[0], : content.shape[1]], content)
        assert not frame.luma.flags.writeable

    def test_the_size_is_told_after_rotation(self, tmp_path: Path) -> None:
        with connected(str(clips.make_clip(tmp_path / "turned.mp4", seconds=0.2, rotation=90))) as source:
            info = source.open()
        assert (info.width_px, info.height_px) == (240, 320)


class TestSmall:
    @pytest.mark.parametrize(
        ("frame", "longer", "stride", "content", "padded"),
        [
            ((1920, 1080), 640, 32, (640, 360), (640, 384)),
            ((1080, 1920), 640, 32, (360, 640), (384, 640)),
            ((320, 240), 640, 32, (320, 240), (320, 256)),  # never enlarged
            ((640, 640), 640, 32, (640, 640), (640, 640)),
            ((1001, 3), 100, 16, (100, 1), (112, 16)),
            ((5, 5), 640, 1, (5, 5), (5, 5)),
        ],
    )
    def test_sizes(
        self,
        frame: tuple[int, int],
        longer: int,
        stride: int,
        content: tuple[int, int],
        padded: tuple[int, int],
    ) -> None:
        letterbox, *found = SmallSize(longer, stride).letterbox(*frame)
        assert tuple(found) == (content, padded)
        assert letterbox.scale_x == pytest.approx(content[0] / frame[0])
        assert letterbox.scale_y == pytest.approx(content[1] / frame[1])

    def test_a_box_of_small_lands_on_the_face(self, tmp_path: Path) -> None:
        """The brightest block of the picture, found in small, lies where it was painted."""
        picture = np.full((480, 640, 3), 40, np.uint8)
        picture[200:240, 400:440] = 250
        frame = first_frame(clips.make_clip(tmp_path / "block.mp4", frames=[picture] * 5, size=(640, 480)))
        rows, columns = np.nonzero(frame.small[..., 1] > 150)
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
        assert frame.letterbox.boxes_to_frame(box)[0] == pytest.approx([400, 200, 440, 240], abs=4)

    def test_colours_are_blue_green_red(self, tmp_path: Path) -> None:
        picture = np.zeros((120, 160, 3), np.uint8)
        picture[...] = (200, 100, 30)
        frame = first_frame(clips.make_clip(tmp_path / "colour.mp4", frames=[picture] * 3, size=(160, 120)))
        assert frame.small[60, 80] == pytest.approx([200, 100, 30], abs=8)

    def test_a_change_of_size_is_followed(self, tmp_path: Path) -> None:
        """Two Annex B streams one after the other: the second has new parameter sets."""
        parts = [
            clips.make_clip(tmp_path / f"{width}.h264", seconds=0.4, size=(width, 240)).read_bytes()
            for width in (320, 480)
        ]
        both = tmp_path / "both.h264"
        both.write_bytes(b"".join(parts))
        with connected(str(both)) as source:
            source.open()
            frames = list(source.frames())
        assert [frame.luma.shape for frame in frames] == [(240, 320)] * 10 + [(240, 480)] * 10
        assert [frame.letterbox.width_px for frame in frames] == [320] * 10 + [480] * 10
        assert {frame.small.shape for frame in frames} == {(128, 160, 3), (96, 160, 3)}
