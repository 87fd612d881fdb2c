# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, CredentialsError, ServerError, TiwClient
from tiw_automation.core.api.credential_chain import find_credentials
from tiw_automation.core.api.credentials import Credentials, CredentialSource, RenewedKeys
from tiw_automation.core.api.key_files import read_profile
from tiw_automation.core.api.roles import AssumedRole

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
    message = str(caught.value)
    for place in (
        "the arguments secret_id and secret_key (not given)",
        "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY (not set)",
        f"{tmp_path}/.tccli/default.credential (holds no keys)",
        f"{tmp_path}/.tencentcloud/credentials (not there)",
        "the CAM role of this instance (This instance's metadata:",
    ):
        assert place in message


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
        ("{", r"not valid JSON \(line 1\)"),
        ("[]", "not hold a JSON object"),
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
        ("[default]\n[default]\n", "not an INI file"),
    ],
)
def test_mistakes_in_the_sdks_file(tmp_path: Path, text: str, words: str) -> None:
    path = sdk_file(tmp_path, text)
    with pytest.raises(CredentialsError, match=words) as caught:
        find(tmp_path)
    assert str(path) in str(caught.value)


def test_the_quotes_of_the_sdks_own_example_are_removed(tmp_path: Path) -> None:
    sdk_file(tmp_path, '[default]\nsecret_id="a"\nsecret_key=\'b\'\ntoken="c"\n')
    assert keys(find(tmp_path)) == ("a", "b", "c")


def test_a_link_that_leads_nowhere_is_a_missing_file(tmp_path: Path) -> None:
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


