# SPDX-License-Identifier: Apache-2.0
"""Which files are used, removed and refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from quotas import take

from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace_file import state_folder
from tiw_automation.core.quota.store import Unusable


def test_invalid_bytes_in_the_file_are_overwritten(folder: Path) -> None:
    host = HostPace("id", "host", "A")
    Path(host.path).write_bytes(os.urandom(os.path.getsize(host.path)))
    for number in range(5):
        slot = take(host, 1000.0 + number)
        assert 1000.0 <= slot.time < 1010.0


def test_unused_files_are_removed(folder: Path) -> None:
    def aged(host: HostPace) -> Path:
        os.utime(host.path, (1.0, 1.0))
        return Path(host.path)

    left, used, unused_yet = (HostPace(name, "host", "A") for name in ("left", "used", "unused"))
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    left._pid = child.pid
    for host in (left, used):
        take(host, 1000.0)
    fresh = HostPace("fresh", "host", "A")
    paths = [aged(host) for host in (left, used, unused_yet)]
    HostPace("mine", "host", "A")
    assert [path.exists() for path in paths] == [False, True, False]
    assert Path(fresh.path).exists()
    # A process that had taken no slot yet continues with the new file.
    again = HostPace("unused", "host", "A")
    first = take(again, 1000.0).time
    assert take(unused_yet, 1000.0).time == pytest.approx(first + 1 / 19)


def test_the_folder_is_this_user_s_alone_and_names_no_account(folder: Path) -> None:
    host = HostPace("AKIDsecretish", "tiw.tencentcloudapi.com", "A")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(os.stat(host.path).st_mode) == 0o600
    assert "AKID" not in host.path
    assert b"AKID" not in Path(host.path).read_bytes()


def test_a_folder_that_others_can_enter_or_that_is_a_link_is_not_used(
    folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    with pytest.raises(Unusable, match="open to other users"):
        state_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match="not a folder"):
        state_folder()


def test_a_file_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    path = Path(HostPace("id", "host", "A").path)
    path.unlink()
    target = tmp_path / "target"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(Unusable):
        HostPace("id", "host", "A")
    assert target.read_text() == "precious"
