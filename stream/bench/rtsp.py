"""RTSP/1.0 messages (RFC 2326) as a server of cameras reads and writes them. No socket here."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    url: str
    headers: dict[str, str]  # names in lower case

    @property
    def sequence(self) -> str:
        """Its number, which the answer repeats."""
        return self.headers.get("cseq", "0")

    @property
    def name(self) -> str:
        """The path that it is about, without the track."""
        path = self.url.split("://", 1)[-1].partition("/")[2]
        return path.partition("?")[0].removesuffix("/").removesuffix("/track0")

    def reply(self, status: str, body: str = "", **headers: str) -> bytes:
        """The answer to it."""
        lines = [f"RTSP/1.0 {status}", f"CSeq: {self.sequence}", *(f"{key}: {value}" for key, value in headers.items())]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def described(self, sdp: str) -> bytes:
        """The answer to DESCRIBE."""
        base = {"Content-Base": self.url + "/", "Content-Type": "application/sdp"}
        return self.reply("200 OK", sdp, **base)


def parse(text: str) -> Request | None:
    """The request in the lines before the first empty one; None where there is none."""
    first, *rest = text.splitlines() or [""]
    if not first.strip():
        return None
    method, url, *_ = [*first.split(), ""]
    pairs = (line.partition(":") for line in rest if line.strip())
    return Request(method, url, {key.strip().lower(): value.strip() for key, _, value in pairs})
