# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, CredentialsError, ServerError, TiwClient
from tiw_automation.core.credentials import (
    Credentials,
    CredentialSource,
    RenewedKeys,
    find_credentials,
    read_profile,
)

ID = "AKIDexampleexampleexample"
KEY = "keyexamplekeyexamplekey00"
PAIR = {"TENCENTCLOUD_SECRET_ID": ID, "TENCENTCLOUD_SECRET_KEY": KEY}
# Nothing listens there: an instance without metadata.
NO_METADATA = {"TIW_METADATA_ENDPOINT": "http://127.0.0.1:1"}


def find(home: Path, environ: dict[str, str] | None = None, **given: Any) -> CredentialSource:
    return find_credentials(environ={**NO_METADATA, **(environ or {})}, home=home, **given)


def keys(source: CredentialSource) -> tuple[str, str, str | None]:
    return source.current().get_credential_info()


def tccli(home: Path, profile: str = "default", **data: Any) -> Path:
    path = home / ".tccli" / f"{profile}.credential"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def sdk_file(home: Path, text: str) -> Path:
    path = home / ".tencentcloud" / "credentials"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    sdk_file(tmp_path, "[default]\nsecret_id = idofsdk\nsecret_key = keyofsdk\n")
    assert keys(find(tmp_path)) == ("idofsdk", "keyofsdk", None)
    tccli(tmp_path, secretId="idofdefault", secretKey="keyofdefault")
    assert keys(find(tmp_path)) == ("idofdefault", "keyofdefault", None)
    tccli(tmp_path, "named", secretId="idofnamed", secretKey="keyofnamed", token="t")
    for name in ("TENCENTCLOUD_PROFILE", "TCCLI_PROFILE"):
        assert keys(find(tmp_path, {name: "named"})) == ("idofnamed", "keyofnamed", "t")
    environ = {**PAIR, "TENCENTCLOUD_PROFILE": "named"}
    assert keys(find(tmp_path, environ)) == (ID, KEY, None)
    tccli(tmp_path, "explicit", secretId="idofexplicit", secretKey="keyofexplicit")
    assert keys(find(tmp_path, environ, profile="explicit"))[0] == "idofexplicit"
    given = find(tmp_path, environ, profile="explicit", secret_id="a", secret_key="b")
    assert keys(given) == ("a", "b", None)
    assert given.current().source == "arguments"


@pytest.mark.parametrize(
    "name", ["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SECURITY_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"]
)
def test_a_token_comes_with_the_environments_pair_only(tmp_path: Path, name: str) -> None:
    environ = {**PAIR, name: "tokentoken"}
    assert keys(find(tmp_path, environ)) == (ID, KEY, "tokentoken")
    assert keys(find(tmp_path, environ, secret_id="a", secret_key="b")) == ("a", "b", None)


@pytest.mark.parametrize(
    ("environ", "given", "words"),
    [
        ({"TENCENTCLOUD_SECRET_ID": ID}, {}, "without TENCENTCLOUD_SECRET_KEY"),
        ({"TENCENTCLOUD_SECRET_KEY": KEY}, {}, "without TENCENTCLOUD_SECRET_ID"),
        (PAIR, {"secret_id": ID}, "without secret_key"),
        (PAIR, {"secret_key": KEY}, "without secret_id"),
        (PAIR, {"token": "t"}, "without secret_id"),
        ({}, {"secret_id": f" {ID}", "secret_key": KEY}, "secret_id .* blanks"),
        ({}, {"secret_id": ID, "secret_key": f"{KEY}\n"}, "secret_key .* blanks"),
        ({}, {"secret_id": ID, "secret_key": f'"{KEY}"'}, "secret_key .* quotes"),
        ({}, {"secret_id": ID, "secret_key": 5}, "secret_key .* string"),
        ({**PAIR, "TENCENTCLOUD_SECRET_ID": f"'{ID}'"}, {}, "TENCENTCLOUD_SECRET_ID .* quotes"),
    ],
)
def test_mistakes_in_keys(
    tmp_path: Path, environ: dict[str, str], given: dict[str, Any], words: str
) -> None:
    with pytest.raises(CredentialsError, match=words) as caught:
        find(tmp_path, environ, **given)
    assert KEY not in str(caught.value)


