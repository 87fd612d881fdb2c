# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import certifi
import pytest

from tiw_automation.core import ConfigurationError, Settings, TiwClient
from tiw_automation.core.api import settings as settings_module
from tiw_automation.core.api.roles import AssumedRole
from tiw_automation.core.api.sites import SITES
from tiw_automation.simulator.server import DEFAULT_SECRET_ID, DEFAULT_SECRET_KEY

ID = "AKIDexampleexampleexample"
KEY = "keyexamplekeyexamplekey00"
PAIR = {"TENCENTCLOUD_SECRET_ID": ID, "TENCENTCLOUD_SECRET_KEY": KEY}


def resolve(environ: dict[str, str] | None = None, **given: Any) -> Settings:
    given.setdefault("home", Path("/nonexistent"))
    return Settings.resolve(environ=PAIR if environ is None else environ, **given)


@pytest.fixture(autouse=True)
def _forget_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_numbers_must_be_above_zero(name: str, value: Any) -> None:
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
    bundle = Path(certifi.where())
    assert resolve(ca_file=bundle).ca_file == str(bundle)
    with pytest.raises(ConfigurationError, match="no file"):
        resolve(ca_file=tmp_path / "absent.pem")
    for good in ("http://proxy:3128", "proxy:3128", "proxy.corp.example:3128"):
        assert resolve(proxy=good).proxy == good
    for bad, named in (
        ("socks5://h:1", "kind"),
        ("http://h:x", "its port"),
        ("http://user:secret@127.0.0.1:99999", "its port"),
        ("http://:3128", "its host"),
        ("http://h:1/path", "something follows"),
        (5, "a string"),
    ):
        with pytest.raises(ConfigurationError, match=f"proxy.*{named}") as caught:
            resolve(proxy=bad)
        assert "secret" not in str(caught.value)


def test_no_secret_in_a_repr() -> None:
    client = TiwClient(
        secret_id=ID, secret_key=KEY, token="tokentoken", proxy="http://me:sesame@127.0.0.1:1"
    )
    for text in (repr(client), repr(client.settings), repr(client.settings.credentials)):
        assert KEY not in text
        assert "tokentoken" not in text
        assert "sesame" not in text


def profile(home: Path, name: str = "default", **data: Any) -> None:
    path = home / ".tccli" / f"{name}.configure"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))


ELSEWHERE: dict[str, Any] = {
    "_sys_param": {"region": "ap-guangzhou"},
    "tiw": {"endpoint": "tiw.elsewhere.example"},
    "sts": {"endpoint": "sts.elsewhere.example"},
}
ROLE = "qcs::cam::uin/1:roleName/r"


def test_an_explicit_site_shuts_out_every_ambient_endpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profile(tmp_path, **ELSEWHERE)
    environ = {
        **PAIR,
        "TIW_ENDPOINT": "http://127.0.0.1:8787",
        "TIW_STS_ENDPOINT": "http://127.0.0.1:8787",
    }
    found = resolve(environ, home=tmp_path, site="intl", role_arn=ROLE)
    assert (found.url, found.region) == ("https://tiw.intl.tencentcloudapi.com", "ap-singapore")
    assert isinstance(found.credentials, AssumedRole)
    assert found.credentials.url == "https://sts.intl.tencentcloudapi.com"
    assert "TIW_ENDPOINT is ignored" in caplog.text
    assert resolve(environ, home=tmp_path, site="cn").host == "tiw.tencentcloudapi.com"
    # An argument is not ambient.
    given = resolve(environ, home=tmp_path, site="cn", endpoint="https://mine.example")
    assert (given.host, given.region) == ("mine.example", "ap-guangzhou")
    without = resolve(PAIR, home=tmp_path, site="intl")
    assert without.host == "tiw.intl.tencentcloudapi.com"


