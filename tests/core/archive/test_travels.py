# SPDX-License-Identifier: Apache-2.0
"""The archive goes to hosts that have Python 3.9 and nothing else."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import video_server as videos

import tiw_automation
from tiw_automation.core.archive import LocalStorage, RecordArchive

CORE = Path(tiw_automation.__file__).parent / "core"
TRAVEL = [
    *(
        CORE / f"{name}.py"
        for name in (
            "errors",
            "formatting",
            "headers",
            "locks",
            "metrics",
            "retry",
            "route",
            "sockets",
        )
    ),
    *sorted(
        path
        for path in (CORE / "archive").glob("*.py")
        if path.name not in ("__init__.py", "bucket.py")
    ),
]
# certifi is used where it is there.
ALLOWED = {*sys.stdlib_module_names, "certifi"}


@pytest.mark.parametrize("path", TRAVEL, ids=lambda path: path.name)
def test_only_the_standard_library_is_imported(path: Path) -> None:
    own = {f"tiw_automation.core.{one.relative_to(CORE).with_suffix('')}" for one in TRAVEL}
    own = {name.replace("/", ".") for name in own}
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            module = node.module or ""
            assert module in own or module.partition(".")[0] in ALLOWED


_RUN = """
import json, sys
from tiw_automation.core.archive.archive import RecordArchive
from tiw_automation.core.archive.local import LocalStorage
from tiw_automation.core.archive.verification import verify

record, folder = json.loads(sys.argv[1]), sys.argv[2]
for _ in range(2):
    (one,) = RecordArchive(LocalStorage(folder), hosts=["127.0.0.1"]).run([record])
    print(one.copied, one.sha256)
print(*(finding.state for finding in verify(LocalStorage(folder))))
"""


def python_3_9() -> str | None:
    """Return the interpreter of this machine's Python 3.9, if there is one."""
    found = shutil.which("python3.9")
    places = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9"))
    return str(places[-1]) if places else found


@pytest.mark.parametrize("python", [sys.executable, python_3_9()])
def test_it_runs_without_any_package(python: str | None, tmp_path: Path) -> None:
    if python is None:
        pytest.skip("this machine has no Python 3.9")
    package = tmp_path / "packages/tiw_automation"
    for path in [*TRAVEL, CORE.parent / "__init__.py"]:
        target = package / path.relative_to(CORE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    with videos.video_server() as bucket:
        video: dict[str, Any] = {"id": "v1", "url": bucket.put("v.mp4", b"video"), "kind": "mixed"}
        record = {"sdk_app_id": 1, "task_id": "lesson", "videos": [video]}
        # Without site-packages.
        code = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n{_RUN}"
        ran = subprocess.run(
            [python, "-S", "-c", code, json.dumps(record), str(tmp_path / "archive")],
            env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr
    first, second, states = ran.stdout.splitlines()
    assert (first.split()[0], second.split()[0], states) == ("True", "False", "whole")


def test_every_manifest_keeps_to_the_schema(tmp_path: Path) -> None:
    schema = json.loads((CORE / "archive/manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    with videos.video_server() as bucket:
        url = bucket.put("v.mp4", b"x" * 2000, videos.cut(1000), etag='"a"')
        video = {"id": None, "url": url, "kind": "mixed", "size_bytes": 2000}
        record = {"sdk_app_id": 1, "task_id": "lesson", "videos": [video]}
        seen = []

        class Watched(LocalStorage):
            def read(self, name: str) -> bytes | None:
                text = super().read(name)
                if text is not None:
                    seen.append(json.loads(text))
                return text

        RecordArchive(Watched(tmp_path), hosts=["127.0.0.1"]).run([record])
    stored = json.loads((tmp_path / "lesson/manifest.json").read_text())
    assert [one["files"][0]["sha256"] is None for one in (seen[0], stored)] == [True, False]
    for one in (*seen, stored):
        jsonschema.validate(one, schema)
