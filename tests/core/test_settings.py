# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, Settings, TiwClient
from tiw_automation.core import settings as settings_module

ID = "AKIDexampleexampleexample"
KEY = "keyexamplekeyexamplekey00"
PAIR = {"TENCENTCLOUD_SECRET_ID": ID, "TENCENTCLOUD_SECRET_KEY": KEY}


def resolve(environ: dict[str, str] | None = None, **given: Any) -> Settings:
    given.setdefault("home", Path("/nonexistent"))
    return Settings.resolve(environ=PAIR if environ is None else environ, **given)


@pytest.fixture(autouse=True)
def _warn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "_warned", set())


def test_the_defaults() -> None:
    found = resolve()
    assert found.url == "https://tiw.tencentcloudapi.com"
    assert found.region == "ap-singapore"
    assert found.requests_per_second == 19
    assert found.quota_share == 1
    assert found.timeout_s == 10
    assert found.sdk_app_id is None


@pytest.mark.parametrize(
    ("site", "host", "region"),
    [
        ("intl", "tiw.intl.tencentcloudapi.com", "ap-singapore"),
        ("cn", "tiw.tencentcloudapi.com", "ap-guangzhou"),
    ],
)
def test_a_site_sets_host_and_region(site: str, host: str, region: str) -> None:
    found = resolve(site=site)
    assert (found.host, found.region) == (host, region)
    assert resolve(site=site, region=region) == found


def test_a_region_that_contradicts_the_site() -> None:
    with pytest.raises(ConfigurationError, match=r"'ap-singapore' contradicts site 'cn'"):
        resolve(site="cn", region="ap-singapore")


def test_a_region_or_site_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="ap-guangzhou, ap-singapore"):
        resolve(region="ap-beijing")
    with pytest.raises(ConfigurationError, match="cn, intl"):
        resolve(site="us")


def test_a_region_set_for_other_products_is_ignored_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ = {**PAIR, "TENCENTCLOUD_REGION": "ap-beijing"}
    with caplog.at_level(logging.WARNING):
        assert resolve(environ).region == "ap-singapore"
        assert resolve(environ).region == "ap-singapore"
    assert len([r for r in caplog.records if "ap-beijing" in r.message]) == 1
    assert resolve({**PAIR, "TENCENTCLOUD_REGION": "ap-guangzhou"}).region == "ap-guangzhou"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("tiw.example.com", "https://tiw.example.com"),
        ("tiw.example.com:8443", "https://tiw.example.com:8443"),
        ("127.0.0.1:8787", "https://127.0.0.1:8787"),
        ("http://127.0.0.1:8787", "http://127.0.0.1:8787"),
        ("https://tiw.example.com/", "https://tiw.example.com"),
        ("http://[::1]:8787", "http://[::1]:8787"),
    ],
)
def test_endpoints(endpoint: str, url: str) -> None:
    assert resolve(endpoint=endpoint).url == url
    assert resolve({**PAIR, "TIW_ENDPOINT": endpoint}).url == url


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://x",
        "http://",
        "http://h:99999",
        "http://h:port",
        "http://h/path",
        "h?x=1",
        "a b",
        "http://h:0",
        "h/#f",
        "-x-",
        7,
    ],
)
def test_a_malformed_endpoint(endpoint: Any) -> None:
    with pytest.raises(ConfigurationError, match="endpoint") as caught:
        resolve(endpoint=endpoint)
    assert "host:port" in str(caught.value)


def test_a_password_in_the_endpoint_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(endpoint="http://me:sesame@host")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("name", ["requests_per_second", "timeout", "quota_share"])
@pytest.mark.parametrize("value", [0, -1, "x", float("nan"), float("inf"), True])
def test_numbers_have_to_be_above_zero(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        resolve(**{name: value})


def test_a_share_is_at_most_one() -> None:
    assert resolve({**PAIR, "TIW_QUOTA_SHARE": "0.25"}).quota_share == 0.25
    with pytest.raises(ConfigurationError, match="TIW_QUOTA_SHARE"):
        resolve({**PAIR, "TIW_QUOTA_SHARE": "1.5"})


def test_the_sdk_app_id_comes_from_the_argument_first() -> None:
    environ = {**PAIR, "TIW_SDK_APP_ID": "1400000001"}
    assert resolve(environ).sdk_app_id == 1400000001
    assert resolve(environ, sdk_app_id=7).sdk_app_id == 7
    with pytest.raises(ConfigurationError, match="positive integer"):
        resolve({**PAIR, "TIW_SDK_APP_ID": "mine"})


def test_files_and_proxies(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert resolve(ca_file=bundle).ca_file == str(bundle)
    with pytest.raises(ConfigurationError, match="no file"):
        resolve(ca_file=tmp_path / "absent.pem")
    assert resolve(proxy="http://proxy:3128").proxy == "http://proxy:3128"
    for bad in ("proxy:3128", "socks5://h:1", "http://h:x", 5):
        with pytest.raises(ConfigurationError, match="proxy"):
            resolve(proxy=bad)


def test_no_secret_in_a_repr() -> None:
    client = TiwClient(
        secret_id=ID, secret_key=KEY, token="tokentoken", proxy="http://me:sesame@127.0.0.1:1"
    )
    for text in (repr(client), repr(client.settings), repr(client.settings.credentials)):
        assert KEY not in text
        assert "tokentoken" not in text
        assert "sesame" not in text