def test_without_any_keys_the_error_says_where_it_looked_and_what_was_there(
    tmp_path: Path,
) -> None:
    tccli(tmp_path, type="default")
    with pytest.raises(CredentialsError) as caught:
        find(tmp_path)
    said = str(caught.value)
    for place in (
        "the arguments secret_id and secret_key (not given)",
        "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY (not set)",
        f"{tmp_path}/.tccli/default.credential (holds no keys)",
        f"{tmp_path}/.tencentcloud/credentials (not there)",
        "the CAM role of this instance (This instance's metadata:",
    ):
        assert place in said


def test_a_profile_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"Run tccli configure"):
        find(tmp_path, profile="work")
    tccli(tmp_path, "home", secretId=ID, secretKey=KEY)
    with pytest.raises(CredentialsError, match=r"no profile 'work'.* There are: home\."):
        find(tmp_path, PAIR, profile="work")
    with pytest.raises(CredentialsError, match=r"TENCENTCLOUD_PROFILE"):
        find(tmp_path, {"TENCENTCLOUD_PROFILE": "work"})
    for name in ("../x", "a/b", ".."):
        with pytest.raises(ConfigurationError, match="without a folder"):
            find(tmp_path, profile=name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON: line 1"),
        ("[]", "no JSON object"),
        ('{"secretId": "a"}', "without secretKey"),
        ('{"secretKey": "a"}', "without secretId"),
        ('{"secretId": "a", "secretKey": 5}', "secretKey .* string"),
        ('{"secretId": "a", "secretKey": "b ", "token": "c"}', "secretKey .* blanks"),
        ('{"secretId": "a", "secretKey": "b", "expiresAt": 1}', "expired.* tccli auth login"),
        ("\udcff", "UTF-8"),
    ],
)
def test_mistakes_in_a_profile(tmp_path: Path, text: str, words: str) -> None:
    path = tccli(tmp_path, "work")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CredentialsError, match=words) as caught:
        find(tmp_path, profile="work")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("secret_id = a\n", r"\[default\]"),
        ("[main]\nsecret_id = a\nsecret_key = b\n", r"no section \[default\].*\[main\]"),
        ("[default]\nsecret_id = a\n", "without secret_key"),
        ('[default]\nsecret_id = ""\nsecret_key = ""\n', "without secret_id"),
        ("[default]\nsecret_id = a b\nsecret_key = c\n", "secret_id .* blanks"),
        ("[default]\n[default]\n", "no file of sections"),
    ],
)
def test_mistakes_in_the_sdks_file(tmp_path: Path, text: str, words: str) -> None:
    path = sdk_file(tmp_path, text)
    with pytest.raises(CredentialsError, match=words) as caught:
        find(tmp_path)
    assert str(path) in str(caught.value)


def test_the_quotes_of_the_sdks_own_example_are_taken_off(tmp_path: Path) -> None:
    sdk_file(tmp_path, '[default]\nsecret_id="a"\nsecret_key=\'b\'\ntoken="c"\n')
    assert keys(find(tmp_path)) == ("a", "b", "c")


def test_a_link_that_leads_nowhere_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / ".tencentcloud" / "credentials"
    path.parent.mkdir()
    path.symlink_to(path)
    with pytest.raises(CredentialsError, match=r"credentials \(not there\)"):
        find(tmp_path)


def test_keys_that_change_in_their_file_are_taken_up(tmp_path: Path) -> None:
    path = tccli(tmp_path, secretId="first", secretKey="one")
    source = find(tmp_path)
    refused = source.current()
    assert not source.renew(refused)
    tccli(tmp_path, secretId="second", secretKey="two")
    os.utime(path, ns=(1, 1))
    assert source.renew(refused)
    assert keys(source) == ("second", "two", None)
    # The account is the same, and so is its quota.
    assert source.identity == "first"
    assert find(tmp_path) is source


