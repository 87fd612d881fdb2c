# A copy of core/archive/hashing.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""A SHA-256 that is computed in a thread, beside the reading and writing of the same bytes."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterable

_BUFFERS = 4
BUFFER_BYTES = 256 * 1024
"""The most bytes that are read at once; a download holds four times as many in memory."""


class HashingThread:
    """Hashes pieces in the order in which they were added; one thread may call it.

    Python's hashing, reading and writing of large pieces do not hold the interpreter's lock, so
    they run on different cores.
    """

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._added: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(memoryview(bytearray(BUFFER_BYTES)))
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(target=self._work, name="tiw-hash", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """Return a buffer of :data:`BUFFER_BYTES` to read into; waits for one to be free."""
        return self._free.get()

    def add(self, buffer: memoryview, count: int) -> None:
        """Hash the first bytes of a buffer, which must not change any more."""
        self._added.put(buffer[:count])

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer that was not needed."""
        self._free.put(buffer)

    def restart(self, pieces: Iterable[bytes] = ()) -> None:
        """Begin anew, with bytes that are there already."""
        self._wait()
        self._sha256 = hashlib.sha256()
        for piece in pieces:
            self._sha256.update(piece)

    def hexdigest(self) -> str:
        """Return the SHA-256 of all that was added."""
        self._wait()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread."""
        self._added.put(None)

    def _wait(self) -> None:
        # Every buffer is free when all was hashed.
        buffers = [self._free.get() for _ in range(_BUFFERS)]
        for buffer in buffers:
            self._free.put(buffer)

    def _work(self) -> None:
        while True:
            piece = self._added.get()
            if piece is None:
                return
            self._sha256.update(piece)
            self._free.put(memoryview(piece.obj))
