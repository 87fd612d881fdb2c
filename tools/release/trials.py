# SPDX-License-Identifier: Apache-2.0
"""Empty environments that hold only the files of a release and what these need."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from release.places import ReleaseError, current
from release.readme import Example, examples
from release.running import run

# Every recording that the README names. They finished long before.
_LESSONS = """
recordings:
  - {task_id: algebra, age: 100000}
  - {task_id: history, age: 100000}
"""


# What an environment of this trial has already, or what needs the checkout.
_SET_UP = (
    "python3 -m venv ",
    ". ",
    "export ",
    "make ",
    "git clone ",
    "cd ",
    "pip install '.[",
    "python demo/",
)


@dataclass(frozen=True)
class Environment:
    """An empty environment outside the checkout.

    :param folder: its folder; nothing is there yet.
    :param checkout: where the pins are; nothing else of it is used.
    :param files: the folder with the files of the release.
    """

    folder: Path
    checkout: Path
    files: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        return self.bin / "python"

    def install(self, *requirements: str) -> None:
        """Make the environment, and install requirements with the demo's pins."""
        if not self.folder.exists():
            run(sys.executable, "-m", "venv", "--without-pip", self.folder)
        pins = self.checkout / "requirements/demo.txt"
        self._pip("install", "--constraint", str(pins), *requirements)
        self._pip("check")

    def resolve(self, requirement: str) -> None:
        """Check that a requirement can be installed from the files of the release and the index."""
        version = current(self.checkout)
        exact = re.sub(r"^(tiw-automation(?:\[[^\]]*\])?)$", rf"\1=={version}", requirement)
        self._pip("install", "--dry-run", "--find-links", str(self.files), exact)

    def _pip(self, command: str, *arguments: str) -> None:
        """Run uv or pip, whichever built the environment that this runs in."""
        if (Path(sys.prefix) / "installer").read_text().strip() == "uv":
            run("uv", "pip", command, "--python", self.python, *arguments)
        else:
            run(sys.executable, "-m", "pip", "--python", self.python, command, *arguments)

    def run_beside_simulator(self, *command: str | Path, **env: str) -> str:
        """Run a command of the environment beside a simulator, in an empty folder."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        (home / "lessons.yml").write_text(_LESSONS)
        return run(
            *(self.bin / "tiw", "simulator", "--script", "lessons.yml", "--", *command),
            cwd=home,
            env={
                "ANSIBLE_COLLECTIONS_PATH": str(home / "collections"),
                "ANSIBLE_HOME": str(home / "ansible"),
                "HOME": str(home),
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "PYTHONPATH": "",
                **env,
            },
        )


def try_core(environment: Environment) -> None:
    """Install the wheel alone, and import the core."""
    (wheel,) = environment.files.glob("*.whl")
    environment.install(str(wheel))
    version = current(environment.checkout)
    code = "import tiw_automation as p, tiw_automation.core as c; print(p.__version__, p.__file__)"
    _expect(run(environment.python, "-I", "-c", code), version, str(environment.folder))
    _expect(run(environment.bin / "tiw", "--version"), version)


def try_source(environment: Environment) -> None:
    """Install the source archive with the command line, and run the README's commands."""
    (source,) = environment.files.glob("tiw_automation-*.tar.gz")
    environment.install(f"tiw-automation[cli,simulator] @ {source.as_uri()}")
    for example in examples(environment.checkout / "README.md"):
        if example.kind == "shell":
            run_example(environment, example)


def try_everything(environment: Environment) -> None:
    """Install the wheel, its extras and the collection, and run all examples of the README."""
    (wheel,) = environment.files.glob("*.whl")
    (collection,) = environment.files.glob("tiw-automation-*.tar.gz")
    extras = f"tiw-automation[airflow,cli,redis,simulator] @ {wheel.as_uri()}"
    environment.install(extras, "ansible-core")
    galaxy = (environment.bin / "ansible-galaxy", "collection")
    where = ("--collections-path", "collections")
    environment.run_beside_simulator(*galaxy, "install", "--offline", collection, *where)
    output = environment.run_beside_simulator(
        *galaxy, "verify", "--offline", "tiw.automation", *where
    )
    _expect(output, "Successfully verified")
    for example in examples(environment.checkout / "README.md"):
        run_example(environment, example)


def run_example(environment: Environment, example: Example) -> None:
    """Run one of the README's examples.

    :raises ReleaseError: it failed, or nothing here can run it.
    """
    home = environment.folder / "home"
    try:
        match example.kind:
            case "playbook":
                (home / "play.yml").write_text(example.text)
                command = (environment.bin / "ansible-playbook", "play.yml")
                _expect(environment.run_beside_simulator(*command), "failed=0")
            case "dag":
                _run_dag(environment, example.text)
            case "python":
                (home / "example.py").write_text(example.text)
                environment.run_beside_simulator(environment.python, "example.py")
            case "shell":
                for line in example.text.splitlines():
                    _run_line(environment, line.partition("#")[0].strip(), example.exit_code)
    except ReleaseError as error:
        raise ReleaseError(f"README.md, line {example.line}: {error}") from error


def _run_line(environment: Environment, line: str, exit_code: int) -> None:
    """Run one line of a shell block; other tests run the lines that need the checkout."""
    if line.startswith(("pip install 'tiw-", "pip install tiw-")):
        environment.resolve(line.removeprefix("pip install ").strip("'"))
    elif line.startswith("tiw "):
        environment.run_beside_simulator("sh", "-c", f"{line}; test $? -eq {exit_code}")
    elif line and not line.startswith(_SET_UP):
        raise ReleaseError(f"nothing here can run {line!r}")


def _run_dag(environment: Environment, text: str) -> None:
    dags = environment.folder / "home/dags"
    dags.mkdir(exist_ok=True)
    (dags / "example.py").write_text(text)
    (name,) = re.findall(r"^@dag\b.*\ndef (\w+)", text, re.MULTILINE)
    command = f"airflow db migrate && airflow dags test {name}"
    output = environment.run_beside_simulator(
        *("sh", "-ec", command),
        AIRFLOW_HOME=str(dags.parent / "airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__CORE__LOAD_EXAMPLES="false",
    )
    _expect(output, "state=success")


def _expect(output: str, *parts: str) -> None:
    missing = [part for part in parts if part not in output]
    if missing:
        raise ReleaseError(f"{missing} is not in this output:\n{output}")