def test_a_file_that_is_half_written_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tccli(tmp_path, secretId="first", secretKey="one")
    source = find(tmp_path)
    path.write_text('{"secretId": "sec')
    assert keys(source) == ("first", "one", None)
    assert "stay in use" in caplog.text
    path.unlink()
    assert keys(source) == ("first", "one", None)
    tccli(tmp_path, secretId="second", secretKey="two")
    assert keys(source) == ("second", "two", None)


class Fetched(RenewedKeys):
    """Keys that are numbered and last for ``life`` seconds of a fake clock."""

    def __init__(self, life: float) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 1000.0
        self.life = life
        self.fetched = 0
        self.broken = False

    @property
    def identity(self) -> str:
        return "somebody"

    def fetch(self) -> Credentials:
        if self.broken:
            raise ServerError("down")
        self.fetched += 1
        return Credentials(f"id{self.fetched}", "key", "token", "x", self.now + self.life)


def test_temporary_keys_are_renewed_before_they_end() -> None:
    source = Fetched(7200.0)
    assert keys(source)[0] == "id1"
    source.now += 6599
    assert keys(source)[0] == "id1"
    source.now += 1
    assert keys(source)[0] == "id2"


def test_keys_with_a_short_life_are_renewed_at_half_of_it() -> None:
    source = Fetched(60.0)
    assert keys(source)[0] == "id1"
    source.now += 31
    assert keys(source)[0] == "id2"


def test_a_renewal_that_fails_is_tried_again_while_the_old_keys_last() -> None:
    source = Fetched(7200.0)
    assert keys(source)[0] == "id1"
    source.broken = True
    source.now += 6600
    assert keys(source)[0] == "id1"
    source.broken = False
    assert keys(source)[0] == "id1"
    source.now += 30
    assert keys(source)[0] == "id2"
    source.broken = True
    source.now += 7200
    with pytest.raises(ServerError):
        source.current()


def test_refused_keys_are_fetched_anew_once() -> None:
    source = Fetched(7200.0)
    refused = source.current()
    assert source.renew(refused)
    assert keys(source)[0] == "id2"
    assert source.renew(refused)
    assert source.fetched == 2


def test_a_role_has_to_have_its_form(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="qcs::cam::uin"):
        find(tmp_path, PAIR, role_arn="my-role")


def test_the_settings_of_a_profile(tmp_path: Path) -> None:
    path = tmp_path / ".tccli" / "work.configure"
    path.parent.mkdir()
    path.write_text(
        json.dumps({"_sys_param": {"region": "ap-guangzhou"}, "tiw": {"endpoint": "tiw.example"}})
    )
    found = read_profile("work", {}, tmp_path)
    assert (found.region, found.endpoint, found.sts_endpoint) == (
        "ap-guangzhou",
        "tiw.example",
        None,
    )
    assert read_profile(None, {"TCCLI_PROFILE": "work"}, tmp_path) == found
    assert read_profile(None, {}, tmp_path).region is None
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="no JSON"):
        read_profile("work", {}, tmp_path)


def test_no_source_shows_its_keys(tmp_path: Path) -> None:
    tccli(tmp_path, secretId=ID, secretKey=KEY, token="tokentoken")
    role = "qcs::cam::uin/1:roleName/r"
    sources = [find(tmp_path), find(tmp_path, PAIR), find(tmp_path, PAIR, role_arn=role)]
    for shown in [repr(sources), repr([source.__dict__ for source in sources[::2]])]:
        assert KEY not in shown
        assert "tokentoken" not in shown


def test_a_client_of_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tccli(tmp_path, "work", secretId=ID, secretKey=KEY)
    (tmp_path / ".tccli" / "work.configure").write_text(
        json.dumps({"_sys_param": {"region": "ap-guangzhou"}})
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = TiwClient(profile="work").settings
    assert (settings.credentials.identity, settings.region) == (ID, "ap-guangzhou")
