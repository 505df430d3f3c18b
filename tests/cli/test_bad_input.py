"""What bad input gets: one sentence, the right exit code, and nothing lost for the other cameras."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stream import cli
from tests import clips
from tests.cli.conftest import Run, World, configured, events_of, moods, process
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer

pytestmark = pytest.mark.redis


def assert_one_sentence(text: str) -> None:
    assert "Traceback" not in text
    assert "secret" not in text
    assert len(text) < 400, text


BAD_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "missing.mp4", "no such file"),
    "a folder": (lambda folder: folder, "folder"),
    "empty": (lambda folder: written(folder / "empty.mp4", b""), "empty"),
    "not a video": (lambda folder: written(folder / "text.mp4", b"hello\n" * 1000), "no video that FFmpeg can read"),
    "sound only": (lambda folder: clips.make_sound(folder / "sound.mp4"), "no video stream"),
    "a pipe": (lambda folder: pipe(folder / "pipe.mp4"), "not a regular file"),
    "no UTF-8": (lambda folder: folder / "m\udcff.mp4", "no such file"),
    "cut off": (lambda folder: clips.truncated(clips.make_clip(folder / "w.mp4"), folder / "cut.mp4"), "cut off"),
}


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_fails_alone(case: str, emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    make, words = BAD_FILES[case]
    out = tmp_path / "events.jsonl"
    bad = make(tmp_path)
    ended = emostream("run", f"bad={bad}", world.short, "--config", world.config, "--redis", server.url, "--out", out)
    assert ended.code == 1
    assert words in ended.sentence
    assert ended.sentence.startswith("camera bad failed: ")
    assert_one_sentence(ended.sentence)
    events = events_of(out)
    assert moods(events, "short") == ["happy"]
    assert [event.status for event in events if event.type == "camera.status" and event.camera_id == "bad"] == [
        "connecting",
        "failed",
    ]


def one_camera(name: str, source: str) -> list[dict[str, str]]:
    return [{"name": name, "source": source}]


BAD_SETTINGS: dict[str, tuple[dict[str, object], int, str]] = {
    "unknown key": ({"tracking": {"confirm_ms": 3}}, 2, r"tracking\.confirm_ms: unknown key"),
    "wrong type": ({"source": {"analyse_hz": "often"}}, 2, r"source\.analyse_hz: "),
    "out of range": ({"aggregate": {"margin": 2}}, 2, r"aggregate\.margin: "),
    "name used twice": ({"cameras": one_camera("a", "1") + one_camera("a", "2")}, 2, "'a' is used twice"),
    "bad name": ({"cameras": one_camera("Front Door", "1")}, 2, r"cameras\.0\.name: "),
    "unset variable": ({"cameras": one_camera("a", "rtsp://${NOT_SET}/")}, 2, "NOT_SET is not set"),
    "unknown scheme": ({"cameras": one_camera("a", "gopher://host/secret")}, 2, "gopher: unknown kind of source"),
    "unknown model": ({"detector": {"model": "x"}, "cameras": one_camera("a", "x")}, 4, "no model is named"),
    "no model folder": ({"emotion": {"model": "./x"}, "cameras": one_camera("a", "x")}, 4, "no such model folder"),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_bad_setting_stops_before_any_camera(case: str, emostream: Run, world: World, tmp_path: Path) -> None:
    sections, code, words = BAD_SETTINGS[case]
    ended = emostream("run", "--config", configured(world, tmp_path / "bad.yaml", **sections))
    assert ended.code == code
    assert re.search(words, ended.sentence), ended.sentence
    assert_one_sentence(ended.sentence)
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Front Door=x.mp4"], "is no camera name"),
        ([], "there is no camera"),
        (["a=1", "a=2"], "'a' is used twice"),
        (["x.mp4", "--config", "nowhere.yaml"], "cannot be read"),
        (["x.mp4", "--unheard-of"], "No such option"),
        (["x.mp4", "--start-at", "2026-11-21T08:00:00"], "needs a time zone"),
    ],
)
def test_bad_arguments(arguments: list[str], words: str, emostream: Run) -> None:
    ended = emostream("run", *arguments)
    assert ended.code == 2
    assert words in ended.err


def test_a_broken_model_is_refused(emostream: Run, world: World, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in world.models[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.onnx").write_bytes(b"not the weights")
    bad_hash = configured(world, tmp_path / "hash.yaml", emotion={"model": str(folder)})
    ended = emostream("run", world.short, "--config", bad_hash)
    assert ended.code == 4
    assert "SHA-256" in ended.sentence
    spec = json.loads((world.models[1] / "spec.json").read_text())
    (folder / "model.onnx").write_bytes((world.models[1] / "model.onnx").read_bytes())
    (folder / "spec.json").write_text(json.dumps({**spec, "input_shape": [1, 64, 64]}))
    ended = emostream("run", world.short, "--config", bad_hash, "--hold", "0")
    assert ended.code == 4
    assert "64" in ended.sentence
    assert_one_sentence(ended.sentence)


@pytest.mark.parametrize(("task", "number"), [("detector", 1), ("emotion", 0)])
def test_a_model_for_another_task_is_refused(
    task: str, number: int, emostream: Run, world: World, tmp_path: Path
) -> None:
    swapped = configured(world, tmp_path / "swapped.yaml", **{task: {"model": str(world.models[number])}})
    for arguments, code in ((("run", world.short, "--hold", "0"), 4), (("doctor",), 1)):
        ended = emostream(*arguments, "--config", swapped)
        assert ended.code == code
        assert f"{task}.model" in re.sub(r"[^a-z.]+", "", ended.err + ended.out)


def test_a_video_is_not_taken_for_an_output(emostream: Run, world: World, server: RedisServer) -> None:
    before = world.short.read_bytes()
    ended = emostream("run", world.short, "--config", world.config, "--redis", server.url, "--out", world.short)
    assert ended.code == 2
    assert "holds no events" in ended.sentence
    assert world.short.read_bytes() == before


def test_a_closed_stdin_disturbs_nothing(
    emostream: Run, world: World, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert emostream("run", world.short, "--config", world.config, "--redis", server.url).code == 0


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_is_for_debug_alone(debug: bool) -> None:
    try:
        raise ValueError("rtsp://user:hunter2@host/ broke")
    except ValueError as error:
        told = (type(error), error, error.__traceback__)
    record = logging.LogRecord("stream", logging.ERROR, __file__, 1, "camera %s is quarantined", ("a",), told)
    text = cli.LogFormat(debug).format(record)
    assert ("Traceback" in text) is debug
    assert "ValueError" in text
    assert "hunter2" not in text


def test_redis_out_of_reach(emostream: Run, world: World) -> None:
    with socket.socket() as nobody:  # bound, not listening: a connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://user:secret@127.0.0.1:{nobody.getsockname()[1]}"
        ended = emostream("run", world.short, "--config", world.config, "--redis", url)
    assert ended.code == 2
    assert "cannot be reached" in ended.sentence
    assert_one_sentence(ended.err.splitlines()[-1])


def test_redis_refuses_the_password(emostream: Run, world: World, own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    url = own_server.url.replace("redis://", "redis://:secret@")
    ended = emostream("run", world.short, "--config", world.config, "--redis", url)
    assert ended.code == 2
    assert "password" in ended.sentence
    assert_one_sentence(ended.sentence)
    assert "secret" not in ended.err


def test_out_cannot_be_written(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "events.jsonl"
    ended = emostream("run", world.short, "--config", world.config, "--redis", server.url, "--out", out)
    assert ended.code == 2
    assert "cannot be written" in ended.sentence
    with server.client() as client:
        assert client.exists("emostream:cameras") == 0  # no camera had started


def test_a_camera_of_another_worker_is_not_run_twice(
    emostream: Run, world: World, server: RedisServer, tmp_path: Path
) -> None:
    config = configured(world, tmp_path / "lease.yaml", redis={"lease_s": 0.5})
    with server.client() as client:
        client.set("emostream:lease:{short}", "another-worker")  # no TTL: it lives
        ended = emostream("run", world.short, "--config", config, "--redis", server.url)
    assert ended.code == 2
    assert "camera short is run by another worker" in ended.sentence


def test_a_camera_that_another_worker_takes_ends_properly(world: World, server: RedisServer, tmp_path: Path) -> None:
    config, out = configured(world, tmp_path / "lease.yaml", redis={"lease_s": 0.6}), tmp_path / "events.jsonl"
    options = ("--config", config, "--redis", server.url, "--out", out, "--realtime")
    with process("run", world.moody, *options) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "arrived" in line:
                break
        with server.client() as client:
            client.set("emostream:lease:{moody}", "another-worker")
        _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert "camera moody failed: another worker has taken this camera" in err
    assert [event.type for event in events_of(out)[-2:]] == ["track.ended", "camera.status"]


def test_an_output_that_nobody_reads_any_more_stops_nothing(world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    with process("run", world.moody, "--config", world.config, "--redis", server.url, "--out", out) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(timeout=30) == 0
    assert moods(events_of(out), "moody") == ["sad", "happy"]


def test_a_mistyped_command_tells_no_password(emostream: Run) -> None:
    ended = emostream("rtsp://user:secret@camera/1")
    assert ended.code == 2
    assert_one_sentence(ended.err)


CAMERAS: dict[str, tuple[Behaviour, str]] = {
    "401": (Behaviour(kind="401"), "401"),
    "404": (Behaviour(kind="404"), "404"),
    "refuse": (Behaviour(kind="refuse"), "rtsp://***@"),
    "silent": (Behaviour(kind="silent"), "no answer in time"),
}


@pytest.mark.parametrize("case", CAMERAS)
def test_a_bad_camera_is_tried_again_and_the_others_run(
    case: str, world: World, server: RedisServer, tmp_path: Path
) -> None:
    behaviour, words = CAMERAS[case]
    # the others answer, but on a busy machine perhaps not at once
    quick = {"open_timeout_s": 0.5, "read_timeout_s": 0.5} if case == "silent" else {}
    config = configured(world, tmp_path / "bad.yaml", source=quick)
    with RtspServer({"cam": replace(behaviour, path=world.moody)}) as rtsp:
        url = rtsp.url("cam").replace("rtsp://", "rtsp://user:secret@")
        options = ("--config", config, "--redis", server.url)
        with process("run", f"bad={url}", world.short, *options) as child:
            assert child.stdout is not None
            seen: list[str] = []
            for line in child.stdout:
                seen.append(line)
                if any("bad" in said and "offline" in said for said in seen) and any("ended" in said for said in seen):
                    break
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=20)
    said = "".join(seen) + out + err
    assert child.returncode == 0, err
    assert words in next(line for line in seen if "offline" in line)
    assert "secret" not in said
    assert any("uncertain -> happy" in line for line in seen)


def test_a_camera_that_hangs_holds_up_no_stop(world: World, server: RedisServer, tmp_path: Path) -> None:
    """It has half of the time; then what the others have told is delivered, and its thread alone is abandoned."""
    out = tmp_path / "events.jsonl"
    slow = {"open_timeout_s": 60.0, "read_timeout_s": 60.0}
    config = configured(world, tmp_path / "slow.yaml", source=slow, run={"drain_s": 8.0})
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never answers
        hanging = f"hanging=rtsp://127.0.0.1:{silent.getsockname()[1]}/"
        options = ("--config", config, "--redis", server.url, "--out", out)
        with process("run", hanging, world.moody, *options) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if "moody" in line and "ended" in line:
                    break
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=20)
    assert child.returncode == 1
    assert [line for line in err.splitlines() if "abandoned" in line] == [
        "the thread camera-hanging did not end in time and was abandoned"
    ]
    assert moods(events_of(out), "moody") == ["sad", "happy"]


def test_sigterm_drains_and_sigint_says_130(world: World, server: RedisServer, tmp_path: Path) -> None:
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        out = tmp_path / f"{number}.jsonl"
        options = ("--config", world.config, "--redis", server.url, "--out", out, "--realtime")
        with process("run", world.moody, *options) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if "arrived" in line:
                    break
            child.send_signal(number)
            child.communicate(timeout=20)
        assert child.returncode == code
        events = events_of(out)
        assert [event.type for event in events[-2:]] == ["track.ended", "camera.status"]
        assert [event.seq for event in events] == list(range(len(events)))
