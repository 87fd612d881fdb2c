# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of every module: options, core, client, and one form of a failure.

A module passes :func:`run_module` its options and a function that returns the result.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import logging
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tiw.automation.plugins.module_utils._account import (
    ACCOUNT_ARGUMENTS,
    hide_secrets,
    without_queries,
)
from ansible_collections.tiw.automation.plugins.module_utils._callback import hide_query
from ansible_collections.tiw.automation.plugins.module_utils._core import require_core

if t.TYPE_CHECKING:
    from tiw_automation.core import TiwClient, TiwError


class _Module(AnsibleModule):
    """Adds the nearest name to Ansible's message about an unknown kind of task.

    Ansible returns the options, also where they are invalid; no URL in them has a query.
    """

    def fail_json(self, msg: str, **result: t.Any) -> None:
        self.params: dict[str, t.Any] = without_queries(self.params)
        found = re.fullmatch(r"value of task_kind must be one of: (.*), got: (.*)", str(msg))
        if found:
            from tiw_automation.core.checks import did_you_mean

            msg = f"{msg}.{did_you_mean(found[2], found[1].split(', '))}"
        super().fail_json(msg=msg, **result)


def run_module(
    run: t.Callable[[AnsibleModule, TiwClient], dict[str, t.Any]],
    arguments: dict[str, dict[str, t.Any]],
    **rules: t.Any,
) -> None:
    """Run a module and end its process.

    :param run: returns the result, or that of a failure, see :func:`failure`. A ``TiwError`` that
        it raises fails the task.
    :param arguments: the module's own options, beside those of the account.
    :param rules: what an ``AnsibleModule`` takes to check them, such as ``required_if``.
    """
    module = new_module(arguments, **rules)
    end_module(module, with_client(module, run))


def new_module(arguments: dict[str, dict[str, t.Any]], **rules: t.Any) -> AnsibleModule:
    """Return a module with its own options and those of the account; its output has no secret."""
    module = _Module({**arguments, **ACCOUNT_ARGUMENTS}, supports_check_mode=True, **rules)
    hide_secrets(module)
    hide_query(module, module.params.get("url"))
    return module


def with_client(
    module: AnsibleModule, run: t.Callable[[AnsibleModule, TiwClient], dict[str, t.Any]]
) -> dict[str, t.Any]:
    """Return what ``run`` returns for a client of the account, or the result of its error.

    A core that is missing ends the process.
    """
    require_core(module)

    from tiw_automation.core import TiwError

    try:
        return run(module, _new_client(module))
    except TiwError as error:
        return failure(error)


def end_module(module: AnsibleModule, result: dict[str, t.Any]) -> None:
    """Return a result to Ansible, and end the process."""
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**{"changed": False, **result})


def failure(error: TiwError, **found: t.Any) -> dict[str, t.Any]:
    """Return the result of a task that failed with an error of the core.

    :param found: what the task found or changed before it failed.
    """
    return {
        "failed": True,
        "msg": str(error),
        "code": error.code,
        "request_id": error.request_id,
        "hint": error.hint,
        "retryable": error.retryable,
        **found,
    }


def _new_client(module: AnsibleModule) -> TiwClient:
    """Return a client with the task's settings; the core finds those that are left out.

    :raises ConfigurationError: a setting is invalid.
    """
    from tiw_automation.core import TiwClient

    logger = logging.getLogger("tiw_automation")
    warnings = _AsWarnings(module)
    logger.addHandler(warnings)
    try:
        return TiwClient(**{name: module.params[name] for name in ACCOUNT_ARGUMENTS})
    finally:
        logger.removeHandler(warnings)
        # Without a handler, later log records would go to stderr.
        logger.addHandler(logging.NullHandler())
        # Odd answers and unknown finish reasons concern the user at any time.
        logger.getChild("core.records").addHandler(warnings)


class _AsWarnings(logging.Handler):
    """Turns warnings of the core into Ansible's."""

    def __init__(self, module: AnsibleModule) -> None:
        super().__init__(logging.WARNING)
        self.module = module

    def emit(self, record: logging.LogRecord) -> None:
        self.module.warn(record.getMessage())
