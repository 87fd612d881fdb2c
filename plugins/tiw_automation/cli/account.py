# SPDX-License-Identifier: Apache-2.0
"""The account options that commands share, and the client that they make.

There is no option for a key: every user of the host can read the arguments of a process. Keys come
from the environment, Tencent's files, a profile or a role.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tiw_automation.cli.option_names import CORE_NAMES, keep_command

if TYPE_CHECKING:
    from tiw_automation.core import TiwClient

_Function = TypeVar("_Function", bound=Callable[..., Any])
_KEPT = "tiw.account"
_SITES = ("cn", "intl")


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    keep_command(ctx)
    if value is not None and param.name is not None:
        ctx.meta.setdefault(_KEPT, {})[param.name] = value


def _show_log(ctx: click.Context, param: click.Parameter, value: int) -> None:
    from tiw_automation.cli.log import show_log

    show_log(value)


def _option(name: str, metavar: str | None, text: str, **details: Any) -> Any:
    return click.option(
        name, metavar=metavar, help=text, expose_value=False, callback=_keep, **details
    )


_OPTIONS = (
    _option("--profile", "NAME", "A profile of Tencent's command line (tccli configure)."),
    _option("--role-arn", "ARN", "A CAM role to assume with the keys."),
    _option("--sdk-app-id", "NUMBER", "The application (TIW_SDK_APP_ID)."),
    _option("--site", None, "Sets host and region.", type=click.Choice(_SITES)),
    _option("--region", "NAME", "ap-guangzhou or ap-singapore (TENCENTCLOUD_REGION)."),
    _option("--endpoint", "URL", "Replaces the site's host (TIW_ENDPOINT)."),
    _option(
        "--allow-http",
        None,
        "Allow an http:// endpoint on another machine (TIW_ALLOW_HTTP).",
        is_flag=True,
        default=None,
    ),
    _option("--requests-per-second", "NUMBER", "The pace, 19 by default.", type=float),
    _option("--request-timeout", "SECONDS", "The deadline of one request, 10.", type=float),
    _option("--ca-file", "PATH", "CA certificates to trust: a bundle or a folder."),
    _option("--proxy", "URL", "An HTTP proxy. Put one with a password in HTTPS_PROXY instead."),
)


def verbose_option(function: _Function) -> _Function:
    """Add ``-v`` to a command: log lines on standard error."""
    option = click.option(
        "-v",
        "--verbose",
        "--debug",
        count=True,
        expose_value=False,
        callback=_show_log,
        help="Show log lines on standard error; -vv shows more.",
    )
    return option(function)


def account_options(function: _Function) -> _Function:
    """Add the account options and ``-v`` to a command; :func:`new_client` reads them."""
    function = verbose_option(function)
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def client_settings(ctx: click.Context) -> dict[str, Any]:
    """Return the account options that were given, as arguments of a TiwClient."""
    given = dict(ctx.meta.get(_KEPT, {}))
    return {CORE_NAMES.get(name, name): value for name, value in given.items()}


def new_client(ctx: click.Context) -> TiwClient:
    """Return a client for the account options of a command, with an application.

    It is closed when the command ends.

    :raises ConfigurationError: an option or a variable is invalid, or there is no application.
    :raises CredentialsError: no complete pair of keys was found.
    """
    from tiw_automation.core import TiwClient

    client = TiwClient(**client_settings(ctx))
    ctx.call_on_close(client.close)
    client.sdk_app_id()
    return client
