# SPDX-License-Identifier: Apache-2.0
"""``tiw callbacks``: where the events of recordings are posted, and the key that signs them.

A key is read from a file, standard input or the environment. Only ``make-key`` prints one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.arguments import read_secret, usage_errors
from tiw_automation.cli.output import note, output_option, print_json, print_line, print_table
from tiw_automation.core import TiwError, new_callback_key
from tiw_automation.core.api import SHORTEST_KEY, check_callback_key, check_callback_url
from tiw_automation.core.formatting import shown_url

if TYPE_CHECKING:
    from tiw_automation.core import CallbackSettings

_KEY = "TIW_CALLBACK_KEY"
_FORCE = click.option("--force", is_flag=True, help="Also where another address is set.")


@click.group()
def callbacks() -> None:
    """Show or set where the events of recordings are posted.

    An application has one address, which all its users share.
    """


@callbacks.command()
@output_option("table", "json")
@account_options
@click.pass_context
def show(ctx: click.Context, form: str) -> None:
    """Show the address, and whether a key is set. The key itself is not shown."""
    client = new_client(ctx)
    found = client.describe_online_record_callback()
    url = shown_url(found.url) if found.url else None
    if form == "json":
        about = {"sdk_app_id": client.sdk_app_id(), "url": url, "key_is_set": bool(found.key)}
        print_json(about)
    else:
        print_table(("ADDRESS", "KEY"), [(url, "set" if found.key else None)])
    if 0 < len(found.key or "") < SHORTEST_KEY:
        note("the key is short: it can be found by trial from one callback. Set another one.")


@callbacks.command("set")
@click.argument("url")
@click.option(
    "--key-file",
    metavar="FILE",
    help=f"A file with the key, - for standard input ({_KEY}). Else the present key stays.",
)
@_FORCE
@account_options
@click.pass_context
def set_(ctx: click.Context, url: str, key_file: str | None, force: bool) -> None:
    """Set the address to URL, and the key if one is given."""
    with usage_errors():
        check_callback_url(url)
        key = check_callback_key(read_secret(key_file, _KEY))
    client = new_client(ctx)
    found = client.describe_online_record_callback()
    _refuse_others(client.sdk_app_id(), found, url, force=force)
    # The address comes last: nothing is posted unsigned.
    if key and key != found.key:
        client.set_online_record_callback_key(key)
    if url != found.url:
        client.set_online_record_callback(url)
    signed = "signed" if key or found.key else "unsigned: give a key with --key-file"
    print_line(f"The callbacks of {client.sdk_app_id()} go to {shown_url(url)}, {signed}.")


@callbacks.command()
@click.argument("url", required=False)
@_FORCE
@account_options
@click.pass_context
def remove(ctx: click.Context, url: str | None, force: bool) -> None:
    """Remove address and key, if the address is URL; any address with --force."""
    if url is None and not force:
        raise click.UsageError("Give the URL that is to be removed, or --force for any.")
    client = new_client(ctx)
    found = client.describe_online_record_callback()
    _refuse_others(client.sdk_app_id(), found, url or "", force=force)
    # The address goes first: nothing is posted unsigned.
    if found.url:
        client.set_online_record_callback(None)
    if found.key:
        client.set_online_record_callback_key(None)
    print_line(f"The application {client.sdk_app_id()} has no callbacks.")


@callbacks.command("make-key")
def make_key() -> None:
    """Print a new random key. It is set nowhere: see callbacks set --key-file."""
    print_line(new_callback_key())


def _refuse_others(app_id: int, found: CallbackSettings, url: str, *, force: bool) -> None:
    """Refuse to change an address that is not URL; queries do not count."""
    if force or not found.url or shown_url(found.url) == shown_url(url):
        return
    raise TiwError(
        f"The callbacks of {app_id} go to {shown_url(found.url)}.",
        code="CallbackTaken",
        hint="An application has one address. --force changes it.",
    )
