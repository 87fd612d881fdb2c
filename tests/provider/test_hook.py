# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk._shared.secrets_masker import redact
from supervisors import Supervisor

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import ConfigurationError, CredentialsError, TiwError
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


def test_no_connection_means_the_environment_alone(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(tiw_simulator, password="anotherkeyanotherkeyanother", extra={"callback_secret": "x"})
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    hook = TiwHook(None)
    assert hook.test_connection()[0] is True
    assert (hook.user_sig_key, hook.callback_secret) == (None, None)
    assert hook.transport_settings() == {"proxy": None, "ca_file": None}


@pytest.mark.parametrize("conn_id", ["tencentcloud_default", None])
def test_without_keys_the_error_names_the_missing_connection(
    conn_id: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIW_METADATA_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(CredentialsError, match="No keys were found") as caught:
        TiwHook(conn_id).get_conn()
    words = "Airflow's connection 'tencentcloud_default' was not found"
    assert (words in str(caught.value)) is (conn_id is not None)


def test_the_password_of_a_quota_url_is_masked(tiw_simulator: Simulator, connect: Connect) -> None:
    url = "rediss://user:sesame%2Fopen@redis.example.com:6379/0"
    connect(tiw_simulator, extra={"quota_url": url})
    assert TiwHook().get_conn().settings.quota_url == url
    assert redact(f"{url} and sesame/open") == url.replace("sesame%2Fopen", "***") + " and ***"


def test_an_unknown_extra_is_named_with_the_nearest(
    tiw_simulator: Simulator, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(tiw_simulator, extra={"sdk_appid": 7})
    TiwHook().get_conn()
    # Airflow writes its log to the standard output.
    logged = capsys.readouterr().out
    assert "'sdk_appid'" in logged
    assert "Did you mean sdk_app_id?" in logged


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"extra": {"sdk_app_id": "mine"}}, ConfigurationError, "sdk_app_id"),
        ({"extra": {"site": "us"}}, ConfigurationError, "site"),
        ({"extra": {"site": "cn", "region": "ap-singapore"}}, ConfigurationError, "contradicts"),
        ({"extra": {"timeout": 0}}, ConfigurationError, "timeout"),
        ({"extra": {"requests_per_second": -1}}, ConfigurationError, "requests_per_second"),
        ({"host": "a b"}, ConfigurationError, "endpoint"),
        ({"extra": {"profile": 5}}, ConfigurationError, "profile must be a text, not int"),
        ({"extra": {"role_arn": ["a"]}}, ConfigurationError, "role_arn must be a text, not list"),
        ({"extra": {"ca_file": {}}}, ConfigurationError, "ca_file must be a text, not dict"),
        ({"extra": {"quota_url": "redis.example.com"}}, ConfigurationError, "TIW_QUOTA_URL"),
        ({"extra": {"proxy": 77777}}, ConfigurationError, "proxy must be a text, not int"),
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


@pytest.mark.parametrize("extra", ["[1]", '"a"', "5", "null", "{not JSON"])
def test_extras_that_are_not_an_object(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"conn_type": "tencentcloud", "login": "AKIDmine", "password": "k", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps(made))
    for read in (TiwHook("odd").get_conn, lambda: TiwHook("odd").user_sig_key):
        # Airflow 3.1 refuses to read such a connection, later versions ignore its extras.
        with pytest.raises(TiwError, match=r"'odd'( must be a JSON object|: .*it may exist)"):
            read()
    assert TiwHook("odd").test_connection()[0] is False


# Connections that the supervisor returns


# The key of the environment: see the fixture.
OTHER_ID = "AKIDofanotheraccount"
FAULTS = ["raised", "answered", "not found"]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["tencentcloud_default", "mine"])
def test_an_unreadable_connection_is_not_reported_as_missing(
    name: str, fault: str, supervised: Supervisor, tiw_simulator: Simulator
) -> None:
    supervised.fault, supervised.fails = fault, math.inf
    for read in (TiwHook(name).get_conn, lambda: TiwHook(name).callback_secret):
        with pytest.raises(TiwError, match=f"could not read connection '{name}'.*may exist") as met:
            read()
        assert met.value.retryable
        assert not isinstance(met.value, ConfigurationError)
        assert "API_SERVER_ERROR 500" in met.value.message
        assert tiw_simulator.secret_key not in str(met.value)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["tencentcloud_default", "mine"])
def test_a_retry_after_an_unreadable_connection_uses_its_account(
    name: str, fault: str, supervised: Supervisor, tiw_simulator: Simulator
) -> None:
    supervised.fault, supervised.fails = fault, 1
    with TiwHook(name).get_conn() as client:
        assert client.settings.credentials.current().secret_id == tiw_simulator.secret_id


def test_a_connection_that_the_supervisor_does_not_have_is_missing(supervised: Supervisor) -> None:
    supervised.connections.clear()
    with TiwHook().get_conn() as client:
        assert client.settings.credentials.current().secret_id == OTHER_ID
    with pytest.raises(ConfigurationError, match="no connection 'mine'"):
        TiwHook("mine").get_conn()


def test_a_secrets_backend_that_is_down_may_hold_the_connection(
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    break_secrets: Callable[[], None],
) -> None:
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    break_secrets()
    with pytest.raises(TiwError, match="ConnectionRefusedError of BrokenBackend") as met:
        TiwHook().get_conn()
    assert met.value.retryable
    assert "s3cr3t" not in str(met.value)
