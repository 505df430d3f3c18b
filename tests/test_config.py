"""The configuration: what it refuses and in which words, and the example file that lists every setting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.config import Config, SourceConfig, load
from stream.errors import ConfigError

EXAMPLE = Path(__file__).parent.parent / "deploy" / "emostream.example.yaml"
SECRET = "hunter2"
ENVIRONMENT = {"LOBBY_URL": f"viewer:{SECRET}@10.0.0.7/h264", "REDIS_PASSWORD": SECRET}


def from_yaml(folder: Path, text: str, overrides: Mapping[str, Any] | None = None) -> Config:
    path = folder / "emostream.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, overrides or {}, ENVIRONMENT)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"aggregate.hold_s": 0.4, ...} of a nested mapping."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return leaves


class TestExampleFile:
    def test_it_lists_every_setting_with_its_default_and_no_other(self) -> None:
        listed = flat(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
        assert listed == flat(Config().model_dump(mode="json"))

    def test_it_is_a_valid_configuration(self) -> None:
        assert load(EXAMPLE, {}) == Config()

    def test_every_setting_says_what_it_means(self) -> None:
        settings = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.startswith("  ")]
        assert len(settings) == len(flat(Config().model_dump(mode="json"))) - 1  # without `cameras`
        assert [line for line in settings if not re.search(r"\S  # \w", line)] == []

    def test_its_cameras_can_be_copied(self, tmp_path: Path) -> None:
        text = EXAMPLE.read_text(encoding="utf-8")
        block = text[text.index("# cameras:") : text.index("\ncameras: []")]
        path = tmp_path / "emostream.yaml"
        path.write_text(re.sub(r"^# ", "", block, flags=re.MULTILINE), encoding="utf-8")
        config = load(path, {}, {"LOBBY_URL": "10.0.0.7/a", "YARD_PASSWORD": "b"})
        assert [camera.name for camera in config.cameras] == ["lobby", "yard", "recording"]
        assert config.cameras[1].settings == SourceConfig(rtsp_transport="udp", analyse_hz=2.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("agregate: {hold_s: 1}", "agregate: unknown key"),
            ("aggregate: {hold: 1}", "aggregate.hold: unknown key"),
            ("cameras: [{name: a, source: a.mp4, url: b}]", "cameras.0.url: unknown key"),
            ("cameras: [{name: a, source: a.mp4, settings: {fps: 5}}]", "cameras.0.settings.fps: unknown key"),
            ("source: {analyse_hz: quick}", "source.analyse_hz: Input should be a valid number"),
            ("source: {analyse_hz: 0}", "source.analyse_hz: Input should be greater than 0"),
            ("source: {rtsp_transport: smoke}", "source.rtsp_transport: Input should be 'tcp' or 'udp'"),
            ("source: {start_at: 2026-11-21T08:00:00}", "source.start_at: needs a time zone"),
            ("source: {start_at: 2026-13-01T00:00:00Z}", "holds a date or number that does not exist"),
            ("source: {start_at: 2026-02-30}", "holds a date or number that does not exist"),
            ("source: {start_at: !!timestamp soon}", "holds a date or number that does not exist"),
            ("source: {realtime: !!bool perhaps}", "holds a date or number that does not exist"),
            ("source: {start_at: '0001-01-01T00:00:00+02:00'}", "source.start_at: is too far away from now"),
            ("aggregate: {margin: 1.5}", "aggregate.margin: Input should be less than or equal to 1"),
            ("aggregate: {half_life_s: .inf}", "aggregate.half_life_s: Input should be a finite number"),
            ("aggregate: {half_life_s: .nan}", "aggregate.half_life_s: Input should be"),
            ("engine: {backend: abacus}", "engine.backend: Input should be"),
            ("engine: {threads: 1.5}", "engine.threads: Input should be a valid integer"),
            ("tracking: 5", "tracking: Input should be a valid dictionary"),
            ("cameras: lobby", "cameras: Input should be a valid tuple"),
            ("cameras: [lobby]", "cameras.0: Input should be a valid dictionary"),
            ("cameras: [{source: a.mp4}]", "cameras.0.name: Field required"),
            ("cameras: [{name: Lobby, source: a.mp4}]", "cameras.0.name: String should match pattern"),
            ("cameras: [{name: a, source: 0}]", "cameras.0.source: Input should be a valid string"),
            (
                "cameras: [{name: a, source: a.mp4}, {name: a, source: b.mp4}]",
                "the camera name 'a' is used twice; give each camera its own",
            ),
            ("- a\n- b", "expected settings as `key: value`, got a list"),
            ("aggregate: {hold_s: 1", "line 1: this is not YAML"),
            ("a: 1\nb: [\nc: 2", "this is not YAML"),
            ("aggregate: !!python/object/apply:os.system ['true']", "this is not YAML"),
        ],
    )
    def test_a_sentence_with_the_file_and_the_full_key(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            from_yaml(tmp_path, text)
        said = str(caught.value)
        assert message in said
        assert said.startswith(str(tmp_path / "emostream.yaml"))
        assert "\n" not in said

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.yaml: the configuration cannot be read \(No such file"):
            load(tmp_path / "none.yaml", {})

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "emostream.yaml"
        path.write_bytes(b"\xff\xfe\x00cameras")
        with pytest.raises(ConfigError, match="this is not YAML"):
            load(path, {})

    @pytest.mark.parametrize(
        "text", ["cameras: [{name: a, source: 'rtsp://${AWAY_URL}'}]", "redis: {url: 'redis://${AWAY_URL}'}"]
    )
    def test_a_variable_that_is_not_set(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError, match="the environment variable AWAY_URL is not set"):
            from_yaml(tmp_path, text)


class TestLayers:
    def test_an_empty_file_is_the_defaults(self, tmp_path: Path) -> None:
        assert from_yaml(tmp_path, "# nothing yet\n") == Config() == load(None, {})

    def test_overrides_lie_above_the_file_key_by_key(self, tmp_path: Path) -> None:
        config = from_yaml(tmp_path, "aggregate: {hold_s: 1, margin: 0.2}", {"aggregate": {"hold_s": 2}})
        assert (config.aggregate.hold_s, config.aggregate.margin) == (2.0, 0.2)

    def test_cameras_given_as_overrides_replace_those_of_the_file(self, tmp_path: Path) -> None:
        config = from_yaml(
            tmp_path, "cameras: [{name: a, source: a.mp4}]", {"cameras": [{"name": "b", "source": "b.mp4"}]}
        )
        assert [camera.name for camera in config.cameras] == ["b"]

    def test_a_camera_inherits_source_and_keeps_its_own(self, tmp_path: Path) -> None:
        config = from_yaml(
            tmp_path,
            "source: {analyse_hz: 2, gap_s: 9}\n"
            "cameras: [{name: a, source: a.mp4}, {name: b, source: b.mp4, settings: {analyse_hz: null}}]",
        )
        first, second = (camera.settings for camera in config.cameras)
        assert (first.analyse_hz, first.gap_s) == (2.0, 9.0)
        assert (second.analyse_hz, second.gap_s) == (None, 9.0)

    def test_variables_are_filled_in(self, tmp_path: Path) -> None:
        config = from_yaml(
            tmp_path,
            "cameras: [{name: a, source: 'rtsp://${LOBBY_URL}'}]\nredis: {url: 'redis://:${REDIS_PASSWORD}@db:6379'}",
        )
        assert config.cameras[0].source == f"rtsp://viewer:{SECRET}@10.0.0.7/h264"
        assert config.redis.url == f"redis://:{SECRET}@db:6379"

    def test_files_are_filled_in(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        address = f"${{file:{tmp_path / 'secret'}}}"
        text = f"cameras: [{{name: a, source: 'rtsp://me:{address}@cam'}}]\nredis: {{url: 'redis://:{address}@db'}}"
        config = from_yaml(tmp_path, text)
        assert (config.cameras[0].source, config.redis.url) == (f"rtsp://me:{SECRET}@cam", f"redis://:{SECRET}@db")

    @pytest.mark.parametrize("written", ["2026-03-01T09:30:00+02:00", "'2026-03-01T09:30:00+02:00'"])
    def test_moments_are_kept_in_utc(self, tmp_path: Path, written: str) -> None:
        start_at = from_yaml(tmp_path, f"source: {{start_at: {written}}}").source.start_at
        assert start_at == datetime(2026, 3, 1, 7, 30, tzinfo=UTC)
        assert start_at.tzinfo is UTC

    def test_nothing_can_be_changed_afterwards(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            Config().aggregate.hold_s = 3  # type: ignore[misc]


class TestSecrets:
    CAMERA = f"{{name: a, source: 'rtsp://viewer:{SECRET}@10.0.0.7/h264'"

    def test_showing_a_configuration_shows_none(self, tmp_path: Path) -> None:
        config = from_yaml(tmp_path, f"cameras: [{self.CAMERA}}}]\nredis: {{url: 'redis://:{SECRET}@db'}}")
        for shown in (repr(config), str(config), str(config.cameras[0]), repr(config.cameras[0]), repr(config.redis)):
            assert SECRET not in shown
        assert str(config.cameras[0]) == "a (rtsp://***@10.0.0.7/h264)"

    @pytest.mark.parametrize(
        "text",
        [
            f"cameras: [{CAMERA}, url: b}}]",
            f"cameras: [{CAMERA}}}, {CAMERA}}}]",
            f"cameras: [{CAMERA}, settings: 5}}]",
            f"cameras: [{CAMERA.replace('name: a', 'name: Lobby')}}}]",
            f"cameras: [{{name: a, source: ['rtsp://:{SECRET}@x']}}]",
            f"redis: {{url: ['redis://:{SECRET}@x']}}",
            f"redis: {{url: 'redis://:{SECRET}@x', maxlen: many}}",
            f"redis: 'redis://:{SECRET}@x'",
            f"cameras: 'rtsp://:{SECRET}@x'",
            f"redis: {{url: 'redis://:{SECRET}@x', url",
            f"'rtsp://:{SECRET}@x'",
        ],
    )
    def test_an_error_tells_none_nor_does_its_traceback(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(ConfigError) as caught:
            from_yaml(tmp_path, text)
        assert SECRET not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