def test_a_half_written_file_changes_nothing(
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
        return "account"

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


def test_a_failed_renewal_is_retried_while_the_old_keys_last() -> None:
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


def test_refused_keys_are_fetched_again_once() -> None:
    source = Fetched(7200.0)
    refused = source.current()
    assert source.renew(refused)
    assert keys(source)[0] == "id2"
    assert source.renew(refused)
    assert source.fetched == 2


def test_a_malformed_role(tmp_path: Path) -> None:
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
    with pytest.raises(ConfigurationError, match="not valid JSON"):
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


def a_folder(path: Path) -> None:
    path.mkdir()


def latin(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\xff")


def too_large(path: Path) -> None:
    path.write_bytes(b" " * 2_000_000)


@pytest.mark.parametrize("make", [a_folder, latin, too_large, os.mkfifo])
@pytest.mark.parametrize("name", [".tccli/default.credential", ".tencentcloud/credentials"])
def test_an_unreadable_file_counts_as_missing_unless_it_is_named(
    tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir()
    make(path)
    assert keys(find(tmp_path, PAIR)) == (ID, KEY, None)
    other = ".tencentcloud/credentials" if "tccli" in name else ".tccli/default.credential"
    with pytest.raises(CredentialsError, match=f"Looked at: .*{path}") as caught:
        find(tmp_path)
    # The error names each file that was ignored.
    assert f"{tmp_path / other} (not there)" in str(caught.value)
    if "tccli" in name:
        sdk_file(tmp_path, "[default]\nsecret_id = a\nsecret_key = b\n")
        assert keys(find(tmp_path)) == ("a", "b", None)
        for given, environ in (("default", {}), (None, {"TENCENTCLOUD_PROFILE": "default"})):
            with pytest.raises(CredentialsError, match=r"default\.credential"):
                find(tmp_path, environ, profile=given)


WITHOUT_RIGHTS = """
import json, os, sys
from tiw_automation.core import TiwClient, TiwError
pair, no_metadata, home = json.loads(sys.argv[1])
os.environ |= {**no_metadata, "HOME": home}
# Modules that are imported later may be in a folder that this process cannot read.
TiwClient(secret_id="a", secret_key="b")
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def show(environ, **given):
    os.environ |= environ
    try:
        print(TiwClient(**given).settings.credentials.identity)
    except TiwError as error:
        print(error)
    for name in environ:
        del os.environ[name]

show(pair)
show({}, secret_id="AKIDgiven", secret_key="keykey")
show({})
show({**pair, "TENCENTCLOUD_PROFILE": "default"})
show({"TENCENTCLOUD_PROFILE": "default"})
"""


@pytest.mark.parametrize("closed", ["home", "home/.tccli", "home/.tccli/default.credential"])
def test_a_home_that_cannot_be_entered(tmp_path: Path, closed: str) -> None:
    """The process has no rights, because root may read everything."""
    home = tmp_path / "home"
    home.mkdir()
    tccli(home, secretId="idofdefault", secretKey="keyofdefault")
    for folder in (tmp_path, tmp_path.parent, tmp_path.parents[1]):
        folder.chmod(0o755)
    path = tmp_path / closed
    # Its owner may enter a folder of mode 0700.
    path.chmod(0o700 if os.getuid() == 0 else 0)
    given = json.dumps([PAIR, NO_METADATA, str(home)])
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, given],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        path.chmod(0o755)
    assert not done.stderr
    of_environment, of_arguments, nothing, beside_a_profile, named = done.stdout.splitlines()
    assert (of_environment, of_arguments, beside_a_profile) == (ID, "AKIDgiven", ID)
    unreadable = f"{home}/.tccli/default.credential cannot be read: Permission denied"
    assert nothing.startswith("No keys were found")
    assert unreadable in nothing
    assert named.startswith(unreadable)


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_METADATA.items():
        monkeypatch.setenv(name, value)
    for home in (None, "", "/dev/null", "/nonexistent", "relative", "~", "/\u20ac"):
        if home is None:
            monkeypatch.delenv("HOME")
        else:
            monkeypatch.setenv("HOME", home)
        assert TiwClient(secret_id="a", secret_key="b").settings.credentials.identity == "a"


def test_the_folder_that_terraform_shares(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    tccli(tmp_path, secretId="idofhome", secretKey="keyofhome")
    (folder / "default.credential").write_text('{"secretId": "a", "secretKey": "b"}')
    (folder / "default.configure").write_text('{"_sys_param": {"region": "ap-guangzhou"}}')
    environ = {"TENCENTCLOUD_SHARED_CREDENTIALS_DIR": str(folder)}
    assert keys(find(tmp_path, environ))[0] == "a"
    assert keys(find(tmp_path, environ, profile="default"))[0] == "a"
    assert read_profile(None, environ, tmp_path).region == "ap-guangzhou"
    with pytest.raises(CredentialsError, match=str(folder)):
        find(tmp_path, environ, profile="work")


ROLE = "qcs::cam::uin/1:roleName/r"
OTHER = "qcs::cam::uin/1:roleName/other"


def test_the_role_that_terraform_assumes(tmp_path: Path) -> None:
    names = {
        "TENCENTCLOUD_ASSUME_ROLE_ARN": ROLE,
        "TENCENTCLOUD_ASSUME_ROLE_SESSION_NAME": "deploy",
    }
    found = find(tmp_path, {**PAIR, **names})
    assert isinstance(found, AssumedRole)
    assert (found.role_arn, found.session_name, found.identity) == (ROLE, "deploy", ID)
    ours = {"TENCENTCLOUD_ROLE_ARN": OTHER, "TENCENTCLOUD_ROLE_SESSION_NAME": "mine"}
    found = find(tmp_path, {**PAIR, **names, **ours})
    assert isinstance(found, AssumedRole)
    assert (found.role_arn, found.session_name) == (OTHER, "mine")
    tccli(
        tmp_path, "work", secretId="a", secretKey="b", **{"role-arn": "qcs::cam::uin/1:roleName/w"}
    )
    found = find(tmp_path, names, profile="work")
    assert isinstance(found, AssumedRole)
    assert found.role_arn == "qcs::cam::uin/1:roleName/w"


def pod(token_file: Path) -> dict[str, str]:
    return {
        "TKE_ROLE_ARN": ROLE,
        "TKE_PROVIDER_ID": "cls-1",
        "TKE_REGION": "ap-guangzhou",
        "TKE_WEB_IDENTITY_TOKEN_FILE": str(token_file),
    }


def test_a_pods_role_comes_after_keys_and_needs_all_of_its_variables(tmp_path: Path) -> None:
    variables = pod(tmp_path / "token")
    assert find(tmp_path, variables).identity == f"CAM role {ROLE}"
    assert find(tmp_path, variables) is find(tmp_path, variables)
    assert find(tmp_path, {**variables, **PAIR}).identity == ID
    for name in variables:
        lacking = {**variables, name: ""}
        with pytest.raises(CredentialsError, match=f"this pod .*without {name}"):
            find(tmp_path, lacking)
    with pytest.raises(CredentialsError, match=r"TKE_\* \(not set\)"):
        find(tmp_path)
    tccli(tmp_path, secretId="a", secretKey="b")
    assert find(tmp_path, variables).identity == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "secretid = AKIDsecret\nsecretkey = s3cretvalue\n",
            r"secretid, secretkey, without secret_id and secret_key\. Did you mean secret_id\? "
            r"Did you mean secret_key\?",
        ),
        (
            "secret-id = a\nsecret-key = b\ntoken = c\n",
            r"secret-id, secret-key, token, without .* Did you mean secret_id\?",
        ),
        ("AKIDsecret = s3cretvalue\n", "holds 1 other name, without secret_id and secret_key"),
        ("token = s3cretvalue\n", "holds token, without secret_id and secret_key"),
        ("", "is empty, without secret_id and secret_key"),
        ("secret_id = a\nsecretkey = s3cretvalue\n", "secret_id without secret_key"),
    ],
)
def test_names_that_are_misspelt_in_the_sdks_file(tmp_path: Path, text: str, words: str) -> None:
    sdk_file(tmp_path, f"[default]\n{text}")
    with pytest.raises(CredentialsError, match=words) as caught:
        find(tmp_path)
    assert "s3cretvalue" not in str(caught.value)
    assert "akidsecret" not in str(caught.value).lower()


def test_a_section_of_defaults_is_a_section_like_others(tmp_path: Path) -> None:
    sdk_file(tmp_path, "[DEFAULT]\nsecret_id = a\nsecret_key = b\n")
    with pytest.raises(CredentialsError, match=r"no section \[default\].*\[DEFAULT\]"):
        find(tmp_path)
