"""No way of writing an address shows its secrets."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import ConfigError
from stream.urls import expand, has_password, mask, scrub

SHOWN = [
    ("video.mp4", "video.mp4"),
    ("/data/a video@home.mp4", "/data/a video@home.mp4"),
    ("0", "0"),
    ("rtsp://host/stream", "rtsp://host/stream"),
    ("rtsp://host:554/stream", "rtsp://host:554/stream"),
    ("rtsp://user@host/stream", "rtsp://***@host/stream"),
    ("rtsp://user:secret@host:554/stream", "rtsp://***@host:554/stream"),
    ("RTSP://user:secret@host/stream", "RTSP://***@host/stream"),
    ("redis://:secret@host:6379/0", "redis://***@host:6379/0"),
    ("rtsp://user:p%40ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p@ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p/ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p?a=ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p#ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:1234/5@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p ss@host/x", "rtsp://***@host/x"),
    ("rtsp://user:p\"s's@host/x", "rtsp://***@host/x"),
    ("rtsp://user:ü€@host/x", "rtsp://***@host/x"),
    ("rtsp://u:s@[fe80::1]:554/x", "rtsp://***@[fe80::1]:554/x"),
    ("http://host/x?token=secret", "http://host/x?token=***"),
    ("http://host/x?user=me&password=secret&q=1", "http://host/x?user=***&password=***&q=***"),
    ("http://host/x?a=b=secret", "http://host/x?a=***"),
    ("http://host/x?secret", "http://host/x?***"),
    ("http://host/x?a=1;token=secret", "http://host/x?a=***;token=***"),
    ("http://host/x#access_token=secret", "http://host/x#access_token=***"),
    ("http://u:s@host?token=secret", "http://***@host?token=***"),
    ("redis+sentinel://u:s@h1:26379,h2:26379/mine/0", "redis+sentinel://***@h1:26379,h2:26379/mine/0"),
    ("rediss+sentinel://u:s@h1,[fe80::1]:1/mine", "rediss+sentinel://***@h1,[fe80::1]:1/mine"),
    ("redis+sentinel://u:s@h1,v:t@h2/mine", "redis+sentinel://***@h2/mine"),
    ("redis+sentinel://h1,h2/mine?sentinel_password=s", "redis+sentinel://h1,h2/mine?sentinel_password=***"),
    ("rtsp://user:secre...st/live?token=secret", "rtsp://***"),  # as pydantic shortens a value
    ("rtsp://user:secret@host/li...n=secret", "rtsp://***@host/li***"),
    ("rtsp://user:se...cret@host/live", "rtsp://***@host/live"),
    ("user:secret@host/stream", "***@host/stream"),
    ("user:secret@host/stream?token=secret", "***@host/stream?token=***"),
    ("rtsp:user:secret@host/stream", "***@host/stream"),
    ("rtsp:/user:secret@host/stream", "rtsp:/***@host/stream"),  # as pathlib writes it
    ("/home/me/rtsp:/user:secret@host/x?token=t", "/home/me/rtsp:/***@host/x?token=***"),
    ("synthetic:64x64@5?seconds=2", "synthetic:64x64@5?seconds=2"),
]


@pytest.mark.parametrize(("address", "shown"), SHOWN)
def test_how_an_address_is_shown(address: str, shown: str) -> None:
    assert mask(address) == shown


@pytest.mark.parametrize(("address", "shown"), [pair for pair in SHOWN if not re.search(r'[ "]', pair[0])])
def test_it_is_shown_the_same_inside_a_text(address: str, shown: str) -> None:
    assert scrub(f"cannot open '{address}' now") == f"cannot open '{shown}' now".replace("***' now", "*** now")


def test_texts_without_addresses_stay() -> None:
    text = "frame 12: box at 3;4 ?x=1&y=2 #7 mail me@example.org"
    assert scrub(text) == text


def test_several_addresses_in_one_text() -> None:
    text = "rtsp://a:one@h1/x lost, trying rtsp://b:two@h2/y?k=three and <http://c:four@h3>"
    assert scrub(text) == "rtsp://***@h1/x lost, trying rtsp://***@h2/y?k=*** and <http://***@h3>"


def test_punctuation_behind_an_address_is_no_query() -> None:
    text = "private Redis at redis://127.0.0.1:6379; watch it with: emostream watch. Is it http://h/x? #"
    assert scrub(text) == text


def test_inside_json() -> None:
    assert scrub('{"url":"rtsp://u:s@h/x?k=v","to":"me@home"}') == '{"url":"rtsp://***@h/x?k=***","to":"me@home"}'


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("rtsp://user:secret@host/x", True),
        ("rtsp://user@host/x", True),
        ("redis://:secret@host", True),
        ("redis+sentinel://:secret@h1:1,h2:2/mine", True),
        ("redis+sentinel://h1:1,h2:2/mine?sentinel_password=secret", True),
        ("redis+sentinel://h1:1,h2:2/mine/0", False),
        ("rtsp://user:p/w@host/x", True),
        ("rtsp://host/x", False),
        ("http://host/user@home/x", False),
        ("http://host:80/user@home/x", False),
        ("http://[::1]:80/user@home", False),
        ("video@home.mp4", False),
        ("rtsp://${CAM_URL}", False),
        ("rtsp://${LOGIN}@host/x", False),
        ("rtsp://${USER}:${PASSWORD}@host/x", False),
        ("redis://:${PASSWORD}@host", False),
        ("rtsp://admin:${HALF}secret@host/x", True),
        ("rtsp:/user:secret@host/x", True),
        ("http://host/x?token=secret", True),
        ("http://host/x?a=1&PASSWORD=secret", True),
        ("http://host/x?a=1;Access_Token=secret", True),
        ("http://host/x#access_token=secret", True),
        ("http://host/x?apiKey=secret", True),
        ("http://host/x?user=me", True),
        ("http://host/x?auth=me", True),
        ("http://host/x?client_secret=me", True),
        ("http://host/x?token=${TOKEN}", False),
        ("http://host/x?token=&channel=1", False),
        ("http://host/x?channel=1&keyframe=2#t=4", False),
        ("what?token=is_this.mp4", False),
        ("user:secret@host/x", True),
        ("lobby=user:secret@host/x", True),
        ("${USER}:${PASSWORD}@host/x", False),
        ("rtsp://viewer:${file:/run/secrets/cam1}@host/x", False),
        ("rtsp://${file:/run/secrets/cam1}", False),
        ("${file:/run/secrets/cam1}", False),
        ("synthetic:64x64@5?seconds=2", False),
        ("lobby=synthetic:64x64@5", False),
    ],
)
def test_has_password(address: str, found: bool) -> None:
    assert has_password(address) is found


PASSWORD = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)
MARK = "s3cr3t"  # whatever surrounds it, it must not be seen


class TestNothingIsToldAndNothingRaises:
    @given(PASSWORD, PASSWORD)
    def test_any_password(self, before: str, after: str) -> None:
        assert MARK not in mask(f"rtsp://user:{before}{MARK}{after}@host/x")

    @given(
        st.text(
            string.ascii_letters + string.digits + string.punctuation.replace('"', "").replace("<", "").replace(">", "")
        )
    )
    def test_any_password_without_spaces_inside_a_text(self, around: str) -> None:
        assert MARK not in scrub(f"[Errno 1] failed: 'rtsp://user:{around}{MARK}{around}@host/x' (again)")

    @given(st.text(string.ascii_letters + string.digits + "-_.~%+/:@"))
    def test_any_query_value(self, value: str) -> None:
        assert MARK not in mask(f"http://host/x?key={value}{MARK}{value}")
        assert MARK not in scrub(f"no http://host/x?key={value}{MARK}{value} today")

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        assert isinstance(scrub(text), str)
        assert isinstance(mask(text), str)
        assert has_password(text) in (True, False)

    @given(st.text(st.sampled_from("ab:/@?&=#;.'\" ")))
    def test_once_hidden_it_stays_as_it_is(self, text: str) -> None:
        assert mask(mask(text)) == mask(text)
        assert scrub(scrub(text)) == scrub(text)

    def test_long_texts_take_no_time(self) -> None:
        for text in (
            "a" * 200_000,
            "a://" * 20_000,
            ":/" * 50_000,
            "a:/?" * 20_000,
            "?=" * 100_000,
            "://?" * 20_000,
            "x:" * 100_000,
        ):
            scrub(text)
            mask(text)
            has_password(text)


class TestExpand:
    def test_variables_are_filled_in(self) -> None:
        found = expand("rtsp://${USER_1}:${pw}@host/${USER_1}", {"USER_1": "me", "pw": r"a\1${USER_1}b"})
        assert found == r"rtsp://me:a\1${USER_1}b@host/me"  # a value is never read as a pattern or expanded again

    def test_what_is_no_variable_stays(self) -> None:
        assert expand("a$b ${} ${1x} $HOME {x}", {}) == "a$b ${} ${1x} $HOME {x}"

    def test_a_missing_one_is_named_and_nothing_else(self) -> None:
        with pytest.raises(ConfigError) as caught:
            expand("rtsp://admin:secret@${HOST_OF_CAM}/x", {"OTHER": "secret2"})
        assert str(caught.value) == "the environment variable HOST_OF_CAM is not set; export it before starting"
        assert caught.value.__suppress_context__

    @pytest.mark.parametrize("password", ["s3 cret", 's3"cret', "s3<cret", "s3\u00a0cret"])
    def test_what_would_end_an_address_in_a_text_must_be_encoded(self, password: str) -> None:
        for address in (f"rtsp://user:{password}@cam/x", "rtsp://user:${PW}@cam/x"):
            with pytest.raises(ConfigError, match=r"^rtsp://\*\*\*@cam/x: .* must be percent-encoded$"):
                expand(address, {"PW": password})
        assert expand("/videos/my clip@home.mp4", {}) == "/videos/my clip@home.mp4"

    def test_files_are_filled_in(self, tmp_path: Path) -> None:
        """Without the line end that editors and `echo` leave; nothing else of it is changed or read as a pattern."""
        for name, content in (("user", "me"), ("password", "p%40ss\\1${USER}\n"), ("host", "cam:554\r\n\n")):
            (tmp_path / name).write_text(content)
        address = "rtsp://${file:DIR/user}:${file:DIR/password}@${file:DIR/host}/x".replace("DIR", str(tmp_path))
        assert expand(address, {"USER": "other"}) == r"rtsp://me:p%40ss\1${USER}@cam:554/x"

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (None, "the secret cannot be read (No such file or directory)"),
            (b"", "expected a secret in one line"),
            (b"\n", "expected a secret in one line"),
            (b"secret\nsecret", "expected a secret in one line"),
            (b"secret\x00", "expected a secret in one line"),
            (b"secret" * 1000, "expected a secret in one line of at most 4096 bytes"),
            (b"secret\xff", "the secret is not text"),
        ],
    )
    def test_a_file_that_holds_no_secret_is_named_and_nothing_else(
        self, tmp_path: Path, content: bytes | None, words: str
    ) -> None:
        path = tmp_path / "cam1"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            expand(f"rtsp://admin:hunter2@${{file:{path}}}/x", {})
        assert str(caught.value).startswith(f"{path}: {words}")
        assert "hunter2" not in str(caught.value)
        assert "secretsecret" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    @pytest.mark.parametrize("path", ["/dev/zero", "/proc/self", "/nowhere\x00"])
    def test_a_path_that_is_no_file(self, path: str) -> None:
        with pytest.raises(ConfigError):
            expand(f"rtsp://${{file:{path}}}/x", {})
