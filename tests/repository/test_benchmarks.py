# SPDX-License-Identifier: Apache-2.0
"""What runs and renders the benchmarks; what they measure is no test."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def benchmark_modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what imports a module of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def results_of(tmp_path: Path, runner: Any, scripts: dict[str, str], **limits: float) -> Any:
    """Run scripts, all at the same time; return the exit status and the file of results."""
    runner.HERE = tmp_path
    for name, text in scripts.items():
        head = (
            f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
            "from report import Figure, report, report_row\n"
        )
        (tmp_path / name).write_text(head + text)
    results = runner.Results("a command", tmp_path / "results.json")
    group = [runner.Benchmark(name, (), limits.get(name[:-3], 60.0)) for name in scripts]
    folder = tmp_path / "rows"
    folder.mkdir()
    runner.run_group(group, results, folder)
    return results.summary(), json.loads((tmp_path / "results.json").read_text())


def test_a_miss_and_a_crash_stop_nothing_and_are_told(
    tmp_path: Path, benchmark_modules: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = results_of(
        tmp_path,
        benchmark_modules("all"),
        {
            "crashes.py": "report(Figure('a', 1.0, 2.0, 'once')); raise RuntimeError('x')",
            "misses.py": "sys.exit(report(Figure('b', 3.0, 2.0, 'once')))",
            "silent.py": "",
            "meets.py": "report_row('t', {'who': 'x'})\n"
            "sys.exit(report(Figure('c', 1.0, 0.9, 'twice', at_least=True), "
            "Figure('d', 9.0, None, 'beside')))",
        },
    )
    assert status == 1
    assert {run["benchmark"]: run["failure"] for run in found["runs"]} == {
        "crashes.py": "ended with 1",
        "misses.py": "",
        "silent.py": "reported nothing",
        "meets.py": "",
    }
    met = {figure["what"]: figure["met"] for figure in found["figures"]}
    assert met == {"a": True, "b": False, "c": True, "d": True}
    assert [row["row"] for row in found["rows"]] == [{"who": "x"}]
    output = capsys.readouterr().out
    assert "missed: b" in output
    assert "failed: crashes.py ended with 1" in output
    assert found["date"]
    assert found["versions"]["python"]


def test_what_meets_all_ends_well(tmp_path: Path, benchmark_modules: Any) -> None:
    scripts = {"one.py": "report(Figure('a', 1.0, 1.0, 'once'))"}
    assert results_of(tmp_path, benchmark_modules("all"), scripts)[0] == 0


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(pid: int) -> bool:
    end = time.monotonic() + 20
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


# A benchmark with a process of its own, that outlives the interrupt.
STUBBORN = """
import pathlib, signal, subprocess, time
program = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", program])
pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
signal.signal(signal.SIGINT, signal.SIG_IGN)
time.sleep(600)
"""


def test_what_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, benchmark_modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = benchmark_modules("all")
    monkeypatch.setattr(runner, "PATIENCE_S", 0.5)
    status, found = results_of(tmp_path, runner, {"hangs.py": STUBBORN}, hangs=3.0)
    assert status == 1
    assert found["runs"][0]["failure"] == "was ended after 3 s"
    assert gone(int((tmp_path / "child").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_servers_and_clients(tmp_path: Path, number: int) -> None:
    command = [sys.executable, str(BENCHMARKS / "all.py"), "quick", "--only", "batch.py"]
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "results.json")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        while process.stdout.readline().strip() != "== batch.py":
            pass
        started = time.monotonic()
        while len(family(process.pid)) < 6 and time.monotonic() - started < 60:
            time.sleep(0.05)
        # The runner; the benchmark; ours, the alternative, and a server for each.
        everybody = family(process.pid)
        assert len(everybody) == 6
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert output.endswith("Interrupted.\n")
    assert all(gone(pid) for pid in everybody)


def family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def test_a_server_goes_with_whoever_started_it(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from far_api import FarApi\n"
        "with FarApi() as api:\n    print(api._process.pid, flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    server = int(process.stdout.readline())
    process.kill()
    process.communicate()
    assert gone(server)


FOUND = {
    "date": "2026-01-02",
    "command": "python benchmarks/all.py quick",
    "versions": {"python": "3.12.1"},
    "machine": {"cores": 2, "system": "Linux", "load_before": 0.1},
    "runs": [{"benchmark": "one.py", "seconds": 60.0, "failure": ""}],
    "figures": [
        {"what": "G10 bytes", "ratio": 0.5, "target": 1.0, "how": "a|b", "at_least": False},
        {"what": "G2 rate", "ratio": 0.9796, "target": 0.98, "how": "x", "at_least": True},
        {"what": "G2 theirs", "ratio": 123.4, "target": None, "how": "x", "at_least": False},
        {"what": "call", "ratio": 1.0, "target": 1.15, "how": "x", "at_least": False},
    ],
    "rows": [{"table": "peers", "row": {"who": "ours", "MB": "43"}}],
}


def test_the_tables_say_what_the_results_say(benchmark_modules: Any) -> None:
    tables = benchmark_modules("tables")
    goals = tables.goals([FOUND]).splitlines()
    assert goals[2:] == [
        "| G2 | rate | >= 0.98 | 0.98, **missed** | x |",
        "|  | *theirs* |  | 123 | x |",
        "| G10 | bytes | <= 1 | 0.5 | a\\|b |",
    ]
    assert tables.others([FOUND]).splitlines()[2:] == ["| call | <= 1.15 | 1 | x |"]
    assert tables.peers([FOUND]).splitlines()[2:] == ["| ours | 43 |"]
    later = {**FOUND, "figures": [{**FOUND["figures"][0], "ratio": 0.7}], "rows": []}  # type: ignore[index]
    assert "0.7" in tables.goals([FOUND, later])
    assert "0.5" not in tables.goals([FOUND, later])
    assert "43" in tables.peers([FOUND, later])


def test_the_tables_go_between_the_marks_of_a_page(tmp_path: Path, benchmark_modules: Any) -> None:
    results, page = tmp_path / "results.json", tmp_path / "page.md"
    results.write_text(json.dumps(FOUND))
    page.write_text("# A\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nmore\n")
    command = [sys.executable, str(BENCHMARKS / "tables.py"), str(results), "--into", str(page)]

    def run(*options: str) -> int:
        return subprocess.run([*command, *options], capture_output=True).returncode

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    text = page.read_text()
    assert "| ours | 43 |" in text
    assert "old" not in text
    assert text.endswith("<!-- peers: end -->\nmore\n")
    page.write_text("no marks")
    assert run() == 2
    page.write_text("<!-- peers: begin -->\n")
    assert run() == 2


def test_a_simulation_depends_on_its_seed_alone() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from simulation import *\n"
        "from workloads import burst\n"
        "for name in ('ours', TO_STOPPED, 'ours, callbacks', KNOWS):\n"
        "    for seed in (1, 2):\n"
        "        lessons = burst(60, seed)\n"
        "        order, events = ORDERS[name](lessons, seed)\n"
        "        print(name, seed, run(order, lessons, events=events))\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    one, two, *_ = (re.sub(r"ours [12] ", "", line) for line in printed[0].splitlines())
    assert one != two
