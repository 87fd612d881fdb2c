# SPDX-License-Identifier: Apache-2.0
"""``tiw doctor``: one screen about keys, settings, network and permissions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from tiw_automation.cli import exits
from tiw_automation.cli.account import account_options, client_settings
from tiw_automation.cli.output import output_option, print_line

if TYPE_CHECKING:
    from tiw_automation.cli.checkup import Check

_CODES = {"refused": exits.REFUSED, "unreachable": exits.UNREACHABLE, "failed": exits.FAILED}
_PERMISSION = "tiw:"


@click.command()
@click.option(
    "--probe", is_flag=True, help="Also try to stop, pause and resume a task that cannot exist."
)
@output_option("table", "json")
@account_options
@click.pass_context
def doctor(ctx: click.Context, form: str, probe: bool) -> None:
    """Check keys, settings, network and permissions.

    Actions that read are called once each. Actions that start, create or set something are never
    called; they are shown with the CAM policy that they need. No key is shown, so the result can
    go into a report.
    """
    from tiw_automation.cli.checkup import checkup

    checks = checkup(client_settings(ctx), probe=probe)
    ctx.exit(_as_json(checks) if form == "json" else _as_lines(checks))


def exit_code(checks: Iterable[Check]) -> int:
    """Return the exit code of all checks; warnings count as good."""
    return exits.worst(_CODES[check.cause] for check in checks if check.state == "fault")


def _as_json(checks: Iterable[Check]) -> int:
    from tiw_automation.cli.output import print_json

    found = list(checks)
    code = exit_code(found)
    states = {check.state for check in found}
    state = next((one for one in ("fault", "warning") if one in states), "ok")
    print_json({"state": state, "exit_code": code, "checks": [one.to_dict() for one in found]})
    return code


def _as_lines(checks: Iterable[Check]) -> int:
    from tiw_automation.cli.report import Report

    report = Report()
    found: list[Check] = []
    for check in _with_groups(checks, found):
        report.line(check)
    print_line(_next_step(found))
    return exit_code(found)


def _next_step(checks: Iterable[Check]) -> str:
    fault = next((check.name for check in checks if check.state == "fault"), None)
    if fault is None:
        return "Next: tiw wait ID, with the task id of a recording."
    if fault != "keys":
        return f"Next: mend what the line {fault} names, and run tiw doctor again."
    return (
        "Next: make a key in the console, set it as the line keys describes, and run tiw doctor "
        "again. Without an account: tiw simulator --example -- tiw wait algebra"
    )


def _with_groups(checks: Iterable[Check], found: list[Check]) -> Iterator[Check]:
    """Yield the checks, those of permissions as one for each result; add each to ``found``."""
    from tiw_automation.cli.checkup import grouped

    permissions: list[Check] = []
    for check in checks:
        found.append(check)
        if check.name.startswith(_PERMISSION):
            permissions.append(check)
            continue
        yield from grouped(permissions)
        permissions.clear()
        yield check
    yield from grouped(permissions)
