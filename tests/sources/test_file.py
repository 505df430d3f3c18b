"""Files: what can be wrong with them, their clocks, and their own speed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import av
import pytest
from av.bitstream import BitStreamFilterContext

from stream.clocks import Clocks
from stream.config import CameraConfig, SourceConfig
from stream.errors import SourceError, SourceInvalid
from stream.records import Frame
from stream.sources import SmallSize, Source, Timeline, make_source
from tests import clips
from tests.contracts.source import connected
from tests.sources.watch import Watch

BT709, YCGCO = 1, 8  # H.273 matrix coefficients; swscale does not know the second


def with_colour_matrix(clip: Path, matrix: int) -> bytes:
    """A raw H.264 clip whose pictures claim these matrix coefficients."""
    coded = b""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        claim = f"h264_metadata=matrix_coefficients={matrix}:colour_primaries=1:transfer_characteristics=1"
        rewriting = BitStreamFilterContext(claim, stream)
        for packet in container.demux(stream):
            coded += b"".join(bytes(each) for each in rewriting.filter(packet if packet.size else None))
    return coded


def read_all(source: Source) -> list[Frame]:
    source.open()
    return list(source.frames())


def refusal(address: Path | str, **settings: object) -> SourceError:
    """The error of opening it, or of reading all its frames."""
    with connected(str(address), **settings) as source, pytest.raises(SourceError) as caught:
        read_all(source)
    error = caught.value
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert "\n" not in str(error)
    return error


class TestWhatIsNoVideo:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        error = refusal(tmp_path / "missing.mp4")
        assert type(error) is SourceError
        assert str(error) == f"{tmp_path / 'missing.mp4'}: no such file; check the path"

    def test_a_folder(self, tmp_path: Path) -> None:
        assert str(refusal(tmp_path)).endswith("this is a folder; name a video file in it")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").touch()
        error = refusal(tmp_path / "empty.mp4")
        assert isinstance(error, SourceInvalid)
        assert "the file is empty" in str(error)

    def test_a_text(self, tmp_path: Path) -> None:
        (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
        assert isinstance(refusal(tmp_path / "text.mp4"), SourceInvalid)

    def test_noise(self, tmp_path: Path) -> None:
        (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 400)
        assert isinstance(refusal(tmp_path / "noise.mp4"), SourceInvalid)

    def test_sound_alone(self, tmp_path: Path) -> None:
        error = refusal(clips.make_sound(tmp_path / "sound.m4a"))
        assert isinstance(error, SourceInvalid)
        assert str(error).endswith("has no video stream")

    def test_sound_with_a_cover_picture(self, tmp_path: Path, face_clip: Path) -> None:
        error = refusal(clips.make_sound(tmp_path / "cover.m4a", cover=True))
        assert str(error).endswith("has no video stream")

    def test_an_mp4_without_its_index(self, face_clip: Path, tmp_path: Path) -> None:
        error = refusal(clips.truncated(face_clip, tmp_path / "cut.mp4"))
        assert isinstance(error, SourceInvalid)
        assert "cut off or damaged" in str(error)

    def test_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.mp4")
        assert "not a regular file" in str(refusal(tmp_path / "pipe.mp4"))

    @pytest.mark.parametrize("name", ["a" * 300 + ".mp4", "nul\0byte.mp4"])
    def test_names_that_no_file_can_have(self, name: str, tmp_path: Path) -> None:
        assert "no such file" in str(refusal(f"{tmp_path}/{name}"))

    def test_pictures_that_are_too_large(self, face_clip: Path) -> None:
        error = refusal(face_clip, max_frame_px=300)
        assert isinstance(error, SourceInvalid)
        assert "320x240 is larger than max_frame_px, 300" in str(error)

    def test_pictures_that_become_too_large(self, tmp_path: Path) -> None:
        parts = [clips.make_clip(tmp_path / f"{w}.h264", seconds=0.2, size=(w, 240)).read_bytes() for w in (320, 480)]
        (tmp_path / "both.h264").write_bytes(b"".join(parts))
        assert "480x240 is larger" in str(refusal(tmp_path / "both.h264", max_frame_px=400))

    def test_a_stream_of_errors_only(self, face_clip: Path, tmp_path: Path) -> None:
        error = refusal(clips.damaged(face_clip, tmp_path / "noise.mp4", 0.0, 1.0))
        assert isinstance(error, SourceInvalid)
        assert "none of its 50 packets could be decoded" in str(error)

    def test_odd_names_are_files_all_the_same(self, face_clip: Path, tmp_path: Path) -> None:
        for name in ("rtsp:cam.mp4", "a:b.mp4", "100%d.mp4", "mit Raum & ümlaut.mp4", "#1.mp4"):
            (tmp_path / name).write_bytes(face_clip.read_bytes())
            with connected(str(tmp_path / name), analyse_hz=1.0) as source:
                source.open()
                assert len(list(source.frames())) == 2

    def test_a_relative_name_that_looks_like_a_protocol(
        self, face_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "concat:x.mp4").write_bytes(face_clip.read_bytes())
        monkeypatch.chdir(tmp_path)
        with connected("concat:x.mp4") as source:
            assert source.open().width_px == 320


class TestDamage:
    def test_damaged_packets_are_counted_and_skipped(self, face_clip: Path, tmp_path: Path) -> None:
        with connected(str(clips.damaged(face_clip, tmp_path / "hurt.mp4", 0.5, 0.7))) as source:
            frames = read_all(source)
        assert set(source.skipped) == {"undecodable"}
        assert 20 < len(frames) <= 50 - source.skipped["undecodable"]
        assert frames[-1].media_time_s == pytest.approx(49 / 25)

    def test_a_frame_that_cannot_be_converted_is_left_out(self, tmp_path: Path) -> None:
        whole = clips.make_clip(tmp_path / "whole.h264", seconds=0.4)
        known, odd = (with_colour_matrix(whole, matrix) for matrix in (BT709, YCGCO))
        (tmp_path / "odd.h264").write_bytes(known + odd + known)
        with connected(str(tmp_path / "odd.h264")) as source:
            frames = read_all(source)
        assert [frame.index for frame in frames] == [*range(10), *range(20, 30)]
        assert source.skipped == {"not_converted": 10}

    def test_frames_that_can_never_be_converted_are_no_video(self, tmp_path: Path) -> None:
        whole = clips.make_clip(tmp_path / "whole.h264", seconds=2.4)
        (tmp_path / "odd.h264").write_bytes(with_colour_matrix(whole, YCGCO))
        error = refusal(tmp_path / "odd.h264", analyse_hz=5.0)
        assert isinstance(error, SourceInvalid)
        assert "none of its first 50 pictures could be converted" in str(error)

    def test_a_truncated_matroska_ends_where_it_is_cut(self, matroska_clip: Path, tmp_path: Path) -> None:
        with connected(str(clips.truncated(matroska_clip, tmp_path / "cut.mkv"))) as source:
            frames = read_all(source)
        assert 10 < len(frames) < 50


class TestTime:
    def test_times_are_those_of_the_container(self, tmp_path: Path) -> None:
        ticks = [0, 1, 2, 10, 11, 40, 41, 200, 201, 202]
        clip = clips.make_clip(tmp_path / "uneven.mkv", seconds=0.4, ticks=ticks)
        with connected(str(clip)) as source:
            frames = read_all(source)
        assert [frame.media_time_s for frame in frames] == pytest.approx([t / 25 for t in ticks], abs=1e-3)
        assert [(f.index, f.discontinuity) for f in frames if f.discontinuity] == [(7, "pts_jumped")]
        assert frames[7].skipped_s == pytest.approx(159 / 25, abs=1e-3)

    @pytest.mark.parametrize("fps", [25, 10])
    def test_without_timestamps_the_claimed_rate_counts(self, fps: int, tmp_path: Path) -> None:
        raw = clips.make_clip(tmp_path / "raw.h264", seconds=1.0, fps=fps)
        with av.open(str(raw)) as container:
            assert all(packet.pts is None for packet in container.demux(video=0))
        with connected(str(raw)) as source:
            rate_hz = source.open().rate_hz
            frames = list(source.frames())
        assert rate_hz is not None
        assert [frame.media_time_s for frame in frames] == pytest.approx([k / rate_hz for k in range(fps)])

    def test_captured_at_counts_from_start_at(self, face_clip: Path) -> None:
        start = datetime(2026, 3, 1, 9, 30, tzinfo=timezone(timedelta(hours=2)))
        with connected(str(face_clip), analyse_hz=1.0, start_at=start) as source:
            frames = read_all(source)
        assert [frame.captured_at for frame in frames] == [
            datetime(2026, 3, 1, 7, 30, tzinfo=UTC),
            datetime(2026, 3, 1, 7, 30, 1, tzinfo=UTC),
        ]
        assert {frame.clock_source for frame in frames} == {"media"}


def read_by_watch(clip: Path, watch: Watch, **settings: object) -> list[float]:
    config = SourceConfig.model_validate(settings)
    camera = CameraConfig(name="cam", source=str(clip), settings=config)
    timeline = Timeline(config.analyse_hz, config.gap_s)
    source = make_source(
        camera, "s", timeline, SmallSize(160, 32), wait=watch.wait, clocks=Clocks(monotonic=lambda: watch.now_s)
    )
    try:
        source.open()
        return [frame.media_time_s for frame in source.frames()]
    finally:
        source.close()


class TestOwnSpeed:
    def test_realtime_waits_for_each_chosen_frame(self, face_clip: Path) -> None:
        watch = Watch()
        times = read_by_watch(face_clip, watch, realtime=True, analyse_hz=5.0)
        assert watch.waits == pytest.approx([0.2] * 9)
        assert times[-1] == pytest.approx(1.8)

    def test_a_file_is_otherwise_never_waited_for(self, face_clip: Path) -> None:
        watch = Watch()
        read_by_watch(face_clip, watch, analyse_hz=5.0)
        assert watch.waits == []

    def test_a_hole_in_the_recording_is_not_waited_for(self, tmp_path: Path) -> None:
        clip = clips.make_clip(
            tmp_path / "hole.mkv", seconds=0.4, ticks=[0, 5, 10, 9000, 9005, 9010, 9015, 9020, 9025, 9030]
        )
        watch = Watch()
        read_by_watch(clip, watch, realtime=True, analyse_hz=None)
        assert sum(watch.waits) == pytest.approx(0.4 + 1.2, abs=0.01)

    def test_stop_ends_the_waiting(self, face_clip: Path) -> None:
        with connected(str(face_clip), wait=lambda seconds: seconds > 0, realtime=True) as source:
            source.open()
            assert len(list(source.frames())) == 1

    def test_stop_before_reading(self, face_clip: Path, b_frames_clip: Path) -> None:
        with connected(str(face_clip), wait=lambda _: True) as source:
            assert len(read_all(source)) == 1
        with connected(str(b_frames_clip), wait=lambda _: True) as source:  # its first packet gives no picture
            with pytest.raises(SourceError, match="stopped before the first picture"):
                source.open()
            assert list(source.frames()) == []
