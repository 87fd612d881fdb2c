# SPDX-License-Identifier: Apache-2.0
"""Any environment and any files of keys."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.core import Settings, TiwClient, TiwError
from tiw_automation.core.api.key_files import text_of

SECRET = "s3cretS3CRETs3cret"
PAIR = {"TENCENTCLOUD_SECRET_ID": "AKIDexample", "TENCENTCLOUD_SECRET_KEY": SECRET}
NAMES = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_PROFILE",
    "TENCENTCLOUD_REGION",
    "TENCENTCLOUD_ROLE_ARN",
    "TENCENTCLOUD_ROLE_SESSION_NAME",
    "TENCENTCLOUD_ASSUME_ROLE_ARN",
    "TENCENTCLOUD_SHARED_CREDENTIALS_DIR",
    "TKE_ROLE_ARN",
    "TKE_PROVIDER_ID",
    "TKE_REGION",
    "TKE_WEB_IDENTITY_TOKEN_FILE",
    "TIW_SDK_APP_ID",
    "TIW_ENDPOINT",
    "TIW_STS_ENDPOINT",
    "TIW_ALLOW_HTTP",
    "TIW_QUOTA_SHARE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
# The texts of an environment: no NUL, and no surrogates.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
pieces = st.sampled_from(
    [
        SECRET,
        "http://",
        "https://",
        "socks5://",
        "//",
        ":",
        "@",
        "/",
        "[",
        "]",
        "::1",
        "%",
        "%40",
        "127.0.0.1",
        "localhost",
        "proxy.example",
        "3128",
        "99999",
        "*",
        ",",
        " ",
        "\n",
        "qcs::cam::",
        "default",
        "~",
        "..",
        "/dev/zero",
        "/etc",
        "ap-guangzhou",
        "1",
        "yes",
        "\x1b[31m",
        "²",
    ]
)
values = texts | st.lists(pieces, min_size=1, max_size=7).map("".join)


@contextmanager
def machine(environ: dict[str, str]) -> Iterator[Path]:
    """A machine with that environment, an empty home and no metadata."""
    with tempfile.TemporaryDirectory() as home:
        given = {**environ, "HOME": home, "TIW_METADATA_ENDPOINT": "http://127.0.0.1:1"}
        with patch.dict(os.environ, given, clear=True):
            yield Path(home)


def build(**given: object) -> str:
    """Return the ``repr`` of a client, or the error that it raises, as a text."""
    try:
        with TiwClient(**given) as client:  # type: ignore[arg-type]
            return repr(client)
    except TiwError as error:
        return f"{error} {error.to_dict()} {error.__cause__ or ''}"


@examples()
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=5), st.booleans())
def test_a_client_of_any_environment_or_an_error(environ: dict[str, str], has_keys: bool) -> None:
    with machine({**environ, **(PAIR if has_keys else {})}):
        printed = build()
    secret = {
        name: value
        for name, value in environ.items()
        if name.endswith(("SECRET_KEY", "TOKEN", "_PROXY"))
        or (name.endswith("ENDPOINT") and "@" in value)
    }
    if has_keys or any(SECRET in value for value in secret.values()):
        shown = {name: value for name, value in environ.items() if name not in secret}
        # A path or a name may contain the secret's text.
        assert SECRET not in printed or any(SECRET in value for value in shown.values())


@examples()
@given(values.filter(bool))
def test_any_proxy_or_an_error_without_it(value: str) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
        with machine({name: value, **PAIR}):
            printed = build(endpoint="https://tiw.example")
        assert SECRET not in printed
    with machine(PAIR):
        assert SECRET not in build(proxy=value)


@examples()
@given(values)
def test_any_path_of_authorities_or_an_error(value: str) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        with machine({name: value, **PAIR}):
            build()
    with machine(PAIR):
        build(ca_file=value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [SECRET, "AKIDexample", "cvm-role", "http://[", "qcs::cam::uin/1:roleName/r"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "secretId",
                    "secretKey",
                    "token",
                    "expiresAt",
                    "type",
                    "role-arn",
                    "_sys_param",
                    "region",
                    "tiw",
                    "sts",
                    "endpoint",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)
lines = st.lists(
    st.sampled_from(
        [
            "[default]",
            "[DEFAULT]",
            "[other]",
            f"secret_id = {SECRET}",
            f"secret_key={SECRET}",
            f"secretkey: {SECRET}",
            f"{SECRET} = 1",
            "token",
            "= x",
            " indented",
            "%(x)s = %(y)s",
        ]
    )
    | st.text(max_size=10),
    max_size=6,
).map("\n".join)
contents = st.one_of(
    st.binary(max_size=60),
    lines.map(lambda text: text.encode(errors="surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode(errors="surrogatepass")),
    st.just(b"[" * 100_000),
    st.just(b'{"expiresAt": ' + b"9" * 5000 + b', "secretId": "a", "secretKey": "b"}'),
)


@examples()
@given(contents, contents, contents, st.sampled_from([None, "default"]))
def test_any_files_of_keys_or_an_error(
    credential: bytes, configure: bytes, sdk: bytes, profile: str | None
) -> None:
    with machine({}) as home:
        for name, content in (
            (".tccli/default.credential", credential),
            (".tccli/default.configure", configure),
            (".tencentcloud/credentials", sdk),
        ):
            (home / name).parent.mkdir(exist_ok=True)
            (home / name).write_bytes(content)
        printed = build(profile=profile)
        # The SecretId identifies the account; the rest is shown nowhere.
        assert printed.count(SECRET) <= printed.count(f"account='{SECRET}'")
        # Explicit keys need none of the files.
        keys = {"secret_id": "AKIDgiven", "secret_key": "keykey"}
        assert Settings.resolve(**keys).credentials.identity == "AKIDgiven"  # type: ignore[arg-type]


@examples()
@given(st.binary(max_size=100))
def test_any_file_is_text_or_unreadable(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            text = text_of(Path(file.name))
        except TiwError:
            text = None
    assert text == (content.decode("utf-8-sig") if is_utf8(content) else None)


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
