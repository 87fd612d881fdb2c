# SPDX-License-Identifier: Apache-2.0
"""A connection that receives callbacks: its secret and its client, read again regularly."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import Callback, CallbackError, ConfigurationError, TiwClient, TiwError
from tiw_automation.core.api import warn_if_weak

logger = logging.getLogger(__name__)

# How long the settings that were read are used.
_SETTINGS_S = 60.0
# How soon a connection is read again that could not be used. Tencent posts each callback for half
# a minute, so a short outage of Airflow's database loses none.
_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What a connection holds; its repr shows no secret."""

    secret: str = field(repr=False)
    client: TiwClient = field(repr=False)

    def check_app(self, callback: Callback) -> None:
        """Check that a callback is of the connection's application, where it names one.

        :raises CallbackError: it is of another application.
        """
        own = self.client.settings.sdk_app_id
        if own is not None and callback.sdk_app_id != own:
            raise CallbackError(f"It is of SdkAppId {callback.sdk_app_id}, not {own}.")


class CallbackConnection:
    """A connection, read again each minute so that a new secret needs no restart.

    However many callbacks arrive, it is not read more often; one that cannot be used is read again
    after ten seconds.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._settings: ConnectionSettings | None = None
        self._error: str | None = None
        self._is_delayed = False
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def read(self) -> ConnectionSettings:
        """Return the settings; blocks.

        :raises ConfigurationError: there is no such connection, or it has no secret.
        """
        hook = TiwHook(self.conn_id)
        secret = hook.callback_secret
        if not secret:
            raise ConfigurationError(
                f"Connection {self.conn_id!r} has no callback_secret.",
                hint="Set the same there as with SetOnlineRecordCallbackKey, then restart the "
                "API server.",
            )
        warn_if_weak(secret)
        client = hook.get_conn()
        known = self._settings
        if known is not None and known.client.settings == client.settings:
            client.close()
            client = known.client
        self._settings = ConnectionSettings(secret, client)
        self._error, self._is_delayed = None, False
        self._read_at = time.monotonic()
        return self._settings

    async def settings(self) -> ConnectionSettings:
        """Return settings that are at most a minute old, read in a thread.

        Settings that were read once are used while Airflow cannot read the connection.

        :raises CallbackError: the connection could not be used when it was last read.
        :raises TiwError: Airflow has not been able to read it yet.
        """
        async with self._reading:
            is_usable = self._settings is not None and self._error is None
            lasts_s = _SETTINGS_S if is_usable else _RETRY_S
            if time.monotonic() - self._read_at >= lasts_s:
                await asyncio.to_thread(self._try_to_read)
        if self._error is not None:
            raise CallbackError(self._error)
        if self._settings is None:
            raise TiwError(f"Airflow cannot read connection {self.conn_id!r} yet.", retryable=True)
        return self._settings

    def _try_to_read(self) -> None:
        try:
            self.read()
        except Exception as error:
            self._read_at = time.monotonic()
            if may_pass(error):
                if not self._is_delayed:
                    logger.warning("Callbacks for %s wait: %s", self.conn_id, error)
                self._is_delayed = True
                return
            if self._error is None:
                logger.error("Callbacks for %s are not received: %s", self.conn_id, error)
            self._error = str(error)


def may_pass(error: Exception) -> bool:
    """Return whether a connection that could not be read may be readable later, unchanged."""
    return isinstance(error, TiwError) and error.retryable
