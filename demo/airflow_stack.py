# SPDX-License-Identifier: Apache-2.0
"""A real Airflow on this machine: its four components as child processes, ended by their ids.

The demo and the provider's tests use it. Only the standard library is imported; Airflow is
started, never imported, so that its settings cannot leak into the caller.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

START_S = 120.0
STOP_S = 15.0

COMPONENTS: dict[str, list[str]] = {
    "api-server": ["api-server", "--workers", "1"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}


class AirflowError(Exception):
    """Airflow did not do what it should; the message holds the end of the log that says why."""


class AirflowStack:
    """Airflow with SQLite and the LocalExecutor in a folder of its own.

    :param home: the folder; made if it is missing, its database is kept between starts.
    :param dags_folder: where the DAGs are.
    :param environment: variables for every component, in front of those that this class sets.
    :param python: the interpreter that has Airflow; this one by default.
    """

    def __init__(
        self,
        home: Path,
        *,
        dags_folder: Path,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.home = home
        self.dags_folder = dags_folder
        self.python = python
        self._extra = dict(environment or {})
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping = False
        self._secret = secrets.token_hex(32)
        self._token = ""
        self._port = 0
        # The environment may name a proxy; nothing here leaves this machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @property
    def url(self) -> str:
        """Where the pages and the API are."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def password(self) -> str:
        """The password of the user ``admin``, which Airflow made up for this home."""
        passwords = self.home / "simple_auth_manager_passwords.json.generated"
        return str(json.loads(passwords.read_text())["admin"])

    def __enter__(self) -> AirflowStack:
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

    def environment(self) -> dict[str, str]:
        """Return the environment of every component."""
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": self._secret,
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret,
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags_folder),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        return {**os.environ, **own, **self._extra}

    def start(self) -> None:
        """Make the database and start every component; return when all are healthy.

        :raises AirflowError: a component ended or did not become healthy in two minutes.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        self._port = _free_port()
        self._migrate()
        for name in COMPONENTS:
            self.start_component(name)
        self._wait_until_healthy()
        self._log_in()

    def start_component(self, name: str) -> None:
        """Start one component, or start it again."""
        if self._stopping:
            raise AirflowError("Airflow is being stopped.")
        with (self.home / f"{name}.log").open("ab") as log:
            self._children[name] = subprocess.Popen(
                [self.python, "-m", "airflow", *COMPONENTS[name]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.home,
                # A group of its own: its children end with it, and Ctrl-C is the caller's.
                start_new_session=True,
            )

    def kill_component(self, name: str) -> None:
        """Kill one component and its children as a crash would: with SIGKILL."""
        child = self._children.pop(name)
        _signal_group(child, signal.SIGKILL)
        child.wait()

    def stop(self) -> None:
        """End every component; what does not end by itself is killed."""
        self._stopping = True
        children = list(reversed(self._children.items()))
        for _, child in children:
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + STOP_S
        for _, child in children:
            try:
                child.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                pass
            # Also where the leader has ended: a component may leave workers behind.
            _signal_group(child, signal.SIGKILL)
            child.wait()
        self._children.clear()

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG, as soon as Airflow has read it, and return its run id."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                run = self._api(
                    "POST",
                    f"/api/v2/dags/{dag_id}/dagRuns",
                    {"conf": dict(conf or {}), "logical_date": None},
                )
                return str(run["dag_run_id"])
            except urllib.error.HTTPError as error:
                if error.code != 404 or time.monotonic() > deadline:
                    detail = error.read().decode(errors="replace")
                    raise AirflowError(f"{dag_id} was not triggered: {detail}") from None
            problems = self._api("GET", "/api/v2/importErrors")["import_errors"]
            if problems:
                raise AirflowError(f"{dag_id} cannot be read: {problems[0]['stack_trace']}")
            self._check_children()
            time.sleep(0.5)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self._api("GET", f"{_run(dag_id, run_id)}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return ``task_id``, ``map_index``, ``state`` and ``try_number`` of each task of a run."""
        found = self._api("GET", f"{_run(dag_id, run_id)}/taskInstances?limit=1000")
        names = ("task_id", "map_index", "state", "try_number")
        return [{name: task[name] for name in names} for task in found["task_instances"]]

    def wait(self, dag_id: str, run_id: str, timeout_s: float = 120.0) -> str:
        """Wait until a run has ended and return how.

        :raises AirflowError: it has not after ``timeout_s`` seconds, or a component ended.
        """
        deadline = time.monotonic() + timeout_s
        while (state := self.run_state(dag_id, run_id)) not in ("success", "failed"):
            self._check_children()
            if time.monotonic() > deadline:
                tasks = self.task_states(dag_id, run_id)
                raise AirflowError(f"{dag_id} is {state} after {timeout_s:g} s: {tasks}")
            time.sleep(0.5)
        return state

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1
    ) -> Any:
        """Return an XCom's value, or None where there is none."""
        query = urllib.parse.urlencode({"map_index": map_index, "stringify": "false"})
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}?{query}"
        try:
            return self._api("GET", path)["value"]
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return a task's log as text, one event a line."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/logs/{try_number}"
        found = self._api("GET", f"{path}?map_index={map_index}&full_content=true")
        return "\n".join(_log_line(entry) for entry in found["content"])

    def component_log(self, name: str) -> str:
        """Return what a component has printed."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def _migrate(self) -> None:
        with (self.home / "migrate.log").open("ab") as log:
            child = self._children["migrate"] = subprocess.Popen(
                [self.python, "-m", "airflow", "db", "migrate"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.home,
                start_new_session=True,
            )
        status = child.wait()
        self._children.pop("migrate", None)
        if status != 0:
            raise AirflowError(f"The database was not made:\n{self._tail('migrate')}")

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            self._check_children()
            missing = self._unhealthy()
            if not missing:
                return
            if time.monotonic() > deadline:
                tails = "\n".join(self._tail(name) for name in missing)
                raise AirflowError(f"Not healthy after {START_S:g} s: {missing}\n{tails}")
            time.sleep(0.3)

    def _unhealthy(self) -> list[str]:
        try:
            health = self._api("GET", "/api/v2/monitor/health")
        except OSError:
            return ["api-server"]
        names = {"scheduler": "scheduler", "dag_processor": "dag-processor", "triggerer": "triggerer"}
        return [
            component
            for key, component in names.items()
            if (health.get(key) or {}).get("status") != "healthy"
        ]

    def _check_children(self) -> None:
        if self._stopping:
            raise AirflowError("Airflow is being stopped.")
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                raise AirflowError(
                    f"Airflow's {name} ended with status {child.returncode}:\n{self._tail(name)}"
                )

    def _log_in(self) -> None:
        answer = self._api("POST", "/auth/token", {"username": "admin", "password": self.password})
        self._token = answer["access_token"]

    def _api(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with self._opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def _tail(self, name: str) -> str:
        return "\n".join(self.component_log(name).splitlines()[-15:])


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id, safe='')}"


def _log_line(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    details = {k: v for k, v in entry.items() if k not in ("event", "timestamp", "level", "logger")}
    return f"{entry.get('event', '')} {json.dumps(details) if details else ''}".strip()


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
