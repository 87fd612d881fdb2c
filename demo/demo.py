# SPDX-License-Identifier: Apache-2.0
"""Waits for five lessons from Ansible and from Airflow, on this machine alone.

Run it with ``make demo``, or with ``python demo/demo.py`` where the packages are installed. All
that it starts ends with it, also on Ctrl-C; with ``KEEP=1`` in the environment Airflow's pages stay
open until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow_stack import AirflowStack

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
SCRIPT = ROOT / "demo" / "lessons.yml"
GOOD = ["lesson-algebra", "lesson-history"]
BAD = ["lesson-chemistry", "lesson-drama", "lesson-unknown"]
LESSONS = [*GOOD, *BAD]
DAG = "wait_for_recording"
PATIENCE_S = 120.0

PACKAGES = ("tiw_automation", "airflow", "ansible", "aiohttp", "yaml")
INSTALL = "pip install '.[airflow,cli,simulator]' ansible-core"

COLOURS = {"demo": "1", "simulator": "35", "ansible": "36", "airflow": "34", "error": "31"}


class DemoError(Exception):
    """The demo cannot continue; the message is for the user."""


def show(source: str, line: str = "") -> None:
    """Print one line with its source."""
    name = f"{source:>9} |"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        name = f"\033[{COLOURS[source]}m{name}\033[0m"
    print(f"{name} {line}".rstrip(), flush=True)


def end(process: subprocess.Popen[str]) -> None:
    """End a process that we started: SIGTERM, SIGKILL after 5 s."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def simulator(port: int) -> Iterator[dict[str, Any]]:
    """Run the simulator with the five lessons, which begin now; yield its endpoint and keys."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tiw_automation.simulator"),
            *("--host", "127.0.0.1", "--port", str(port), "--script", str(SCRIPT)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        # We handle Ctrl-C, and end what we started in order.
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoError("The simulator did not start; its message is above.")
        facts: dict[str, Any] = json.loads(line)
        yield facts
    finally:
        end(process)


def calls(endpoint: str) -> dict[str, Any]:
    """Return how many requests the simulator got, and how many it refused."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/_simulator/stats", timeout=10) as answer:
        stats: dict[str, Any] = json.load(answer)
    return {"requests": sum(stats["requests"].values()), "rejects": stats["rejects"]}


