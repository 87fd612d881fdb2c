# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds ``tiw_automation.core``, the Python package that does all the work.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import os
import sys
import sysconfig
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
    # The version first: also a core that is too old for the rest has one.
    from tiw_automation import __version__ as INSTALLED_VERSION, core
except (ImportError, AttributeError, SyntaxError):
    IMPORT_TRACEBACK = traceback.format_exc()


def require_core(module: AnsibleModule) -> None:
    """Fail the task unless a core that this collection works with can be imported, with its SDK.

    The message names the interpreter and the command that installs the package there.
    """
    problem = core_problem("TiwClient")
    if problem is None:
        return
    module.fail_json(
        msg=problem,
        exception=_import_traceback("TiwClient"),
        code="CoreMissing" if INSTALLED_VERSION is None else "CoreUnusable",
        request_id=None,
        hint=_remedy(),
    )


def core_problem(*names: str) -> str | None:
    """Return why the core cannot be used and what to do about it, or None if it can be used.

    :param names: the public names that are needed; each is imported, some of them with the SDK.
    """
    if sys.version_info[:2] < MINIMUM_PYTHON:
        problem = (
            f"{PACKAGE} needs Python {_dotted(MINIMUM_PYTHON)} or later, and this task runs on "
            f"Python {_dotted(sys.version_info[:2])} ({sys.executable})."
        )
    elif INSTALLED_VERSION is None:
        problem = f"{missing_required_lib(PACKAGE)}."
    elif LooseVersion(INSTALLED_VERSION) < LooseVersion(MINIMUM_VERSION):
        problem = (
            f"{PACKAGE} {INSTALLED_VERSION} of {sys.executable} is too old: this collection needs "
            f"{MINIMUM_VERSION} or later."
        )
    else:
        trace = _import_traceback(*names)
        if trace is None:
            return None
        cause = trace.strip().splitlines()[-1]
        problem = f"{PACKAGE} {INSTALLED_VERSION} of {sys.executable} cannot be imported ({cause})."
    return f"{problem} {_remedy()}"


def _dotted(version: t.Iterable[int]) -> str:
    return ".".join(map(str, version))


def _import_traceback(*names: str) -> str | None:
    """Return the traceback of an import that fails, or None."""
    if IMPORT_TRACEBACK is not None:
        return IMPORT_TRACEBACK
    try:
        for name in names:
            getattr(core, name)
    except (ImportError, AttributeError, SyntaxError):
        return traceback.format_exc()
    return None


def _remedy() -> str:
    controller = (
        "on the control node '{{ ansible_playbook_python }}' is the Python that runs Ansible."
    )
    if sys.version_info[:2] < MINIMUM_PYTHON:
        return f"Set ansible_python_interpreter to a newer one; {controller}"
    package = f"'{PACKAGE}>={MINIMUM_VERSION}'"
    environment = os.path.expanduser("~/.venvs/tiw")
    owner = _owner()
    if owner == "pipx":
        return f"Run: pipx inject --force {os.path.basename(sys.prefix)} {package}."
    if owner == "system":
        return (
            f"{sys.executable} belongs to the operating system, where pip installs nothing. "
            f"Run: {sys.executable} -m venv {environment} && "
            f"{environment}/bin/python -m pip install --upgrade {package}. "
            f"Then set ansible_python_interpreter to {environment}/bin/python. A lookup or a "
            "filter needs Ansible itself in that environment: install ansible-core there too."
        )
    return (
        f"Run: {sys.executable} -m pip install --upgrade {package}. "
        f"Or set ansible_python_interpreter to a Python that has it; {controller}"
    )


def _owner() -> str:
    """Return who installs packages for this Python: ``pipx``, ``pip``, or only the ``system``."""
    if sys.prefix != sys.base_prefix:
        return "pipx" if f"{os.sep}pipx{os.sep}venvs{os.sep}" in sys.prefix else "pip"
    # PEP 668
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    return "system" if os.path.exists(marker) else "pip"
