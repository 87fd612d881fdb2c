# SPDX-License-Identifier: Apache-2.0
"""Airflow's real components on this machine: by default with SQLite and LocalExecutor.

The demo and the tests share it. It needs the standard library only; Airflow itself is started
with the interpreter that is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# In the order of their start; they end in the opposite order.
COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# The further component of an executor with its own workers.
_WORKER = ("celery", "worker", "--skip-serve-logs", "--concurrency")
# Airflow's names of the components that send heartbeats.
_JOBS = {
    "scheduler": "SchedulerJob",
    "dag-processor": "DagProcessorJob",
    "triggerer": "TriggererJob",
}

_PATIENCE_S = 15.0
# Where all end, nothing is worth a longer wait: an api-server spends seconds on a last garbage
# collection, and a triggerer's child may wait 10 s for an answer of its parent.
_STOP_S = 5.0
# Between two looks. Each takes the api-server about 16 ms of CPU time.
_LOOK_S = 0.5
_TAIL_LINES = 25
_PAGE = 100


class AirflowStackError(Exception):
    """Airflow did not start, died or refused; the message holds the end of its log."""


class AirflowStack:
    """An Airflow of api-server, scheduler, dag-processor and triggerer.

    A context manager: all that it started ends with the block, also after an error.

    :param home: Airflow's home; the database and every component's log are written there.
    :param dags_folder: the folder with the DAG files.
    :param plugins_folder: the folder with the plugins, by default a new empty one.
    :param environment: variables for every component, added to those of this process. Variables
        of this process that begin with ``AIRFLOW_`` are not passed on.
    :param python: the interpreter that has Airflow installed.
    :param start_timeout_s: how long :meth:`start` waits until all are healthy, in seconds.
    :param triggerers: how many; the second one is called ``triggerer-2``.
    :param parallelism: how many tasks run at once.
    :param database: the URL of the metadata database for SQLAlchemy; SQLite by default.
    :param broker: the URL of the broker for a CeleryExecutor, which has a component ``worker``;
        without one there is a LocalExecutor.
    """

    def __init__(
        self,
        home: Path | str,
        *,
        dags_folder: Path | str,
        plugins_folder: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
        start_timeout_s: float = 120.0,
        triggerers: int = 1,
        parallelism: int = 2,
        database: str | None = None,
        broker: str | None = None,
    ) -> None:
        self.home = Path(home).resolve()
        self.dags_folder = Path(dags_folder).resolve()
        self.plugins_folder = Path(plugins_folder or self.home / "plugins").resolve()
        self.python = python
        self.user = "admin"
        self.password = secrets.token_urlsafe(12)
        self.url = ""
        self.components = dict(COMPONENTS)
        for number in range(2, triggerers + 1):
            self.components[f"triggerer-{number}"] = COMPONENTS["triggerer"]
        if broker is not None:
            self.components["worker"] = (*_WORKER, str(parallelism))
        self._parallelism = parallelism
        self._database = database or f"sqlite:///{self.home / 'airflow.db'}"
        self._broker = broker
        self._extra = dict(environment or {})
        # A copy: a component that starts again must find the variables of the first start.
        self._inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW_")}
        self._start_timeout_s = start_timeout_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._token = ""
        # A proxy of this machine must not be used for loopback.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # Starting and ending.

    def start(self) -> None:
        """Start all components and return once each reports that it is healthy.

        :raises AirflowStackError: one died or did not become healthy in time, or :meth:`stop`
            was called meanwhile.
        """
        deadline = time.monotonic() + self._start_timeout_s
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.home.mkdir(parents=True, exist_ok=True)
        self.plugins_folder.mkdir(parents=True, exist_ok=True)
        _write_private(self._password_file, json.dumps({self.user: self.password}) + "\n")
        self._launch("migration", "db", "migrate")
        while self._processes["migration"].poll() is None:
            self._check_time(deadline, "the migration of the database")
            time.sleep(0.05)
        if self._processes["migration"].returncode != 0:
            raise self._died("migration")
        for name in self.components:
            self.start_component(name)
        self.wait_until_healthy(timeout_s=deadline - time.monotonic())

    def wait_until_healthy(self, *, timeout_s: float = 60.0) -> None:
        """Return once every component that was started, and not ended since, sends heartbeats.

        A Celery worker sends Airflow no heartbeat; it begins its tasks when it can.

        :raises AirflowStackError: one died, or it takes longer.
        """
        deadline = time.monotonic() + timeout_s
        while sick := self._not_healthy():
            self._check_time(deadline, f"the health of {', '.join(sick)}")
            self.check_alive()
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """End all components, the last one first. Safe to call twice, from any thread.

        Each gets a SIGTERM; one that still runs after 5 s is killed with its children.
        """
        with self._lock:
            self._stopped = True
            running = list(reversed(self._processes.values()))
            self._processes = {}
        for process in running:
            if process.poll() is None:
                _signal(process.pid, signal.SIGTERM, group=False)
        deadline = time.monotonic() + _STOP_S
        for process in running:
            _reap(process, max(deadline - time.monotonic(), 0.0))

    def start_component(self, name: str) -> int:
        """Start one of :attr:`components` and return its process id, healthy or not yet."""
        return self._launch(name, *self.components[name])

    def stop_component(self, name: str) -> None:
        """End one component as an operator does: SIGTERM, SIGKILL after 15 s."""
        process = self._forget(name)
        _signal(process.pid, signal.SIGTERM, group=False)
        _reap(process, _PATIENCE_S)

    def kill_component(self, name: str) -> None:
        """End one component with its children without a chance to clean up (SIGKILL)."""
        _reap(self._forget(name), 0.0)

    def process_id(self, name: str) -> int:
        """Return the process id of a component that was started."""
        with self._lock:
            return self._processes[name].pid

    def check_alive(self) -> None:
        """Check that every component that was started still runs.

        :raises AirflowStackError: one does not; the message holds the end of its log.
        """
        with self._lock:
            running = dict(self._processes)
        for name, process in running.items():
            if name in self.components and process.poll() is not None:
                raise self._died(name)

    def log_file(self, component: str) -> Path:
        """Return the file with the output of a component."""
        return self.home / f"{component}.log"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every component; for other ``airflow`` commands on this home too."""
        ours = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": self.url.rpartition(":")[2],
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor"
            if self._broker is None
            else "CeleryExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Each worker is a process of 130 MB; two cores do no more than two at once.
            "AIRFLOW__CORE__PARALLELISM": str(self._parallelism),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.plugins_folder),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._password_file),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            # By default a new DAG file is found after up to five minutes.
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
        }
        if self._broker is not None:
            ours["AIRFLOW__CELERY__BROKER_URL"] = self._broker
            ours["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+{self._database}"
        return {**self._inherited, **ours, **self._extra}

    # DAGs, runs and tasks.

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
    ) -> str:
        """Start a run of a DAG and return its id.

        :param timeout_s: how long to wait until the DAG is known, in seconds.
        :raises AirflowStackError: it is not, or its file does not import.
        """
        deadline = time.monotonic() + timeout_s
        body = {"logical_date": None, "conf": dict(conf or {})}
        while (run := self._call("POST", f"/dags/{dag_id}/dagRuns", body, missing=True)) is None:
            self.check_alive()
            if errors := self.import_errors():
                raise AirflowStackError(f"A DAG file does not import:\n{errors[0]}")
            self._check_time(deadline, f"the DAG {dag_id}")
            time.sleep(_LOOK_S)
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return a run's state: ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self._call("GET", f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances.

        Each has ``task_id``, ``map_index`` (-1 where not mapped), ``state`` and ``try_number``.
        """
        path = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances?order_by=id&limit={_PAGE}"
        keys = ("task_id", "map_index", "state", "try_number")
        found: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", f"{path}&offset={len(found)}")
            found += [{key: item[key] for key in keys} for item in page["task_instances"]]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def count_tasks(self, dag_id: str, *states: str) -> int:
        """Return how many task instances of all runs of a DAG are in one of the states."""
        query = urllib.parse.urlencode([("limit", "1"), *(("state", state) for state in states)])
        return int(
            self._call("GET", f"/dags/{dag_id}/dagRuns/~/taskInstances?{query}")["total_entries"]
        )

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        state: str,
        *,
        map_index: int = -1,
        timeout_s: float = 120.0,
    ) -> None:
        """Wait until a task, or one of its mapped ones, is in a state.

        :raises AirflowStackError: it takes longer, or a component died.
        """
        deadline = time.monotonic() + timeout_s
        wanted = {"task_id": task_id, "map_index": map_index, "state": state}
        while not any(wanted.items() <= task.items() for task in self.task_states(dag_id, run_id)):
            self.check_alive()
            self._check_time(deadline, f"{task_id} being {state}")
            time.sleep(_LOOK_S)

    def wait_for_run(
        self, dag_id: str, run_id: str, *, timeout_s: float = 240.0
    ) -> dict[tuple[str, int], str | None]:
        """Wait until a run has ended; return the state of each (task id, map index).

        :raises AirflowStackError: it takes longer, or a component died.
        """
        deadline = time.monotonic() + timeout_s
        while self.run_state(dag_id, run_id) not in ("success", "failed"):
            self.check_alive()
            self._check_time(deadline, f"the end of {run_id}")
            time.sleep(_LOOK_S)
        return {
            (task["task_id"], task["map_index"]): task["state"]
            for task in self.task_states(dag_id, run_id)
        }

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = -1,
    ) -> Any:
        """Return what a task pushed under a key, or None where it pushed nothing."""
        task = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}"
        path = f"{task}/xcomEntries/{_quoted(key)}?map_index={map_index}&deserialize=false"
        entry = self._call("GET", path, missing=True)
        if entry is None:
            return None
        value = entry["value"]
        # Airflow 3.1 hands over the text of the JSON, later versions the value itself.
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return a task's log, one event per line, with the errors' types and messages."""
        task = f"/dags/{dag_id}/dagRuns/{_quoted(run_id)}/taskInstances/{task_id}"
        path = f"{task}/logs/{try_number}?map_index={map_index}&full_content=true"
        content = (self._call("GET", path, missing=True) or {"content": []})["content"]
        return "\n".join(_log_line(line) for line in content)

    def import_errors(self) -> list[str]:
        """Return the import errors of DAG files, each with its file and traceback."""
        found = self._call("GET", "/importErrors")["import_errors"]
        return [f"{item['filename']}\n{item['stack_trace']}" for item in found]

    def get(self, path: str) -> Any:
        """Return the JSON at a path below ``/api/v2``."""
        return self._call("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """Post JSON to a path below ``/api/v2``; return the answer."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: Any) -> Any:
        """Change what is at a path below ``/api/v2``; return the answer."""
        return self._call("PATCH", path, body)

    # Internals.

    @property
    def _password_file(self) -> Path:
        return self.home / "passwords.json"

    def _launch(self, name: str, *arguments: str) -> int:
        with self._lock, self.log_file(name).open("ab") as log:
            if self._stopped:
                raise AirflowStackError("Airflow was stopped while it was starting.")
            began_at = time.time()
            process = subprocess.Popen(
                [self.python, "-m", "airflow", *arguments],
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own group: the caller handles Ctrl-C, and every child ends with it.
                start_new_session=True,
            )
            self._processes[name] = process
            self._started_at[name] = began_at
            return process.pid

    def _forget(self, name: str) -> subprocess.Popen[bytes]:
        with self._lock:
            return self._processes.pop(name)

    def _not_healthy(self) -> list[str]:
        try:
            health = self._call("GET", "/monitor/health", signed=False)
            jobs = self._call("GET", f"/jobs?is_alive=true&order_by=-start_date&limit={_PAGE}")
        except (AirflowStackError, OSError):
            return ["api-server"]
        if (health.get("metadatabase") or {}).get("status") != "healthy":
            return ["the metadata database"]
        # A killed one counts as alive for a while: only later starts count.
        began: dict[str, list[float]] = {}
        for job in jobs["jobs"]:
            at = datetime.fromisoformat(job["start_date"]).timestamp()
            began.setdefault(job["job_type"], []).append(at)
        with self._lock:
            started = [
                (at, name) for name, at in self._started_at.items() if name in self._processes
            ]
        sick = []
        for at, name in sorted(started, reverse=True):
            kind = _JOBS.get(self.components.get(name, ("",))[0])
            if kind is None:
                continue
            since = began.get(kind, [])
            if since and since[0] >= at:
                since.pop(0)
            else:
                sick.append(name)
        return sick

    def _check_time(self, deadline: float, what: str) -> None:
        if self._stopped:
            raise AirflowStackError("Airflow was stopped meanwhile.")
        if time.monotonic() > deadline:
            raise AirflowStackError(f"Waited too long for {what}. The logs are in {self.home}.")

    def _died(self, name: str) -> AirflowStackError:
        with self._lock:
            process = self._processes.get(name)
        if process is None:
            return AirflowStackError("Airflow was stopped meanwhile.")
        lines = self.log_file(name).read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return AirflowStackError(
            f"Airflow's {name} ended with status {process.returncode}. The end of its log:\n"
            + "\n".join(lines)
        )

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        missing: bool = False,
        signed: bool = True,
    ) -> Any:
        if signed and not self._token:
            login = {"username": self.user, "password": self.password}
            self._token = self._send("POST", "/auth/token", login)["access_token"]
        return self._send(method, f"/api/v2{path}", body, missing=missing)

    def _send(self, method: str, path: str, body: Any, *, missing: bool = False) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._http.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if missing and error.code == 404:
                return None
            words = error.read(2000).decode(errors="replace")
            raise AirflowStackError(f"{method} {path}: HTTP {error.code}: {words}") from None
        except OSError as error:
            # The log of a component that died explains more than a refused connection.
            self.check_alive()
            raise AirflowStackError(f"{method} {path}: {error}") from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)


def _quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def _reap(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Wait for a process, then kill the rest of its group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    _signal(process.pid, signal.SIGKILL, group=True)
    process.wait()


def _log_line(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    words = [str(line.get("timestamp") or ""), str(line.get("event") or "")]
    for error in line.get("error_detail") or ():
        words.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return " ".join(word for word in words if word)