def environment(facts: dict[str, Any]) -> dict[str, str]:
    """Return the variables by which both adapters find the simulator."""
    return {
        "TENCENTCLOUD_SECRET_ID": facts["secret_id"],
        "TENCENTCLOUD_SECRET_KEY": facts["secret_key"],
        "TIW_ENDPOINT": facts["endpoint"],
        "TIW_SDK_APP_ID": str(facts["sdk_app_id"]),
        # Otherwise only videos of public addresses are copied.
        "TIW_ARCHIVE_HOSTS": "127.0.0.1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def run_playbook(facts: dict[str, Any]) -> dict[str, Any]:
    """Run the playbook, show its output, and return the result of the module."""
    report = HOME / "report.json"
    variables = {
        "task_ids": LESSONS,
        "report_file": str(report),
        "archive_folder": str(HOME / "archive"),
    }
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "ansible-playbook"), str(ROOT / "demo/report.yml")),
            *("-e", json.dumps(variables)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={
            **os.environ,
            **environment(facts),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": str(HOME / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
            "ANSIBLE_NOCOLOR": "1",
            "PYTHONUNBUFFERED": "1",
        },
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                show("ansible", line.rstrip().rstrip("*").rstrip())
        if process.wait() != 0:
            raise DemoError(f"The playbook ended with status {process.returncode}; see above.")
    finally:
        end(process)
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def show_lessons(records: Iterable[dict[str, Any]]) -> None:
    """Print the verdict and the videos of each lesson."""
    for record in records:
        verdict = record["verdict"].upper()
        show("ansible", f"{record['task_id']:<17} {verdict:<9} {record['message']}")
        for video in record["videos"]:
            size, seconds = video["size_bytes"], (video["duration_ms"] or 0) / 1000
            show(
                "ansible", f"{'':<17} {video['kind']}, {seconds:g} s, {size} bytes: {video['url']}"
            )


def show_archive(folder: Path) -> None:
    """Print the files of the archive."""
    for path in sorted(folder.rglob("*.*")):
        name = path.relative_to(folder.parent)
        show("ansible", f"archived {name}, {path.stat().st_size} bytes")


class AirflowInBackground:
    """Starts Airflow while the playbook runs; it takes about as long."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack = stack
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._start, daemon=True)
        self._thread.start()

    def _start(self) -> None:
        try:
            self.stack.start()
        except BaseException as error:
            self._error = error

    def ready(self) -> AirflowStack:
        """Wait until Airflow is healthy."""
        while self._thread.is_alive():
            self._thread.join(0.2)
        if self._error is not None:
            raise DemoError(f"Airflow did not start: {self._error}") from self._error
        return self.stack

    def stop(self) -> None:
        """End Airflow, also while it starts."""
        self.stack.stop()
        self._thread.join(30)


def follow(stack: AirflowStack, runs: dict[str, str]) -> dict[str, str]:
    """Print each change of each task until all runs ended; return their states."""
    seen: dict[tuple[str, str, int], str] = {}
    ended: dict[str, str] = {}
    deadline = time.monotonic() + PATIENCE_S
    while len(ended) < len(runs):
        if time.monotonic() > deadline:
            raise DemoError(
                f"The DAG runs did not end within {PATIENCE_S:g} s; the logs are in {HOME}/airflow."
            )
        for name, run_id in runs.items():
            if name in ended:
                continue
            state = stack.run_state(DAG, run_id)
            for task in stack.task_states(DAG, run_id):
                key = (run_id, task["task_id"], task["map_index"])
                if task["state"] and seen.get(key) != task["state"]:
                    seen[key] = task["state"]
                    index = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
                    show("airflow", f"{name}: {task['task_id']}{index} is {task['state']}")
            if state in ("success", "failed"):
                ended[name] = state
                show("airflow", f"{name}: the run ended: {state}")
        time.sleep(0.5)
    return ended


def run_dag(stack: AirflowStack) -> None:
    """Wait for the two good lessons and, in another run, for the failed one."""
    runs = {
        "good lessons": stack.trigger(DAG, {"record_task_ids": GOOD}),
        "failed lesson": stack.trigger(DAG, {"record_task_ids": ["lesson-drama"]}),
    }
    ended = follow(stack, runs)
    urls = stack.xcom(DAG, runs["good lessons"], "wait_for_recordings", "return_value")
    if ended["good lessons"] != "success" or not urls:
        raise DemoError(
            f"The run for {', '.join(GOOD)} ended in {ended['good lessons']} with the URLs {urls}; "
            f"the logs are in {HOME}/airflow."
        )
    show("airflow", "The XCom of the sensor, one mapped task for each:")
    for url in urls:
        show("airflow", f"  {url}")
    if ended["failed lesson"] != "failed":
        raise DemoError(f"The run for lesson-drama ended in {ended['failed lesson']}.")
    show("airflow", "A failed recording in its task's log:")
    log = stack.task_log(DAG, runs["failed lesson"], "wait_for_recordings")
    reasons = [line for line in log.splitlines() if "im login failed" in line]
    if not reasons:
        raise DemoError("The log of the failed task does not contain the reason.")
    show("airflow", f"  {reasons[-1].strip()}")


def keep_open(stack: AirflowStack) -> None:
    """Leave Airflow's pages open until Ctrl-C."""
    show("demo", f"Airflow stays open: {stack.url}/dags/{DAG}")
    show("demo", f"Log in as admin with the password {stack.password}. Ctrl-C ends everything.")
    while True:
        time.sleep(3600)


def check_packages() -> None:
    """Check that all packages are installed.

    :raises DemoError: one is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise DemoError(
            f"This Python lacks {', '.join(missing)}. In the folder {ROOT} run: {INSTALL}"
        )


def main() -> int:
    """Run the demo; return its exit status."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    check_packages()
    started = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    (HOME / "dags").mkdir(parents=True)
    shutil.copy(ROOT / "dags" / f"{DAG}.py", HOME / "dags")
    with ExitStack() as cleanup:
        with simulator(0) as facts:
            show("simulator", f"A TIW on this machine: {facts['endpoint']}. Five lessons begin.")
            stack = AirflowStack(
                HOME / "airflow", dags_folder=HOME / "dags", environment=environment(facts)
            )
            airflow = AirflowInBackground(stack)
            cleanup.callback(airflow.stop)
            show("airflow", "api-server, scheduler, dag-processor and triggerer are starting ...")
            show("ansible", "One task waits for all five lessons, and one archives their videos:")
            report = run_playbook(facts)
            show_lessons(report["records"])
            show_archive(HOME / "archive")
            ansible_calls = calls(facts["endpoint"])
        airflow.ready()
        with simulator(int(facts["endpoint"].rsplit(":", 1)[1])) as facts:
            show("simulator", "The lessons begin again, for Airflow.")
            run_dag(stack)
            airflow_calls = calls(facts["endpoint"])
            for source, made in (("ansible", ansible_calls), ("airflow", airflow_calls)):
                show(
                    source,
                    f"API calls: {made['requests']}, refused by the limit: {made['rejects']}",
                )
            show("demo", f"Everything worked, in {time.monotonic() - started:.0f} s.")
            show("demo", f"{', '.join(BAD)} were meant to fail, to show errors.")
            show("demo", f"Results and logs stay in {HOME}; you can delete it.")
            if os.environ.get("KEEP") == "1":
                keep_open(stack)
    return 0


def _on_signal(number: int, frame: object) -> None:
    # A second signal must not interrupt the clean-up.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _on_signal)
    try:
        status = main()
    except KeyboardInterrupt:
        show("demo", "Stopped; all started processes have ended.")
        status = 130
    except DemoError as error:
        show("error", str(error))
        status = 1
    sys.exit(status)