def test_explicit_keys_shut_out_the_files_and_never_the_environment(tmp_path: Path) -> None:
    profile(tmp_path, **ELSEWHERE)
    keys = {"secret_id": "AKIDa", "secret_key": "b"}
    found = resolve({}, home=tmp_path, role_arn=ROLE, **keys)
    assert (found.host, found.region) == ("tiw.tencentcloudapi.com", "ap-singapore")
    assert isinstance(found.credentials, AssumedRole)
    assert found.credentials.url == "https://sts.tencentcloudapi.com"
    simulator = {"TIW_ENDPOINT": "http://127.0.0.1:8787", "TENCENTCLOUD_REGION": "ap-guangzhou"}
    found = resolve(simulator, home=tmp_path, **keys)
    assert (found.url, found.region) == ("http://127.0.0.1:8787", "ap-guangzhou")
    # With keys of the environment or a named profile, the files' settings are used.
    assert resolve(PAIR, home=tmp_path).host == "tiw.elsewhere.example"
    named = resolve({}, home=tmp_path, profile="default", **keys)
    assert named.host == "tiw.elsewhere.example"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:8787", True),
        ("127.9.9.9", True),
        ("[::1]:8787", True),
        ("localhost:8787", True),
        ("LOCALHOST", True),
        ("tiw.tencentcloudapi.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0:8787", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("[fe80::1]", False),
        ("2130706433", False),
    ],
)
def test_plain_http_is_only_for_this_machine(host: str, loopback: bool) -> None:
    url = f"http://{host}"
    for environ, given, name in (
        (PAIR, {"endpoint": url}, "endpoint"),
        ({**PAIR, "TIW_ENDPOINT": url}, {}, "TIW_ENDPOINT"),
        ({**PAIR, "TIW_STS_ENDPOINT": url}, {"role_arn": ROLE}, "TIW_STS_ENDPOINT"),
    ):
        if loopback:
            resolve(environ, **given)
        else:
            with pytest.raises(ConfigurationError, match=f"{name}: .*plain http") as caught:
                resolve(environ, **given)
            assert "allow_http" in str(caught.value)
        resolve(environ, **given, allow_http=True)
        resolve({**environ, "TIW_ALLOW_HTTP": "yes"}, **given)
    assert resolve(endpoint=f"https://{host}").scheme == "https"


def test_allow_http_is_true_or_false() -> None:
    refused = {**PAIR, "TIW_ALLOW_HTTP": "1", "TIW_ENDPOINT": "http://h"}
    assert resolve(refused).url == "http://h"
    with pytest.raises(ConfigurationError, match="plain http"):
        resolve(refused, allow_http=False)
    for value in ("maybe", "2", " "):
        with pytest.raises(ConfigurationError, match="TIW_ALLOW_HTTP"):
            resolve({**PAIR, "TIW_ALLOW_HTTP": value})
    with pytest.raises(ConfigurationError, match="allow_http"):
        resolve(allow_http="maybe")


def test_a_profile_of_the_files_may_not_use_plain_http_either(tmp_path: Path) -> None:
    profile(tmp_path, tiw={"endpoint": "http://tiw.example"})
    with pytest.raises(ConfigurationError, match=r"profile's endpoint: .*plain http"):
        resolve(home=tmp_path)


@pytest.mark.parametrize(
    "endpoint",
    ["http://me:s3cret/password@host", "http://me:s3cret@[", "s3cret@host", "http://h/?k=@s3cret"],
)
def test_no_part_of_an_endpoint_with_a_password_is_repeated(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="TIW_ENDPOINT") as caught:
        resolve({**PAIR, "TIW_ENDPOINT": endpoint})
    assert "s3cret" not in str(caught.value)


def test_unreadable_settings_are_ignored_unless_the_profile_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ".tccli" / "default.configure"
    path.mkdir(parents=True)
    assert resolve(home=tmp_path).host == "tiw.tencentcloudapi.com"
    assert not caplog.records
    with pytest.raises(ConfigurationError, match="not a regular file"):
        resolve(home=tmp_path, profile="default")


@pytest.mark.parametrize("given", [{}, {"site": "intl"}, {"endpoint": SITES["cn"].host}])
def test_the_simulators_key_does_not_go_to_tencent(given: dict[str, str]) -> None:
    keys = {"secret_id": DEFAULT_SECRET_ID, "secret_key": DEFAULT_SECRET_KEY}
    environ = {"TIW_ENDPOINT": "http://127.0.0.1:8787"} if "site" in given else {}
    with pytest.raises(ConfigurationError, match=r"simulator's.* Set TIW_ENDPOINT"):
        resolve(environ, **keys, **given)
    for endpoint in ("http://127.0.0.1:8787", "https://simulator.intern"):
        assert resolve(environ, **keys, endpoint=endpoint).credentials.identity == DEFAULT_SECRET_ID
