# SPDX-License-Identifier: Apache-2.0
"""Tiny pictures, pages and archives: the files behind the URLs of documents and snapshots."""

from __future__ import annotations

import gzip
import html
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache


@lru_cache(maxsize=1024)
def jpg(width: int, height: int, comment: str) -> bytes:
    """Return a grey JPEG picture.

    :param comment: stored in the file, so that each page differs
    """
    blocks = -(-width // 8) * -(-height // 8)
    # One bit says that a block is as grey as the one before it, one that it has no detail.
    bits = "0" * (2 * blocks)
    bits += "1" * (-len(bits) % 8)
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xFE, comment.encode()),
            _segment(0xDB, b"\0" + b"\1" * 64),
            _segment(0xC0, struct.pack(">BHHB3B", 8, height, width, 1, 1, 0x11, 0)),
            _segment(0xC4, b"\x00\x01" + bytes(15) + b"\0"),
            _segment(0xC4, b"\x10\x01" + bytes(15) + b"\0"),
            _segment(0xDA, b"\1\1\0\0\x3f\0"),
            int(bits, 2).to_bytes(len(bits) // 8, "big"),
            b"\xff\xd9",
        )
    )


@lru_cache(maxsize=1024)
def png(width: int, height: int, comment: str) -> bytes:
    """Return a white PNG picture; ``comment`` as for :func:`jpg`."""
    rows = (b"\0" + b"\xff" * width) * height
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            _chunk(b"tEXt", b"Comment\0" + comment.encode("latin-1", "replace")),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def page(title: str) -> bytes:
    """Return an HTML page."""
    head = f"<!doctype html>\n<meta charset='utf-8'>\n<title>{html.escape(title)}</title>\n"
    return head.encode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip archive; the same files give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    """Return a compressed tar archive; the same files give the same bytes."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(target.getvalue(), mtime=0)


def pptx(title: str) -> bytes:
    """Return a presentation without slides."""
    content_types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    return zipped({"[Content_Types].xml": content_types.encode(), "title.txt": title.encode()})


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
