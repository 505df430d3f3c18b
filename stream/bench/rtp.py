"""Coded video as RTP carries it: H.264 (RFC 6184) and HEVC (RFC 7798), out of MP4 or Matroska files.

Single NAL unit packets and fragments, interleaved in an RTSP connection where asked for (RFC 2326 section 10.12); the
parameter sets stand in the SDP (RFC 4566).
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.video.stream import VideoStream

from stream.errors import SourceInvalid

Codec = Literal["h264", "hevc"]

CLOCK_HZ = 90_000  # of RTP timestamps of video, RFC 3551
PAYLOAD_TYPE = 96
SSRC = 0x00E5_0001
MTU = 1400
FRAME_BYTES = 4  # before a packet that is interleaved
FRAGMENT = {"h264": 28, "hevc": 49}  # the NAL unit type that means FU-A, and FU


@dataclass(frozen=True)
class AccessUnit:
    """One coded frame."""

    decode_s: float
    pts_s: float
    nals: tuple[bytes, ...]
    is_key: bool


@dataclass(frozen=True)
class Elementary:
    """A stream taken out of its container."""

    codec: Codec
    parameter_sets: tuple[bytes, ...]  # SPS and PPS; of HEVC, VPS before them
    units: tuple[AccessUnit, ...]  # in decoding order
    duration_s: float


@functools.cache
def read_elementary(path: Path) -> Elementary:
    """Demux a file whose NAL units are length-prefixed (ISO 14496-15), as in MP4 and Matroska.

    Raises SourceInvalid for any other.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec: Codec = "hevc" if stream.codec_context.name == "hevc" else "h264"
        configuration = bytes(stream.codec_context.extradata or b"")
        if stream.codec_context.name not in FRAGMENT or configuration[:1] != b"\1":
            raise SourceInvalid(f"{path.name}: a camera can be played from H.264 or HEVC in MP4, MOV or Matroska only")
        length_size = (configuration[21 if codec == "hevc" else 4] & 3) + 1
        coded = [packet for packet in container.demux(stream) if packet.size]
        first_s = min(_seconds(packet.pts, packet) for packet in coded)
        units = tuple(
            AccessUnit(
                _seconds(packet.dts, packet),
                _seconds(packet.pts, packet) - first_s,
                tuple(_split(bytes(packet), length_size)),
                bool(packet.is_keyframe),
            )
            for packet in coded
        )
        interval_s = float(1 / (stream.average_rate or 25))
    duration_s = max(unit.pts_s for unit in units) + interval_s
    sets = _hevc_sets(configuration) if codec == "hevc" else _h264_sets(configuration)
    return Elementary(codec, tuple(sets), units, duration_s)


def _seconds(ticks: int | None, packet: av.Packet[VideoStream]) -> float:
    return float((ticks or 0) * packet.time_base)


def _split(data: bytes, length_size: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + length_size], "big")
        yield data[at + length_size : at + length_size + length]
        at += length_size + length


def _h264_sets(configuration: bytes) -> Iterator[bytes]:
    """SPS, then PPS, of an AVCDecoderConfigurationRecord."""
    at = 5
    for mask in (0x1F, 0xFF):
        count, at = configuration[at] & mask, at + 1
        for _ in range(count):
            length = int.from_bytes(configuration[at : at + 2], "big")
            yield configuration[at + 2 : at + 2 + length]
            at += 2 + length


def _hevc_sets(configuration: bytes) -> Iterator[bytes]:
    """VPS, SPS, PPS of an HEVCDecoderConfigurationRecord; other NAL units in it (SEI) are left out."""
    at = 23
    for _ in range(configuration[22]):
        kind, count, at = configuration[at] & 0x3F, int.from_bytes(configuration[at + 1 : at + 3], "big"), at + 3
        for _ in range(count):
            length = int.from_bytes(configuration[at : at + 2], "big")
            if kind in (32, 33, 34):
                yield configuration[at + 2 : at + 2 + length]
            at += 2 + length


def fragments(nal: bytes, codec: Codec = "h264") -> Iterator[bytes]:
    """RTP payloads of one NAL unit: itself, or pieces (RFC 6184 section 5.8, RFC 7798 section 4.4.3) if too long."""
    if len(nal) <= MTU:
        yield nal
        return
    fragment = FRAGMENT[codec]
    if codec == "hevc":
        header, kind, body = bytes([(nal[0] & 0x81) | fragment << 1, nal[1]]), nal[0] >> 1 & 0x3F, nal[2:]
    else:
        header, kind, body = bytes([(nal[0] & 0xE0) | fragment]), nal[0] & 0x1F, nal[1:]
    room = MTU - len(header) - 1
    pieces = [body[at : at + room] for at in range(0, len(body), room)]
    for number, piece in enumerate(pieces):
        start, end = 0x80 * (number == 0), 0x40 * (number == len(pieces) - 1)
        yield header + bytes([start | end | kind]) + piece


def packets(payloads: Sequence[bytes], sequence: int, timestamp: int) -> list[bytes]:
    """The RTP packets (RFC 3550 section 5.1) of one access unit, the last one marked; `sequence` is the first's."""
    last = len(payloads) - 1
    headers = (
        (0x80, 0x80 * (number == last) | PAYLOAD_TYPE, (sequence + number) & 0xFFFF, timestamp & 0xFFFF_FFFF, SSRC)
        for number in range(len(payloads))
    )
    return [struct.pack(">BBHII", *header) + payload for header, payload in zip(headers, payloads, strict=True)]


def interleaved(channel: int, packet: bytes) -> bytes:
    """A packet as it stands in an RTSP connection."""
    return struct.pack(">cBH", b"$", channel, len(packet)) + packet


def describe(stream: Elementary, recording: bool = False, claims_hz: float | None = None) -> str:
    """The SDP of a stream (RFC 4566, and section 8.2 of RFC 6184 or 7.1 of RFC 7798).

    `recording`: it tells a duration, as servers of files do. `claims_hz`: the rate it tells, true or not.
    """
    end = f"{stream.duration_s:.3f}" if recording else ""
    lines = [
        "v=0",
        "o=- 0 0 IN IP4 127.0.0.1",
        "s=camera",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        f"a=range:npt=0-{end}",
        f"m=video 0 RTP/AVP {PAYLOAD_TYPE}",
        f"a=rtpmap:{PAYLOAD_TYPE} {'H265' if stream.codec == 'hevc' else 'H264'}/{CLOCK_HZ}",
        f"a=fmtp:{PAYLOAD_TYPE} {_format(stream)}",
        *([f"a=framerate:{claims_hz:g}"] if claims_hz else []),
        "a=control:track0",
    ]
    return "\r\n".join(lines) + "\r\n"


def _format(stream: Elementary) -> str:
    sets = [base64.b64encode(each).decode() for each in stream.parameter_sets]
    if stream.codec == "hevc":
        return "; ".join(f"sprop-{name}={each}" for name, each in zip(("vps", "sps", "pps"), sets, strict=True))
    profile = stream.parameter_sets[0][1:4].hex()
    return f"packetization-mode=1;profile-level-id={profile};sprop-parameter-sets={','.join(sets)}"
