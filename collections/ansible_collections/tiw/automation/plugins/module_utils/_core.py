# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to ``tiw_automation.core``, the Python package that does all the work.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import sys
import traceback
import typing as t

from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.compat.version import LooseVersion

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

PACKAGE = "tiw-automation"
MINIMUM_VERSION = "0.2.0"
MINIMUM_PYTHON = (3, 11)

INSTALLED_VERSION: str | None = None
IMPORT_TRACEBACK: str | None = None
try:
    # The version first: a core too old for all else still says how old it is.
    from tiw_automation import __version__ as INSTALLED_VERSION, core
except (ImportError, AttributeError, SyntaxError):
    IMPORT_TRACEBACK = traceback.format_exc()


def require_core(module: AnsibleModule) -> None:
    """Fail the task unless a core that this collection works with is there, and its client.

    The message names the interpreter that lacks it and the command that mends that.
    """
    reason = what_is_wrong("TiwClient")
    if reason is None:
        return
    module.fail_json(
        msg=reason,
        exception=_trouble("TiwClient"),
        code="CoreMissing" if INSTALLED_VERSION is None else "CoreUnusable",
        request_id=None,
        hint=_remedy(),
    )


def what_is_wrong(*names: str) -> str | None:
    """Return why there is no core to work with, and what to do about it; None if there is one.

    :param names: what is used of it that it imports on first use, some of it with the SDK.
    """
    if sys.version_info[:2] < MINIMUM_PYTHON:
        wanted = ".".join(map(str, MINIMUM_PYTHON))
        found = ".".join(map(str, sys.version_info[:2]))
        return (
            f"{PACKAGE} needs Python {wanted} or later, and this task runs on Python {found} "
            f"({sys.executable}). {_remedy()}"
        )
    if INSTALLED_VERSION is None:
        return f"{missing_required_lib(PACKAGE)} {_remedy()}"
    if LooseVersion(INSTALLED_VERSION) < LooseVersion(MINIMUM_VERSION):
        return (
            f"{PACKAGE} {INSTALLED_VERSION} of {sys.executable} is too old: this collection needs "
            f"{MINIMUM_VERSION} or later. {_remedy()}"
        )
    trouble = _trouble(*names)
    if trouble is not None:
        cause = trouble.strip().splitlines()[-1]
        return (
            f"{PACKAGE} {INSTALLED_VERSION} of {sys.executable} cannot be imported ({cause}). "
            f"{_remedy()}"
        )
    return None


def _trouble(*names: str) -> str | None:
    """Return the traceback of what cannot be imported."""
    if IMPORT_TRACEBACK is not None:
        return IMPORT_TRACEBACK
    try:
        for name in names:
            getattr(core, name)
    except (ImportError, AttributeError, SyntaxError):
        return traceback.format_exc()
    return None


def _remedy() -> str:
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return (
            "Set ansible_python_interpreter to a newer one; on the control node "
            "'{{ ansible_playbook_python }}' is the Python that runs Ansible."
        )
    return (
        f"Run: {sys.executable} -m pip install --upgrade '{PACKAGE}>={MINIMUM_VERSION}'. "
        "Or set ansible_python_interpreter to a Python that has it; on the control node "
        "'{{ ansible_playbook_python }}' is the Python that runs Ansible."
    )
