# SPDX-License-Identifier: Apache-2.0
"""Messages of the core name options where a command shows them."""

from __future__ import annotations

import click
import pytest
from tiw_command import run_tiw

from tiw_automation.cli.app import tiw
from tiw_automation.cli.option_names import with_options
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.archive.errors import FileInTheWay, VideoHostRefused
from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.simulator import Simulator


def command(name: str) -> click.Command:
    found = tiw.get_command(click.Context(tiw), name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("wait", "name its bundle in ca_file or X.", "name its bundle in --ca-file or X."),
        ("wait", "lower requests_per_second.", "lower --requests-per-second."),
        ("wait", "raise the setting timeout.", "raise --request-timeout."),
        ("wait", "timeout must be a number.", "--request-timeout must be a number."),
        ("wait", "proxy is malformed.", "--proxy is malformed."),
        ("wait", "Set require_videos to false to take it.", "Give --no-require-videos to take it."),
        ("wait", "Add X to accept_finish_reasons.", "Add X to --accept-finish-reasons."),
        ("archive", "name the host in the setting hosts.", "name the host in --host."),
        ("archive", "or set overwrite to true.", "or give --overwrite."),
        (
            "start",
            "one of record_user_sig and user_sig_key",
            "one of --record-user-sig-file and --user-sig-key-file",
        ),
        # What was given, plain words, and settings without an option stay.
        ("wait", "There is no file 'ca_file'.", "There is no file 'ca_file'."),
        ("wait", "There is no file /etc/ca_file.", "There is no file /etc/ca_file."),
        ("wait", "There is a proxy on the way: check proxy.", None),
        ("wait", "quota_share (TIW_QUOTA_SHARE) must be", "quota_share (TIW_QUOTA_SHARE) must be"),
        ("archive", "Put {sdk_app_id} into it.", "Put {sdk_app_id} into it."),
    ],
)
def test_settings_become_options(name: str, text: str, shown: str | None) -> None:
    assert with_options(text, command(name)) == (text if shown is None else shown)


@pytest.mark.parametrize(
    ("name", "error"),
    [("archive", VideoHostRefused("x")), ("archive", FileInTheWay("x"))],
)
def test_the_advice_of_an_error_names_an_option(name: str, error: TiwError) -> None:
    assert error.hint is not None
    assert " --" in with_options(error.hint, command(name))


def test_a_command_without_an_application_names_its_option(tiw_simulator: Simulator) -> None:
    result = run_tiw(tiw_simulator, "wait", "lesson", TIW_SDK_APP_ID="")
    assert result.exit_code == 4
    assert "No --sdk-app-id was given." in result.stderr
    assert "hint: Set --sdk-app-id or TIW_SDK_APP_ID" in result.stderr


def test_python_names_the_argument(tiw_simulator: Simulator) -> None:
    given = {**tiw_simulator.settings(), "sdk_app_id": None}
    with TiwClient(**given) as client, pytest.raises(ConfigurationError, match="No sdk_app_id was"):
        client.sdk_app_id()


def test_a_refused_setting_is_named_as_its_option(tiw_simulator: Simulator) -> None:
    result = run_tiw(tiw_simulator, "wait", "lesson", "--ca-file", "/nowhere")
    assert result.exit_code == 4
    assert "tiw: --ca-file: there is no file or folder '/nowhere'." in result.stderr


def test_without_keys_the_advice_names_the_simulator(tiw_simulator: Simulator) -> None:
    keys = {"TENCENTCLOUD_SECRET_ID": "", "TENCENTCLOUD_SECRET_KEY": "", "HOME": "/nowhere"}
    result = run_tiw(tiw_simulator, "wait", "lesson", **keys)
    assert result.exit_code == 4
    assert "Without an account: tiw simulator --example -- COMMAND" in result.stderr
