# SPDX-License-Identifier: Apache-2.0
"""A Google Cloud Storage on loopback: the part of its JSON API that an archive uses.

Of each part of an upload but the last it keeps whole blocks of 256 KiB, as the real one does.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import itertools
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from serving import serving

_UNIT = 256 * 1024
_OBJECTS = re.compile(r"(?:/upload|/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?")
_PART = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass
class Store:
    """The stored objects, by bucket and name, and the open uploads."""

    origin: str
    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, str, bytearray]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def described(self, bucket: str, name: str) -> dict[str, Any]:
        data = self.buckets[bucket][name]
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(data)),
            "md5Hash": md5,
            "generation": "1",
            "updated": "2026-11-24T09:30:00.000Z",
            "timeCreated": "2026-11-24T09:30:00.000Z",
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        found = _OBJECTS.fullmatch(url.path)
        bucket, name = (found[1], unquote(found[2] or "")) if found else ("", "")
        with self.store.lock:
            if bucket not in self.store.buckets:
                self.answer(404)
            elif "upload_id" in query:
                self.upload(query["upload_id"], body)
            elif self.command == "POST":
                self.begin(bucket, query, body)
            elif not name:
                self.listing(bucket, query.get("prefix", ""))
            elif name not in self.store.buckets[bucket]:
                self.answer(404)
            elif self.command == "DELETE":
                del self.store.buckets[bucket][name]
                self.answer(204)
            elif query.get("alt") == "media":
                self.content(self.store.buckets[bucket][name])
            else:
                self.answer(200, self.store.described(bucket, name))

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def begin(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            number = str(next(self.store.numbers))
            self.store.uploads[number] = (bucket, query["name"], bytearray())
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={number}"
            self.answer(200, Location=self.store.origin + path)
            return
        boundary = b"--" + self.headers["Content-Type"].partition('boundary="')[2][:-1].encode()
        head, _, rest = body.removeprefix(boundary + b"\n").partition(b"\n" + boundary + b"\n")
        name = json.loads(head.partition(b"\n\n")[2])["name"]
        data = rest.partition(b"\n\n")[2].removesuffix(b"\n" + boundary + b"--")
        self.store.buckets[bucket][name] = data
        self.answer(200, self.store.described(bucket, name))

    def upload(self, number: str, body: bytes) -> None:
        bucket, name, data = self.store.uploads.get(number, ("", "", bytearray()))
        if not bucket:
            self.answer(404)
        elif self.command == "DELETE":
            del self.store.uploads[number]
            # The status of a cancelled upload.
            self.answer(499)
        else:
            part = _PART.fullmatch(self.headers["Content-Range"])
            assert part is not None
            if part[1] is not None and int(part[1]) != len(data):
                self.answer(503)
                return
            last = part[2] != "*"
            data += body if last else body[: len(body) // _UNIT * _UNIT]
            if not last:
                kept = {"Range": f"bytes=0-{len(data) - 1}"} if data else {}
                self.answer(308, b"", **kept)
            elif len(data) != int(part[2]):
                self.answer(400)
            else:
                del self.store.uploads[number]
                self.store.buckets[bucket][name] = bytes(data)
                self.answer(200, self.store.described(bucket, name))

    def listing(self, bucket: str, prefix: str) -> None:
        names = [name for name in sorted(self.store.buckets[bucket]) if name.startswith(prefix)]
        items = [self.store.described(bucket, name) for name in names]
        self.answer(200, {"kind": "storage#objects", "items": items})

    def content(self, data: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.answer(200, data)
            return
        start = int(wanted[1])
        end = min(int(wanted[2] or len(data)), len(data) - 1)
        where = f"bytes {start}-{end}/{len(data)}"
        self.answer(206, data[start : end + 1], **{"Content-Range": where})

    def answer(self, status: int, content: bytes | dict[str, Any] = b"", **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def gcs_server() -> Iterator[Store]:
    """Serve on a loopback port."""
    handler = type("Handler", (_Handler,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    store = Store(f"http://127.0.0.1:{server.server_port}")
    handler.store = store  # type: ignore[attr-defined]
    with serving(server):
        yield store
