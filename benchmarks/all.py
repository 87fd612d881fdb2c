# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks one after the other, also after a missed target, and keeps their results.

    python benchmarks/all.py quick [--results FILE]     what `make bench` runs
    python benchmarks/all.py full [--results FILE]      the ones that take long
    python benchmarks/all.py airflow [--results FILE]   the provider, on real components

Ends with 1 when a target was missed or a benchmark failed. ``tables.py`` renders the results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from report import RESULTS, Figure

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs/images"
MISSED = 1
# How long a benchmark may take to end its own processes after an interrupt.
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Benchmark:
    """One script.

    :param limit_s: it is ended after this time, several times its usual duration.
    """

    script: str
    options: tuple[str, ...] = ()
    limit_s: float = 300.0

    def __str__(self) -> str:
        return " ".join((self.script, *self.options)).replace(str(IMAGES), "docs/images")


# Those in one group run at the same time: they mostly wait, and use a few per cent of a core.
QUICK = (
    (Benchmark("first_call.py"),),
    (Benchmark("cli_start.py"),),
    (Benchmark("provider_info.py"),),
    (Benchmark("ansible_start.py"),),
    (Benchmark("ansible_batch.py", limit_s=600),),
    (Benchmark("ansible_many.py"),),
    (Benchmark("simulator_speed.py"),),
    (Benchmark("simulation.py", limit_s=600),),
    (Benchmark("cost.py", limit_s=600),),
    (Benchmark("loop_lag.py"),),
    (Benchmark("pacing.py"), Benchmark("batch.py"), Benchmark("two_kinds.py")),
    (Benchmark("processes.py", limit_s=600),),
    (Benchmark("accounts.py"),),
    (Benchmark("shared_quota.py", limit_s=600),),
)
FULL = (
    (Benchmark("simulation.py", ("--full", "--plots", str(IMAGES)), 7200),),
    (
        Benchmark("pacing.py", ("--full",), 900),
        Benchmark("batch.py", ("--full",), 900),
        Benchmark("recovery.py", limit_s=1200),
    ),
    (Benchmark("peers.py", ("--full",), 1500),),
    (Benchmark("archive.py", limit_s=900),),
    (Benchmark("ansible_start.py", ("--full",), 600),),
    (Benchmark("ansible_batch.py", ("--full",), 1200),),
    (Benchmark("ansible_many.py", ("--full",), 1500),),
)
AIRFLOW = (
    (Benchmark("sensor_calls.py"),),
    (Benchmark("triggers.py", limit_s=2400),),
    (Benchmark("deferred.py", limit_s=2400),),
    (Benchmark("callback_flood.py", limit_s=900),),
)
LISTS = {"quick": QUICK, "full": FULL, "airflow": AIRFLOW}
PACKAGES = (
    "tiw-automation",
    "tencentcloud-sdk-python-common",
    "tencentcloud-sdk-python-tiw",
    "ansible-core",
    "apache-airflow",
)


class Results:
    """The results of the benchmarks, in the form of their file."""

    def __init__(self, command: str, path: Path | None) -> None:
        self.path = path
        self.figures: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.about = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "command": command,
            "versions": {"python": platform.python_version(), **_versions()},
            "machine": {
                "cores": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "load_before": round(os.getloadavg()[0], 2),
            },
        }

    def take(self, benchmark: Benchmark, lines: str, status: int | None, seconds: float) -> None:
        """Add what one benchmark reported."""
        missed = found = 0
        for line in lines.splitlines():
            entry = json.loads(line)
            found += 1
            if "figure" in entry:
                figure = Figure(**entry["figure"])
                missed += not figure.met
                self.figures.append({**entry["figure"], "met": figure.met, "by": benchmark.script})
            else:
                self.rows.append({**entry, "by": benchmark.script})
        if status is None:
            failure = f"was ended after {benchmark.limit_s:.0f} s"
        elif status and not (status == MISSED and missed):
            failure = f"ended with {status}"
        else:
            failure = "" if found else "reported nothing"
        self.runs.append(
            {"benchmark": str(benchmark), "seconds": round(seconds, 1), "failure": failure}
        )
        self._write()

    def summary(self) -> int:
        """Print what was missed and what failed; return the exit status."""
        missed = [figure["what"] for figure in self.figures if not figure["met"]]
        failed = [f"{run['benchmark']} {run['failure']}" for run in self.runs if run["failure"]]
        print(f"\n{len(self.figures)} figures, {len(missed)} of them missed.")
        for what in missed:
            print(f"  missed: {what}")
        for what in failed:
            print(f"  failed: {what}")
        if self.path:
            print(f"Results: {self.path}")
        return 1 if missed or failed else 0

    def _write(self) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        found = {**self.about, "runs": self.runs, "figures": self.figures, "rows": self.rows}
        self.path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    # It has its own environment, beside this one.
    for info in HERE.parent.glob(".venvs/tccli/lib/python*/site-packages/tccli-*.dist-info"):
        found["tccli"] = info.name.removeprefix("tccli-").removesuffix(".dist-info")
    return found


def run_group(group: Sequence[Benchmark], results: Results, folder: Path) -> None:
    """Run benchmarks at the same time, until each ends or its limit elapsed."""
    running: list[tuple[Benchmark, subprocess.Popen[bytes], Path]] = []
    try:
        for benchmark in group:
            print(f"\n== {benchmark}", flush=True)
            path = folder / benchmark.script
            path.touch()
            process = subprocess.Popen(
                [sys.executable, HERE / benchmark.script, *benchmark.options],
                env={**os.environ, RESULTS: str(path)},
                stdin=subprocess.DEVNULL,
                # Its own process group, so that everything that it started can be ended with it.
                process_group=0,
            )
            running.append((benchmark, process, path))
        began = time.monotonic()
        ends: dict[str, float] = {}
        while len(ends) < len(running):
            time.sleep(0.1)
            now = time.monotonic() - began
            for benchmark, process, path in running:
                if benchmark.script in ends:
                    continue
                status = process.poll()
                if status is None and now < benchmark.limit_s:
                    continue
                if status is None:
                    end([process])
                ends[benchmark.script] = now
                results.take(benchmark, path.read_text("utf-8"), status, now)
                path.unlink()
    finally:
        end([process for _, process, _ in running])


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes with all that they started: first by an interrupt, then by SIGKILL."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        _signal(process, signal.SIGINT)
    for process in alive:
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        process.kill()


def _stop(number: int, frame: FrameType | None) -> None:
    # Once is enough: from here on everything is being ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Run a list; return 1 when a target was missed or a benchmark failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("list", choices=LISTS)
    parser.add_argument("--results", type=Path, metavar="FILE", help="write the results here, JSON")
    parser.add_argument(
        "--only", action="append", metavar="SCRIPT", help="run only this one; may be repeated"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    groups = [
        [one for one in group if not options.only or one.script in options.only]
        for group in LISTS[options.list]
    ]
    if not any(groups):
        known = sorted({one.script for group in LISTS[options.list] for one in group})
        parser.error(f"--only takes one of {', '.join(known)}, not {', '.join(options.only)}.")
    results = Results(f"python benchmarks/all.py {options.list}", options.results)
    try:
        with tempfile.TemporaryDirectory(prefix="tiw-bench-") as folder:
            for group in groups:
                run_group(group, results, Path(folder))
    except KeyboardInterrupt:
        results.summary()
        print("Interrupted.")
        return 130
    return results.summary()


if __name__ == "__main__":
    sys.exit(main())
