# SPDX-License-Identifier: Apache-2.0
"""Answers to downloads, as a bucket of Tencent's object storage gives them."""

from __future__ import annotations

import hashlib

from aiohttp import web

from .faults import Answer

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mp3": "audio/mpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "html": "text/html; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "zip": "application/zip",
    "gz": "application/gzip",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
"""The Content-Type of a file by its suffix."""


def _bucket_error(status: int, code: str, message: str) -> Answer:
    body = (
        "<?xml version='1.0' encoding='utf-8' ?>\n"
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>\n"
    )
    return Answer(body.encode(), {"Content-Type": "application/xml"}, status)


def file_answer(request: web.BaseRequest, name: str, content: bytes) -> Answer:
    """Return the answer to the download of a file, or of the range that was requested."""
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    tag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
    headers = {"Accept-Ranges": "bytes", "Content-Type": media_type, "ETag": tag}
    # A download that continues must not mix two files.
    if "Range" not in request.headers or request.headers.get("If-Range", tag) != tag:
        return Answer(content, headers)
    try:
        start, stop, _ = request.http_range.indices(len(content))
    except ValueError:
        start = stop = 0
    if start >= stop:
        headers["Content-Range"] = f"bytes */{len(content)}"
        return Answer(b"", headers, 416)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Answer(content[start:stop], headers, 206)


ACCESS_DENIED = _bucket_error(403, "AccessDenied", "Access Denied.")
NO_SUCH_KEY = _bucket_error(404, "NoSuchKey", "The specified key does not exist.")
