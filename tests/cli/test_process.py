# SPDX-License-Identifier: Apache-2.0
"""``tiw`` as a process: pipes, terminals, signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiw_command import LIMIT_S, environment_of, on_terminal, start_tiw

from tiw_automation.simulator import Simulator

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A recording that goes on, and one that has ended."""
    with Simulator() as simulator:
        simulator.add("lesson", timeline=[{"RECORDING": 6000}])
        videos = [{"kind": "camera", "user_id": "老师王小明"}]
        simulator.add("ended", timeline=[], videos=videos)
        yield simulator


def _wait_for(simulator: Simulator, action: str) -> None:
    end = time.monotonic() + LIMIT_S
    while action not in simulator.requests:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupted_wait_shows_what_is_known(
    simulator: Simulator, number: signal.Signals, code: int
) -> None:
    process = start_tiw(environment_of(simulator), "wait", "lesson", "ended", "-o", "jsonl")
    first = json.loads(process.stdout.readline())
    time.sleep(0.5)
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT_S)
    last = json.loads(out)
    assert process.returncode == code
    assert (first["task_id"], last["task_id"]) == ("ended", "lesson")
    assert last["verdict"] == "pending"
    assert err == ("tiw: interrupted. 1 task goes on at Tencent. Wait again: tiw wait lesson\n")


def test_an_interrupted_start_reports_what_is_uncertain(
    simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 40, encoding="utf-8")
    simulator.inject("held", action="StartOnlineRecord")
    key_file = str(tmp_path / "key")
    process = start_tiw(environment_of(simulator), "start", "5", "--user-sig-key-file", key_file)
    _wait_for(simulator, "StartOnlineRecord")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert out == ""
    assert "Whether a recording of tic_record_user_5_" in err
    assert "code: StartUncertain" in err
    assert "Traceback" not in err


def test_an_interrupted_stop_names_what_is_left(simulator: Simulator) -> None:
    simulator.inject("held", action="StopOnlineRecord")
    process = start_tiw(environment_of(simulator), "stop", "lesson", "other")
    _wait_for(simulator, "StopOnlineRecord")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert "not stopped: other" in err
    assert "code: ChangeUncertain" in err


def test_a_closed_pipe_ends_quietly(simulator: Simulator) -> None:
    process = start_tiw(environment_of(simulator), "wait", "lesson", "ended", "-o", "jsonl")
    process.stdout.readline()
    process.stdout.close()
    simulator.advance(6100)
    err = process.stderr.read()
    assert process.wait(LIMIT_S) == 141
    assert err == ""
    process.stderr.close()


def test_a_pipe_that_closes_between_lines(simulator: Simulator) -> None:
    process = start_tiw(environment_of(simulator), "wait", "lesson")
    process.stdout.readline()
    process.stdout.close()
    simulator.advance(6100)
    err = process.stderr.read()
    assert process.wait(LIMIT_S) == 141
    assert err == ""
    process.stderr.close()


def test_an_interrupt_before_the_command_runs(simulator: Simulator) -> None:
    program = (
        "import os, signal\n"
        "import tiw_automation.cli.__main__ as entry\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "entry.find_spec = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "entry.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment_of(simulator),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


def test_a_background_job_ignores_ctrl_c(simulator: Simulator) -> None:
    process = start_tiw(
        environment_of(simulator),
        "wait",
        "lesson",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    simulator.advance(6100)
    out, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "FINISHED" in out


def test_the_table_is_redrawn_and_the_terminal_restored(simulator: Simulator) -> None:
    with on_terminal(environment_of(simulator), "wait", "lesson", "ended", columns=100) as terminal:
        terminal.read_until("RECORDING")
        terminal.read_until("1 of 2 ended")
        terminal.press("\x03")
        assert terminal.end() == 130
    assert "EXPECTED END" in terminal.shown
    assert terminal.shown.rindex(SHOW) > terminal.shown.rindex(HIDE)
    assert terminal.shown.splitlines()[-1].startswith("tiw: interrupted. 1 task goes on")
    assert "老师王小明" in terminal.shown


def test_a_second_interrupt_ends_at_once(simulator: Simulator) -> None:
    program = (
        "import signal, time\n"
        "from tiw_automation.cli import interrupts\n"
        "interrupts.install()\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('first', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment_of(simulator),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for line in ("ready\n", "first\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    process.stdout.close()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal(simulator: Simulator, columns: int) -> None:
    environment = environment_of(simulator, NO_COLOR="1")
    with on_terminal(environment, "show", "lesson", "ended", columns=columns) as terminal:
        assert terminal.end() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= columns
    assert "\x1b[3" not in terminal.shown


def test_a_dumb_terminal_gets_plain_lines(simulator: Simulator) -> None:
    environment = environment_of(simulator, TERM="dumb")
    with on_terminal(environment, "wait", "ended") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.shown
    assert terminal.shown.startswith("Recording ended is FINISHED")


def test_a_low_terminal_counts_what_it_has_no_room_for(simulator: Simulator) -> None:
    ids = [simulator.add(f"lesson-{n}", timeline=[{"RECORDING": 6000}]) for n in range(20)]
    with on_terminal(environment_of(simulator), "wait", *ids, lines=10) as terminal:
        terminal.read_until("and 15 more")
        terminal.press("\x03")
        assert terminal.end() == 130


def test_the_log_is_on_standard_error(simulator: Simulator) -> None:
    process = start_tiw(environment_of(simulator), "wait", "ended", "-v", "-o", "urls")
    out, err = process.communicate(timeout=LIMIT_S)
    assert out.startswith("http://")
    assert "Recording ended is FINISHED" in err
