# SPDX-License-Identifier: Apache-2.0
"""What surrounds a block: a simulator with the recordings that pages name, a folder, and names."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import stand_ins
from page_blocks import ROOT, Block, blocks_of

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.simulator import Simulator

RECORDINGS = (
    *("ghucnligqtgtvk2624mb", "fhjc3ligqtgtvk2624aa", "lesson-1", "lesson-2"),
    *("lesson-algebra", "lesson-history", "algebra", "history", "music", "drama"),
)
"""Pages name these; all have finished."""

# Pages name folders and buckets that a test must not use.
_PLACES = re.compile(
    r"s3://|(?<![\w.:/])/(?=(?:mnt|srv|var/lib|etc/tiw)/)|(?<=127\.0\.0\.1:)\d+|videos\.example\.com"
)
_KEY = re.compile(r"\b(TENCENTCLOUD_SECRET_(?:ID|KEY))=\S+")
_LIMIT_S = 300.0
_END = "--- end of a block: "


@dataclass
class Scene:
    """What a block runs in.

    :param folder: its working folder
    """

    simulator: Simulator
    folder: Path

    def fitted(self, text: str) -> str:
        """Return a text with the places and the keys of this scene in place of the page's."""
        here = {
            "s3://": f"file://{self.folder}/",
            "/": f"{self.folder}/",
            "videos.example.com": "127.0.0.1",
        }
        # Nothing listens on this port.
        text = _PLACES.sub(lambda place: here.get(place[0], "9"), text)
        variables = self.simulator.environment()
        return _KEY.sub(lambda key: f"{key[1]}={variables[key[1]]}", text)

    @contextmanager
    def shell(self, **variables: str) -> Iterator[Shell]:
        """Yield a bash in the folder of the scene; it is ended with the block.

        :param variables: of its environment, beside those of the scene
        """
        process = subprocess.Popen(
            ["bash"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env={**self.environment(), **variables},
            start_new_session=True,
        )
        timer = threading.Timer(_LIMIT_S, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            yield Shell(self, process)
        finally:
            timer.cancel()
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def environment(self) -> dict[str, str]:
        """Return the variables of a process of this scene, with an empty home."""
        programs = self.folder / ".programs"
        if not programs.exists():
            stand_ins.install(programs)
        path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
        kept = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES")}
        return {
            **kept,
            **self.simulator.environment(),
            "HOME": str(self.folder),
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(ROOT / "plugins"),
        }


class Shell:
    """A bash that runs one block after the other."""

    def __init__(self, scene: Scene, process: subprocess.Popen[str]) -> None:
        self._scene, self._process = scene, process

    def run(self, script: str) -> tuple[int, str]:
        """Return the exit code of the last command that failed, or 0, and what was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        text = self._scene.fitted(script)
        # A block may begin another shell, which reads the rest.
        self._process.stdin.write(
            f"failed=0; trap 'failed=$?' ERR\n{text}\nprintf '\\n{_END}%s\\n' ${{failed:-0}}\n"
        )
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if line.startswith(_END):
                return int(line.removeprefix(_END)), printed.removesuffix("\n")
            printed += line
        raise AssertionError(f"The shell has ended:\n{printed}")


@contextmanager
def scene_of(page: str, folder: Path, running: tuple[str, ...] = ()) -> Iterator[Scene]:
    """Yield what the blocks of a page run in; a minute of the simulator takes 0.1 s.

    :param running: the recordings that do not end
    """
    with Simulator(speed=600, region="ap-guangzhou") as simulator:
        for task_id in RECORDINGS:
            length = 10**6 if task_id in running else 60
            simulator.add(task_id, timeline=[{"RECORDING": length}], age=3600)
        scene = Scene(simulator, folder)
        for other in (*blocks_of("docs/simulator.md"), *blocks_of(page)):
            if other.file:
                (folder / other.file).parent.mkdir(parents=True, exist_ok=True)
                (folder / other.file).write_text(scene.fitted(other.text), encoding="utf-8")
        shutil.copy(certifi.where(), folder / "company-ca.pem")
        (folder / "key.txt").write_text("0123456789abcdef" * 4)
        (folder / ".ansible").mkdir()
        (folder / ".ansible/collections").symlink_to(ROOT / "collections")
        (folder / "tests").mkdir()
        (folder / "tests/test_lesson.py").write_text("def test_lesson(): pass\n")
        yield scene


def names_for(block: Block, scene: Scene) -> dict[str, Any]:
    """Return the names that a Python block finds."""
    return NAMES[block.scene](scene)


def _watcher(scene: Scene) -> dict[str, Any]:
    scene.simulator.add("running", timeline=[{"PREPARED": 60}, {"RECORDING": 10**6}])
    return {"watcher": RecordWatcher(TiwClient()), "task_id": "running"}


def _example(scene: Scene) -> dict[str, Any]:
    """Give the page's program another program of the page as its argument."""
    first = next(block for block in blocks_of("docs/python.md") if block.kind == "python")
    (scene.folder / "example.py").write_text(first.text, encoding="utf-8")
    sys.argv = ["try.py", "example.py"]
    return {}


NAMES: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "": lambda _: {},
    "example": _example,
    "simulator": lambda _: {"simulator": Simulator(), "secret": "callback-key-of-a-page"},
    "watcher": _watcher,
}
