# SPDX-License-Identifier: Apache-2.0
"""Where the keys come from.

Id, key and token come whole from the first source that holds either key: a pair is never
completed from another source, because half of one account and half of another only shows up
as a signature failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tiw_automation.core.errors import ConfigurationError, CredentialsError

_TOKEN_VARIABLES = (
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SECURITY_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A pair of keys, with a token where they are temporary.

    :param source: where they were found, for error messages.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    source: str = field(default="arguments", compare=False)

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Return id, key and token: the form in which the SDK asks, on every request."""
        return self.secret_id, self.secret_key, self.token


def find_credentials(
    *,
    secret_id: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    role_arn: str | None = None,
    environ: Mapping[str, str],
) -> Credentials:
    """Return the keys from the arguments, else from the environment.

    :param environ: the environment to read, usually ``os.environ``.
    :raises CredentialsError: no source holds a key, one holds half a pair, or a key has
        blanks or quotes; the message says where it looked.
    :raises ConfigurationError: ``profile`` or ``role_arn`` is given, by argument or by
        variable; this version signs with given keys only.
    """
    _refuse_unsupported("profile", profile, "argument")
    _refuse_unsupported("role_arn", role_arn or environ.get("TENCENTCLOUD_ROLE_ARN"), "setting")
    if secret_id or secret_key or token:
        return _whole(
            "arguments",
            {"secret_id": secret_id, "secret_key": secret_key, "token": token},
        )
    found_token = next(
        (name for name in _TOKEN_VARIABLES if environ.get(name)), _TOKEN_VARIABLES[0]
    )
    pair = {
        name: environ.get(name) for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY")
    }
    if any(pair.values()):
        return _whole("environment", {**pair, found_token: environ.get(found_token)})
    raise CredentialsError(
        "No keys were found: neither the arguments secret_id and secret_key nor the variables "
        "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY are set.",
        hint="Create a key in the console under CAM, API keys, and give both halves.",
    )


def _refuse_unsupported(name: str, value: str | None, kind: str) -> None:
    if value:
        raise ConfigurationError(
            f"The {kind} {name} is not supported by this version.",
            hint="Give secret_id and secret_key, or set TENCENTCLOUD_SECRET_ID and _KEY.",
        )


def _whole(source: str, values: Mapping[str, str | None]) -> Credentials:
    (id_name, secret_id), (key_name, secret_key), (_, token) = values.items()
    if not secret_id or not secret_key:
        held = id_name if secret_id else key_name if secret_key else "a token"
        lacking = key_name if secret_id else id_name
        raise CredentialsError(
            f"The {source} hold {held} without {lacking}.",
            hint="Give both; a pair is never completed from another source.",
        )
    for name, value in values.items():
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise CredentialsError(f"{name} from the {source} has to be a string.")
        if value != value.strip() or any(sign.isspace() for sign in value):
            raise CredentialsError(
                f"{name} from the {source} has blanks around it or in it.", hint="Remove them."
            )
        if not value.isascii() or not value.isprintable() or set(value) & {'"', "'"}:
            raise CredentialsError(
                f"{name} from the {source} holds quotes or signs that no key has.",
                hint="Give the bare value, without quotes.",
            )
    return Credentials(secret_id, secret_key, token or None, source)
