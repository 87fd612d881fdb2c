# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values are masked in Ansible's output."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.module_utils import _account


class Module:
    """The part of an AnsibleModule that the settings need."""

    def __init__(self, **params: t.Any) -> None:
        self.params = dict.fromkeys(_account.ACCOUNT_ARGUMENTS) | params
        self.no_log_values: set[str] = set()


def hidden(**params: t.Any) -> set[str]:
    module = Module(**params)
    _account.hide_secrets(t.cast(t.Any, module))
    return module.no_log_values


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_account._SECRET_VARIABLES, *_account._URL_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_secrets_no_value_is_hidden() -> None:
    assert hidden(endpoint="http://127.0.0.1:8787") == set()


@pytest.mark.parametrize("name", _account._SECRET_VARIABLES)
def test_a_secret_of_the_environment_is_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "a-secret-of-some-length")
    assert hidden() == {"a-secret-of-some-length"}


@pytest.mark.parametrize("option", ["proxy", "endpoint", "quota_url"])
def test_the_password_in_a_url_is_hidden(option: str) -> None:
    assert hidden(**{option: "http://user:pass-of-proxy@127.0.0.1:3128"}) == {"pass-of-proxy"}


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY"])
def test_the_password_in_the_environments_proxy_is_hidden(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://user:pass-of-proxy@127.0.0.1:3128")
    assert hidden() == {"pass-of-proxy"}


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("user:pass-of-proxy@proxy.example.com:3128", {"pass-of-proxy"}),
        ("http://user:pass%40of%2Fproxy@proxy:3128", {"pass%40of%2Fproxy", "pass@of/proxy"}),
        ("http://user:s3cret/password@proxy:3128", {"s3cret/password"}),
        ("http://user:a:b@c:d-e-f-g@proxy:3128", {"a:b@c:d-e-f-g"}),
        # So short that it occurs in words and numbers, or is a word of a result.
        ("http://svc:1@proxy:3128", set()),
        ("http://svc:lon@proxy:3128", set()),
        ("http://svc:finished@proxy:3128", set()),
        ("http://svc:screen_share@proxy:3128", set()),
        ("http://svc@proxy:3128", set()),
        ("http://proxy:3128", set()),
    ],
)
def test_which_password_of_a_proxy_is_hidden(
    url: str, passwords: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    assert hidden() == passwords


def test_a_malformed_url_is_left_to_the_core() -> None:
    assert hidden(endpoint="http://[::1") == set()


def test_secret_arguments_are_marked() -> None:
    secret = {"secret_id", "secret_key", "token", "proxy", "quota_url"}
    assert {k for k, v in _account.ACCOUNT_ARGUMENTS.items() if v.get("no_log")} == secret
