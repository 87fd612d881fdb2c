# SPDX-License-Identifier: Apache-2.0
"""Parts of a benchmark that run at the same time, each in its own process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def clean_up_when_terminated() -> None:
    """Handle a SIGTERM like an interrupt, so that all started processes are ended."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def run_together(script: str, parts: Sequence[Sequence[str]]) -> list[Any]:
    """Run a script once for each of the ``parts``, its arguments; return what each printed, JSON.

    :raises SystemExit: one of them failed; the others were ended.
    """
    running: list[subprocess.Popen[str]] = []
    try:
        for part in parts:
            command = [sys.executable, script, *part]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        results = []
        for process, part in zip(running, parts, strict=True):
            printed, _ = process.communicate()
            if process.returncode:
                raise SystemExit(f"{script} {' '.join(part)} failed")
            results.append(json.loads(printed))
        return results
    finally:
        end(running)


def end(running: Sequence[subprocess.Popen[Any]]) -> None:
    """End processes, and wait until they ended; they have a few seconds to clean up."""
    for process in running:
        if process.poll() is None:
            process.terminate()
    for process in running:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
