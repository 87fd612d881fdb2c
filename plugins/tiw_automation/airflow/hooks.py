# SPDX-License-Identifier: Apache-2.0
"""The connection type ``tencentcloud`` and the client that it describes."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from urllib.parse import unquote, urlsplit

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import BaseHook  # isort: skip
from airflow.sdk.log import mask_secret  # isort: skip

from tiw_automation.airflow.connections import find_connection, with_more
from tiw_automation.airflow.metrics import export
from tiw_automation.core import ConfigurationError, TaskNotFound, TiwClient, TiwError
from tiw_automation.core.checks import did_you_mean

_EXTRAS = (
    "allow_http",
    "ca_file",
    "callback_secret",
    "profile",
    "proxy",
    "quota_url",
    "region",
    "requests_per_second",
    "role_arn",
    "sdk_app_id",
    "site",
    "timeout",
    "token",
    "user_sig_secret",
)
# For the receiver of callbacks and the start of a recording, not for a client. Airflow masks an
# extra whose name contains "secret".
_NOT_THE_CLIENTS = ("callback_secret", "user_sig_secret")
_TEXTS = frozenset(_EXTRAS) - {"allow_http", "requests_per_second", "sdk_app_id", "timeout"}
_PROBE = "tiw-automation-connection-test"


class TiwHook(BaseHook):
    """Gives access to the TIW API with the settings of an Airflow connection.

    Login is the SecretId, password the SecretKey, host (with port and schema) the endpoint; the
    extras are ``region``, ``site``, ``sdk_app_id``, ``token``, ``profile``, ``callback_secret``,
    ``user_sig_secret``, ``requests_per_second``, ``quota_url``, ``role_arn``, ``ca_file``,
    ``proxy``, ``allow_http`` and ``timeout``. What the connection leaves out comes from the
    environment. A missing default connection leaves out everything; a missing one of another name
    is an error. A password in ``quota_url`` is masked in Airflow's logs, as the keys are.

    :param tencentcloud_conn_id: the connection, or None for the environment's settings alone.
    """

    conn_name_attr = "tencentcloud_conn_id"
    default_conn_name = "tencentcloud_default"
    conn_type = "tencentcloud"
    hook_name = "Tencent Cloud"

    def __init__(self, tencentcloud_conn_id: str | None = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tencentcloud_conn_id = tencentcloud_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's labels; Airflow 3.2 and later take them from the provider info."""
        from tiw_automation.airflow.get_provider_info import get_provider_info

        behaviour = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

    def get_conn(self) -> TiwClient:
        """Return a client with the connection's settings.

        Reads the connection, which blocks: call it from a thread in a trigger.

        :raises ConfigurationError: a setting is invalid, or the connection does not exist.
        :raises TiwError: connections are temporarily unreadable; it is retryable.
        """
        export()
        connection = self._connection()
        try:
            return TiwClient(**self._settings(connection))
        except ConfigurationError as error:
            if connection is not None or self.tencentcloud_conn_id is None:
                raise
            # The user may have made a connection that this process does not have.
            raise with_more(
                error,
                f"Airflow's connection {self.tencentcloud_conn_id!r} was not found, so the "
                "environment's settings were used.",
            ) from error

    @property
    def user_sig_key(self) -> str | None:
        """The application's key for the signatures of recording users, if the connection has it."""
        connection = self._connection()
        return None if connection is None else self._extras(connection).get("user_sig_secret")

    def transport_settings(self) -> dict[str, Any]:
        """Return the connection's ``proxy`` and ``ca_file``; None where it has none.

        They are for other servers than the API too, so no keys are read.
        """
        settings = self._settings(self._connection())
        return {name: settings.get(name) for name in ("proxy", "ca_file")}

    @property
    def callback_secret(self) -> str | None:
        """The key of the application's callbacks, if the connection has it."""
        connection = self._connection()
        return None if connection is None else self._extras(connection).get("callback_secret")

    def test_connection(self) -> tuple[bool, str]:
        """Poll a recording that does not exist: keys that get this answer work."""
        try:
            with self.get_conn() as client:
                client.describe_online_record(_PROBE)
        except TaskNotFound:
            return True, "The keys work and the application is theirs."
        except TiwError as error:
            return False, str(error)
        return True, "The keys work."

    def _connection(self) -> Any:
        if self.tencentcloud_conn_id is None:
            return None
        connection = find_connection(self.get_connection, self.tencentcloud_conn_id)
        if connection is None and self.tencentcloud_conn_id != self.default_conn_name:
            raise ConfigurationError(
                f"There is no connection {self.tencentcloud_conn_id!r}.",
                hint="Create it with the type Tencent Cloud, or leave tencentcloud_conn_id out.",
            )
        return connection

    def _settings(self, connection: Any) -> dict[str, Any]:
        if connection is None:
            return {}
        extras = self._extras(connection)
        _mask_password(extras.get("quota_url"))
        return {
            "secret_id": connection.login or None,
            "secret_key": connection.password or None,
            "endpoint": _endpoint(connection),
            **{name: extras.get(name) for name in _EXTRAS if name not in _NOT_THE_CLIENTS},
        }

    def _extras(self, connection: Any) -> dict[str, Any]:
        # Airflow logs extras that it cannot read and ignores them: the client would have other keys
        # or another site.
        extras = connection.extra_dejson
        if not _is_object(connection.extra):
            raise ConfigurationError(
                f"The extras of connection {self.tencentcloud_conn_id!r} must be a JSON object.",
                hint='For example {"sdk_app_id": 1400000001, "site": "intl"}.',
            )
        for name, value in extras.items():
            if name in _TEXTS and value is not None and not isinstance(value, str):
                raise ConfigurationError(
                    f"Connection {self.tencentcloud_conn_id!r}: the extra {name} must be a text, "
                    f"not {type(value).__name__}."
                )
        for name in extras:
            if name not in _EXTRAS:
                self.log.warning(
                    "Connection %s: the extra %r is unknown and ignored.%s Allowed are %s.",
                    self.tencentcloud_conn_id,
                    name,
                    did_you_mean(name, _EXTRAS),
                    ", ".join(_EXTRAS),
                )
        # The form stores an empty field as an empty string.
        return {name: value for name, value in extras.items() if value != ""}


def _is_object(extra: str | None) -> bool:
    try:
        return not extra or isinstance(json.loads(extra), dict)
    except (ValueError, RecursionError):
        return False


def _mask_password(url: str | None) -> None:
    """Mask the password of a URL in Airflow's logs; Airflow masks only extras that it knows."""
    with contextlib.suppress(ValueError):
        password = urlsplit(url or "").password or ""
        for secret in filter(None, {password, unquote(password)}):
            mask_secret(secret)


def _endpoint(connection: Any) -> str | None:
    if not connection.host:
        return None
    host = str(connection.host)
    if connection.port:
        host = f"{host}:{connection.port}"
    return f"{connection.schema}://{host}" if connection.schema and "://" not in host else host
