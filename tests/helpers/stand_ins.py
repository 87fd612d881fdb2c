# SPDX-License-Identifier: Apache-2.0
"""Programs that a test of the pages must not run as they are: they install, or never end.

Each checks its arguments and does as much as a test can. Called as ``python stand_ins.py NAME
ARGUMENT...``; ``install`` makes the commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PIP_OPTIONS = {"--upgrade", "-U", "--force-reinstall", "--no-deps", "--quiet", "--pre"}


def install(folder: Path) -> None:
    """Make the commands in a folder, which must come first in ``PATH``."""
    folder.mkdir()
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)


def pip(*arguments: str) -> None:
    """Accept an install of our package with extras that it has, and of packages in our pins."""
    command, *rest = arguments
    if command == "inject":
        command, rest = "install", rest[1:]
    check(command in ("install", "upgrade"), f"pip {command} is not known")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    names = [argument for argument in rest if argument not in _PIP_OPTIONS]
    check(bool(names), "nothing to install")
    for name in names:
        name = name.replace(".[", f"{project['name']}[") if name.startswith(".[") else name
        found = re.fullmatch(r"([a-z][\w-]*)(?:\[([a-z,0-9]+)\])?(?:[=<>~].*)?", name)
        check(found is not None, f"{name} is not a requirement")
        assert found is not None
        if found[1] == project["name"]:
            extras = set((found[2] or "").split(",")) - {""}
            check(extras <= set(project["optional-dependencies"]), f"{name}: unknown extra")
        else:
            check(f"\n{found[1]}==" in f"\n{pins}", f"{name} is in no requirements/*.txt")


def airflow(*arguments: str) -> None:
    """Note the command: tests/helpers/page_dags.py runs it, or only parses it."""
    with open("airflow.jsonl", "a", encoding="utf-8") as file:
        file.write(f"{json.dumps(arguments)}\n")


def ansible_galaxy(*arguments: str) -> None:
    """Accept an install of our collection, by its name, in its version, or by a file."""
    check(arguments[:2] == ("collection", "install"), "only: collection install")
    version = re.search(r"^version: (.+)$", (_collection() / "galaxy.yml").read_text(), re.M)
    assert version is not None
    for argument in arguments[2:]:
        if argument.endswith((".yml", ".yaml")):
            check("- name: tiw.automation" in Path(argument).read_text(), f"{argument}: which?")
        elif argument not in ("--upgrade", "-r"):
            name, _, wanted = argument.partition(":==")
            check(name == "tiw.automation", f"{name} is not ours")
            check(wanted in ("", version[1]), f"{wanted} is not the version")


def ansible_rulebook(*arguments: str) -> None:
    """Accept a rulebook of the collection with files that exist; tests/eda runs real ones."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    check(set(given) <= {"--rulebook", "--inventory", "--vars"}, "an unknown option")
    check(all(Path(given[name]).exists() for name in ("--inventory", "--vars")), "no such file")
    *collection, name = given["--rulebook"].split(".")
    path = _collection() / "extensions/eda/rulebooks" / f"{name}.yml"
    check(collection == ["tiw", "automation"] and path.exists(), f"{name} is not a rulebook")


def git(*arguments: str) -> None:
    """Accept a clone of our repository, and make a folder that has its demo."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    check(arguments == ("clone", project["urls"]["Repository"]), "only: git clone our repository")
    folder = Path(arguments[1].rpartition("/")[2])
    folder.mkdir()
    (folder / "demo").symlink_to(ROOT / "demo")


def make(*arguments: str) -> None:
    """Only print what make would do, which fails for an unknown target."""
    _replace_by(shutil.which("make", path=os.defpath), "-n", "-C", str(ROOT), *arguments)


def python(*arguments: str) -> None:
    if arguments[:2] == ("-m", "pip"):
        pip(*arguments[2:])
    elif arguments[:2] == ("-m", "venv"):
        (folder,) = map(Path, arguments[2:])
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/activate").touch()
    elif arguments == ("demo/demo.py",):
        _replace_by(sys.executable, *arguments, "--help")
    else:
        _replace_by(sys.executable, *arguments)


def tiw(*arguments: str) -> None:
    if arguments[:1] == ("simulator",) and "--" not in arguments:
        tiw_simulator(*arguments[1:])
    else:
        _replace_by(sys.executable, "-m", "tiw_automation.cli", *arguments)


def tiw_simulator(*arguments: str) -> None:
    """Run it until it listens, on a free port."""
    # The last port counts.
    command = [sys.executable, "-m", "tiw_automation.simulator", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    lines = [first, *process.communicate()[0].splitlines(keepends=True)]
    check(first.startswith(("{", "export ")), "it does not listen")
    print("".join(map(_of_this_scene, lines)), end="")


def _of_this_scene(line: str) -> str:
    """Return an `export` line with the value that the scene's own simulator has."""
    name, is_export, _ = line.removeprefix("export ").partition("=")
    is_known = line.startswith("export ") and is_export and name in os.environ
    return f"export {name}={shlex.quote(os.environ[name])}\n" if is_known else line


def check(holds: bool, message: str) -> None:
    if not holds:
        sys.exit(f"stand-in: {shlex.join(sys.argv[1:])}: {message}")


def _collection() -> Path:
    return ROOT / "collections/ansible_collections/tiw/automation"


def _replace_by(program: str | None, *arguments: str) -> None:
    assert program is not None
    os.execv(program, [program, *arguments])


COMMANDS = {
    "airflow": airflow,
    "ansible-galaxy": ansible_galaxy,
    "ansible-rulebook": ansible_rulebook,
    "git": git,
    "make": make,
    "pip": pip,
    "pipx": pip,
    "python": python,
    "python3": python,
    "tiw": tiw,
    "tiw-simulator": tiw_simulator,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
