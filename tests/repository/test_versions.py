# SPDX-License-Identifier: Apache-2.0
"""Which versions are supported, tested, and reported in docs/tested.md."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def page() -> ModuleType:
    module = ModuleType("tested_page")
    sys.modules["tested_page"] = module  # dataclasses looks it up
    module.__dict__.update(runpy.run_path(str(ROOT / "tools/tested_page.py"), None, "tested_page"))
    return module


def project() -> dict[str, object]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert isinstance(found, dict)
    return found


def test_the_page_is_as_the_tool_writes_it(page: ModuleType) -> None:
    """So it has a row for each environment of tox.ini, and no hand-written line."""
    assert page.PAGE.read_text() == page.rendered(page.rows()), "run python tools/tested_page.py"


def test_the_names_in_tox_ini_are_expanded(page: ModuleType) -> None:
    names = page.environments()
    assert {"unit-py314", "collection-core216", "provider-airflowpre", "types"} <= set(names)
    assert not [name for name in names if "{" in name]
    assert len(names) == len(set(names))


def test_every_python_has_a_classifier_and_an_environment(page: ModuleType) -> None:
    assert project()["requires-python"] == ">=3.11"
    classified = re.findall(r"Python :: (3\.\d+)", str(project()["classifiers"]))
    tested = [name for name in page.environments() if name.startswith("unit-py")]
    assert [f"unit-py{version.replace('.', '')}" for version in classified] == tested
    searched = re.search(r"for version in ([\d. ]+); do", (ROOT / "tools/find-python").read_text())
    assert searched is not None
    assert sorted(searched[1].split()) == sorted(classified)


def test_every_version_of_ansible_and_airflow_has_its_pins(page: ModuleType) -> None:
    for name in page.environments():
        for family, digits in re.findall(r"-(core|airflow)(\d+|pre)$", name):
            version = digits if digits == "pre" else f"{digits[0]}.{digits[1:]}"
            pins = {"core": f"ansible-{version}", "airflow": f"airflow-{version}"}[family]
            assert (ROOT / f"requirements/{pins}.txt").exists(), name
            assert f"pin {pins} " in (ROOT / "tools/pin").read_text(), name


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ("3.13 3.11", ["python3.13", "python3.11"]),
        ("3.14", ["python3.14"]),
        ("2.7", ["python3.12", "python3.13", "python3.11", "python3.14"]),
    ],
)
def test_an_environment_gets_a_python_that_is_there(there: str, chosen: list[str]) -> None:
    tox = ROOT / ".venvs/tools/bin/tox"
    assert tox.exists(), "run tools/make-env tools"
    listed = subprocess.run(
        [tox, "config", "-q", "-k", "base_python", "-e", "lint"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONS": there},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.findall(r"python3\.\d+", listed.stdout) == chosen


def test_the_oldest_urllib3_is_tested() -> None:
    assert "urllib3>=2.0.2" in str(project()["dependencies"])
    assert "urllib3==2.0.2" in (ROOT / "requirements/sdk-oldest.txt").read_text()


@pytest.mark.parametrize(
    ("output", "counted"),
    [
        ("===== 41 passed, 1 failed in 1.23s =====\n", "41 passed, 1 failed"),
        ("= 1 failed, 1200 passed, 3 skipped, 2 warnings in 768.70s (0:12:48) =", None),
        (
            "\x1b[32m=== \x1b[1m3 passed\x1b[0m in 2.00s ===\x1b[0m\n== 2 passed in 1s ==\n",
            "5 passed",
        ),
        ("3 passed\nSuccess: no issues found in 3 files\n", ""),
    ],
)
def test_counts_of_pytest_are_added_up(page: ModuleType, output: str, counted: str | None) -> None:
    expected = "1,200 passed, 1 failed, 3 skipped" if counted is None else counted
    assert page.counted(output) == expected


def test_a_result_updates_only_its_row(
    page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "tested.md"
    copy.write_text(page.HEAD + "| `lint` | passed | Python 3.12.1 | 60 | 1234567 | 2026-11-29 |\n")
    for name in ("rows", "write"):
        monkeypatch.setitem(getattr(page, name).__globals__, "PAGE", copy)
    page.write(page.Row("redis", "not run: needs redis-server"))
    table = page.rows()
    assert table["redis"].result == "not run: needs redis-server"
    assert (table["lint"].seconds, table["lint"].commit) == ("60", "1234567")
    assert table["eda"].result == "not run"
    assert list(table) == page.environments()


def test_a_failure_shows_its_exit_status(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(page.result_row.__globals__, "commit", lambda: "1234567")
    output = "== 1 failed, 2 passed in 3.00s =="
    failed = page.result_row("nothing", 1, 3.2, output, may_fail=False)
    assert failed.result == "**FAILED**: 2 passed, 1 failed, exit status 1"
    allowed = page.result_row("nothing", 1, 3.2, "", may_fail=True)
    assert allowed.result == "**may fail**: failed, exit status 1"
    assert page.result_row("nothing", 0, 3.2, "", may_fail=False).result == "passed"


def test_unknown_environments_are_refused() -> None:
    ended = subprocess.run(
        [sys.executable, ROOT / "tools/run-tests", "unit-py27"], capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "tox.ini has no environment unit-py27" in ended.stderr


def test_what_a_machine_lacks_is_named(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    obstacle = runpy.run_path(str(ROOT / "tools/run-tests"))["obstacle"]
    monkeypatch.setitem(obstacle.__globals__["NEEDS"], "redis", ["no-such-program nor-this"])
    assert obstacle("unit-py314", {"3.14"}, ["3.12", "3.11"]) == "needs Python 3.14"
    assert obstacle("eda", {"3.13", "3.12"}, ["3.11"]) == "needs Python 3.12 or 3.13"
    assert obstacle("redis", set(), ["3.12"]) == "needs no-such-program"
    assert obstacle("lint", {"3.12", "3.13"}, ["3.12", "3.11"]) is None
    assert "performance.md" in obstacle("bench", set(), ["3.12"])


def test_one_ansible_test_runs_at_a_time() -> None:
    next_of = runpy.run_path(str(ROOT / "tools/run-tests"))["next_of"]
    waiting = ["sanity-core221", "sanity-core220", "lint"]
    assert next_of(waiting, ["docs"]) == "sanity-core221"
    assert next_of(waiting, ["docs", "sanity-core219"]) == "lint"
    assert next_of(waiting[:2], ["sanity-core219"]) is None


def test_what_may_fail_is_an_environment(page: ModuleType) -> None:
    tool = runpy.run_path(str(ROOT / "tools/run-tests"))
    named = {*tool["MAY_FAIL"], *tool["BENCHMARKS"], *tool["ALONE"], *tool["NEEDS"]}
    assert named <= set(page.environments())
