"""Tiny video files whose headers claim pictures of any size: what somebody sends who wants a worker's memory."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av

from tests import clips

SIZE = (64, 64)  # which is the truth
SMALL = {"max_pixels": "1000000"}  # this process is to allocate nothing large either


def _clip(path: Path, codec: str, pix_fmt: str = "yuv420p") -> bytes:
    frames = clips.pictures(0.4, 25, SIZE, [])
    return clips.make_clip(path, size=SIZE, codec=codec, pix_fmt=pix_fmt, frames=frames).read_bytes()


def png(path: Path, px: int) -> Path:
    """One picture, of which twenty rows are there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", px, px, 8, 2, 0, 0, 0)  # 8 bits of red, green and blue
    rows = zlib.compress(bytes(3 * px + 1) * 20)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


def motion_jpeg(path: Path, px: int) -> Path:
    """Matroska says 64x64; each JPEG in it claims more in its start of frame (ITU T.81 B.2.2)."""
    content = _clip(path, "mjpeg", "yuvj420p")
    start = b"\xff\xc0\x00\x11\x08"
    assert start in content
    path.write_bytes(content.replace(start + struct.pack(">HH", *SIZE), start + struct.pack(">HH", px, px)))
    return path


def raw_avi(path: Path, px: int) -> Path:
    """Only the AVI's own headers are there: of the pictures there are far too few bytes."""
    content = bytearray(_clip(path, "rawvideo"))
    at = content.index(b"strf") + 12  # BITMAPINFOHEADER: size, then width and height
    content[at : at + 8] = struct.pack("<II", px, px)
    path.write_bytes(content)
    return path


def h264(path: Path, px: int) -> Path:
    """An elementary stream whose sequence parameter set claims it."""
    return _with_parameter_set(path, "libx264", lambda nal: nal[0] & 31 == 7, lambda _: h264_parameter_set(px))


def hevc(path: Path, px: int) -> Path:
    """The same of HEVC."""
    return _with_parameter_set(path, "libx265", lambda nal: nal[0] >> 1 == 33, lambda nal: hevc_parameter_set(nal, px))


def contained(elementary: Callable[[Path, int], Path], path: Path, px: int) -> Path:
    """An elementary stream in the container that the suffix names."""
    raw = elementary(path.with_suffix(f".{elementary.__name__}"), px)
    with av.open(str(raw), options={"framerate": "25", **SMALL}) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.codec_context.width = stream.codec_context.height = px
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts = stream, number * packet.duration, number * packet.duration
                container.mux(packet)
    return path


def _with_parameter_set(
    path: Path, codec: str, is_one: Callable[[bytes], bool], claimed: Callable[[bytes], bytes]
) -> Path:
    """An elementary stream in which every sequence parameter set is replaced."""
    start = b"\x00\x00\x01"
    before, *nals = _clip(path, codec).split(start)
    replaced = [claimed(nal) if is_one(nal) else nal for nal in nals]
    assert replaced != nals
    path.write_bytes(start.join([before, *replaced]))
    return path


def h264_parameter_set(px: int) -> bytes:
    """A NAL unit of ITU H.264 7.3.2.1.1, baseline profile, level 6.2."""
    macroblocks = exp_golomb(px // 16 - 1)
    # id, frame numbers, order and number of references, no gaps; width; height; frames; direct; no cropping, no VUI
    bits = "".join(map(exp_golomb, (0, 0, 2, 1))) + "0" + macroblocks * 2 + "1100"
    return b"\x67" + protected(bytes([66, 0xC0, 62]) + rounded_up(bits)) + b"\x00"


def hevc_parameter_set(nal: bytes, px: int) -> bytes:
    """A sequence parameter set (ITU H.265 7.3.2.2.1) with another width and height."""
    begin = 15  # NAL header, ids, profile and level of one layer
    content = nal.rstrip(b"\x00").replace(b"\x00\x00\x03", b"\x00\x00")
    bits = "".join(f"{byte:08b}" for byte in content[begin:])
    at = 0
    for _ in range(4):  # id, chroma format, width, height
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
    claimed = exp_golomb(0) + exp_golomb(1) + exp_golomb(px) * 2 + bits[at:].rstrip("0")[:-1]
    return protected(content[:begin] + rounded_up(claimed)) + b"\x00"


def exp_golomb(value: int) -> str:
    """The bits of an unsigned number, ITU H.264 9.1."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def rounded_up(bits: str) -> bytes:
    """Bytes, with the bit that ends the content of a NAL unit."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def protected(content: bytes) -> bytes:
    """Bytes that hold no start code, ITU H.264 7.4.1."""
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", content)


MAKERS: dict[str, Callable[[Path, int], Path]] = {
    "picture.png": png,
    "jpeg.mkv": motion_jpeg,
    "raw.avi": raw_avi,
    "stream.h264": h264,
    "stream.hevc": hevc,
    "h264.mkv": partial(contained, h264),
    "h264.mp4": partial(contained, h264),
    "h264.ts": partial(contained, h264),
    "hevc.mkv": partial(contained, hevc),
    "hevc.mp4": partial(contained, hevc),
    "hevc.ts": partial(contained, hevc),
}
