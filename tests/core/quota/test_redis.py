# SPDX-License-Identifier: Apache-2.0
"""The pace that many hosts share.

With ``TIW_REAL_REDIS=1`` a real ``redis-server`` runs the script, else a stand-in that runs the
same script in Lua.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quotas import most_in_a_second
from redis_servers import free_port

from tiw_automation.core import ConfigurationError, Quota, Settings
from tiw_automation.core.quota.redis import RedisPace
from tiw_automation.core.quota.redis_connection import RedisConnection


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def run(quota: Quota, seconds: float) -> list[float]:
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end:
        times.append(quota.acquire())
    return times


def test_a_process_keeps_its_pace_while_the_server_is_away_and_takes_part_again(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = RedisPace(url(port), "id", "host", "A")
    quota = Quota(19.0, store=store)
    times = run(quota, 3.0)
    thread = store._thread
    good = thread.connection
    # A port that refuses.
    thread.connection = RedisConnection(url(free_port()))
    times += run(quota, 3.0)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps[3:]) < 1.0
    assert most_in_a_second(times) <= 20
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    thread.connection = good
    good.close()
    times = run(quota, 4.0)
    assert most_in_a_second(times) <= 20
    assert quota._share.latest is not None
    assert "again" in caplog.text
    quota.close()


@pytest.mark.parametrize("value", ["http://h", "redis://:secret@h:x/0", "h:6379"])
def test_a_malformed_url_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="TIW_QUOTA_URL") as caught:
        Settings.resolve(secret_id="a" * 20, secret_key="b" * 20, environ={"TIW_QUOTA_URL": value})
    assert "secret" not in str(caught.value)


def test_no_message_holds_the_password(caplog: pytest.LogCaptureFixture) -> None:
    address = f"redis://user:pa%40ss@127.0.0.1:{free_port()}"
    quota = Quota(1000.0, store=RedisPace(address, "id", "host", "A"))
    run(quota, 1.0)
    assert "not shared" in caplog.text
    assert "pa@ss" not in caplog.text
    assert "pa%40ss" not in caplog.text


PROCESS = """
import sys, time
from tiw_automation.core.quota.quota import shared_quota
quota = shared_quota("AKIDfour", "h", "A", 19.0, 1.0, sys.argv[1])
quota.demand("test", int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    quota.acquire()
    print(time.monotonic(), flush=True)
"""


def started(port: int, waits: int, seconds: float, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, url(port), str(waits), str(seconds)],
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_processes_with_separate_folders_share_one_pace_and_one_dies(
    port: int, tmp_path: Path
) -> None:
    processes = [
        started(port, waits, 14.0, tmp_path / str(n)) for n, waits in enumerate((70, 10, 10, 10))
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    time.sleep(6.0)
    processes[0].kill()
    killed_at = time.monotonic()
    outputs = [process.communicate(timeout=40)[0] for process in processes]
    sent = [[float(line) for line in output.split()] for output in outputs]
    assert most_in_a_second(sorted(itertools.chain(*sent))) <= 20
    assert len(sent[0]) > 2 * max(len([at for at in times if at < killed_at]) for times in sent[1:])
    late = [at for times in sent[1:] for at in times if at > killed_at + 6]
    assert len(late) / (max(late) - killed_at - 6) > 0.85 * 19
