# SPDX-License-Identifier: Apache-2.0
"""Tiny media files that players can play.

An mp4 is one grey H.264 frame shown for as long as the file lasts; an mp3 is silence.
"""

from __future__ import annotations

import struct
from functools import lru_cache

MP3_MAX_MS = 10_000
"""An mp3 has a frame per 72 ms, so a long one is not tiny: it ends here."""


@lru_cache(maxsize=1024)
def mp4(width: int, height: int, duration_ms: int) -> bytes:
    """Return an mp4 file with one H.264 track (constrained baseline).

    :param width: pixels, even
    :param height: pixels, even
    :param duration_ms: less than 2**32
    """
    frame = _idr_slice(_macroblocks(width) * _macroblocks(height))
    sample = struct.pack(">I", len(frame)) + frame
    ftyp = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomiso2avc1mp41")
    # The offset of the sample is written inside moov, whose length does not depend on it.
    moov_size = len(_moov(width, height, duration_ms, len(sample), 0))
    moov = _moov(width, height, duration_ms, len(sample), len(ftyp) + moov_size + 8)
    return ftyp + moov + _box(b"mdat", sample)


@lru_cache(maxsize=64)
def mp3(duration_ms: int) -> bytes:
    """Return an mp3 file of silence (8 kHz, mono, 8 kbit/s), at most ``MP3_MAX_MS`` long."""
    # MPEG 2.5 layer III; 576 samples are 72 ms, and at 8 kbit/s 72 bytes.
    frame = b"\xff\xe3\x18\xc0".ljust(72, b"\0")
    return frame * max(1, min(duration_ms, MP3_MAX_MS) // 72)


def _macroblocks(pixels: int) -> int:
    return -(-pixels // 16)


class _Bits:
    """A bit string in H.264's notation."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, length: int, value: int) -> _Bits:
        self._bits.append(f"{value:0{length}b}")
        return self

    def ue(self, *values: int) -> _Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._bits.append("0" * (len(code) - 1) + code)
        return self

    def repeat(self, bits: str, times: int) -> _Bits:
        self._bits.append(bits * times)
        return self

    def nal(self, header: int) -> bytes:
        bits = "".join(self._bits) + "1"
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
        escaped = bytearray([header])
        zeros = 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(escaped)


def _sps(width: int, height: int) -> bytes:
    columns, rows = _macroblocks(width), _macroblocks(height)
    bits = _Bits().u(8, 66).u(8, 0xC0).u(8, 40)  # constrained baseline, level 4.0
    bits.ue(0, 0, 2, 0).u(1, 0).ue(columns - 1, rows - 1)
    bits.u(1, 1).u(1, 1).u(1, 1)  # whole frames, direct 8x8, cropping follows
    return bits.ue(0, (columns * 16 - width) // 2, 0, (rows * 16 - height) // 2).u(1, 0).nal(0x67)


def _pps() -> bytes:
    bits = _Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0)
    return bits.ue(0, 0, 0).u(3, 0).nal(0x68)


def _idr_slice(macroblocks: int) -> bytes:
    bits = _Bits().ue(0, 7, 0).u(4, 0).ue(0).u(2, 0).ue(0)
    # Intra 16x16, DC prediction, no residual: without neighbours the prediction is mid-grey.
    return bits.repeat("00100111", macroblocks).nal(0x65)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


_UNITY_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def _moov(width: int, height: int, duration_ms: int, size: int, offset: int) -> bytes:
    timescale = 1000
    mvhd = _full_box(
        b"mvhd",
        struct.pack(">4I", 0, 0, timescale, duration_ms),
        struct.pack(">IH10x", 0x10000, 0x100),
        _UNITY_MATRIX,
        bytes(24),
        struct.pack(">I", 2),
    )
    tkhd = _full_box(
        b"tkhd",
        struct.pack(">5I", 0, 0, 1, 0, duration_ms),
        bytes(16),
        _UNITY_MATRIX,
        struct.pack(">2I", width << 16, height << 16),
        flags=3,
    )
    mdhd = _full_box(b"mdhd", struct.pack(">4IHH", 0, 0, timescale, duration_ms, 0x55C4, 0))
    hdlr = _full_box(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"Video\0")
    dinf = _box(b"dinf", _full_box(b"dref", struct.pack(">I", 1), _full_box(b"url ", flags=1)))
    minf = _box(
        b"minf",
        _full_box(b"vmhd", bytes(8), flags=1),
        dinf,
        _sample_table(width, height, duration_ms, size, offset),
    )
    return _box(b"moov", mvhd, _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf)))


def _sample_table(width: int, height: int, duration_ms: int, size: int, offset: int) -> bytes:
    sps, pps = _sps(width, height), _pps()
    avcc = _box(
        b"avcC",
        b"\x01" + sps[1:4] + b"\xff\xe1",
        struct.pack(">H", len(sps)) + sps,
        struct.pack(">BH", 1, len(pps)) + pps,
    )
    avc1 = _box(
        b"avc1",
        struct.pack(">6xH16xHH", 1, width, height),
        struct.pack(">III", 0x480000, 0x480000, 0),
        struct.pack(">H32sHH", 1, b"", 24, 0xFFFF),
        avcc,
    )
    return _box(
        b"stbl",
        _full_box(b"stsd", struct.pack(">I", 1), avc1),
        _full_box(b"stts", struct.pack(">3I", 1, 1, duration_ms)),
        _full_box(b"stsc", struct.pack(">4I", 1, 1, 1, 1)),
        _full_box(b"stsz", struct.pack(">3I", 0, 1, size)),
        _full_box(b"stco", struct.pack(">2I", 1, offset)),
    )
