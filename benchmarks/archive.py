# SPDX-License-Identifier: Apache-2.0
"""What a copy costs: time compared with ``curl`` and ``openssl`` on the same disk, and memory.

A separate process generates the bytes while it sends them. At the end the bytes are on the disk
(``curl`` by ``sync``), and their SHA-256 is known. One video of 2 GB is compared with the larger of
``curl; sync`` and ``openssl dgst -sha256``, because we hash while we read. Ten videos of 200 MB at
once are compared with ten ``curl; openssl dgst -sha256; sync`` at once. The start of the
interpreter is not counted: an archive runs in one that runs already. The memory is what a fresh
process grows by; for Airflow's operator, which copies to an S3 on loopback, it is what that adds
to the same copy of a tiny video. Needs ``curl`` and ``openssl``, and 2 GB of disk while it runs;
the S3 discards what it receives.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from report import Figure, report

SIZE = 2 * 10**9
ROUNDS = 7
MANY = 10
TARGET = 1.15
MANY_TARGET = 1.1
MEMORY_TARGET_MB = 64
S3_MEMORY_TARGET_MB = 100

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

url, folder, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
videos = tuple(
    Video(f"v{number}", url, "mp4", 3, "mixed", 0, 0, size, 1280, 720) for number in range(count)
)
record = OnlineRecord(1400000001, "lesson", status="FINISHED", videos=videos)
archive = RecordArchive(LocalStorage(folder), hosts=["127.0.0.1"], max_workers=count)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.perf_counter()
found = archive.run([record])
seconds = time.perf_counter() - started
assert [one.size_bytes for one in found] == [size] * count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, seconds)
"""

OPERATOR = """
import resource, sys
from tiw_automation.core import OnlineRecord, Video
from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator

url, folder, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
video = Video("v1", url, "mp4", 3, "mixed", 0, 0, size, 1280, 720)
record = OnlineRecord(1400000001, "lesson", status="FINISHED", videos=(video,))
operator = TiwOnlineRecordToObjectStorageOperator(
    task_id="archive", records=[record.to_dict()], destination=folder, hosts=["127.0.0.1"]
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


def timed(*commands: list[str]) -> float:
    """Run commands at the same time, and return the seconds until all have ended."""
    started = time.perf_counter()
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    if any(process.wait() for process in processes):
        sys.exit(f"{commands[0][0]} failed")
    return time.perf_counter() - started


def curl(url: str, path: Path) -> str:
    """Return the shell's words for a download."""
    return f"curl -sSf --noproxy '*' -o {shlex.quote(str(path))} {url}"


def one_video(url: str, folder: Path) -> float:
    """Return the larger of the seconds of ``curl; sync`` and of ``openssl dgst -sha256``."""
    path = folder / "video"
    copied = timed(["sh", "-c", f"{curl(url, path)} && sync {path}"])
    return max(copied, timed(["openssl", "dgst", "-sha256", str(path)]))


def many_videos(url: str, folder: Path) -> float:
    """Return the seconds of ten ``curl; openssl dgst -sha256; sync`` at once."""
    paths = [folder / f"video{number}" for number in range(MANY)]
    return timed(
        *(
            ["sh", "-c", f"{curl(url, path)} && openssl dgst -sha256 {path} && sync {path}"]
            for path in paths
        )
    )


def ours(program: str, url: str, folder: str, size: int, home: Path, count: int = 1) -> list[float]:
    """Run a program of ours; return its memory in MB, and its other measurements."""
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "AIRFLOW_HOME": str(home)}
    command = [sys.executable, "-c", program, url, folder, str(size), str(count)]
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


def compare(
    alone: Callable[[str, Path], float], url: str, size: int, count: int, root: Path
) -> tuple[float, float, float]:
    """Return the median ratio of alternating rounds, the growth in MB, and the others' seconds."""
    ratios, growths, seconds = [], [], []
    for _ in range(ROUNDS):
        with emptied(root / "alone") as folder:
            seconds.append(alone(url, folder))
        with emptied(root / "ours") as folder:
            growth, took = ours(OURS, url, str(folder), size, root, count)
        ratios.append(took / seconds[-1])
        growths.append(growth)
    return statistics.median(ratios), max(growths), statistics.median(seconds)


def on_s3(url: str, root: Path) -> tuple[float, float]:
    """Return the memory of Airflow's operator, with a tiny video and with 2 GB."""
    peaks = []
    with running(STORE) as port:
        extra = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "id", "password": "key", "extra": extra}
        os.environ["AIRFLOW_CONN_STORE"] = json.dumps(connection)
        for size in (1000, SIZE):
            target = "s3://store@bucket/rec"
            peaks.append(ours(OPERATOR, f"{url}/{size}", target, size, root)[0])
    return peaks[0], peaks[1]


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    for tool in ("curl", "openssl"):
        if shutil.which(tool) is None:
            sys.exit(f"This benchmark needs {tool}, which is not installed.")
    with tempfile.TemporaryDirectory(prefix="tiw-archive-") as name, running(SERVER) as port:
        root, url = Path(name), f"http://127.0.0.1:{port}"
        one, small, single = compare(one_video, f"{url}/{SIZE}", SIZE, 1, root)
        part = SIZE // MANY
        ten, large, parallel = compare(many_videos, f"{url}/{part}", part, MANY, root)
        tiny, remote = on_s3(url, root)
    return report(
        Figure(
            "a video of 2 GB with its SHA-256 / the larger of curl; sync and openssl",
            one,
            TARGET,
            f"median of {ROUNDS} rounds; the others {single:.1f} s",
        ),
        Figure(
            "ten videos of 200 MB at once / ten curl; openssl; sync",
            ten,
            MANY_TARGET,
            f"median of {ROUNDS} rounds; the others {parallel:.1f} s",
        ),
        Figure(
            "memory that the process grows by, MB",
            max(small, large),
            MEMORY_TARGET_MB,
            f"one video {small:.0f} MB, ten at once {large:.0f} MB",
        ),
        Figure(
            "peak memory, MB, 2 GB to S3 by the operator",
            remote - tiny,
            S3_MEMORY_TARGET_MB,
            f"beyond the {tiny:.0f} MB of Airflow with a tiny video",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
