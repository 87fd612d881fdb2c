# SPDX-License-Identifier: Apache-2.0
"""What a copy costs: time compared with ``curl`` on the same disk, and memory for a video of 2 GB.

A separate process generates the bytes while it sends them. ``curl`` and an archive alternately
download 2 GB; at the end the bytes of both are on the disk (``curl`` by ``sync``), and ours has a
SHA-256 too. The start of the interpreter is not counted: an archive runs in one that runs already.
The memory is the peak of a fresh process; for Airflow's operator, which copies to an S3 on
loopback, it is what that adds to the same copy of a tiny video. Needs ``curl``, and 2 GB of disk
while it runs; the S3 discards what it receives.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from report import Figure, report

SIZE = 2 * 10**9
ROUNDS = 5
TARGET = 1 / 0.8
MEMORY_TARGET_MB = 100

SERVER = """
import os, socket, sys, threading

piece = os.urandom(1 << 20) * 4

def serve(peer):
    with peer:
        request = b""
        while b"\\r\\n\\r\\n" not in request:
            request += peer.recv(65536)
        left = int(request.split()[1].strip(b"/"))
        peer.sendall(
            b"HTTP/1.1 200 OK\\r\\nContent-Type: video/mp4\\r\\nContent-Length: %d\\r\\n"
            b"Connection: close\\r\\n\\r\\n" % left
        )
        while left:
            count = min(left, len(piece))
            peer.sendall(memoryview(piece)[:count])
            left -= count

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# Receives the parts of an upload as S3 does, and discards them.
STORE = """
import http.server, sys

class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_HEAD(self):
        self.answer(404)

    def read(self):
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        left = int(self.headers.get("Content-Length", 0))
        while left:
            left -= len(self.rfile.read(min(left, 65536)))

    def do_PUT(self):
        self.read()
        self.answer(ETag='"x"')

    def do_POST(self):
        self.read()
        name = "InitiateMultipartUpload" if "uploads" in self.path else "CompleteMultipartUpload"
        body = f"<{name}Result><UploadId>u</UploadId><ETag>x</ETag></{name}Result>"
        self.answer(200, body.encode())

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
print(server.server_port, flush=True)
server.serve_forever()
"""

OURS = """
import resource, sys, time
from tiw_automation.core import LocalStorage, OnlineRecord, RecordArchive, Video

url, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
video = Video("v1", url, "mp4", 3, "mixed", 0, 0, size, 1280, 720)
record = OnlineRecord(1400000001, "lesson", status="FINISHED", videos=(video,))
started = time.perf_counter()
(one,) = RecordArchive(LocalStorage(folder)).run([record])
seconds = time.perf_counter() - started
assert one.size_bytes == size
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, seconds)
"""

OPERATOR = """
import resource, sys
from tiw_automation.core import OnlineRecord, Video
from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator

url, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
video = Video("v1", url, "mp4", 3, "mixed", 0, 0, size, 1280, 720)
record = OnlineRecord(1400000001, "lesson", status="FINISHED", videos=(video,))
operator = TiwOnlineRecordToObjectStorageOperator(
    task_id="archive", records=[record.to_dict()], destination=folder
)
assert len(operator.execute({})) == 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@contextlib.contextmanager
def running(program: str) -> Iterator[str]:
    """Run a server and yield the port that it prints."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def curl(url: str, folder: Path) -> float:
    """Download with curl, until it is written to the disk, and return the seconds."""
    started = time.perf_counter()
    subprocess.run(["curl", "-sSf", "--noproxy", "*", "-o", folder / "video", url], check=True)
    subprocess.run(["sync", folder / "video"], check=True)
    return time.perf_counter() - started


def ours(program: str, url: str, folder: str, size: int, home: Path) -> list[float]:
    """Run a program of ours; return its peak memory in MB, and its other measurements."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "AIRFLOW_HOME": str(home)}
    command = [sys.executable, "-c", program, url, folder, str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    peak, *others = done.stdout.splitlines()[-1].split()
    return [int(peak) * 1024 / 1e6, *map(float, others)]


@contextlib.contextmanager
def emptied(folder: Path) -> Iterator[Path]:
    """Yield an empty folder, once all earlier writes are on the disk."""
    folder.mkdir()
    os.sync()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    if shutil.which("curl") is None:
        sys.exit("This benchmark needs curl, which is not installed.")
    times: list[tuple[float, float]] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory(prefix="tiw-archive-") as name, running(SERVER) as port:
        root = Path(name)
        url = f"http://127.0.0.1:{port}/{SIZE}"
        for _ in range(ROUNDS):
            with emptied(root / "curl") as folder:
                alone = curl(url, folder)
            with emptied(root / "ours") as folder:
                peak, seconds = ours(OURS, url, str(folder), SIZE, root)
            times.append((alone, seconds))
            peaks.append(peak)
        remote = []
        with running(STORE) as store_port:
            extra = {"endpoint_url": f"http://127.0.0.1:{store_port}", "region_name": "us-east-1"}
            connection = {"conn_type": "aws", "login": "id", "password": "key", "extra": extra}
            os.environ["AIRFLOW_CONN_STORE"] = json.dumps(connection)
            for size in (1000, SIZE):
                small = url.replace(str(SIZE), str(size))
                remote.append(ours(OPERATOR, small, "s3://store@bucket/rec", size, root)[0])
    ratio = statistics.median(seconds / alone for alone, seconds in times)
    how = f"{ROUNDS} rounds of {SIZE / 1e9:g} GB, curl {times[0][0]:.1f} s in the first"
    return report(
        Figure(
            "time of an archived video / curl and sync (0.8 of its throughput)", ratio, TARGET, how
        ),
        Figure(
            "peak memory, MB, 2 GB to a folder", max(peaks), MEMORY_TARGET_MB, "the whole process"
        ),
        Figure(
            "peak memory, MB, 2 GB to S3 by the operator",
            remote[1] - remote[0],
            MEMORY_TARGET_MB,
            f"beyond the {remote[0]:.0f} MB of Airflow with a tiny video",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
