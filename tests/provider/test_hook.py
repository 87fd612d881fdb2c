# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import pytest

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import ConfigurationError, CredentialsError
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]


def test_a_connection_describes_a_client(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator, extra={"requests_per_second": 5, "timeout": "3"})
    settings = TiwHook().get_conn().settings
    assert settings.url == tiw_simulator.endpoint
    assert settings.sdk_app_id == tiw_simulator.sdk_app_id
    assert settings.requests_per_second == 5
    assert settings.timeout_s == 3


def test_the_test_button(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    assert TiwHook().test_connection()[0] is True
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    good, words = TiwHook().test_connection()
    assert good is False
    assert "AuthFailure.SignatureFailure" in words
    assert "anotherkey" not in words
    connect(tiw_simulator, extra={"sdk_app_id": ""})
    assert "sdk_app_id" in TiwHook().test_connection()[1]


def test_a_missing_default_connection_leaves_everything_to_the_environment(
    tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    assert TiwHook().get_conn().settings.url == tiw_simulator.endpoint


def test_a_missing_named_connection_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="no connection 'mine'"):
        TiwHook("mine").get_conn()


def test_an_unknown_extra_is_named_with_the_nearest(
    tiw_simulator: Simulator, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(tiw_simulator, extra={"sdk_appid": 7})
    TiwHook().get_conn()
    # Airflow writes its log to the standard output here.
    logged = capsys.readouterr().out
    assert "'sdk_appid'" in logged
    assert "did you mean 'sdk_app_id'?" in logged


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"extra": {"sdk_app_id": "mine"}}, ConfigurationError, "sdk_app_id"),
        ({"extra": {"site": "us"}}, ConfigurationError, "site"),
        ({"extra": {"site": "cn", "region": "ap-singapore"}}, ConfigurationError, "contradicts"),
        ({"extra": {"timeout": 0}}, ConfigurationError, "timeout"),
        ({"extra": {"requests_per_second": -1}}, ConfigurationError, "requests_per_second"),
        ({"host": "a b"}, ConfigurationError, "endpoint"),
        ({"password": ""}, CredentialsError, "without secret_key"),
        ({"login": ' "quoted"'}, CredentialsError, "secret_id"),
    ],
)
def test_bad_settings(
    tiw_simulator: Simulator,
    connect: Connect,
    changes: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    connect(tiw_simulator, **changes)
    with pytest.raises(error, match=words):
        TiwHook().get_conn()
