# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message for a Python package that is missing, too old or unusable."""

from __future__ import annotations

import pathlib
import sys
import sysconfig
import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.module_utils import _core


class Failed(Exception):
    """What fail_json raises here, with its arguments."""

    def __init__(self, **result: t.Any) -> None:
        super().__init__(result["msg"])
        self.result = result


class Module:
    """The part of an AnsibleModule that the check needs."""

    def fail_json(self, **result: t.Any) -> t.NoReturn:
        raise Failed(**result)


def failure() -> dict[str, t.Any]:
    with pytest.raises(Failed) as caught:
        _core.require_core(t.cast(t.Any, Module()))
    return caught.value.result


def test_the_installed_core_is_accepted() -> None:
    _core.require_core(t.cast(t.Any, Module()))


def test_a_missing_core_is_named_with_its_interpreter_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_core, "INSTALLED_VERSION", None)
    monkeypatch.setattr(_core, "IMPORT_TRACEBACK", "ModuleNotFoundError: tiw_automation")
    monkeypatch.setattr(sys, "base_prefix", f"{sys.prefix}/base")
    result = failure()
    assert result["code"] == "CoreMissing"
    assert sys.executable in result["msg"]
    assert f"{sys.executable} -m pip install --upgrade 'tiw-automation>=" in result["hint"]


def test_the_remedy_for_the_systems_own_python_is_an_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(_core, "INSTALLED_VERSION", None)
    monkeypatch.setattr(_core, "IMPORT_TRACEBACK", "ModuleNotFoundError: tiw_automation")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("HOME", "/people/ada")
    hint = failure()["hint"]
    assert f"Run: {sys.executable} -m venv /people/ada/.venvs/tiw && /people/ada/" in hint
    assert f"{sys.executable} -m pip" not in hint
    assert "Then set ansible_python_interpreter to /people/ada/.venvs/tiw/bin/python." in hint


def test_the_remedy_for_ansible_from_pipx_is_pipx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "INSTALLED_VERSION", None)
    monkeypatch.setattr(_core, "IMPORT_TRACEBACK", "ModuleNotFoundError: tiw_automation")
    monkeypatch.setattr(sys, "prefix", "/people/ada/.local/share/pipx/venvs/ansible-core")
    hint = failure()["hint"]
    assert hint.startswith("Run: pipx inject --force ansible-core 'tiw-automation>=")


def test_an_old_core_is_named_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "INSTALLED_VERSION", "0.0.9")
    result = failure()
    assert result["code"] == "CoreUnusable"
    assert "0.0.9" in result["msg"]
    assert _core.MINIMUM_VERSION in result["msg"]


def test_a_core_that_does_not_import_reports_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "IMPORT_TRACEBACK", "Traceback ...\nImportError: no requests\n")
    result = failure()
    assert result["code"] == "CoreUnusable"
    assert "ImportError: no requests" in result["msg"]


def test_a_core_without_its_sdk_reports_why_where_the_sdk_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "tiw_automation.core.api.client", raising=False)
    monkeypatch.delitem(sys.modules, "tiw_automation.core.api.sdk", raising=False)
    monkeypatch.setitem(sys.modules, "tencentcloud.common.abstract_client", None)
    result = failure()
    assert result["code"] == "CoreUnusable"
    assert "tencentcloud" in result["msg"]
    assert "tencentcloud" in result["exception"]
    assert _core.core_problem("tracks_of") is None


def test_a_python_too_old_for_the_core_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "MINIMUM_PYTHON", (4, 0))
    result = failure()
    assert "needs Python 4.0 or later" in result["msg"]
    assert "ansible_python_interpreter" in result["hint"]
